"""Who fetches something, of all replicas: leases in Redis."""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any, NoReturn

from cacheproxy.cluster.shared import Keys, Shared, script, text
from cacheproxy.domain.errors import StorageError
from cacheproxy.inprocess.tasks import Tasks
from cacheproxy.ports import Clock

# A lease lasts so long unless it is renewed; what a dead replica was fetching then goes on
# elsewhere, unless those that read from it have noticed before.
_LEASE_MS = 5_000
_RENEW_SECONDS = 1.5

_CLAIM = """
local holder = redis.pcall('GET', KEYS[1])
if type(holder) == 'string' and holder ~= ARGV[1] then return holder end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return ARGV[1]
"""
_RELEASE = """
if redis.pcall('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0
"""


class Leases:
    """The leases of this replica, and its questions after those of others."""

    def __init__(self, shared: Shared, keys: Keys, me: str, tasks: Tasks, clock: Clock) -> None:
        self._shared = shared
        self._keys = keys
        self._me = me
        self._tasks = tasks
        self._clock = clock
        # What this process has claimed, and until when nobody else can; the oldest first.
        self._held: OrderedDict[str, float] = OrderedDict()

    @asynccontextmanager
    async def claim(self, what: str, *, is_alone: bool) -> AsyncIterator[str | None]:
        """Be the one who fetches something, within this context: None; or who is, its address.

        At its good end the lease stays for a moment: the blob gets its name here, and others
        learn that it has.

        Args:
            what: is fetched.
            is_alone: there is nobody to ask.
        """
        holder = self._me if is_alone else await self._claimed(what)
        if holder != self._me:
            yield holder
            return
        renewing = self._tasks.keep_running(partial(self._renew, what), "lease renewal")
        try:
            yield None
        except BaseException:
            # In the background: whoever is cancelled cannot wait.
            self._tasks.start(self.release(what, self._me), f"release {what}")
            raise
        finally:
            renewing.cancel()

    async def release(self, what: str, address: str) -> None:
        """End a replica's lease."""
        with suppress(StorageError):  # it ends by itself
            await self._shared.call(self._ending(what, address))
            if address == self._me:
                self._held.pop(what, None)

    async def release_all(self) -> None:
        """End all leases of this process that have not run out.

        Raises:
            StorageError: Redis does not answer.
        """
        self._drop_old()

        async def work(redis: Any) -> None:  # noqa: ANN401  # of one server or of a Cluster
            for what in list(self._held):
                await self._ending(what, self._me)(redis)
                self._held.pop(what, None)

        if self._held:
            await self._shared.call(work)

    def _ending(self, what: str, address: str) -> Callable[[Any], Any]:
        return script(_RELEASE, [self._keys.lease(what)], [address])

    async def _claimed(self, what: str) -> str:
        """Who fetches it: this replica, too, where nobody can be asked."""
        begun, key = self._clock.monotonic(), self._keys.lease(what)

        async def claim(redis: Any) -> str:  # noqa: ANN401  # of one server or of a Cluster
            if await redis.set(key, self._me, nx=True, px=_LEASE_MS):
                return self._me
            return text(await script(_CLAIM, [key], [self._me, str(_LEASE_MS)])(redis))

        try:
            holder = await self._shared.call(claim)
        except StorageError:
            return self._me
        if holder == self._me:
            self._held[what] = begun + _LEASE_MS / 1000
            self._held.move_to_end(what)
            self._drop_old()
        return holder

    def _drop_old(self) -> None:
        now = self._clock.monotonic()
        while self._held and next(iter(self._held.values())) <= now:
            self._held.popitem(last=False)

    async def _renew(self, what: str) -> NoReturn:
        while True:
            await asyncio.sleep(_RENEW_SECONDS)
            await self._claimed(what)
