"""Reading files on the event loop without ever waiting for the disk on it."""

import asyncio
import os
from concurrent.futures import Executor

from cacheproxy.domain.errors import StorageError
from cacheproxy.storage.seal import doubt

# Where the kernel has it, a read that would wait for the disk says so instead of waiting.
_NOWAIT = getattr(os, "RWF_NOWAIT", None)


# O_NONBLOCK: somebody may have put a FIFO there, and opening one waits for its writer.
READ_ONLY = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK


def read_past_cache(descriptor: int, offset: int, length: int) -> bytes:
    """Read, and have the kernel keep in memory what it had there before, and nothing more.

    Whoever reads everything once would push out what clients ask for.

    Args:
        descriptor: of the file; it should be advised against reading ahead.
        offset: in the file.
        length: not beyond the end of the file, or its last pages are taken for not cached.

    Raises:
        OSError: the disk could not be read.
    """
    if _NOWAIT is not None:
        buffer = bytearray(length)
        try:
            if os.preadv(descriptor, [buffer], offset, _NOWAIT) == length:
                return bytes(buffer)
        except OSError:
            pass  # not cached; or a file system without it
    content = os.pread(descriptor, length, offset)
    os.posix_fadvise(descriptor, offset, len(content), os.POSIX_FADV_DONTNEED)
    return content


class FileReader:
    """An open file, read at offsets (`Readable`).

    A read of cached pages costs no thread hop. Only one that needs the disk goes to a thread.
    """

    def __init__(self, descriptor: int, size: int, executor: Executor) -> None:
        self._descriptor = descriptor
        self._executor = executor
        self.size = size

    def status(self) -> os.stat_result:
        """Of the file, now."""
        return os.fstat(self._descriptor)

    def close(self) -> None:
        """Close the file."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def try_read(self, offset: int, length: int) -> bytes | None:
        """What is in the page cache at `offset`."""
        if _NOWAIT is None:
            return None
        buffer = bytearray(length)
        try:
            count = os.preadv(self._descriptor, [buffer], offset, _NOWAIT)
        except OSError:
            # EAGAIN: not cached. EOPNOTSUPP: a file system without it. The other way tells.
            return None
        if count == length:
            return buffer  # type: ignore[return-value]  # a bytes-like that nobody changes
        return bytes(memoryview(buffer)[:count]) if count else None

    def try_send(self, to: int, offset: int, length: int) -> int:
        """Give the kernel what is in the page cache for a socket; how much it took.

        Both ends are looked at, and the kernel reads ahead between them: to be sure of each
        page would cost as much as to copy it.

        Raises:
            BlockingIOError: the socket takes nothing right now.
            ConnectionError: the peer has left.
        """
        if _NOWAIT is None or not self._is_cached(offset, offset + length - 1):
            return 0
        try:
            return os.sendfile(to, self._descriptor, offset, length)
        except (BlockingIOError, ConnectionError):
            raise
        except OSError:
            return 0  # the file system cannot do it

    def _is_cached(self, *offsets: int) -> bool:
        probe = bytearray(1)
        try:
            return all(os.preadv(self._descriptor, [probe], at, _NOWAIT or 0) for at in offsets)
        except OSError:
            return False

    async def read(self, offset: int, length: int) -> bytes:
        """What is at `offset`; empty at the end of the file."""
        cached = self.try_read(offset, length)
        if cached is not None:
            return cached
        try:
            # A descriptor of its own: should the reader be closed while the thread reads,
            # the number could belong to another file by then.
            duplicate = os.dup(self._descriptor)
            reading = self._executor.submit(os.pread, duplicate, length, offset)
            # Also when it is cancelled before any thread has begun it.
            reading.add_done_callback(lambda _: os.close(duplicate))
            return await asyncio.wrap_future(reading)
        except OSError as error:
            if self._descriptor >= 0:
                doubt(self._descriptor)
            raise StorageError(f"the disk could not be read: {error.strerror}") from error
