from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cacheproxy.domain.redis_url import RedisUrl, is_redis, parse_redis_url

_ONE = RedisUrl("single", (("r", 6379),))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("redis://r", _ONE),
        ("redis://r:7000/3", replace(_ONE, hosts=(("r", 7000),), database=3)),
        ("redis://[::1]:7000", replace(_ONE, hosts=(("::1", 7000),))),
        ("valkey://r", _ONE),
        ("rediss://r", replace(_ONE, is_tls=True)),
        ("valkeys://r", replace(_ONE, is_tls=True)),
        ("redis://:pw@r", replace(_ONE, password="pw")),
        ("redis://u@r", replace(_ONE, username="u")),
        ("redis://u:p%40%2f%3Aw@r", replace(_ONE, username="u", password="p@/:w")),
        ("redis://u:a:b@r", replace(_ONE, username="u", password="a:b")),
        ("redis://r?namespace=prod", replace(_ONE, namespace="prod")),
        (
            "rediss://r?ca_file=/a%20b/ca.pem&certificate=c&key=k",
            replace(_ONE, is_tls=True, ca_file="/a b/ca.pem", certificate="c", key="k"),
        ),
        (
            "redis+sentinel://u:p@a,b:5/main/2",
            RedisUrl(
                "sentinel",
                (("a", 26379), ("b", 5)),
                username="u",
                password="p",
                service="main",
                database=2,
            ),
        ),
        ("redis+cluster://a,b:5", RedisUrl("cluster", (("a", 6379), ("b", 5)))),
        ("rediss+cluster://a/0", RedisUrl("cluster", (("a", 6379),), is_tls=True)),
    ],
)
def test_a_url_says_where_and_who(text: str, expected: RedisUrl) -> None:
    """Each form is understood, with the ports that are usual where none is given."""
    assert parse_redis_url(text) == expected


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("redis:r", "is no URL"),
        ("http://r", "is no URL"),
        ("redis://", "has no proper host"),
        ("redis://r:0", "has no proper host"),
        ("redis://r:99999", "has no proper host"),
        ("redis://a b", "has no proper host"),
        ("redis://:pw/x@r", "percent-encode"),
        ("redis://:pw?x@r", "percent-encode"),
        ("redis://:pw#x@r:y", "has no proper host"),
        ("redis://a,b", "has several hosts"),
        ("redis://r/prod", "has no number of a database"),
        ("redis://r/1/2", "has no number of a database"),
        ("redis://r/-1", "has no number of a database"),
        ("redis+sentinel://r", "what the Sentinels call the server"),
        ("redis+cluster://r/1", "has only one"),
        ("redis://r?db=1", "unknown"),
        ("redis://r?namespace=a&namespace=b", "there twice"),
        ("redis://r?namespace=", "empty namespace"),
        ("redis://r?namespace=a:b", "namespace that is not made of"),
        ("redis://r?ca_file=x", "write rediss://"),
        ("rediss://r?key=x", "only one of"),
        ("redis://:%ff@r", "not UTF-8"),
        ("redis://:%0a@r", "control character"),
        ("redis://:***@r", "only stands for a hidden one"),
    ],
)
def test_what_is_wrong_is_said(text: str, says: str) -> None:
    """A URL that cannot be is refused with a sentence that says what to write."""
    with pytest.raises(ValueError, match=says):
        parse_redis_url(text)


@given(st.text(min_size=6), st.sampled_from(["", "@", "/", "?", "#", ":"]))
def test_no_message_repeats_a_password(noise: str, end: str) -> None:
    """Whatever a password looks like, and wherever it ends, no message has any of it."""
    secret = f"hunter2hunter2{noise}"
    try:
        url = parse_redis_url(f"redis://:{secret}{end}@r:6379/0?namespace=x")
        said = str(url) + repr(url)
    except ValueError as error:
        said = str(error)
    assert "hunter2" not in said


_NAMES = st.from_regex(r"[A-Za-z0-9._-]{1,20}", fullmatch=True)


@given(
    st.sampled_from(["redis", "rediss", "redis+sentinel", "redis+cluster", "rediss+cluster"]),
    st.lists(st.tuples(_NAMES, st.integers(1, 65535)), min_size=1, max_size=3),
    st.none()
    | st.text(st.characters(min_codepoint=32, exclude_categories=["Cs", "Cc"]), min_size=1),
    st.integers(0, 15),
    _NAMES,
)
def test_what_is_shown_is_read_the_same(
    scheme: str, hosts: list[tuple[str, int]], username: str | None, database: int, name: str
) -> None:
    """As a text a URL without a password is that URL again."""
    kind = scheme.partition("+")[2] or "single"
    url = RedisUrl(
        kind,  # type: ignore[arg-type]  # one of them
        tuple(hosts if kind != "single" else hosts[:1]),
        is_tls=scheme.startswith("rediss"),
        username=username,
        service=name if kind == "sentinel" else "",
        database=0 if kind == "cluster" else database,
        namespace=name,
    )
    assert parse_redis_url(str(url)) == url
    assert "***" in str(replace(url, password="hunter2"))


def test_what_is_no_redis_is_told_apart() -> None:
    """Only the schemes that there are count as a Redis."""
    assert is_redis("valkeys://x")
    assert not is_redis("redis+unix://x")
    assert not is_redis("embedded:")
