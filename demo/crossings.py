"""What crossed the upstream link, as a table."""

from collections.abc import Sequence
from dataclasses import dataclass

from tests.support.parts.link import CountedLink

_COLUMNS = ("", "requests", "manifest bytes", "blob bytes", "seconds")
_WIDTHS = (38, 10, 16, 14, 9)


@dataclass(frozen=True, slots=True)
class Measured:
    """One pull, and what it cost at the link."""

    title: str
    requests: int
    manifest_bytes: int
    blob_bytes: int
    seconds: float

    @classmethod
    def at(cls, link: CountedLink, title: str, seconds: float) -> "Measured":
        """What `link` has counted since it last forgot."""
        requests = len(link.crossings)
        return cls(title, requests, link.manifest_bytes, link.blob_bytes, seconds)

    def cells(self) -> tuple[str, ...]:
        """The row of the table."""
        counts = (self.requests, self.manifest_bytes, self.blob_bytes)
        return (self.title, *(f"{count:,}" for count in counts), f"{self.seconds:.2f}")


def table(rows: Sequence[Measured]) -> str:
    """The rows under their headings."""
    lines = [_COLUMNS, tuple("─" * (width - 2) for width in _WIDTHS)]
    return "\n".join(map(_line, [*lines, *(row.cells() for row in rows)]))


def _line(cells: Sequence[str]) -> str:
    first, *others = cells
    right = "".join(cell.rjust(width) for cell, width in zip(others, _WIDTHS[1:], strict=True))
    return (first.ljust(_WIDTHS[0]) + right).rstrip()
