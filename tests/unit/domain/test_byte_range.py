import pytest

from cacheproxy.domain.byte_range import ByteRange, RangeFrom, RangeSuffix, RequestedRange, parse
from cacheproxy.domain.errors import RangeNotSatisfiable


@pytest.mark.parametrize(
    ("field", "asked"),
    [
        pytest.param("bytes=0-0", RangeFrom(0, 0), id="one byte"),
        pytest.param("bytes=0-", RangeFrom(0, None), id="open"),
        pytest.param("bytes=5-9", RangeFrom(5, 9), id="closed"),
        pytest.param("bytes=9-5", RangeFrom(9, 5), id="backwards"),
        pytest.param("bytes=-5", RangeSuffix(5), id="suffix"),
        pytest.param("bytes=-0", RangeSuffix(0), id="empty suffix"),
        pytest.param("bytes= 5-9\t", RangeFrom(5, 9), id="white space around"),
        pytest.param("bytes=007-0010", RangeFrom(7, 10), id="leading zeros"),
        pytest.param("bytes=0-4,5-9", RangeFrom(0, 9), id="ranges that touch"),
        pytest.param("bytes=6-9, 0-3 ,\t2-7", RangeFrom(0, 9), id="ranges that overlap"),
        pytest.param("bytes=1-2,1-2", RangeFrom(1, 2), id="the same range twice"),
        pytest.param("bytes=9999999999999999999-", RangeFrom(10**19 - 1, None), id="19 digits"),
    ],
)
def test_a_range_is_read(field: str, asked: RequestedRange) -> None:
    """One range of bytes is read, however little sense it makes for the blob."""
    assert parse(field) == asked


@pytest.mark.parametrize(
    "field",
    [
        pytest.param(None, id="none"),
        pytest.param("", id="empty"),
        pytest.param("bytes", id="no range"),
        pytest.param("bytes=", id="empty range"),
        pytest.param("bytes=-", id="a dash"),
        pytest.param("bytes=5", id="no dash"),
        pytest.param("bytes=a-b", id="letters"),
        pytest.param("bytes=0x1-2", id="hex"),
        pytest.param("bytes=+1-2", id="sign"),
        pytest.param("bytes=1_0-2_0", id="underscores"),
        pytest.param("bytes=--5", id="two dashes"),
        pytest.param("bytes=0 - 5", id="spaces within"),
        pytest.param("bytes 0-5", id="space for equals"),
        pytest.param("items=0-5", id="another unit"),
        pytest.param("bytes=0-1,5-6", id="two ranges"),
        pytest.param("bytes=0-9,3-2", id="two ranges, one without bytes"),
        pytest.param("bytes=0-9,-5", id="a range and a suffix"),
        pytest.param("bytes=0-9,5-", id="a range and an open one"),
        pytest.param("bytes=0-9,,10-11", id="a range that is missing"),
        pytest.param("bytes=0-9 10-11", id="no comma"),
        pytest.param("bytes=0-1\n", id="newline"),
        pytest.param("bytes=\u0661-\u0662", id="digits of another script"),
        pytest.param("bytes=" + "9" * 5000 + "-", id="thousands of digits"),
    ],
)
def test_the_whole_is_sent_for_everything_else(field: str | None) -> None:
    """What is no range, is several, or is of another unit is ignored."""
    assert parse(field) is None


@pytest.mark.parametrize(
    ("asked", "size", "expected"),
    [
        pytest.param(RangeFrom(0, None), 10, ByteRange(0, 10, 10), id="all"),
        pytest.param(RangeFrom(0, 0), 10, ByteRange(0, 1, 10), id="first byte"),
        pytest.param(RangeFrom(9, 9), 10, ByteRange(9, 10, 10), id="last byte"),
        pytest.param(RangeFrom(9, None), 10, ByteRange(9, 10, 10), id="from the last byte"),
        pytest.param(RangeFrom(2, 5), 10, ByteRange(2, 6, 10), id="within"),
        pytest.param(RangeFrom(5, 10), 10, ByteRange(5, 10, 10), id="one too far"),
        pytest.param(RangeFrom(5, 10**18), 10, ByteRange(5, 10, 10), id="much too far"),
        pytest.param(RangeSuffix(1), 10, ByteRange(9, 10, 10), id="last byte by suffix"),
        pytest.param(RangeSuffix(10), 10, ByteRange(0, 10, 10), id="all by suffix"),
        pytest.param(RangeSuffix(11), 10, ByteRange(0, 10, 10), id="longer than all"),
    ],
)
def test_a_range_is_clipped_to_the_blob(
    asked: RequestedRange, size: int, expected: ByteRange
) -> None:
    """A range that begins within the blob ends within it."""
    assert asked.resolve(size) == expected
    assert len(asked.resolve(size)) == expected.stop - expected.start


@pytest.mark.parametrize(
    ("asked", "size"),
    [
        pytest.param(RangeFrom(10, None), 10, id="at the end"),
        pytest.param(RangeFrom(10, 20), 10, id="closed at the end"),
        pytest.param(RangeFrom(500, 0), 1000, id="backwards"),
        pytest.param(RangeFrom(0, None), 0, id="of nothing"),
        pytest.param(RangeFrom(0, 0), 0, id="a byte of nothing"),
        pytest.param(RangeSuffix(0), 10, id="empty suffix"),
        pytest.param(RangeSuffix(5), 0, id="suffix of nothing"),
    ],
)
def test_a_range_outside_of_the_blob_is_refused(asked: RequestedRange, size: int) -> None:
    """A range that holds no byte of the blob is not satisfiable, and the error has the size."""
    with pytest.raises(RangeNotSatisfiable) as caught:
        asked.resolve(size)
    assert caught.value.size == size


def test_the_content_range_includes_its_last_byte() -> None:
    """Content-Range names the last byte, not the one behind it."""
    assert ByteRange(2, 6, 10).content_range == "bytes 2-5/10"
    assert len(ByteRange(2, 6, 10)) == 4
