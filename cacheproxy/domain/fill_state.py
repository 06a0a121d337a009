"""The life of one download, as a table.

Two rules: everything that decides what a follower may read is here, and nothing here knows
about files, sockets or tasks.

    OPENING ──opened──▶ STREAMING ──verified──▶ VERIFIED ──committed──▶ COMMITTED
       │                    │                       │
       └────────failed──────┴───────────────────────┴──────────────────▶ FAILED

While streaming, the last bytes are held back: a follower that has read all of a wrong blob
would believe it, so nobody can have read all of it before the digest has been compared.
"""

from dataclasses import dataclass, replace
from enum import Enum, auto

from cacheproxy.domain.errors import DigestMismatch

# Held back until verified. One byte would do to keep a client from completing a blob; a
# little more keeps one from mistaking a wrong blob for whole where it does not count bytes.
HOLD_BACK = 4096


class Phase(Enum):
    """Where a fill is in its life."""

    OPENING = auto()
    """Upstream has not answered yet."""
    STREAMING = auto()
    """Bytes come in; all but the last are readable."""
    VERIFIED = auto()
    """All bytes are there and are those that the digest names: all are readable."""
    COMMITTED = auto()
    """The blob is in the store."""
    FAILED = auto()
    """Nothing more will come."""


_NEXT = {
    Phase.OPENING: frozenset({Phase.STREAMING, Phase.FAILED}),
    Phase.STREAMING: frozenset({Phase.VERIFIED, Phase.FAILED}),
    Phase.VERIFIED: frozenset({Phase.COMMITTED, Phase.FAILED}),
    Phase.COMMITTED: frozenset[Phase](),
    Phase.FAILED: frozenset[Phase](),
}


@dataclass(frozen=True, slots=True)
class FillState:
    """One download.

    Attributes:
        phase: where it is in its life.
        size: of the whole blob in bytes; None where upstream does not say until it ends.
        received: bytes on disk.
        is_verified: they are all there, and are those that the digest names. That stays
            true when the store then fails to keep them.
        generation: counts the files that the bytes were written to. What was read of one
            generation may differ from the next one's, until it has been compared.
    """

    phase: Phase = Phase.OPENING
    size: int | None = None
    received: int = 0
    is_verified: bool = False
    generation: int = 0

    @property
    def readable(self) -> int:
        """How many bytes a follower may read."""
        if self.is_verified:
            return self.received
        end = self.received if self.size is None else self.size
        return min(self.received, max(0, end - HOLD_BACK))

    @property
    def over(self) -> bool:
        """Whether nothing more will become readable."""
        return self.is_verified or self.phase is Phase.FAILED

    def opened(self, size: int | None, received: int = 0) -> "FillState":
        """Upstream has answered; `received` bytes were on disk already."""
        return replace(self._to(Phase.STREAMING), size=size, received=received).within_size()

    def grown(self, received: int) -> "FillState":
        """There are `received` bytes on disk now.

        Raises:
            DigestMismatch: those are more than the blob has.
        """
        if self.phase is not Phase.STREAMING or received < self.received:
            raise AssertionError(f"a fill that is {self.phase.name} cannot grow")
        return replace(self, received=received).within_size()

    def restarted(self, size: int | None, received: int) -> "FillState":
        """Return the state when another file has taken the place of the one before."""
        if self.phase is not Phase.STREAMING:
            raise AssertionError(f"a fill that is {self.phase.name} has no other file")
        generation = self.generation + 1
        return replace(self, size=size, received=received, generation=generation).within_size()

    def within_size(self) -> "FillState":
        """This state, unless it has more bytes than the blob.

        Raises:
            DigestMismatch: it has.
        """
        if self.size is not None and self.received > self.size:
            raise DigestMismatch(f"upstream sent more than the blob's {self.size} bytes")
        return self

    def verified(self) -> "FillState":
        """The digest has been compared; the size is known from here on."""
        return replace(self._to(Phase.VERIFIED), size=self.received, is_verified=True)

    def committed(self) -> "FillState":
        """The blob is in the store."""
        return self._to(Phase.COMMITTED)

    def failed(self) -> "FillState":
        """Nothing more will come."""
        return self._to(Phase.FAILED)

    def _to(self, phase: Phase) -> "FillState":
        if phase not in _NEXT[self.phase]:
            raise AssertionError(f"a fill cannot go from {self.phase.name} to {phase.name}")
        return replace(self, phase=phase)
