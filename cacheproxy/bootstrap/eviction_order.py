"""What would go before what, if room were needed now."""

from collections.abc import Iterable

from cacheproxy.bootstrap.offline import Cache
from cacheproxy.domain.budget import Entry, evictable
from cacheproxy.domain.digest import Digest
from cacheproxy.ops.api.reports import Fate, Share


class EvictionOrder:
    """The order as of one moment."""

    def __init__(self, cache: Cache, now: float) -> None:
        self._cache = cache
        self._now = now
        self._pinned = cache.ledger.pinned(cache.budget.pins)
        self._before = self._sums(cache.ledger.entries())

    def bytes_before(self, digest: Digest) -> int | None:
        """Bytes that would go before it."""
        return self._before.get(digest)

    def fate(self, entry: Entry) -> Fate:
        """All that there is to say of a blob."""
        budget, digest = self._cache.budget, entry.digest
        is_pinned = digest in self._pinned
        return Fate(
            policy=budget.policy,
            pins=tuple(p for p in budget.pins if digest in self._cache.ledger.pinned((p,))),
            bytes_before=self._before.get(digest),
            room=self._room(),
            idle_at=(
                None if budget.idle_for is None or is_pinned else entry.last_used + budget.idle_for
            ),
            share=self._share(entry),
        )

    def _share(self, entry: Entry) -> Share | None:
        ledger, allowed = self._cache.ledger, self._cache.budget.share_of(entry.registry)
        if allowed is None:
            return None
        before = self._sums(ledger.entries(entry.registry)).get(entry.digest)
        return Share(entry.registry, before, max(0, allowed - ledger.usage(entry.registry).total))

    def _room(self) -> int:
        budget, usage = self._cache.budget, self._cache.ledger.usage()
        spare = self._cache.layout.free_bytes() - budget.min_free - usage.reserved
        return max(0, min(budget.max_size - usage.total, spare))

    def _sums(self, entries: Iterable[Entry]) -> dict[Digest, int]:
        before, sums = 0, {}
        for entry in evictable(entries, self._cache.budget.policy, self._pinned, self._now):
            sums[entry.digest] = before
            before += entry.size
        return sums
