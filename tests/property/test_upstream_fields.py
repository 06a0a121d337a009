"""What upstreams send is read, or is not; it never breaks us."""

import email.utils
import json
import string
from datetime import UTC, datetime

from hypothesis import example, given
from hypothesis import strategies as st

from cacheproxy.domain.errors import UpstreamUnavailable
from cacheproxy.upstream.answers import content_range, rate_limit, retry_after
from cacheproxy.upstream.challenge import Basic, Bearer, parse
from cacheproxy.upstream.tokens import parse_token
from tests.support.grammar import any_text

_NOW = 1_672_531_200.0
_TOKEN68 = set(string.ascii_letters + string.digits + "-._~+/=")

_dates = st.datetimes(datetime(2001, 9, 10), datetime(2100, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - the bounds are given without, the zone beside them
_numbers = (st.integers() | st.floats()).map(str)
_words = st.sampled_from(("Mon,", "31", "Feb", "99999", "0:0:0", "GMT", "-2359", "+99999999", ":"))
_assembled = st.lists(_words, max_size=7).map(" ".join)


@given(st.none() | any_text | _numbers | _assembled)
@example("nan")
@example("1e999")
@example("Fri, 31 Dec 9999 23:59:59 -2359")
@example("Mon, 01 Jan 0001 00:00:00 -0000")
def test_any_retry_after_is_a_bearable_wait(field: str | None) -> None:
    """Whatever Retry-After says, it is no wait at all or one of at most five minutes."""
    seconds = retry_after(field, _NOW)
    assert seconds is None or 0.0 <= seconds <= 300.0


@given(_dates)
def test_a_date_is_so_many_seconds_from_now(moment: datetime) -> None:
    """An HTTP date is the seconds until then: none where it is over, five minutes at the most."""
    field = email.utils.format_datetime(moment, usegmt=True)
    expected = moment.replace(microsecond=0).timestamp() - _NOW
    assert retry_after(field, _NOW) == min(max(expected, 0.0), 300.0)


_lengths = st.integers(0, 10**19 - 1)


@given(_lengths, _lengths, st.none() | _lengths)
def test_a_content_range_is_read_as_written(first: int, last: int, total: int | None) -> None:
    """First, last and total come back from a Content-Range; an unknown total as None."""
    field = f"bytes {first}-{last}/{'*' if total is None else total}"
    assert content_range(field) == (first, last, total)


@given(st.none() | any_text | any_text.map("bytes ".__add__))
def test_any_content_range_is_read_or_not(field: str | None) -> None:
    """Every text is a Content-Range in ASCII digits, or none."""
    read = content_range(field)
    if read is not None:
        assert field is not None
        assert field.isascii()
        assert field.startswith(f"bytes {field.split()[1].partition('-')[0]}-")


@given(
    st.dictionaries(
        st.sampled_from(
            ("ratelimit-remaining", "ratelimit-limit", "ratelimit-reset", "ratelimit-window")
        )
        | st.sampled_from(("x-ratelimit-remaining", "x-ratelimit-reset", "RateLimit")),
        any_text | _numbers | _assembled,
    )
)
@example({"ratelimit-remaining": "0", "ratelimit-window": "soon"})
@example({"ratelimit-remaining": "0", "ratelimit-reset": "1e999"})
def test_any_quota_counts_for_a_bearable_time(fields: dict[str, str]) -> None:
    """Whatever quota fields say, a quota counts for no time, a time within a day, or is none."""
    read = rate_limit(fields, _NOW)
    assert read is None or read.window is None or 0.0 <= read.window <= 86_400.0


@given(any_text)
def test_any_ratelimit_is_read_or_not(field: str) -> None:
    """Every text says how many pulls are left, as a number that is not negative, or nothing."""
    read = rate_limit({"ratelimit-remaining": field}, _NOW)
    assert read is None or field.startswith((str(read.remaining), "0"))
    assert read is None or read.remaining >= 0


_token_words = st.text(string.ascii_letters + string.digits + "-._~", min_size=1, max_size=12)
_quoted_values = st.text(st.characters(min_codepoint=32, max_codepoint=255), max_size=20)


@st.composite
def _bearers(draw: st.DrawFn) -> tuple[str, Bearer]:
    values = {name: draw(_quoted_values) for name in ("realm", "service", "scope")}
    written = []
    for name in draw(st.permutations(sorted(values))):
        escaped = values[name].replace("\\", "\\\\").replace('"', '\\"')
        spelled = draw(st.sampled_from((name, name.upper(), name.title())))
        space = draw(st.sampled_from(("", " ")))
        written.append(f'{spelled}{space}={space}"{escaped}"')
    scheme = draw(st.sampled_from(("Bearer", "bearer", "BEARER")))
    separator = draw(st.sampled_from((",", ", ", " , ")))
    return f"{scheme} {separator.join(written)}", Bearer(**values)


@given(st.lists(_bearers(), max_size=3), st.booleans())
def test_a_challenge_is_read_as_written(bearers: list[tuple[str, Bearer]], one: bool) -> None:
    """Challenges come back in their order, from one field or from several, quoted as may be."""
    written = [text for text, _ in bearers]
    fields = [", ".join(written)] if one else written
    assert parse(fields) == tuple(bearer for _, bearer in bearers)


@given(st.lists(any_text | any_text.map("Bearer realm=".__add__), max_size=3))
@example(['Bearer realm="' + "\\" * 9000])
@example(["Bearer " + "a=b," * 4000])
def test_any_challenge_is_read_or_not(fields: list[str]) -> None:
    """Every text is some challenges, of the two schemes that we know, or none."""
    assert all(isinstance(challenge, Basic | Bearer) for challenge in parse(fields))


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=5,
)
_answers = st.fixed_dictionaries(
    {}, optional={"token": _json, "access_token": _json, "expires_in": _json, "x": _json}
).map(lambda answer: json.dumps(answer).encode())


@given(st.binary() | _answers)
@example(b"[" * 100_000)
@example(b'{"token":"a","expires_in":1e999}')
@example(b'{"token":"a\\r\\nX: y"}')
def test_any_token_answer_holds_a_token_or_is_refused(body: bytes) -> None:
    """A token server's answer is a token that fits into a field and a bounded life, or refused."""
    try:
        token, seconds = parse_token(body)
    except UpstreamUnavailable:
        return
    assert token
    assert set(token) <= _TOKEN68
    assert seconds is None or 0.0 < seconds <= 86_400.0


@given(_token_words, st.sampled_from(("token", "access_token")), st.none() | st.integers(1, 86_400))
def test_a_token_is_read_as_written(value: str, member: str, seconds: int | None) -> None:
    """The token comes back by either of its names, with the life that the answer names."""
    answer: dict[str, object] = {member: value}
    if seconds is not None:
        answer["expires_in"] = seconds
    assert parse_token(json.dumps(answer).encode()) == (value, seconds)
