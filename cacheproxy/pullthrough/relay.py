"""Straight from upstream to one client, past the disk: when that is full, or far behind."""

import asyncio
from contextlib import aclosing

from cacheproxy.domain.digest import Hasher
from cacheproxy.domain.errors import CacheproxyError, DigestMismatch, UpstreamUnavailable
from cacheproxy.domain.fill_state import HOLD_BACK
from cacheproxy.inprocess.tasks import Tasks
from cacheproxy.pullthrough.origin import Origin

# Chunks that may wait for the client; upstream waits when there are more.
_QUEUED = 4


class Relay:
    """One reader's own stream (`Readable`), read in order from where it starts.

    With a hash of everything before its start it holds back its end until the digest is
    verified, as a fill does. A part that starts in the middle cannot be verified by anyone;
    but then it is never a whole blob either.
    """

    def __init__(
        self, origin: Origin, start: int, stop: int | None, hasher: Hasher | None, tasks: Tasks
    ) -> None:
        self._origin = origin
        self._position = start
        self._stop = stop
        self._hasher = hasher
        self._rest = b""
        self._chunks: asyncio.Queue[bytes | CacheproxyError] = asyncio.Queue(_QUEUED)
        self._size: asyncio.Future[int | None] = asyncio.get_running_loop().create_future()
        self._task = tasks.start(self._run(start), f"relay {origin.digest}")

    async def open(self) -> int | None:
        """Wait until upstream has answered; the blob's size where it says so.

        Raises:
            CacheproxyError: it could not be had.
        """
        return await asyncio.shield(self._size)

    def close(self) -> None:
        """Hang up on upstream."""
        self._task.cancel()
        if self._size.done() and not self._size.cancelled():
            self._size.exception()  # seen, though nobody may have waited for it

    def try_read(self, offset: int, length: int) -> bytes | None:
        """What came and was not read yet."""
        if offset != self._position or not self._rest:
            return None
        chunk, self._rest = self._rest[:length], self._rest[length:]
        self._position += len(chunk)
        return chunk

    def try_send(self, to: int, offset: int, length: int) -> int:  # noqa: ARG002  # nothing is on disk
        """None: it is on no disk."""
        return 0

    async def read(self, offset: int, length: int) -> bytes:
        """What comes next; empty at the end."""
        if offset != self._position:
            raise AssertionError("a relay is read in order")
        if not self._rest:
            came = await self._chunks.get()
            if isinstance(came, CacheproxyError):
                raise came
            self._rest = came
        return self.try_read(offset, length) or b""

    async def _run(self, start: int) -> None:
        try:
            await self._pump(start)
            await self._chunks.put(b"")
        except CacheproxyError as error:
            if not self._size.done():
                self._size.set_exception(error)
            await self._chunks.put(error)
        finally:
            if not self._size.done():
                self._size.set_exception(UpstreamUnavailable("the relay was given up"))
                self._size.exception()

    async def _pump(self, start: int) -> None:
        origin = self._origin
        async with origin.upstream.get_blob(
            origin.repository, origin.digest, start, self._stop
        ) as stream:
            self._size.set_result(origin.size if origin.size is not None else stream.size)
            held, skip = b"", start - stream.start
            async with aclosing(stream.chunks()) as chunks:
                async for received in chunks:
                    chunk, skip = received[skip:], max(0, skip - len(received))
                    held = await self._pass_on(held + chunk if held else chunk)
        await self._end(held)

    async def _pass_on(self, chunk: bytes) -> bytes:
        """Pass on what may go; what may not yet comes back."""
        keep = HOLD_BACK if self._hasher is not None else 0
        ready, held = (chunk[:-keep], chunk[-keep:]) if keep else (chunk, b"")
        if ready:
            if self._hasher is not None:
                self._hasher.update(ready)
            await self._chunks.put(ready)
        return held

    async def _end(self, held: bytes) -> None:
        if self._hasher is not None:
            self._hasher.update(held)
            if self._hasher.hexdigest() != self._origin.digest.encoded:
                raise DigestMismatch(f"upstream sent bytes that are not {self._origin.digest}")
        if held:
            await self._chunks.put(held)
