"""The index of a cache's replicas: its members, their blobs, and their leases (`Replicas`).

A replica is known by its address, at which others ask it. Redis holds nothing but hints where to
look: the replica that a wrong entry names says that it does not have the blob, and strikes the
entry out itself. While Redis does not answer, each replica is by itself.
"""

import asyncio
import random
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, suppress
from functools import partial
from typing import Any

from cacheproxy.cluster.announcements import Announcements
from cacheproxy.cluster.leases import Leases
from cacheproxy.cluster.membership import Membership
from cacheproxy.cluster.shared import Keys, Shared, text
from cacheproxy.domain.digest import Digest
from cacheproxy.domain.errors import StorageError
from cacheproxy.inprocess.tasks import Tasks
from cacheproxy.ports import Clock, Observer

# The end of the membership takes no longer, whatever Redis does.
_END_SECONDS = 0.5
_REMEMBERED = 10_000
SAMPLED = 16
"""So many holders of a blob are looked at; more if all of these are gone."""
_SAMPLED_AGAIN = 1000


class Index:
    """A replica's view of the others, and its entries for them."""

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
        self._tasks = tasks
        self._leases = Leases(shared, self._keys, me, tasks, clock)
        self._members = Membership(shared, self._keys, me, clock)
        self._announcements = Announcements(shared, self._keys, me, self._members, clock)
        # Of the blobs that were looked up last: how many others have them.
        self._copies: OrderedDict[Digest, int] = OrderedDict()

    def start(self, stored: Callable[[], Awaitable[Iterable[Digest]]], observer: Observer) -> None:
        """Start the heartbeat, and the announcements of this replica's blobs.

        Args:
            stored: returns the blobs that are here.
            observer: is told when replicas come and go.
        """
        self._tasks.keep_running(partial(self._members.run, observer), "heartbeat")
        self._tasks.keep_running(partial(self._announcements.run, stored), "announcements")

    def copies(self, digest: Digest) -> int:
        """Return how many others had a blob whole when it was last looked up, up to SAMPLED."""
        return self._copies.get(digest, 0)

    @property
    def live(self) -> frozenset[str]:
        """The addresses of the others that are there."""
        return self._members.live

    # -- for pulls (`Replicas`) ------------------------------------------------------------

    async def holders(self, digest: Digest) -> Sequence[str]:
        """Return others that have a blob whole, in random order, so that they share the work."""
        if not self.live:
            return ()
        try:
            found = await self._sample(digest)
        except StorageError:
            return ()
        self._announcements.remove_gone(digest, found)
        there = [address for address in found if address in self.live]
        random.shuffle(there)
        self._copies[digest] = len(there)
        if len(self._copies) > _REMEMBERED:
            self._copies.popitem(last=False)
        return there

    async def _sample(self, digest: Digest) -> Sequence[str]:
        """Return some entries of a blob: more than a few only if nobody of the few is live."""
        key = self._keys.holders(digest)
        found: list[str] = []
        for count in (SAMPLED, _SAMPLED_AGAIN):
            read = partial(_read_some, key, count)
            found = list(map(text, await self._shared.call(read)))
            if len(found) < count or not self.live.isdisjoint(found):
                break
        return found

    def claim(self, what: str) -> AbstractAsyncContextManager[str | None]:
        """Acquire the lease for a download. Yields None on success, else the holder's address.

        At its good end the lease stays for a moment: the blob gets its name here, and others
        learn that it has.
        """
        return self._leases.claim(what, is_alone=not self._members.is_heard)

    async def release(self, what: str, address: str) -> None:
        """End a replica's lease."""
        await self._leases.release(what, address)

    def knows(self, address: str) -> bool:
        """Whether it is one of the others, and not about to leave."""
        return address in self.live

    def is_there(self, address: str) -> bool:
        """Whether a replica has been heard of lately, for all that is known."""
        return self._members.is_there(address)

    # -- the end -----------------------------------------------------------------------------

    def leave(self) -> None:
        """Have the others ask another replica from now on; what they read goes on."""
        self._members.leave()

    async def end(self) -> None:
        """End the membership after `leave`, and the leases.

        If Redis takes too long, both expire.
        """
        with suppress(StorageError, TimeoutError):
            async with asyncio.timeout(_END_SECONDS):
                await self._members.end()
                await self._leases.release_all()

    # -- what this replica has ---------------------------------------------------------------

    def has(self, digest: Digest) -> None:
        """Tell the others, in a moment, that a blob is here."""
        self._announcements.add(digest, is_known=self.copies(digest) > 0)

    def has_not(self, digest: Digest) -> None:
        """Tell the others, in a moment, that a blob is not here any more."""
        self._announcements.remove(digest)


async def _read_some(key: str, count: int, redis: Any) -> list[bytes]:  # noqa: ANN401  # of one server or of a Cluster
    found: list[bytes] = await redis.srandmember(key, count)
    return found
