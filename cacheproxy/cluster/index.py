"""Who is there, who has what, and who fetches it: in Redis (`Replicas`).

A replica is known by its address, which others ask it at. What is written here only ever says
where to look: a wrong entry is a question that is answered with no, and then struck out. While
Redis does not answer, each replica is by itself.
"""

import asyncio
import random
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, suppress
from math import inf
from typing import Any, NoReturn

from redis.asyncio import Redis

from cacheproxy.cluster.leases import Leases
from cacheproxy.cluster.shared import Keys, Shared, script, text
from cacheproxy.domain.digest import Digest
from cacheproxy.domain.errors import StorageError
from cacheproxy.domain.events import ReplicasSeen
from cacheproxy.inprocess.tasks import Tasks
from cacheproxy.ports import Clock, Observer

# A replica that has not been heard of for so long is gone; it is heard of every second.
_GONE_SECONDS = 4
_HEARTBEAT_SECONDS = 1.0
# One that leaves is heard of under this name: who reads from it knows that it is there, and
# nobody asks it for more. Versions that do not know of it see a replica that has nothing.
_LEAVING = " leaving"
# The last word of one that leaves takes no longer, whatever Redis does.
_LAST_SECONDS = 0.5
# Entries of blobs live so long, and are written anew well within that.
_ENTRY_SECONDS = 3 * 86_400
_ANNOUNCE_ALL_SECONDS = 86_400.0
_BATCH = 500
_FLUSH_SECONDS = 0.05
_REMEMBERED = 10_000

# The time is Redis's own, since those of replicas may differ. What is not of the kind that we
# write is of no use to anybody, and makes room. Says first whether we were not there before.
_BEAT = """
local time = redis.call('TIME')
local now = time[1] + time[2] / 1000000
local added = redis.pcall('ZADD', KEYS[1], now, ARGV[1])
if type(added) == 'table' then
  redis.call('DEL', KEYS[1])
  added = redis.call('ZADD', KEYS[1], now, ARGV[1])
end
if ARGV[3] then redis.call('ZREM', KEYS[1], ARGV[3]) end
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - 60)
return {added, redis.call('ZRANGEBYSCORE', KEYS[1], now - tonumber(ARGV[2]), '+inf')}
"""
# One that another replica has just made anew stays.
_HEAL = """
if type(redis.pcall('SCARD', KEYS[1])) == 'table' then redis.call('DEL', KEYS[1]) end
return 0
"""


