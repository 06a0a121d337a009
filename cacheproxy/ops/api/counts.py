"""The traffic of all workers and replicas, as the page asks for it: often."""

import asyncio
from dataclasses import dataclass

from cacheproxy.domain.savings import Order, Period, Prices, Repositories, Savings, first_hour
from cacheproxy.domain.savings import repositories as repositories_of
from cacheproxy.domain.savings import savings as savings_of
from cacheproxy.domain.traffic import hour_of
from cacheproxy.ops.api.pulling import Pulling
from cacheproxy.ops.traffic_log import Counted
from cacheproxy.ports import Clock

# Whoever asks more often gets the same again: to add up five weeks is not for free.
_FRESH_SECONDS = 1.0
_OLD_FRESH_SECONDS = 10.0
_DAY = 24


@dataclass(frozen=True, slots=True)
class _Read:
    until: float
    counted: Counted


class Counts:
    """Adds up what was counted."""

    def __init__(self, pulling: Pulling, prices: Prices, clock: Clock) -> None:
        self.prices = prices
        self._pulling = pulling
        self._clock = clock
        self._reading = asyncio.Lock()
        self._last: dict[int, _Read] = {}

    async def savings(self, period: Period) -> Savings:
        """What was saved.

        Raises:
            StorageError: it cannot be read now.
        """
        now = self._clock.now()
        counted = await self._counted(first_hour(period, now))
        # In a thread: with many repositories it takes long enough for pulls to notice.
        return await asyncio.to_thread(
            savings_of, period, counted.hours, counted.overall, self.prices, now
        )

    async def repositories(self, period: Period, order: Order, limit: int) -> Repositories:
        """Where it was saved.

        Raises:
            StorageError: it cannot be read now.
        """
        now = self._clock.now()
        counted = await self._counted(first_hour(period, now))
        asked = (period, order, limit)
        return await asyncio.to_thread(
            repositories_of, asked, counted.hours, counted.overall, self.prices, now
        )

    async def _counted(self, since: int) -> Counted:
        async with self._reading:
            now = self._clock.monotonic()
            self._last = {key: read for key, read in self._last.items() if read.until > now}
            last = self._last.get(since)
            if last is None:
                counted = await self._pulling.counted(since)
                is_old = hour_of(self._clock.now()) - since > _DAY
                until = now + (_OLD_FRESH_SECONDS if is_old else _FRESH_SECONDS)
                last = self._last[since] = _Read(until, counted)
            return last.counted
