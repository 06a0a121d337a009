"""Blobs as files, named by their digest."""

import sqlite3
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from pathlib import Path

from cacheproxy.domain.budget import Budget
from cacheproxy.domain.digest import Digest
from cacheproxy.domain.errors import StartError, StorageError
from cacheproxy.domain.manifest import SIZE_LIMIT, Manifest
from cacheproxy.domain.reference import Repository, Tag
from cacheproxy.domain.store_events import Damaged
from cacheproxy.ports import Clock, Observer
from cacheproxy.storage import proof
from cacheproxy.storage.accounts import Accounts, Holding
from cacheproxy.storage.claims import Left
from cacheproxy.storage.documents import Documents
from cacheproxy.storage.ingest import FileIngest, Hands, Place, open_ingest
from cacheproxy.storage.inventory import look_through
from cacheproxy.storage.layout import Layout
from cacheproxy.storage.ledger import Ledger
from cacheproxy.storage.leftovers import drop, left, older
from cacheproxy.storage.partial_blob import PartialFile, watch
from cacheproxy.storage.patrol import Patrol
from cacheproxy.storage.quarantine import clear
from cacheproxy.storage.reading import FileReader
from cacheproxy.storage.removal import open_blob, remove
from cacheproxy.storage.seal import Seals
from cacheproxy.storage.threads import run_to_end

# Threads that wait for the disk: a few reads of cold files beside the writes of fills. The
# default pool of the loop is not for this, since name resolution waits there.
_THREADS = 8
_MEMORY = 32 * 1024 * 1024
_SHOWN_PATHS = 3
# A manifest that another process is writing is there in no time.
_TRIES = 100
_PAUSE_SECONDS = 0.005


def open_ledger(layout: Layout) -> Ledger:
    """The ledger of a cache directory.

    Raises:
        sqlite3.Error: it cannot be used.
    """
    return Ledger(layout.ledger, partial(remove, layout), layout.free_bytes, partial(drop, layout))


