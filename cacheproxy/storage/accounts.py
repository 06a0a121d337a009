"""The ledger, as the store uses it from the event loop."""

import asyncio
import contextlib
import sqlite3
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Literal, TypeVar

from cacheproxy.domain.budget import Budget, Entry, Kind, on_disk
from cacheproxy.domain.digest import Digest
from cacheproxy.domain.errors import StorageError
from cacheproxy.domain.store_events import (
    Evicted,
    LedgerReplaced,
    Stored,
    StoreFailed,
    StoreRecovered,
)
from cacheproxy.ports import Clock, Observer
from cacheproxy.storage.claims import Claim, Left, Usage, Use
from cacheproxy.storage.ledger import Ledger
from cacheproxy.storage.ledger_handle import LedgerHandle
from cacheproxy.storage.threads import run_to_end

T = TypeVar("T")

# So long a download waits for the stock before it goes past the disk.
_COUNT_SECONDS = 10.0
# Between two looks at the clock, a minute apart.
_JUMP_SECONDS = 600.0
# A ledger that is replaced between two looks is counted again; not for ever.
_RESERVE_TRIES = 3
# While nothing is wrong, a probe writes once in so many calls, and reads in the others.
_PROBE_EVERY = 12


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
    """Reserves, commits, and remembers what is used. One thread talks to the ledger.

    Attributes:
        budget: bounds the store.
        problem: why nothing is stored now, in a sentence; None while blobs are stored.
    """

    def __init__(
        self, ledger: Callable[[], Ledger], budget: Budget, clock: Clock, observer: Observer
    ) -> None:
        self.budget = budget
        # Whether others have enough copies of a blob: it is then the first to go.
        self.is_spare: Callable[[Digest], bool] = lambda _: False
        # Whether there is a file of a blob.
        self.holds: Callable[[Digest], bool] = lambda _: True
        self._clock = clock
        self._observer = observer
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="ledger")
        self.problem: str | None = None
        self._uses: dict[Digest, tuple[float, int]] = {}
        self._claims: dict[Digest, Claim] = {}
        self._uncounted: dict[Digest, tuple[Entry, tuple[Digest, ...]]] = {}
        self._handle = self._executor.submit(LedgerHandle, ledger, self._restore).result()
        self._probes = 0
        # Generations of the ledger's file: whose rows were listed, that knows all that is on
        # disk, for which downloads may begin, and whose beginning was told.
        self._listed = self._known = 0
        self._counted_generation = -1
        self._told = 0
        self._counted, self._stock_needed = asyncio.Event(), asyncio.Event()
        self._offset = clock.now() - clock.monotonic()
        self._jumped_at = 0.0

    def close(self) -> None:
        """Write down what is pending, and close the ledger."""
        with contextlib.suppress(sqlite3.Error):  # uses that are lost: no reason not to end
            self._executor.submit(self._use, self._pending()).result()
        self._executor.submit(self._handle.close).result()
        self._executor.shutdown()

    async def usage(self) -> Usage:
        """How much there is."""
        return await self._do(Ledger.usage)

    def use(self, digest: Digest) -> None:
        """Note that a blob was asked for: on the hot path, so in memory, until `flush`."""
        self._uses[digest] = self._clock.now(), self._uses.get(digest, (0.0, 0))[1] + 1

    async def flush(self) -> None:
        """Write down what was asked for, and count blobs that the ledger has refused."""
        await self._count()
        pending = self._pending()
        if not pending:
            return
        try:
            coming = await self._do(lambda ledger: ledger.use(pending))
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
        claim = Claim(digest, registry, on_disk(size))
        for _ in range(_RESERVE_TRIES):
            await self._wait_counted()
            with contextlib.suppress(StorageError):
                await self.flush()  # what was used a moment ago must not go for it
            reserved = await self._do(partial(self._reserve, claim, self._clock.now()))
            if reserved is None:
                continue  # the ledger was replaced meanwhile
            fits, evicted = reserved
            self._report(evicted, "size")
            if not fits:
                raise StorageError(f"the cache has no room for {size} bytes more")
            return
        raise StorageError("the ledger is replaced again and again")

    async def _wait_counted(self) -> None:
        """Wait for the stock: what is not counted yet could be more than is allowed."""
        try:
            async with asyncio.timeout(_COUNT_SECONDS):
                await self._counted.wait()
        except TimeoutError:
            raise StorageError("what is stored is still being counted") from None

    def _reserve(self, claim: Claim, now: float, ledger: Ledger) -> tuple[bool, list[Entry]] | None:
        """Reserve; None while the ledger does not know what is on disk. In the ledger's thread."""
        if self._handle.generation != self._counted_generation:
            return None
        fits, evicted = ledger.reserve(claim, self.budget, now)
        if fits:
            self._claims[claim.digest] = claim
        return fits, evicted

    def _restore(self, ledger: Ledger) -> None:
        """Reserve in a new ledger what this process's downloads take. In the ledger's thread."""
        ledger.restore(list(self._claims.values()))

    async def make_room(self, size: int) -> None:
        """Evict so many bytes, if that many may go: the disk is fuller than it should be."""
        now = self._clock.now()
        self._report(await self._do(lambda ledger: ledger.evict(size, self.budget, now)), "space")

    async def commit(self, digest: Digest, size: int, holding: Holding) -> None:
        """Count a blob that is on disk now. If the ledger refuses, that is made up for later."""
        now = self._clock.now()
        heat = 0.0 if self.is_spare(digest) else 1.0
        entry = Entry(digest, on_disk(size), holding.kind, holding.registry, now, now, heat)
        self._uncounted[digest] = entry, holding.children
        self._observer.observe(Stored(digest))
        with contextlib.suppress(StorageError):  # until then its reservation counts it
            await self._count()

    async def _count(self) -> None:
        waiting = dict(self._uncounted)
        if waiting:
            await self._do(partial(self._commit, waiting))

    def _commit(
        self, blobs: Mapping[Digest, tuple[Entry, tuple[Digest, ...]]], ledger: Ledger
    ) -> None:
        for digest, (entry, children) in blobs.items():
            if self.holds(digest):  # else it was removed before it was counted
                ledger.commit(entry, children)
            self._claims.pop(digest, None)
            if self._uncounted.get(digest) == (entry, children):
                del self._uncounted[digest]

    async def name(self, reference: str, digest: Digest) -> None:
        """Remember what a tag names."""
        await self._do(lambda ledger: ledger.name(reference, digest))

    async def forget_lost_names(self) -> int:
        """Forget what tags name that is not stored any more; how many those were."""
        return await self._do(Ledger.forget_lost_names)

    async def relate(self, manifest: Digest, children: tuple[Digest, ...]) -> None:
        """Remember that a blob is a manifest, and what it refers to."""
        await self._do(lambda ledger: ledger.relate(manifest, children))

    async def strike(self, digests: Iterable[Digest], holds: Callable[[Digest], bool]) -> None:
        """Strike out those that are not there any more."""
        gone = tuple(digests)
        await self._do(lambda ledger: ledger.strike(gone, holds))

    def strike_from_thread(
        self, digests: Iterable[Digest], holds: Callable[[Digest], bool]
    ) -> list[Digest]:
        """Strike out, in a thread that is not the event loop's; return those that were known.

        Raises:
            StorageError: the ledger cannot be written.
        """
        gone = tuple(digests)

        def strike() -> list[Digest]:
            return self._handle.run(lambda ledger: ledger.strike(gone, holds))

        try:
            return self._executor.submit(strike).result()
        except sqlite3.Error as error:
            raise _failed(error) from error

    async def settle(self, found: Iterable[Digest], look: Callable[[Digest], Left]) -> bool:
        """Have what is reserved be what downloads take, or have left (`Ledger.settle`)."""
        return await self._do(lambda ledger: ledger.settle(found, look))

    async def settle_one(self, digest: Digest, look: Callable[[Digest], Left]) -> None:
        """Have the reservation of one download be what it takes, or has left."""
        await self._do(partial(self._settle_one, digest, look))

    def _settle_one(self, digest: Digest, look: Callable[[Digest], Left], ledger: Ledger) -> None:
        if ledger.settle_one(digest, look) != "written":  # by the next one by now
            self._claims.pop(digest, None)

    async def drop_partial(self, digests: Iterable[Digest]) -> list[Digest]:
        """Remove partial downloads that nobody writes; which are gone."""
        old = tuple(digests)
        return await self._do(lambda ledger: ledger.drop_partial(old))

    async def known(self) -> dict[Digest, int]:
        """The size of everything that the ledger knows of."""
        entries, self._listed = await self._do(
            lambda ledger: (ledger.entries(), self._handle.generation)
        )
        return {entry.digest: entry.size for entry in entries}

    async def take_in(self, found: list[tuple[Entry, tuple[Digest, ...]]]) -> None:
        """Take in what the directory has, and the ledger did not know of."""
        generation = await self._do(lambda ledger: self._add_found(ledger, found))
        if generation == self._listed:
            self._known = generation

    def _add_found(self, ledger: Ledger, found: list[tuple[Entry, tuple[Digest, ...]]]) -> int:
        ledger.add_found(found)
        return self._handle.generation

    def all_is_counted(self) -> None:
        """Let downloads begin: the ledger knows all that is on disk.

        A ledger that was replaced meanwhile does not, and downloads go on waiting.
        """
        self._counted_generation = self._known
        if self._known == self._handle.generation:
            self._counted.set()

    @property
    def is_counted(self) -> bool:
        """Whether downloads may begin."""
        return self._counted.is_set()

    def need_stock(self) -> None:
        """Say that stock must be taken: the ledger was replaced, or taking stock has failed."""
        self._stock_needed.set()

    async def wait_stock_needed(self) -> None:
        """Wait until stock must be taken."""
        await self._stock_needed.wait()
        self._stock_needed.clear()

    async def probe(self) -> None:
        """Find out whether the ledger can be written, and is still the file at its path.

        Raises:
            StorageError: it cannot.
        """
        self._probes += 1
        if self.problem is None and self._probes % _PROBE_EVERY:
            await self._do(Ledger.usage)
            return
        await self._do(Ledger.probe)
        if self.problem is not None:
            self.problem = None
            self._observer.observe(StoreRecovered())

    async def keep_within(self) -> None:
        """Evict what is idle, and what today's budget has no room for."""
        now, since = self._clock.now(), self._known_since()
        idle, too_much = await self._do(lambda ledger: ledger.keep_within(self.budget, now, since))
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

    def _use(self, pending: Mapping[Digest, Use]) -> None:
        self._handle.run(lambda ledger: ledger.use(pending))

    def _pending(self) -> dict[Digest, Use]:
        uses, self._uses = self._uses, {}
        return {digest: Use(at, count) for digest, (at, count) in uses.items()}

    def _report(self, evicted: Iterable[Entry], reason: Literal["size", "idle", "space"]) -> None:
        now = self._clock.now()
        for entry in evicted:
            event = Evicted(entry.registry, entry.digest, entry.size, reason, now - entry.since)
            self._observer.observe(event)

    async def _do(self, work: Callable[[Ledger], T]) -> T:
        try:
            return await run_to_end(self._executor, lambda: self._handle.run(work))
        except sqlite3.Error as error:
            failed = _failed(error)
            if self.problem is None:
                self._observer.observe(StoreFailed(str(failed)))
            self.problem = str(failed)
            raise failed from error
        finally:
            self._note_replaced()

    def _note_replaced(self) -> None:
        """Say once that the ledger was replaced, and hold downloads until stock is taken."""
        generation = self._handle.generation
        if generation == self._told:
            return
        self._told = generation
        self._observer.observe(LedgerReplaced(self._handle.replaced_because))
        if generation != self._counted_generation:
            self._counted.clear()
            self.need_stock()


def _failed(error: sqlite3.Error) -> StorageError:
    return StorageError(f"the ledger cannot be written: {error}")
