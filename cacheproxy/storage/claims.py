"""What the ledger is asked for, told, and answers."""

from dataclasses import dataclass

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