class FilesystemStore:
    """A content-addressed directory (`BlobStore`).

    The name is given by rename, once everything is written, verified and on disk; so what
    has a name is whole, and needs no check when it is opened.
    """

    def __init__(
        self,
        layout: Layout,
        accounts: Accounts,
        clock: Clock,
        observer: Observer,
        documents: Documents,
    ) -> None:
        self.accounts = accounts
        accounts.holds = layout.holds
        self._layout = layout
        self._observer = observer
        self._clock = clock
        self._seals = Seals()
        self._documents = documents
        self._executor = ThreadPoolExecutor(_THREADS, thread_name_prefix="disk")
        self.patrol = Patrol(layout, accounts, self._executor, observer, clock)

    @classmethod
    def at(
        cls,
        layout: Layout,
        budget: Budget,
        clock: Clock,
        observer: Observer,
        memory: int = _MEMORY,
    ) -> "FilesystemStore":
        """The store in a directory that is prepared.

        Args:
            layout: of that directory.
            budget: of the disk.
            clock: tells the time.
            observer: is told what becomes of blobs.
            memory: bytes of it that manifests may take.

        Raises:
            StartError: the ledger cannot be used.
        """

        def ledger() -> Ledger:
            return open_ledger(layout)

        try:
            accounts = Accounts(ledger, budget, clock, observer)
            return cls(layout, accounts, clock, observer, Documents(layout, memory))
        except (sqlite3.Error, OSError) as error:
            said = error.strerror if isinstance(error, OSError) else error
            raise StartError(
                f"the ledger {layout.ledger} cannot be used: {said}; make it writable for this "
                "user, and make room if its volume is full"
            ) from error

    def close(self) -> None:
        """End the threads, after what they are doing."""
        self._executor.shutdown()
        self.accounts.close()

    def open(self, digest: Digest, *, is_use: bool = True) -> FileReader | None:
        """The blob; None where it is not here, or no regular file, or about to go, or not sealed.

        Whoever finds nothing asks for a download, and that begins with `prove`.
        """
        blob = open_blob(self._layout.blob(digest), self._executor)
        if blob is None:
            return None
        if not self._seals.holds(digest, blob.status()):
            blob.close()
            return None
        if is_use:
            self.accounts.use(digest)
        return blob

    def has(self, digest: Digest) -> bool:
        """Whether there is a file for it."""
        return self._layout.holds(digest)

    def use(self, digest: Digest) -> None:
        """Note that a blob was asked for which is still on its way."""
        self.accounts.use(digest)

    async def prove(self, digest: Digest) -> FileReader | None:
        """Return the blob, read again first if its file is not sealed; quarantine a wrong one."""
        blob = self.open(digest)
        if blob is not None:
            return blob
        verdict = await proof.prove(self._layout, digest, self._seals, self._executor)
        if verdict in ("quarantined", "in use"):
            said = "it was changed since it was stored, and is wrong"
            self._observer.observe(Damaged(digest, "damaged", verdict, said))
        if verdict == "quarantined":
            await self.accounts.strike([digest], self._layout.holds)
        return self.open(digest) if verdict == "right" else None

    async def document(self, digest: Digest) -> bytes | None:
        """A small blob whole; None where it is not here, or larger than a manifest may be."""
        kept = self._documents.get(digest)
        if kept is not None:
            self.accounts.use(digest)
            return kept
        blob = self.open(digest) or await self.prove(digest)
        if blob is None:
            return None
        try:
            if blob.size > SIZE_LIMIT:
                return None
            status = blob.status()
            body = await _whole(blob)
            self._documents.keep(digest, body, status)
            return body
        finally:
            blob.close()

    async def keep_manifest(self, repository: Repository, manifest: Manifest) -> None:
        """Store a verified manifest; one that somebody else is writing is left to them.

        Raises:
            StorageError: the disk refused, or has no room for it.
        """
        children = tuple(child.digest for child in manifest.children)
        holding = Holding(repository.registry, "manifest", children)
        for _ in range(_TRIES):
            blob = self.open(manifest.digest)
            if blob is not None:
                blob.close()
                # It may have come as a blob, of which nobody knew what it refers to.
                await self.accounts.relate(manifest.digest, children)
                return
            async with self._writing(manifest.digest, holding) as ingest:
                if ingest is not None and ingest.offset:
                    # A download that broke has left it: the next turn begins with a new file.
                    await ingest.discard()
                    continue
                if ingest is not None:
                    await _write(ingest, manifest.body)
                    return
            # Somebody writes the same bytes, which soon are there; or has the file for a moment
            # only, to see whether anybody does.
            await self._clock.sleep(_PAUSE_SECONDS)

    async def name(self, repository: Repository, tag: Tag, digest: Digest) -> None:
        """Remember what a tag names, since pins are of tags."""
        await self.accounts.name(f"{repository}:{tag}", digest)

    def ingest(
        self, repository: Repository, digest: Digest
    ) -> AbstractAsyncContextManager[FileIngest | None]:
        """Begin, or take up again, the writing of a blob; None while another writes it."""
        return self._writing(digest, Holding(repository.registry))

    @asynccontextmanager
    async def _writing(self, digest: Digest, holding: Holding) -> AsyncIterator[FileIngest | None]:
        blob = Path(self._layout.blob(digest))
        place = Place(digest, self._layout.ingest(digest), blob, holding)
        ingest = await self._locked(place)
        try:
            yield ingest
        finally:
            if ingest is not None:
                await ingest.close()

    def watch(self, digest: Digest) -> PartialFile | None:
        """What another process is writing; None where there is nothing (any more)."""
        return watch(self._layout.ingest(digest), self._executor)

    async def take_stock(self) -> None:
        """Bring the ledger in line with what is on disk; downloads wait for the first time.

        Raises:
            StorageError, OSError: that failed, and must be done again; or a part cannot be read.
        """
        try:
            unreadable = await self._take_stock()
        except (StorageError, OSError):
            self.accounts.need_stock()
            raise
        self.accounts.all_is_counted()
        if unreadable:
            some = ", ".join(sorted(unreadable)[:_SHOWN_PATHS])
            raise StorageError(f"{len(unreadable)} paths cannot be read, and do not count: {some}")

    async def _take_stock(self) -> set[str]:
        known = await self.accounts.known()
        stock = await run_to_end(self._executor, lambda: look_through(self._layout, known))
        await self.accounts.take_in(stock.unknown)
        await self.accounts.strike(stock.missing, self._layout.holds)
        if await self.accounts.settle(stock.partial, self._left):
            raise StorageError("other workers have not told the new ledger of their downloads yet")
        return stock.unreadable

    def _left(self, digest: Digest) -> Left:
        return left(self._layout, digest)

    async def settle(self) -> None:
        """Have reservations be what downloads take, whatever became of their processes."""
        await self.accounts.settle((), self._left)

    async def sweep(self, keep_seconds: float) -> int:
        """Remove partial downloads that nobody took up for so long; how many there were."""
        directory = self._layout.root / "ingest"
        old = await run_to_end(self._executor, lambda: older(directory, keep_seconds))
        return len(await self.accounts.drop_partial(old))

    async def clear_quarantine(self, keep_seconds: float) -> None:
        """Remove what was put aside so long ago.

        Raises:
            OSError: the disk refuses.
        """
        await run_to_end(self._executor, lambda: clear(self._layout, keep_seconds))

    async def _locked(self, place: Place) -> FileIngest | None:
        hands = Hands(self._executor, self.accounts, self._seals, self._left)
        try:
            return await run_to_end(
                self._executor, lambda: open_ingest(place, hands), undo=_release_lock
            )
        except OSError as error:
            raise StorageError(f"the disk refused to write: {error.strerror}") from error


def _release_lock(ingest: FileIngest | None) -> None:
    if ingest is not None:
        ingest.release()


async def _write(ingest: FileIngest, body: bytes) -> None:
    await ingest.reserve(len(body))
    await ingest.append(body)
    ingest.verify()
    await ingest.commit()


async def _whole(blob: FileReader) -> bytes:
    parts: list[bytes] = []
    offset = 0
    while offset < blob.size:
        part = await blob.read(offset, blob.size - offset)
        if not part:
            raise StorageError("a stored blob is shorter than it was when it was opened")
        parts.append(part)
        offset += len(part)
    return b"".join(parts)
