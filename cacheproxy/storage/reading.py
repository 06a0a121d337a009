"""Reading files on the event loop without ever waiting for the disk on it."""

import asyncio
import os
from concurrent.futures import Executor

from cacheproxy.domain.errors import StorageError

# Where the kernel has it, a read that would wait for the disk says so instead of waiting.
_NOWAIT = getattr(os, "RWF_NOWAIT", None)


# O_NONBLOCK: somebody may have put a FIFO there, and opening one waits for its writer.
READ_ONLY = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK


class FileReader:
    """An open file, read at offsets (`Readable`).

    A read of cached pages costs no thread hop. Only one that needs the disk goes to a thread.
    """

    def __init__(self, descriptor: int, size: int, executor: Executor) -> None:
        self._descriptor = descriptor
        self._executor = executor
        self.size = size

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
            raise StorageError(f"the disk could not be read: {error.strerror}") from error
