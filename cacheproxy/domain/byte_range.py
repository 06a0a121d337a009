"""Byte ranges (RFC 9110 §14): what was asked, and what that is of a blob of known size."""

import re
from dataclasses import dataclass

from cacheproxy.domain.errors import RangeNotSatisfiable

# ranges-specifier with one int-range or suffix-range. `[0-9]` and not `\d`: ASCII only. The
# digits are bounded since Python refuses to convert thousands of them.
_ONE_RANGE = re.compile(r"bytes=[ \t]*([0-9]{0,19})-([0-9]{0,19})[ \t]*")
_CLOSED = re.compile(r"([0-9]{1,19})-([0-9]{1,19})")
_CLOSED_RANGES = re.compile(rf"bytes=(?:[ \t]*{_CLOSED.pattern}[ \t]*(?:,|$))+")


@dataclass(frozen=True, slots=True)
class ByteRange:
    """Bytes `start` up to, but not including, `stop` of a blob of `size` bytes.

    Always in bounds and never empty: `0 <= start < stop <= size`.
    """

    start: int
    stop: int
    size: int

    def __len__(self) -> int:
        return self.stop - self.start

    @property
    def content_range(self) -> str:
        """The Content-Range field (RFC 9110 §14.4): its last position is inclusive."""
        return f"bytes {self.start}-{self.stop - 1}/{self.size}"


@dataclass(frozen=True, slots=True)
class RangeFrom:
    """`bytes=first-` or `bytes=first-last`; `last` is inclusive, None means to the end."""

    first: int
    last: int | None

    def resolve(self, size: int) -> ByteRange:
        """Return the bytes that this range means.

        Raises:
            RangeNotSatisfiable: it begins at or behind the end, or ends before it begins.
        """
        if self.first >= size or (self.last is not None and self.last < self.first):
            raise RangeNotSatisfiable(size)
        stop = size if self.last is None else min(self.last + 1, size)
        return ByteRange(self.first, stop, size)


@dataclass(frozen=True, slots=True)
class RangeSuffix:
    """`bytes=-length`: the last `length` bytes."""

    length: int

    def resolve(self, size: int) -> ByteRange:
        """Return the bytes that this range means; one longer than the blob is all of it.

        Raises:
            RangeNotSatisfiable: `bytes=-0`, or any suffix of an empty blob.
        """
        if self.length == 0 or size == 0:
            raise RangeNotSatisfiable(size)
        return ByteRange(max(0, size - self.length), size, size)


RequestedRange = RangeFrom | RangeSuffix


def parse(field: str | None) -> RequestedRange | None:
    """Read a Range field; None where the whole is to be sent.

    An unknown unit must be ignored, and garbage may be (RFC 9110 §14.2). Several ranges that
    overlap or touch are one (§15.3.7.2). Others are ignored: the whole is the cheapest correct
    response, and clients that send them accept it.
    """
    if not field:
        return None
    match = _ONE_RANGE.fullmatch(field)
    if match is None:
        return _coalesced(field)
    first, last = match.groups()
    if first:
        return RangeFrom(int(first), int(last) if last else None)
    return RangeSuffix(int(last)) if last else None


def _coalesced(field: str) -> RangeFrom | None:
    """Return the one range that several closed ones make; None if they make none."""
    if _CLOSED_RANGES.fullmatch(field) is None:
        return None
    pairs = sorted((int(first), int(last)) for first, last in _CLOSED.findall(field))
    begin, end = pairs[0]
    for first, last in pairs:
        if first > end + 1 or last < first:
            return None
        end = max(end, last)
    return RangeFrom(begin, end)
