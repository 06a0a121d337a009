"""The ledger, as the store uses it from the event loop."""

import asyncio
import contextlib
import sqlite3
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal, TypeVar

from cacheproxy.domain.budget import Budget, Entry, Kind, on_disk
from cacheproxy.domain.digest import Digest
from cacheproxy.domain.errors import StorageError
from cacheproxy.domain.events import Evicted
from cacheproxy.ports import Clock, Observer
from cacheproxy.storage.claims import Claim, Usage, Use
from cacheproxy.storage.ledger import Ledger
from cacheproxy.storage.threads import finished

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Holding:
    """What a blob is to the store.

    Attributes:
        registry: the upstream that it comes from.
        kind: manifests are evicted last.
        children: what a manifest refers to, which stays warm with it.
    """

    registry: str
    kind: Kind = "blob"
    children: tuple[Digest, ...] = ()


class Accounts:
    """Reserves, commits, and remembers what is used. One thread talks to the ledger."""

    def __init__(
        self, ledger: Callable[[], Ledger], budget: Budget, clock: Clock, observer: Observer
    ) -> None:
        self.budget = budget
        self._clock = clock
        self._observer = observer
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="ledger")
        self._ledger = self._executor.submit(ledger).result()
        self._uses: dict[Digest, tuple[float, int]] = {}
        self._counted = asyncio.Event()

    def close(self) -> None:
        """Write down what is pending, and close the ledger."""
        with contextlib.suppress(sqlite3.Error):  # uses that are lost: no reason not to end
            self._executor.submit(self._ledger.use, self._pending()).result()
        self._executor.submit(self._ledger.close).result()
        self._executor.shutdown()

    async def usage(self) -> Usage:
        """How much there is."""
        return await self._do(self._ledger.usage)

    def use(self, digest: Digest) -> None:
        """Note that a blob was asked for: on the hot path, so in memory, until `flush`."""
        self._uses[digest] = self._clock.now(), self._uses.get(digest, (0.0, 0))[1] + 1

    async def flush(self) -> None:
        """Write down what was asked for."""
        pending = self._pending()
        if not pending:
            return
        try:
            await self._do(lambda: self._ledger.use(pending))
        except StorageError:
            for digest, use in pending.items():
                at, count = self._uses.get(digest, (use.at, 0))
                self._uses[digest] = at, count + use.count
            raise

    async def reserve(self, digest: Digest, registry: str, size: int) -> None:
        """Reserve the room for so many bytes in all.

        Raises:
            StorageError: there is no such room, and nothing that may go for it.
        """
        await self._counted.wait()  # what is not counted yet could be more than is allowed
        claim, now = Claim(digest, registry, on_disk(size)), self._clock.now()
        fits, evicted = await self._do(lambda: self._ledger.reserve(claim, self.budget, now))
        self._report(evicted, "size")
        if not fits:
            raise StorageError(f"the cache has no room for {size} bytes more")

    async def make_room(self, size: int) -> None:
        """Evict so many bytes, if that many may go: the disk is fuller than it should be."""
        now = self._clock.now()
        self._report(await self._do(lambda: self._ledger.evict(size, self.budget, now)), "space")

    async def release(self, digest: Digest, kept: int) -> None:
        """Give a reservation back, but for the bytes that are kept."""
        await self._do(lambda: self._ledger.release(digest, on_disk(kept)))

    async def commit(self, digest: Digest, size: int, holding: Holding) -> None:
        """What was reserved is a blob now."""
        now = self._clock.now()
        entry = Entry(digest, on_disk(size), holding.kind, holding.registry, now, now, 1.0)
        await self._do(lambda: self._ledger.commit(entry, holding.children))

    async def name(self, reference: str, digest: Digest) -> None:
        """Remember what a tag names."""
        await self._do(lambda: self._ledger.name(reference, digest))

    async def forget(self, digests: Iterable[Digest]) -> None:
        """Strike out what is not there any more."""
        gone = tuple(digests)
        await self._do(lambda: self._ledger.forget(gone))

    async def reservations(self) -> list[Digest]:
        """What room is reserved for."""
        return await self._do(self._ledger.reservations)

    async def known(self) -> dict[Digest, int]:
        """The size of everything that the ledger knows of."""
        return {e.digest: e.size for e in await self._do(self._ledger.entries)}

    async def take_in(self, found: list[tuple[Entry, tuple[Digest, ...]]]) -> None:
        """Take in what the directory has, and the ledger did not know of."""
        await self._do(lambda: self._ledger.add_found(found))

    def all_is_counted(self) -> None:
        """From now on the ledger knows all that is on disk: downloads may begin."""
        self._counted.set()

    async def keep_within(self) -> None:
        """Evict what is idle, and what today's budget has no room for."""
        now = self._clock.now()
        idle, too_much = await self._do(lambda: self._ledger.keep_within(self.budget, now))
        self._report(idle, "idle")
        self._report(too_much, "size")

    def _pending(self) -> dict[Digest, Use]:
        uses, self._uses = self._uses, {}
        return {digest: Use(at, count) for digest, (at, count) in uses.items()}

    def _report(self, evicted: Iterable[Entry], reason: Literal["size", "idle", "space"]) -> None:
        now = self._clock.now()
        for entry in evicted:
            event = Evicted(entry.registry, entry.digest, entry.size, reason, now - entry.since)
            self._observer.observe(event)

    async def _do(self, work: Callable[[], T]) -> T:
        try:
            return await finished(self._executor, work)
        except sqlite3.Error as error:
            raise StorageError(f"the ledger cannot be written: {error}") from error
