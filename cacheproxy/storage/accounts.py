"""The ledger, as the store uses it from the event loop."""

import asyncio
import contextlib
import sqlite3
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal, TypeVar

from cacheproxy.domain.budget import Budget, Entry, Kind, on_disk
from cacheproxy.domain.digest import Digest
from cacheproxy.domain.errors import StorageError
from cacheproxy.domain.events import Evicted, Stored
from cacheproxy.ports import Clock, Observer
from cacheproxy.storage.claims import Claim, Left, Usage, Use
from cacheproxy.storage.ledger import Ledger
from cacheproxy.storage.threads import run_to_end

T = TypeVar("T")

# Between two looks at the clock, a minute apart.
_JUMP_SECONDS = 600.0


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
        # Whether others have enough copies of a blob: it is then the first to go.
        self.is_spare: Callable[[Digest], bool] = lambda _: False
        self._clock = clock
        self._observer = observer
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="ledger")
        self._ledger = self._executor.submit(ledger).result()
        self._uses: dict[Digest, tuple[float, int]] = {}
        self._counted = asyncio.Event()
        self._offset = clock.now() - clock.monotonic()
        self._jumped_at = 0.0

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
            coming = await self._do(lambda: self._ledger.use(pending))
        except StorageError:
            self._put_back(pending)
            raise
        # On its way still: who follows a download uses it as who comes later does.
        self._put_back({digest: pending[digest] for digest in coming})

    def _put_back(self, uses: Mapping[Digest, Use]) -> None:
        for digest, use in uses.items():
            at, count = self._uses.get(digest, (use.at, 0))
            self._uses[digest] = at, count + use.count

    async def reserve(self, digest: Digest, registry: str, size: int) -> None:
        """Reserve the room for so many bytes in all.

        Raises:
            StorageError: there is no such room, and nothing that may go for it.
        """
        await self._counted.wait()  # what is not counted yet could be more than is allowed
        with contextlib.suppress(StorageError):
            await self.flush()  # what was used a moment ago must not go for it
        claim, now = Claim(digest, registry, on_disk(size)), self._clock.now()
        fits, evicted = await self._do(lambda: self._ledger.reserve(claim, self.budget, now))
        self._report(evicted, "size")
        if not fits:
            raise StorageError(f"the cache has no room for {size} bytes more")

    async def make_room(self, size: int) -> None:
        """Evict so many bytes, if that many may go: the disk is fuller than it should be."""
        now = self._clock.now()
        self._report(await self._do(lambda: self._ledger.evict(size, self.budget, now)), "space")

    async def commit(self, digest: Digest, size: int, holding: Holding) -> None:
        """What was reserved is a blob now."""
        now = self._clock.now()
        heat = 0.0 if self.is_spare(digest) else 1.0
        entry = Entry(digest, on_disk(size), holding.kind, holding.registry, now, now, heat)
        await self._do(lambda: self._ledger.commit(entry, holding.children))
        self._observer.observe(Stored(digest))

    async def name(self, reference: str, digest: Digest) -> None:
        """Remember what a tag names."""
        await self._do(lambda: self._ledger.name(reference, digest))

    async def forget_lost_names(self) -> int:
        """Forget what tags name that is not stored any more; how many those were."""
        return await self._do(self._ledger.forget_lost_names)

    async def relate(self, manifest: Digest, children: tuple[Digest, ...]) -> None:
        """Remember that a blob is a manifest, and what it refers to."""
        await self._do(lambda: self._ledger.relate(manifest, children))

    async def strike(self, digests: Iterable[Digest], holds: Callable[[Digest], bool]) -> None:
        """Strike out those that are not there any more."""
        gone = tuple(digests)
        await self._do(lambda: self._ledger.strike(gone, holds))

    def strike_from_thread(
        self, digests: Iterable[Digest], holds: Callable[[Digest], bool]
    ) -> list[Digest]:
        """The same, for a thread other than the event loop's; which were in the ledger."""
        return self._executor.submit(self._ledger.strike, tuple(digests), holds).result()

    async def settle(self, found: Mapping[Digest, int], look: Callable[[Digest], Left]) -> None:
        """Have what is reserved be what downloads take, or have left."""
        await self._do(lambda: self._ledger.settle(found, look))

    async def settle_one(self, digest: Digest, look: Callable[[Digest], Left]) -> None:
        """Have the reservation of one download be what it takes, or has left."""
        await self._do(lambda: self._ledger.settle_one(digest, look))

    async def drop_partial(self, digests: Iterable[Digest]) -> list[Digest]:
        """Remove partial downloads that nobody writes; which are gone."""
        old = tuple(digests)
        return await self._do(lambda: self._ledger.drop_partial(old))

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
        now, since = self._clock.now(), self._known_since()
        idle, too_much = await self._do(lambda: self._ledger.keep_within(self.budget, now, since))
        self._report(idle, "idle")
        self._report(too_much, "size")

    def _known_since(self) -> float:
        """When the clock was last set by more than a clock drifts.

        Set forward by a year, it would make everything idle at once.
        """
        offset = self._clock.now() - self._clock.monotonic()
        if abs(offset - self._offset) > _JUMP_SECONDS:
            self._jumped_at = self._clock.now()
        self._offset = offset
        return self._jumped_at

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
            return await run_to_end(self._executor, work)
        except sqlite3.Error as error:
            raise StorageError(f"the ledger cannot be written: {error}") from error
