"""Writing a blob: append, hash, verify, rename. Until the rename it does not exist.

The file's lock (flock) makes its holder the only writer, across all processes that share the
volume; the kernel drops it with the process, so a killed writer blocks nobody.

An ingest file only ever grows. Bytes that are to be dropped are unlinked, and the next attempt
gets a new file: so whoever has read n bytes of an open ingest file knows its first n bytes for
good, and two handles with the same inode never disagree.
"""

import contextlib
import errno
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from cacheproxy.domain.digest import Digest
from cacheproxy.domain.errors import DigestMismatch, StorageError
from cacheproxy.storage.accounts import Accounts, Holding
from cacheproxy.storage.claims import Left
from cacheproxy.storage.open_file import OpenFile, sync_directory
from cacheproxy.storage.reading import FileReader
from cacheproxy.storage.seal import Seals, seal
from cacheproxy.storage.threads import run_to_end

T = TypeVar("T")

_REHASH_STEP = 1024 * 1024
_RESERVE_STEP = 16 * 1024 * 1024
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


@dataclass(frozen=True, slots=True)
class Place:
    """The paths of a blob, before and after its commit, and what it will be to the store."""

    digest: Digest
    ingest: Path
    blob: Path
    holding: Holding


@dataclass(frozen=True, slots=True)
class Hands:
    """What the ingests of a store share.

    Attributes:
        executor: of threads that may wait for the disk.
        accounts: of the room on it.
        seals: of the store.
        left: tells what there is of a download.
    """

    executor: Executor
    accounts: Accounts
    seals: Seals
    left: Callable[[Digest], Left]


class FileIngest:
    """One blob being written (`Ingest`). Made by `open_ingest`, ended by `close`."""

    def __init__(self, place: Place, file: OpenFile, hands: Hands) -> None:
        self.offset = 0
        self.resumed_at = 0
        self._place = place
        self._file = file
        self._executor = hands.executor
        self._accounts = hands.accounts
        self._seals = hands.seals
        self._left = hands.left
        self._hasher = place.digest.hasher()
        self._reserved = 0
        self._is_renamed = False
        self._is_counted = False

    async def reserve(self, size: int) -> None:
        """Reserve the room for a blob of this size."""
        if size > self._reserved:
            await self._accounts.reserve(self._place.digest, self._place.holding.registry, size)
            self._reserved = size

    async def append(self, chunk: bytes) -> None:
        """Write and hash in a thread; the loop goes on reading from upstream meanwhile."""
        if self.offset + len(chunk) > self._reserved:
            await self._reserve_more(len(chunk))
        try:
            await self._off_loop(lambda: self._append(chunk))
        except _DiskFullError:
            # Fuller than by our doing: somebody else writes to this volume too.
            await self._accounts.make_room(max(len(chunk), _RESERVE_STEP))
            await self._off_loop(lambda: self._append(chunk))

    async def _reserve_more(self, size: int) -> None:
        """Reserve ahead as a blob of unknown size grows, or just enough."""
        try:
            await self.reserve(self.offset + max(size, _RESERVE_STEP))
        except StorageError:
            await self.reserve(self.offset + size)

    def verify(self) -> None:
        """Compare the digest."""
        digest = self._place.digest
        if self._hasher.hexdigest() != digest.encoded:
            raise DigestMismatch(f"upstream sent {self.offset} bytes that are not {digest}")

    async def commit(self) -> None:
        """Make the blob visible: its bytes on disk first, then its name."""
        await self._off_loop(self._commit)
        await self._count()

    async def _count(self) -> None:
        """Have the ledger count the blob: last, so that what is counted is there."""
        self._is_counted = True
        await self._accounts.commit(self._place.digest, self.offset, self._place.holding)

    async def discard(self) -> None:
        """Drop the bytes: nobody will find them any more. A blob that is visible stays."""
        if not self._is_renamed:
            await self._off_loop(self._unlink)
            self.offset = 0

    def reader(self) -> FileReader:
        """Return a reader of what has been appended, with a handle of its own."""
        return FileReader(self._file.share(), self.offset, self._executor)

    async def close(self) -> None:
        """Give back the file and its lock, whatever fails; then the room that it does not take."""
        self.release()
        if self._is_renamed and not self._is_counted:
            await self._count()
        elif not self._is_renamed:
            with contextlib.suppress(StorageError):  # settled later, with all reservations
                await self._accounts.settle_one(self._place.digest, self._left)

    def release(self) -> None:
        """Give back the file and its lock, at once. An empty leftover is of use to nobody."""
        try:
            if not self._is_renamed and not self.offset:
                with contextlib.suppress(OSError):  # then it stays, empty
                    self._unlink()
            if not self._is_renamed:
                # By hand: a lock goes with the last handle of an open file, and readers have some.
                self._file.unlock()
        finally:
            self._file.close()

    def rehash(self) -> None:
        """Take up what an earlier attempt left: its bytes count only once hashed again."""
        while chunk := self._file.read(self.offset, _REHASH_STEP):
            self._hasher.update(chunk)
            self.offset += len(chunk)
        self.resumed_at = self.offset

    def _append(self, chunk: bytes) -> None:
        end = self._file.write(self.offset, chunk)
        self._hasher.update(chunk)
        self.offset = end

    def _unlink(self) -> None:
        if self._file.is_at(self._place.ingest):
            self._place.ingest.unlink(missing_ok=True)

    def _commit(self) -> None:
        file, blob = self._file, self._place.blob
        seal(self._place.digest, file, file.status())
        file.sync()
        # From the only writer to one of its readers: those who open it by its name take the
        # same lock, and whoever wants to remove it needs it alone.
        file.lock_shared()
        blob.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._place.ingest.rename(blob)
        self._is_renamed = True
        # After the rename: a crash must not leave an ingest file that its owner cannot open.
        file.make_read_only()
        self._seals.remember(self._place.digest, file.status())
        sync_directory(blob.parent)

    async def _off_loop(self, work: Callable[[], T]) -> T:
        try:
            return await run_to_end(self._executor, work)
        except OSError as error:
            kind = _DiskFullError if error.errno in _FULL else StorageError
            raise kind(f"the disk refused to write: {error.strerror}") from error


class _DiskFullError(StorageError):
    """No room left on the device, or within a quota."""


def open_ingest(place: Place, hands: Hands) -> FileIngest | None:
    """Lock the ingest file of a digest, and take up what is in it; None while another holds it.

    Blocks for as long as the leftover takes to read.

    Raises:
        OSError: as the disk refuses.
    """
    file = _lock_file(place.ingest)
    if file is None:
        return None
    ingest = FileIngest(place, file, hands)
    try:
        ingest.rehash()
    except BaseException:
        file.close()
        raise
    return ingest


def _lock_file(path: Path) -> OpenFile | None:
    while True:
        file = OpenFile.read_write(path)
        try:
            if not file.lock():
                file.close()
                return None
            if file.is_at(path):
                return file
        except BaseException:
            file.close()
            raise
        # Whoever held it before has renamed or unlinked the file: this is the old one.
        file.close()
