"""What the store needs now and then, off the path of requests."""

import contextlib
from collections.abc import Awaitable, Callable
from typing import NoReturn

from cacheproxy.domain.errors import CacheproxyError, StorageError
from cacheproxy.domain.events import Unexpected, UpkeepFailed
from cacheproxy.ports import Clock, Observer
from cacheproxy.storage.filesystem import FilesystemStore

# Uses are written down so often: what a crash forgets of them is no more than this.
_FLUSH_SECONDS = 5.0
_KEEP_WITHIN_EVERY = 12  # flushes
# Long enough for an operator to look at what was wrong.
_QUARANTINE_SECONDS = 7 * 86400.0
# After a disk that refused.
_AGAIN_SECONDS = 600.0
_SWEEP_EVERY = 720  # flushes: an hour
_FORGET_SECONDS = 86400.0


class Upkeep:
    """Takes stock once, then keeps the store within its budget, for as long as it runs."""

    def __init__(
        self, store: FilesystemStore, clock: Clock, observer: Observer, keep_partial: float
    ) -> None:
        self._store = store
        self._clock = clock
        self._observer = observer
        self._keep_partial = keep_partial
        self._failures: dict[str, str] = {}

    async def run(self) -> NoReturn:
        """For ever, but for cancellation."""
        await self._try(self._store.take_stock)
        turn = 0
        while True:
            await self._try(self._store.accounts.flush)
            await self._try(self._probe)
            if turn % _KEEP_WITHIN_EVERY == 0:
                await self._try(self._store.accounts.keep_within)
            if turn % _SWEEP_EVERY == 0:
                await self._try(self._sweep)
            turn += 1
            await self._clock.sleep(_FLUSH_SECONDS)

    async def recount(self) -> NoReturn:
        """Take stock again when that failed, or the ledger was made anew; downloads wait for it."""
        while True:
            await self._store.accounts.wait_stock_needed()
            while not self._store.accounts.is_counted:
                await self._try(self._store.take_stock)
                if not self._store.accounts.is_counted:
                    await self._clock.sleep(_FLUSH_SECONDS)

    async def keep_within(self) -> None:
        """Evict what a smaller budget has no room for: now, not in a minute."""
        await self._try(self._store.accounts.keep_within)

    async def scrub(self, every: float, rate: int) -> NoReturn:
        """Read all that is stored again, once in so many seconds, at so many bytes a second."""
        while True:
            await self._try(lambda: self._store.patrol.run(every, rate))
            await self._clock.sleep(_AGAIN_SECONDS)

    async def forget(self, records: Callable[[], Awaitable[int]] | None) -> NoReturn:
        """Forget what is known of what is gone, once a day.

        Args:
            records: does so with the metadata; None where there are none on the disk.
        """

        async def look() -> None:
            await self._store.accounts.forget_lost_names()
            if records is not None:
                await records()

        while True:
            await self._clock.sleep(_AGAIN_SECONDS)  # a start has enough to do
            await self._try(look)
            await self._clock.sleep(_FORGET_SECONDS)

    async def _probe(self) -> None:
        with contextlib.suppress(StorageError):  # stated already, by whoever cannot store
            await self._store.accounts.probe()

    async def _sweep(self) -> None:
        await self._store.sweep(self._keep_partial)
        await self._store.settle()
        await self._store.clear_quarantine(_QUARANTINE_SECONDS)

    async def _try(self, work: Callable[[], Awaitable[None]]) -> None:
        """The next turn may do better; requests do not wait for any of this."""
        try:
            await work()
        except (OSError, CacheproxyError) as error:
            self._say_once(work, UpkeepFailed(str(error)))
        except Exception as error:  # noqa: BLE001  # a mistake must not end upkeep in silence
            self._say_once(work, Unexpected(error))
        else:
            self._failures.pop(_name(work), None)

    def _say_once(
        self, work: Callable[[], Awaitable[None]], event: UpkeepFailed | Unexpected
    ) -> None:
        """State how work has failed, unless it failed in the same way the last time."""
        name, failure = _name(work), repr(event)
        if self._failures.get(name) != failure:
            self._observer.observe(event)
        self._failures[name] = failure


def _name(work: Callable[[], Awaitable[None]]) -> str:
    return getattr(work, "__qualname__", repr(work))
