"""Sending a blob's bytes to a client, at the client's speed."""

import asyncio

from aiohttp import web

from cacheproxy.domain.errors import StorageError, UpstreamTimeout
from cacheproxy.ports import Readable

# Large enough that a chunk's cost is its bytes, small enough to keep no client's memory large.
CHUNK = 1024 * 1024
# Copied where the socket takes nothing from the page cache for a moment. aiohttp waits after each
# write of more than 64 KiB until it has left, so this wait is one for the socket.
_SMALL = 68 * 1024


class Patient:
    """Content that is waited for, but not for ever."""

    def __init__(self, content: Readable, seconds: float) -> None:
        self._content = content
        self._seconds = seconds
        self.try_read = content.try_read
        self.try_send = content.try_send

    async def read(self, offset: int, length: int) -> bytes:
        """Return up to `length` bytes from `offset`; empty at the end.

        Raises:
            UpstreamTimeout: none came in time.
        """
        try:
            async with asyncio.timeout(self._seconds):
                return await self._content.read(offset, length)
        except TimeoutError as error:
            raise UpstreamTimeout(f"no byte came for {self._seconds:g} seconds") from error


class BodyWriter:
    """Writes a blob's bytes to one client.

    The kernel sends them from the page cache to a plain socket. Under TLS or chunked encoding,
    and while the socket is full, they are copied through the transport's buffer, which waits
    for the client.

    Attributes:
        written: bytes given to the connection.
    """

    def __init__(
        self, response: web.StreamResponse, transport: asyncio.Transport | None, content: Patient
    ) -> None:
        self.written = 0
        self._response = response
        self._content = content
        self._plain: asyncio.Transport | None = None
        if transport is not None and transport.get_extra_info("sslcontext") is None:
            self._plain = transport

    async def write(self, start: int, stop: int | None) -> None:
        """Write bytes `start` up to `stop`; without a `stop`, up to the end.

        Raises:
            CacheproxyError: the bytes will never come. The response cannot be ended then.
            ConnectionError: the client has left.
        """
        if stop is None:
            while await self._copy(start + self.written, CHUNK):
                pass
            return
        if self._plain is not None:
            # The kernel may send only when everything that was written before has left.
            self._plain.set_write_buffer_limits(high=0)
        while (offset := start + self.written) < stop:
            if await self._send(offset, min(CHUNK, stop - offset)):
                continue
            limit = CHUNK if self._plain is None else _SMALL
            if not await self._copy(offset, min(limit, stop - offset)):
                raise StorageError(f"the blob ended at {offset}, before {stop}")

    async def _send(self, offset: int, length: int) -> int:
        """Have the kernel send from the page cache.

        Return how many bytes it took: 0 if they are not cached, or if the socket is full.
        """
        transport = self._plain
        # The head leaves with the first bytes that are copied.
        if transport is None or self.written == 0:
            return 0
        if transport.is_closing() or transport.get_write_buffer_size():
            return 0
        try:
            to = transport.get_extra_info("socket").fileno()
            count = self._content.try_send(to, offset, length)
        except BlockingIOError:
            return 0
        self.written += count
        await asyncio.sleep(0)  # for other requests: this one may never have to wait
        return count

    async def _copy(self, offset: int, length: int) -> int:
        """Write what is at `offset`; return how many bytes that was, 0 at the end."""
        chunk = self._content.try_read(offset, length) or await self._content.read(offset, length)
        self.written += len(chunk)
        if chunk:
            await self._response.write(chunk)
        return len(chunk)
