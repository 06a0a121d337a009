import pytest

from cacheproxy.domain.byte_range import RangeFrom
from cacheproxy.domain.digest import Digest
from cacheproxy.edge.conditions import etag, matches, wanted_range

_DIGEST, _OTHER = Digest.of(b"a"), Digest.of(b"b")
_TAG, _OTHER_TAG = f'"{_DIGEST}"', f'"{_OTHER}"'


def test_an_etag_is_the_quoted_digest() -> None:
    """The entity tag is strong, and quoted as RFC 9110 has it."""
    assert etag(_DIGEST) == _TAG


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        pytest.param(None, False, id="none"),
        pytest.param("", False, id="empty"),
        pytest.param(_TAG, True, id="the tag"),
        pytest.param(f"W/{_TAG}", True, id="weak"),
        pytest.param(str(_DIGEST), True, id="unquoted"),
        pytest.param(f"  {_TAG}\t", True, id="white space"),
        pytest.param("*", True, id="anything"),
        pytest.param(_OTHER_TAG, False, id="another"),
        pytest.param(f'"x", {_OTHER_TAG} ,W/{_TAG}', True, id="in a list"),
        pytest.param(f'"x",{_OTHER_TAG}', False, id="not in a list"),
        pytest.param(" *\t", True, id="anything, and white space"),
        pytest.param('"*"', False, id="a tag that is a star"),
        pytest.param('W/"*"', False, id="a weak tag that is a star"),
        pytest.param(f"{_OTHER_TAG},*", False, id="anything in a list, which is no grammar"),
        pytest.param(f"*,{_TAG}", True, id="the tag beside it"),
        pytest.param(f'"{_DIGEST[:-1]}"', False, id="a part of it"),
        pytest.param(f'"{_DIGEST}0"', False, id="more than it"),
        pytest.param(f'"{_DIGEST.upper()}"', False, id="in other case"),
        pytest.param('""', False, id="an empty tag"),
        pytest.param(",,", False, id="commas"),
        pytest.param("\udcff", False, id="garbage"),
    ],
)
def test_if_none_match(field: str | None, expected: bool) -> None:
    """A client has it if any tag of its list is the digest's, strong, weak or unquoted."""
    assert matches(field, _DIGEST) is expected


@pytest.mark.parametrize(
    ("if_range", "applies"),
    [
        pytest.param(None, True, id="none"),
        pytest.param(_TAG, True, id="the tag"),
        pytest.param(f" {_TAG} ", True, id="white space"),
        pytest.param(f"W/{_TAG}", False, id="weak"),
        pytest.param(str(_DIGEST), False, id="unquoted"),
        pytest.param(_OTHER_TAG, False, id="another"),
        pytest.param(f"{_TAG}, {_OTHER_TAG}", False, id="a list"),
        pytest.param("*", False, id="anything"),
        pytest.param("Sun, 01 Jan 2023 00:00:00 GMT", False, id="a date"),
        pytest.param("", False, id="empty"),
    ],
)
def test_if_range(if_range: str | None, applies: bool) -> None:
    """A range is of the blob that If-Range names by its strong tag; else the whole is sent."""
    expected = RangeFrom(0, 9) if applies else None
    assert wanted_range("bytes=0-9", if_range, _DIGEST) == expected
    assert wanted_range(None, if_range, _DIGEST) is None
    assert wanted_range("lines=0-9", if_range, _DIGEST) is None
