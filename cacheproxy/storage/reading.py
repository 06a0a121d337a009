"""Reading files on the event loop without ever waiting for the disk on it."""

import asyncio
import os
from concurrent.futures import Executor

from cacheproxy.domain.errors import StorageError
from cacheproxy.storage.open_file import Identity, OpenFile
from cacheproxy.storage.seal import doubt


class FileReader:
    """A file, read at offsets (`BlobFile`). It owns its handle.

    A read of cached pages costs no thread hop. Only one that needs the disk goes to a thread.
    """

    def __init__(self, file: OpenFile, size: int, executor: Executor) -> None:
        self._file = file
        self._executor = executor
        self.size = size
        self.try_read = file.read_cached
        self.try_send = file.send

    @property
    def identity(self) -> Identity:
        """Device and inode."""
        return self._file.identity

    def status(self) -> os.stat_result:
        """Return the status of the file now."""
        return self._file.status()

    def share(self) -> "FileReader":
        """Return another reader of the same file, with a handle of its own."""
        return FileReader(self._file.share(), self.size, self._executor)

    def close(self) -> None:
        """Close the handle."""
        self._file.close()

    async def read(self, offset: int, length: int) -> bytes:
        """Read up to `length` bytes; empty at the end of the file.

        Raises:
            StorageError: the disk could not be read.
        """
        cached = self._file.read_cached(offset, length)
        if cached is not None:
            return cached
        # The thread has a handle of its own: this reader may be closed while it reads.
        handle = self._file.share()
        reading = self._executor.submit(handle.read, offset, length)
        # Also when it is cancelled before any thread has begun it.
        reading.add_done_callback(lambda _: handle.close())
        try:
            return await asyncio.wrap_future(reading)
        except OSError as error:
            doubt(self._file)
            raise StorageError(f"the disk could not be read: {error.strerror}") from error
