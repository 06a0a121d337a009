import pytest

from cacheproxy.domain.digest import Digest
from cacheproxy.domain.errors import DigestInvalid, NameInvalid, TagInvalid
from cacheproxy.domain.reference import Name, Repository, Tag, parse_reference

_DIGEST = Digest.of(b"")


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("a", id="one letter"),
        pytest.param("0", id="one digit"),
        pytest.param("library/nginx", id="two components"),
        pytest.param("a/b/c/d/e/f", id="many components"),
        pytest.param("a.b", id="dot"),
        pytest.param("a_b", id="underscore"),
        pytest.param("a__b", id="two underscores"),
        pytest.param("a-b", id="dash"),
        pytest.param("a-----b", id="many dashes"),
        pytest.param("blobs/manifests/tags/list", id="words of the API"),
        pytest.param("my.app/0.1-rc.2", id="dots everywhere"),
        pytest.param("a" * 255, id="255 characters"),
    ],
)
def test_a_name_is_what_the_grammar_says(text: str) -> None:
    """Every name of the distribution spec's grammar is one, unchanged."""
    assert Name.parse(text) == text


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="empty"),
        pytest.param("A", id="upper case"),
        pytest.param("a/B", id="upper case in a component"),
        pytest.param("/a", id="leading slash"),
        pytest.param("a/", id="trailing slash"),
        pytest.param("a//b", id="two slashes"),
        pytest.param("..", id="parent"),
        pytest.param("a/../b", id="parent within"),
        pytest.param(".", id="dot"),
        pytest.param(".a", id="leading dot"),
        pytest.param("a.", id="trailing dot"),
        pytest.param("a..b", id="two dots"),
        pytest.param("a___b", id="three underscores"),
        pytest.param("a.-b", id="two separators"),
        pytest.param("-a", id="leading dash"),
        pytest.param("a_", id="trailing underscore"),
        pytest.param("a:b", id="colon"),
        pytest.param("a@b", id="at"),
        pytest.param("a b", id="space"),
        pytest.param("a\n", id="trailing newline"),
        pytest.param("a\\b", id="backslash"),
        pytest.param("a%2fb", id="escape"),
        pytest.param("a\x00", id="NUL"),
        pytest.param("caf\u00e9", id="accent"),
        pytest.param("\u0430", id="a letter that looks like one"),
        pytest.param("\u0661", id="a digit of another script"),
        pytest.param("a" * 256, id="256 characters"),
        pytest.param("a/" * 50_000, id="very long"),
    ],
)
def test_what_is_no_name_is_refused(text: str) -> None:
    """Whatever the grammar does not have is no name, and the refusal does not repeat it whole."""
    with pytest.raises(NameInvalid) as caught:
        Name.parse(text)
    assert len(str(caught.value)) < 3000


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("latest", id="letters"),
        pytest.param("1.27-alpine", id="version"),
        pytest.param("_", id="underscore"),
        pytest.param("V1_a.b-c", id="everything"),
        pytest.param("a" * 128, id="128 characters"),
        pytest.param("a..", id="trailing dots"),
    ],
)
def test_a_tag_is_what_the_grammar_says(text: str) -> None:
    """Every tag of the distribution spec's grammar is one, unchanged."""
    assert Tag.parse(text) == text
    assert parse_reference(text) == text
    assert isinstance(parse_reference(text), Tag)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="empty"),
        pytest.param(".a", id="leading dot"),
        pytest.param("-a", id="leading dash"),
        pytest.param("a/b", id="slash"),
        pytest.param("a+b", id="plus"),
        pytest.param("a\n", id="trailing newline"),
        pytest.param("a b", id="space"),
        pytest.param("\u00e9", id="accent"),
        pytest.param("..", id="parent"),
        pytest.param("a" * 129, id="129 characters"),
        pytest.param("a" * 100_000, id="very long"),
    ],
)
def test_what_is_no_tag_is_refused(text: str) -> None:
    """Whatever the grammar does not have is no tag, and the refusal does not repeat it whole."""
    with pytest.raises(TagInvalid) as caught:
        Tag.parse(text)
    assert len(str(caught.value)) < 1000


def test_a_reference_with_a_colon_is_a_digest() -> None:
    """What has a colon is a digest or nothing: no tag has one."""
    assert isinstance(parse_reference(_DIGEST), Digest)
    with pytest.raises(DigestInvalid):
        parse_reference("latest:1")


def test_the_fallback_tag_of_referrers() -> None:
    """The tag under which referrers are listed is cut as the spec cuts it, and is a tag."""
    assert Tag.of_referrers(_DIGEST) == f"sha256-{_DIGEST.encoded}"
    long = Digest.parse("sha512:" + "0123456789abcdef" * 8)
    assert Tag.of_referrers(long) == "sha512-" + "0123456789abcdef" * 4
    assert Tag.parse(Tag.of_referrers(long)) == Tag.of_referrers(long)


def test_a_repository_is_written_as_in_a_reference() -> None:
    """A repository reads as people write it, and equals one of the same parts only."""
    repository = Repository("quay.io", Name("team/app"))
    assert str(repository) == "quay.io/team/app"
    assert repository == Repository("quay.io", Name("team/app"))
    assert repository != Repository("docker.io", Name("team/app"))
