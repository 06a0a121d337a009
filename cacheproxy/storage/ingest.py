"""Writing a blob: append, hash, verify, rename. Until the rename it does not exist.

The file's lock (flock) makes its holder the only writer, across all processes that share the
volume; the kernel drops it with the process, so a killed writer blocks nobody.
"""

import errno
import fcntl
import os
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from cacheproxy.domain.digest import Digest
from cacheproxy.domain.errors import DigestMismatch, StorageError
from cacheproxy.storage.accounts import Accounts, Holding
from cacheproxy.storage.reading import FileReader
from cacheproxy.storage.seal import seal
from cacheproxy.storage.threads import finished

T = TypeVar("T")

_REHASH_STEP = 1024 * 1024
_RESERVE_STEP = 16 * 1024 * 1024
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


class FileIngest:
    """One blob being written (`Ingest`). Made by `open_ingest`, ended by `close`."""

    def __init__(self, place: "Place", descriptor: int, hands: "Hands") -> None:
        self.offset = 0
        self._place = place
        self._descriptor = descriptor
        self._executor = hands.executor
        self._accounts = hands.accounts
        self._hasher = place.digest.hasher()
        self._reserved = 0
        self._is_committed = False
        self._is_discarded = False

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
        """Nobody knows how long the blob is: room is reserved ahead as it grows, or just enough."""
        try:
            await self.reserve(self.offset + max(size, _RESERVE_STEP))
        except StorageError:
            await self.reserve(self.offset + size)

    async def restart(self) -> None:
        """Begin anew: drop what is there, keep the lock."""
        await self._off_loop(lambda: os.ftruncate(self._descriptor, 0))
        self._hasher = self._place.digest.hasher()
        self.offset = 0

    def verify(self) -> None:
        """Compare the digest."""
        digest = self._place.digest
        if self._hasher.hexdigest() != digest.encoded:
            raise DigestMismatch(f"upstream sent {self.offset} bytes that are not {digest}")

    async def commit(self) -> None:
        """Make the blob visible: its bytes on disk first, then its name."""
        await self._off_loop(self._commit)
        self._is_committed = True
        # Last, so that what is counted is there. Should the process end just here, the
        # reservation still counts it until the directory is looked through again.
        await self._accounts.commit(self._place.digest, self.offset, self._place.holding)

    async def discard(self) -> None:
        """Forget the bytes, and give their room back: first, while nobody else can reserve it."""
        await self._accounts.release(self._place.digest, 0)
        await self._off_loop(self._discard)

    def reader(self) -> FileReader:
        """Read what has been appended, through a descriptor of the reader's own."""
        return FileReader(os.dup(self._descriptor), self.offset, self._executor)

    async def close(self) -> None:
        """Give back the file, its lock, and the room that it does not take."""
        try:
            if not self._is_committed and not self._is_discarded:
                await self._accounts.release(self._place.digest, self.offset)
                if self.offset == 0:
                    # An empty leftover is of use to nobody.
                    self._place.ingest.unlink(missing_ok=True)
            if not self._is_committed:
                # By hand: a lock goes with the last descriptor of an opening of the file,
                # and readers have duplicates of this one.
                fcntl.flock(self._descriptor, fcntl.LOCK_UN)
        finally:
            os.close(self._descriptor)

    def rehash(self) -> None:
        """Take up what an earlier attempt left: its bytes count only once hashed again."""
        while chunk := os.pread(self._descriptor, _REHASH_STEP, self.offset):
            self._hasher.update(chunk)
            self.offset += len(chunk)

    def _append(self, chunk: bytes) -> None:
        view = memoryview(chunk)
        at = self.offset
        while view:
            written = os.pwrite(self._descriptor, view, at)
            at += written
            view = view[written:]
        self._hasher.update(chunk)
        self.offset = at

    def _discard(self) -> None:
        self._place.ingest.unlink(missing_ok=True)
        self._is_discarded = True
        self.offset = 0

    def _commit(self) -> None:
        os.fchmod(self._descriptor, 0o444)
        seal(self._place.digest, self._descriptor, os.fstat(self._descriptor))
        os.fsync(self._descriptor)
        # From the only writer to one of its readers: those who open it by its name take the
        # same lock, and who wants to remove it needs it for itself.
        fcntl.flock(self._descriptor, fcntl.LOCK_SH)
        blob = self._place.blob
        blob.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._place.ingest.rename(blob)
        _sync_directory(blob.parent)

    async def _off_loop(self, work: Callable[[], T]) -> T:
        try:
            return await finished(self._executor, work)
        except OSError as error:
            kind = _DiskFullError if error.errno in _FULL else StorageError
            raise kind(f"the disk refused to write: {error.strerror}") from error


class _DiskFullError(StorageError):
    """No room left on the device, or within a quota."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a blob is written, where it will be, and what it will be there."""

    digest: Digest
    ingest: Path
    blob: Path
    holding: Holding


@dataclass(frozen=True, slots=True)
class Hands:
    """What does the work: threads for the disk, and the accounts for the room on it."""

    executor: Executor
    accounts: Accounts


def open_ingest(place: Place, hands: Hands) -> FileIngest | None:
    """Lock the ingest file of a digest, and take up what is in it; None where another holds it.

    Blocks for as long as the leftover takes to read.

    Raises:
        OSError: as the disk refuses.
    """
    path = place.ingest
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        if _is_at(descriptor, path):
            break
        # The one who held it before has renamed or removed the file: this is the old one.
        os.close(descriptor)
    ingest = FileIngest(place, descriptor, hands)
    try:
        ingest.rehash()
    except BaseException:
        os.close(descriptor)
        raise
    return ingest


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat(follow_symlinks=False))
    except FileNotFoundError:
        return False


def _sync_directory(path: Path) -> None:
    """Make the new name itself survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
