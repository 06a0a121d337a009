"""How many bytes the store may hold, and what goes when it must hold fewer.

Everything here is a function of what is stored, today's configuration, and the time. Nothing
is decided when a blob comes, so a changed setting is true of everything at once.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from cacheproxy.domain.digest import Digest

Kind = Literal["manifest", "blob"]
PolicyName = Literal["lru", "lfu-decay", "gdsf-decay"]

# By when half of a use's weight is gone: long enough for a weekly job to be remembered, short
# enough for last month's release to be forgotten.
HALF_LIFE = 2 * 86400.0


# By how much size counts against a blob. By one half, as is usual, small blobs stay at the price
# of bytes, which fall behind `lru`'s; so little keeps both ahead (`python -m bench.policies`).
_SIZE_EXPONENT = 0.1


# File systems give out room in blocks: that is what a full disk is full of.
_BLOCK = 4096


def on_disk(size: int) -> int:
    """The room that so many bytes take, in bytes."""
    return -(-size // _BLOCK) * _BLOCK


@dataclass(frozen=True, slots=True)
class Budget:
    """What the operator allows.

    Attributes:
        max_size: bytes that blobs, downloads under way and partial ones may take together.
        min_free: bytes of the volume that stay free.
        policy: what goes first.
        idle_for: seconds after which what nobody asked for goes; None keeps it.
        low_water: share of `max_size` down to which is evicted once anything must be. A pass
            over all that is stored is then paid for by many downloads.
        shares: `max_size` of single upstreams.
        pins: patterns of references, such as `docker.io/library/pause:*`, that never go.
    """

    max_size: int
    min_free: int = 0
    policy: PolicyName = "lfu-decay"
    idle_for: float | None = None
    low_water: float = 0.95
    shares: tuple[tuple[str, int], ...] = ()
    pins: tuple[str, ...] = ()

    def share_of(self, registry: str) -> int | None:
        """Bytes that one upstream's blobs may take; None where it has no share of its own."""
        return dict(self.shares).get(registry)


@dataclass(frozen=True, slots=True)
class Entry:
    """A blob that is stored.

    Attributes:
        digest: of it.
        size: the room that it takes, in bytes.
        kind: manifests are small, and without them no blob is asked for: they go last.
        registry: the upstream that it was fetched from.
        since: when it was stored, in seconds since the epoch.
        last_used: when it was last asked for, likewise.
        heat: its uses, each halved every `HALF_LIFE` seconds, as of `last_used`.
    """

    digest: Digest
    size: int
    kind: Kind
    registry: str
    since: float
    last_used: float
    heat: float

    def heat_at(self, now: float) -> float:
        """Its heat at a time. A clock that was set back heats nothing."""
        return self.heat * math.exp2(-max(0.0, now - self.last_used) / HALF_LIFE)


def heated(heat: float, last_used: float, used_at: float, uses: int) -> float:
    """The heat after further uses."""
    return heat * math.exp2(-max(0.0, used_at - last_used) / HALF_LIFE) + uses


def worth(entry: Entry, policy: PolicyName, now: float) -> float:
    """What keeping an entry is worth: the least goes first.

    `lru` keeps what was used last. `lfu-decay` keeps what is used most, where uses fade.
    `gdsf-decay` weighs that against the room it takes, so that many small blobs stay rather
    than one large one (after GreedyDual-Size-Frequency, Cherkasova 1998).
    """
    match policy:
        case "lru":
            return min(entry.last_used, now)
        case "lfu-decay":
            return entry.heat_at(now)
        case "gdsf-decay":
            return entry.heat_at(now) / math.pow(max(1, entry.size), _SIZE_EXPONENT)


def evictable(
    entries: Iterable[Entry], policy: PolicyName, pinned: frozenset[Digest], now: float
) -> list[Entry]:
    """What may go, the first first: blobs before manifests, the least worth first."""
    return sorted(
        (entry for entry in entries if entry.digest not in pinned),
        key=lambda entry: (entry.kind == "manifest", worth(entry, policy, now)),
    )


def is_idle(entry: Entry, budget: Budget, now: float, known_since: float = 0.0) -> bool:
    """Whether nobody has asked for it in `idle_for` seconds.

    Args:
        entry: a blob.
        budget: today's.
        now: seconds since the epoch.
        known_since: when the clock last jumped; what was before, nobody knows by the clock.
    """
    if budget.idle_for is None:
        return False
    return max(entry.last_used, known_since) < now - budget.idle_for


def excess(used: int, wanted: int, allowed: int, low_water: float) -> int:
    """Bytes to evict before `wanted` more may be taken of `allowed`; 0 where they fit.

    More than is needed right now: down to the low water mark, so that a pass over all that is
    stored is paid for by many downloads. Just enough where `wanted` alone is above that mark.
    """
    if used + wanted <= allowed:
        return 0
    mark = int(allowed * low_water)
    return used + wanted - (mark if wanted <= mark else allowed)
