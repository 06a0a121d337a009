"""Has the values of the page together: each from where it is, or why it is not to be had."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Generic, TypeVar

from cacheproxy.domain.errors import CacheproxyError
from cacheproxy.domain.savings import Order, Period, Repositories, Savings
from cacheproxy.ops.api.figures import PERIODS, Figures, Missing, Source
from cacheproxy.ops.api.model import Eviction, Status
from cacheproxy.ports import Clock

T = TypeVar("T")

# For many readers it is asked once in so many seconds; and what takes long, as the order in
# which 100,000 blobs would go, less often: a page on a wall must not cost more than 2 % of a core.
_KEPT_SECONDS = 4.0
_LONGEST_SECONDS = 300.0
_KEPT_TIMES = 50
_REPOSITORIES = 10
_CANDIDATES = 8


class Gathering:
    """What all readers of the page are shown."""

    def __init__(self, source: Source, clock: Clock) -> None:
        self._source = source
        self._savings = _Kept[Mapping[Period, Savings]](clock)
        self._eviction = _Kept[Eviction](clock)
        self._repositories: dict[tuple[Period, Order], _Kept[Repositories]] = {
            (period, order): _Kept(clock) for period in PERIODS for order in ("saved", "fetched")
        }

    async def status(self) -> Status | Missing:
        """What goes on now; never kept."""
        return await _told(self._source.state.status())

    async def figures(self, period: Period) -> Figures:
        """What was counted, as of some seconds ago."""
        return Figures(
            savings=await self._savings.get(self._all_savings),
            by_saved=await self._most(period, "saved"),
            by_fetched=await self._most(period, "fetched"),
            eviction=await self._eviction.get(
                lambda: self._source.state.eviction(_CANDIDATES),
            ),
        )

    async def _all_savings(self) -> Mapping[Period, Savings]:
        return {period: await self._source.counts.savings(period) for period in PERIODS}

    async def _most(self, period: Period, order: Order) -> Repositories | Missing:
        return await self._repositories[period, order].get(
            lambda: self._source.counts.repositories(period, order, _REPOSITORIES)
        )


class _Kept(Generic[T]):
    """A value for all who ask for it within a while."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._turn = asyncio.Lock()
        self._value: T | Missing | None = None
        self._until = 0.0

    async def get(self, ask: Callable[[], Awaitable[T]]) -> T | Missing:
        """The value, asked for if it is too old."""
        async with self._turn:
            begun = self._clock.monotonic()
            if self._value is None or begun >= self._until:
                self._value = await _told(ask())
                ended = self._clock.monotonic()
                seconds = max((ended - begun) * _KEPT_TIMES, _KEPT_SECONDS)
                self._until = ended + min(seconds, _LONGEST_SECONDS)
            return self._value


async def _told(asked: Awaitable[T]) -> T | Missing:
    try:
        return await asked
    except CacheproxyError as error:
        return Missing(str(error))