class Index:
    """What this replica knows of the others, and tells them."""

    def __init__(self, shared: Shared, namespace: str, me: str, tasks: Tasks, clock: Clock) -> None:
        """Know nobody yet.

        Args:
            shared: Redis.
            namespace: of the cache.
            me: the address that others ask this replica at.
            tasks: for what goes on in the background.
            clock: of this machine.
        """
        self._shared = shared
        self._keys = Keys(namespace)
        self._me = me
        self._clock = clock
        self._leases = Leases(shared, self._keys, me, tasks, clock)
        self._live: frozenset[str] = frozenset()
        self._left: frozenset[str] = frozenset()
        self._seen = 0
        self._pending: dict[Digest, bool] = {}
        self._is_heard = False
        self._is_leaving = False
        self._announce_at = -inf
        self._flush_at = -inf
        # Of what was asked for last: how many others have it.
        self._copies: OrderedDict[Digest, int] = OrderedDict()

    def copies(self, digest: Digest) -> int:
        """How many others had a blob whole, when they were last asked for."""
        return self._copies.get(digest, 0)

    @property
    def live(self) -> frozenset[str]:
        """The addresses of the others that are there."""
        return self._live

    # -- for pulls (`Replicas`) ------------------------------------------------------------

    async def holders(self, digest: Digest) -> Sequence[str]:
        """Others that have a blob whole, in random order: so they share the work."""
        if not self._live:
            return ()
        key = self._keys.holders(digest)
        try:
            found: set[Any] = await self._shared.call(lambda redis: redis.smembers(key))
        except StorageError:
            return ()
        there = [address for address in map(text, found) if address in self._live]
        random.shuffle(there)
        self._copies[digest] = len(there)
        if len(self._copies) > _REMEMBERED:
            self._copies.popitem(last=False)
        return there

    def claim(self, what: str) -> AbstractAsyncContextManager[str | None]:
        """Be the one who fetches something, within this context: None; or who is, its address.

        At its good end the lease stays for a moment: the blob gets its name here, and others
        learn that it has.
        """
        return self._leases.claim(what, is_alone=not self._is_heard)

    async def doubt(self, digest: Digest, address: str) -> None:
        """Strike out that a replica has a blob."""
        key = self._keys.holders(digest)
        with suppress(StorageError):
            await self._shared.call(lambda redis: redis.srem(key, address))

    async def release(self, what: str, address: str) -> None:
        """End a replica's lease."""
        await self._leases.release(what, address)

    def knows(self, address: str) -> bool:
        """Whether it is one of the others, and not about to leave."""
        return address in self._live

    def is_there(self, address: str) -> bool:
        """Whether a replica has been heard of lately, for all that is known."""
        return address in self._live or address in self._left or not self._is_heard

    # -- the end -----------------------------------------------------------------------------

    def leave(self) -> None:
        """Have the others ask somebody else from now on; what they read goes on."""
        self._is_leaving = True

    async def end(self) -> None:
        """Say the last word: after `leave` there is no replica any more, and there are no leases.

        If Redis takes that at once; else they run out.
        """
        with suppress(StorageError, TimeoutError):
            async with asyncio.timeout(_LAST_SECONDS):
                if self._is_leaving:
                    names = (self._me, self._me + _LEAVING)
                    await self._shared.call(lambda redis: redis.zrem(self._keys.members, *names))
                await self._leases.release_all()

    # -- what this replica has ---------------------------------------------------------------

    def has(self, digest: Digest) -> None:
        """Tell the others, in a moment, that a blob is here."""
        self._pending[digest] = True

    def has_not(self, digest: Digest) -> None:
        """Tell the others, in a moment, that a blob is not here any more."""
        self._pending[digest] = False

    async def run(
        self, stored: Callable[[], Awaitable[Iterable[Digest]]], observer: Observer
    ) -> NoReturn:
        """Be there, and tell what is here, all of it now and then. For ever.

        Args:
            stored: tells what is here.
            observer: is told when replicas come and go.
        """
        beaten, has_left = -_HEARTBEAT_SECONDS, False
        while True:
            now = self._clock.monotonic()
            if now >= beaten + _HEARTBEAT_SECONDS or has_left != self._is_leaving:
                beaten, has_left = now, self._is_leaving
                await self._beat()
                self._count(observer)
            if now >= self._announce_at and self._is_heard:
                self._announce_at = now + _ANNOUNCE_ALL_SECONDS
                self._pending = {**dict.fromkeys(await stored(), True), **self._pending}
            await self._flush()
            await self._clock.sleep(_FLUSH_SECONDS)

    async def _beat(self) -> None:
        said = [self._me, str(_GONE_SECONDS)]
        if self._is_leaving:
            said = [self._me + _LEAVING, str(_GONE_SECONDS), self._me]
        try:
            is_new, there = await self._shared.call(script(_BEAT, [self._keys.members], said))
        except StorageError:
            self._live, self._left, self._is_heard = frozenset(), frozenset(), False
            return
        if (is_new and not self._is_leaving) or not self._is_heard:
            # Redis has lost what it was told, or may have: a stand-in knows less than it did.
            self._announce_at = -inf
        self._is_heard = True
        names = frozenset(map(text, there))
        # Another worker of one that leaves, or the next to have its address, is there.
        left = frozenset(name for name in names if name.endswith(_LEAVING))
        self._live = names - left - {self._me}
        self._left = frozenset(name.removesuffix(_LEAVING) for name in left)

    def _count(self, observer: Observer) -> None:
        count = len(self._live) + 1
        if count != self._seen:
            self._seen = count
            observer.observe(ReplicasSeen(count))

    async def _flush(self) -> None:
        if self._clock.monotonic() < self._flush_at:
            return
        while self._pending and self._is_heard:
            batch = [self._pending.popitem() for _ in range(min(_BATCH, len(self._pending)))]
            try:
                await self._shared.call(lambda redis, batch=batch: self._tell(redis, batch))  # type: ignore[misc]
            except StorageError:
                self._pending = {**dict(batch), **self._pending}
                self._flush_at = self._clock.monotonic() + _HEARTBEAT_SECONDS
                return

    async def _tell(self, redis: "Redis", batch: list[tuple[Digest, bool]]) -> None:
        refused = await self._told(redis, batch)
        for digest, problem in refused.items():
            if "WRONGTYPE" in str(problem):  # a key that is no set is nobody's of ours
                await script(_HEAL, [self._keys.holders(digest)], [])(redis)
        again = [(digest, is_here) for digest, is_here in batch if digest in refused]
        if again and await self._told(redis, again):
            raise StorageError("Redis does not keep what it is told")

    async def _told(
        self, redis: "Redis", batch: list[tuple[Digest, bool]]
    ) -> dict[Digest, Exception]:
        """Tell it; what it has refused comes back."""
        pipeline = redis.pipeline(transaction=False)
        for digest, is_here in batch:
            key = self._keys.holders(digest)
            if is_here:
                pipeline.sadd(key, self._me)
            else:
                pipeline.srem(key, self._me)
            pipeline.expire(key, _ENTRY_SECONDS)
        answers = await pipeline.execute(raise_on_error=False)
        pairs = zip(batch, answers[::2], strict=True)
        return {digest: found for (digest, _), found in pairs if isinstance(found, Exception)}
