"""Writing a blob: append, hash, verify, rename. Until the rename it does not exist.

The file's lock (flock) makes its holder the only writer, across all processes that share the
volume; the kernel drops it with the process, so a killed writer blocks nobody.
"""

import asyncio
import fcntl
import os
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from cacheproxy.domain.digest import Digest
from cacheproxy.domain.errors import DigestMismatch, StorageError
from cacheproxy.storage.reading import FileReader

T = TypeVar("T")

_REHASH_STEP = 1024 * 1024


class FileIngest:
    """One blob being written (`Ingest`). Made by `open_ingest`, ended by `close`."""

    def __init__(self, place: "Place", descriptor: int, executor: Executor) -> None:
        self.offset = 0
        self._place = place
        self._descriptor = descriptor
        self._executor = executor
        self._hasher = place.digest.hasher()
        self._is_committed = False

    async def append(self, chunk: bytes) -> None:
        """Write and hash in a thread; the loop goes on reading from upstream meanwhile."""
        await self._off_loop(lambda: self._append(chunk))

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

    async def discard(self) -> None:
        """Forget the bytes."""
        await self._off_loop(lambda: self._place.ingest.unlink(missing_ok=True))

    def reader(self) -> FileReader:
        """Read what has been appended, through a descriptor of the reader's own."""
        return FileReader(os.dup(self._descriptor), self.offset, self._executor)

    def close(self) -> None:
        """Give back the file and its lock; an empty leftover is of use to nobody."""
        try:
            if self.offset == 0 and not self._is_committed:
                self._place.ingest.unlink(missing_ok=True)
            # By hand: a lock goes with the last descriptor of an opening of the file, and
            # readers have duplicates of this one.
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

    def _commit(self) -> None:
        os.fchmod(self._descriptor, 0o444)
        os.fsync(self._descriptor)
        blob = self._place.blob
        blob.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._place.ingest.rename(blob)
        _sync_directory(blob.parent)

    async def _off_loop(self, work: Callable[[], T]) -> T:
        try:
            return await finished(self._executor, work)
        except OSError as error:
            raise StorageError(f"the disk refused to write: {error.strerror}") from error


@dataclass(frozen=True, slots=True)
class Place:
    """Where a blob is written, and where it will be."""

    digest: Digest
    ingest: Path
    blob: Path


async def finished(executor: Executor, work: Callable[[], T]) -> T:
    """Run `work` in a thread and wait until it has ended, also when cancelled meanwhile.

    A thread cannot be stopped. Were its caller to go on, it could close the descriptor under
    the thread, and the thread would write into whatever file is given that number next. So
    a cancellation that comes meanwhile arrives at the caller's next `await` instead: what
    the thread has done is done, and its outcome is not lost.
    """
    future = asyncio.get_running_loop().run_in_executor(executor, work)
    cancelled = False
    while not future.done():
        try:
            await asyncio.wait([future])
        except asyncio.CancelledError:
            cancelled = True
    task = asyncio.current_task()
    if cancelled and task is not None:
        # Taken back and made again, so that whoever counts them (asyncio.timeout) counts one.
        task.uncancel()
        task.cancel()
    return future.result()


def open_ingest(place: Place, executor: Executor) -> FileIngest | None:
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
    ingest = FileIngest(place, descriptor, executor)
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
