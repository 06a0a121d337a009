"""What the store needs now and then, off the path of requests."""

from collections.abc import Awaitable, Callable
from typing import NoReturn

from cacheproxy.domain.errors import CacheproxyError
from cacheproxy.domain.events import Unexpected
from cacheproxy.ports import Clock, Observer
from cacheproxy.storage.filesystem import FilesystemStore

# Uses are written down so often: what a crash forgets of them is no more than this.
_FLUSH_SECONDS = 5.0
_KEEP_WITHIN_EVERY = 12  # flushes
_SWEEP_EVERY = 720  # flushes: an hour


class Upkeep:
    """Takes stock once, then keeps the store within its budget, for as long as it runs."""

    def __init__(
        self, store: FilesystemStore, clock: Clock, observer: Observer, keep_partial: float
    ) -> None:
        self._store = store
        self._clock = clock
        self._observer = observer
        self._keep_partial = keep_partial

    async def run(self) -> NoReturn:
        """For ever, but for cancellation."""
        await self._try(self._store.take_stock)
        turn = 0
        while True:
            await self._try(self._store.accounts.flush)
            if turn % _KEEP_WITHIN_EVERY == 0:
                await self._try(self._store.accounts.keep_within)
            if turn % _SWEEP_EVERY == 0:
                await self._try(self._sweep)
            turn += 1
            await self._clock.sleep(_FLUSH_SECONDS)

    async def _sweep(self) -> None:
        await self._store.sweep(self._keep_partial)

    async def _try(self, work: Callable[[], Awaitable[None]]) -> None:
        """The next turn may do better; requests do not wait for any of this."""
        try:
            await work()
        except (OSError, CacheproxyError) as error:
            self._observer.observe(Unexpected(error))
