"""What the ledger is asked for, told, and answers."""

from dataclasses import dataclass
from typing import Literal

from cacheproxy.domain.digest import Digest


@dataclass(frozen=True, slots=True)
class Claim:
    """Bytes that are wanted for a blob of an upstream."""

    digest: Digest
    registry: str
    size: int


@dataclass(frozen=True, slots=True)
class Use:
    """That a blob was asked for.

    Attributes:
        at: last, in seconds since the epoch.
        count: how often, since that was last written down.
    """

    at: float
    count: int


@dataclass(frozen=True, slots=True)
class Usage:
    """Bytes of the blobs, and of what is reserved for those that come."""

    stored: int
    reserved: int

    @property
    def total(self) -> int:
        """All that counts against the budget."""
        return self.stored + self.reserved


Left = tuple[Literal["written", "partial", "stored", "none"], int]
"""What there is of a download, and how many bytes: somebody writes it; it is left over; it is
a blob; or nothing is there."""
