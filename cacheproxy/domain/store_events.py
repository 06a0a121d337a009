"""Facts that the store states: what it keeps, what it lets go, and what is wrong with it."""

from dataclasses import dataclass
from typing import Literal

from cacheproxy.domain.digest import Digest


@dataclass(frozen=True, slots=True)
class Stored:
    """A blob or manifest is in the store now."""

    digest: Digest


@dataclass(frozen=True, slots=True)
class Evicted:
    """A blob was removed to make room.

    Attributes:
        registry: the upstream that it came from; empty where that is not known any more.
        digest: of the blob.
        size: the room that it took, in bytes.
        reason: the budget; nobody asked for it; or the volume was fuller than expected.
        age: seconds since it was stored.
    """

    registry: str
    digest: Digest
    size: int
    reason: Literal["size", "idle", "space"]
    age: float


@dataclass(frozen=True, slots=True)
class Scrubbed:
    """So many bytes of stored blobs were read again in the background."""

    size: int


@dataclass(frozen=True, slots=True)
class Damaged:
    """A stored blob was not what its name says.

    Attributes:
        digest: its name.
        problem: `missing` is what only the ledger had.
        outcome: what was done about it; what is `in use` or `refused` is not mended.
        detail: a few words for a person.
    """

    digest: Digest
    problem: Literal["damaged", "unreadable", "missing"]
    outcome: Literal["quarantined", "struck out", "in use", "refused"]
    detail: str


@dataclass(frozen=True, slots=True)
class StoreFailed:
    """The ledger cannot be written, so nothing is stored from now on.

    Attributes:
        error: the reason, in a sentence.
    """

    error: str


@dataclass(frozen=True, slots=True)
class StoreRecovered:
    """The ledger can be written again, so blobs are stored."""


@dataclass(frozen=True, slots=True)
class LedgerReplaced:
    """The ledger was made anew, and takes stock of what the cache directory holds.

    Attributes:
        reason: why the ledger before it was given up.
    """

    reason: str
