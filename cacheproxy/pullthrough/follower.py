"""One reader of a fill."""

import asyncio
from contextlib import ExitStack

from cacheproxy.domain.errors import StorageError
from cacheproxy.inprocess.tasks import Tasks
from cacheproxy.ports import Readable
from cacheproxy.pullthrough.fill import Fill
from cacheproxy.pullthrough.relay import Relay

_REHASH_STEP = 1024 * 1024


class Follower:
    """Reads the growing file (`Readable`); when the disk refuses it, goes on without it."""

    def __init__(self, fill: Fill, file: Readable, tasks: Tasks) -> None:
        self._fill = fill
        self._file = file
        self._tasks = tasks
        self._relay: Relay | None = None
        self._attention = ExitStack()
        self._attention.enter_context(fill.attended())

    def close(self) -> None:
        """Stop reading; the fill goes on."""
        self._attention.close()
        self._file.close()
        if self._relay is not None:
            self._relay.close()

    def try_read(self, offset: int, length: int) -> bytes | None:
        """What is readable already, and in memory."""
        if self._relay is not None:
            return self._relay.try_read(offset, length)
        length = min(length, self._fill.state.readable - offset)
        return self._file.try_read(offset, length) if length > 0 else None

    def try_send(self, to: int, offset: int, length: int) -> int:
        """Give a socket what is readable already, and in memory."""
        if self._relay is not None:
            return 0
        length = min(length, self._fill.state.readable - offset)
        return self._file.try_send(to, offset, length) if length > 0 else 0

    async def read(self, offset: int, length: int) -> bytes:
        """What is at `offset`, once it is there; empty at the end of a verified blob."""
        if self._relay is not None:
            return await self._relay.read(offset, length)
        try:
            readable = await self._fill.readable_beyond(offset)
        except StorageError:
            return await self._without_disk(offset, length)
        if readable <= offset:
            return b""
        return await self._file.read(offset, min(length, readable - offset))

    async def _without_disk(self, offset: int, length: int) -> bytes:
        """Go on from upstream: a full disk is not the client's error.

        What this reader has passed on is hashed again, from the file that it still has open,
        so that the end is held back here too until the whole is verified.
        """
        origin = self._fill.origin
        hasher, done = origin.digest.hasher(), 0
        while done < offset:
            chunk = await self._file.read(done, min(_REHASH_STEP, offset - done))
            if not chunk:
                raise StorageError("what was passed on can no longer be read")
            await asyncio.to_thread(hasher.update, chunk)
            done += len(chunk)
        self._relay = Relay(origin, offset, self._fill.state.size, hasher, self._tasks)
        return await self._relay.read(offset, length)
