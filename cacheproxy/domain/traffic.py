"""Bytes that were served and fetched, by hour and repository: what the cache has saved."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from operator import attrgetter
from typing import TypeVar

HOUR = 3600

REST = ""
"""In the place of a repository: all those that are not listed by name."""


@dataclass(frozen=True, slots=True)
class Traffic:
    """Of one upstream or repository, in some time.

    Attributes:
        requests: of clients that were answered.
        from_store: body bytes sent to clients that were on disk already.
        from_fill: those that were sent while they came in from upstream.
        from_peer: those that were sent while they came in from another replica.
        from_upstream: those that were passed on and not kept.
        fetched: body bytes that crossed the upstream link.
        pulls: manifests that clients got.
        upstream_pulls: manifests that upstream gave, which is what rate limits count.
    """

    requests: int = 0
    from_store: int = 0
    from_fill: int = 0
    from_peer: int = 0
    from_upstream: int = 0
    fetched: int = 0
    pulls: int = 0
    upstream_pulls: int = 0

    @property
    def served(self) -> int:
        """Body bytes sent to clients."""
        return self.from_store + self.from_fill + self.from_peer + self.from_upstream

    @property
    def saved(self) -> int:
        """Body bytes that did not cross the link; negative where more came than was asked for."""
        return self.served - self.fetched

    @property
    def pulls_avoided(self) -> int:
        """Pulls that upstream did not see; negative where it gave more than was asked for."""
        return self.pulls - self.upstream_pulls

    @property
    def numbers(self) -> tuple[int, ...]:
        """All of them, in the order of `FIELDS`."""
        return _NUMBERS(self)

    def __add__(self, other: "Traffic") -> "Traffic":
        # Each by its name: the page adds up some ten thousand, and `astuple` costs tenfold.
        return Traffic(
            self.requests + other.requests,
            self.from_store + other.from_store,
            self.from_fill + other.from_fill,
            self.from_peer + other.from_peer,
            self.from_upstream + other.from_upstream,
            self.fetched + other.fetched,
            self.pulls + other.pulls,
            self.upstream_pulls + other.upstream_pulls,
        )


FIELDS = tuple(field.name for field in fields(Traffic))
"""The names of its numbers, in the order in which they are stored."""

_NUMBERS = attrgetter(*FIELDS)

Totals = dict[tuple[str, str], Traffic]
"""By upstream and repository."""

Hours = dict[tuple[int, str, str], Traffic]
"""By hour, upstream and repository."""

K = TypeVar("K")


def hour_of(now: float) -> int:
    """Which hour a time is in, counted from the epoch."""
    return int(now // HOUR)


def added(into: dict[K, Traffic], more: Iterable[tuple[K, Traffic]]) -> dict[K, Traffic]:
    """Add to sums; returns them."""
    for key, traffic in more:
        known = into.get(key)
        into[key] = traffic if known is None else known + traffic
    return into


def folded(totals: Mapping[tuple[str, str], Traffic], keep: int) -> Totals:
    """The same sums, with so many repositories by name: those with the most bytes."""
    named = [key for key in totals if key[1] != REST]
    if len(named) <= keep:
        return dict(totals)
    named.sort(key=lambda key: (-_weight(totals[key]), key))
    gone = set(named[keep:])
    sums: Totals = {key: traffic for key, traffic in totals.items() if key not in gone}
    return added(sums, (((registry, REST), totals[registry, name]) for registry, name in gone))


def _weight(traffic: Traffic) -> int:
    return traffic.served + traffic.fetched
