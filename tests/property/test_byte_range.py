"""Ranges are what slicing the bytes is."""

from hypothesis import given
from hypothesis import strategies as st

from cacheproxy.domain.byte_range import RangeFrom, RangeSuffix, RequestedRange, parse
from cacheproxy.domain.errors import RangeNotSatisfiable
from tests.support.grammar import any_text

_blobs = st.binary(max_size=40)
_positions = st.integers(0, 60)


def _slice(asked: RequestedRange, blob: bytes) -> bytes | None:
    """The bytes that a range means; None where it cannot be satisfied."""
    try:
        resolved = asked.resolve(len(blob))
    except RangeNotSatisfiable as error:
        assert error.size == len(blob)  # noqa: PT017 - raising is one of two outcomes
        return None
    assert 0 <= resolved.start < resolved.stop <= resolved.size == len(blob)
    part = blob[resolved.start : resolved.stop]
    assert len(resolved) == len(part)
    last = resolved.start + len(part) - 1
    assert resolved.content_range == f"bytes {resolved.start}-{last}/{len(blob)}"
    return part


@given(_blobs, _positions)
def test_an_open_range_is_the_rest(blob: bytes, first: int) -> None:
    """`bytes=first-` is what is behind `first`; nothing there is not satisfiable."""
    assert parse(f"bytes={first}-") == RangeFrom(first, None)
    assert _slice(RangeFrom(first, None), blob) == (blob[first:] or None)


@given(_blobs, _positions, _positions)
def test_a_closed_range_includes_its_end(blob: bytes, first: int, last: int) -> None:
    """`bytes=first-last` is a slice whose end is included; an empty one is not satisfiable."""
    assert parse(f"bytes={first}-{last}") == RangeFrom(first, last)
    assert _slice(RangeFrom(first, last), blob) == (blob[first : last + 1] or None)


@given(_blobs, _positions)
def test_a_suffix_is_the_end(blob: bytes, length: int) -> None:
    """`bytes=-length` is the last bytes; a suffix longer than the blob is all of it."""
    assert parse(f"bytes=-{length}") == RangeSuffix(length)
    naive = blob[-length:] if length else b""
    assert _slice(RangeSuffix(length), blob) == (naive or None)


_numbers = st.integers(0, 10**25).map(str) | st.just("")
_fields = st.builds("bytes={}-{}".format, _numbers, _numbers)


@given(any_text | any_text.map("bytes=".__add__) | _fields, _blobs)
def test_any_field_is_a_range_or_ignored(field: str, blob: bytes) -> None:
    """Every Range field is one range, which lies within the blob or not, or it is ignored."""
    asked = parse(field)
    if asked is not None:
        part = _slice(asked, blob)
        assert part is None or part in blob
