"""Sending a blob's bytes to a client, at the client's speed."""

import asyncio
import os
from typing import Self

from aiohttp import web

from cacheproxy.domain.errors import StorageError, UpstreamTimeout
from cacheproxy.ports import Readable

# Large enough that a chunk's cost is its bytes, small enough to keep no client's memory large.
CHUNK = 1024 * 1024
# What goes by way of this process where the shortcut is closed for a moment: more than aiohttp
# writes without waiting for it to leave.
_SMALL = 128 * 1024


class StallGuard:
    """Cuts the connection of a client that takes no byte for a while.

    aiohttp has no limit for that, and a stalled client would hold its file for ever. Waiting
    for upstream is no stall: then there is nothing that the client could take.
    """

    def __init__(self, transport: asyncio.Transport | None, seconds: float) -> None:
        self.transport = transport
        self.seconds = seconds
        self._written = 0
        self._taken = 0
        self._wrote_at = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def __enter__(self) -> Self:
        self._again()
        return self

    def __exit__(self, *_: object) -> None:
        if self._timer is not None:
            self._timer.cancel()

    @property
    def written(self) -> int:
        """Bytes given to the connection."""
        return self._written

    def writes(self, count: int) -> None:
        """Say that so many bytes are about to be written."""
        self._written += count
        self._wrote_at = asyncio.get_running_loop().time()

    def _again(self) -> None:
        if self.transport is not None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(self.seconds, self._look)

    def _look(self) -> None:
        if self.transport is None or self.transport.is_closing():
            return
        waiting = self.transport.get_write_buffer_size()
        taken = self._written - waiting
        since = asyncio.get_running_loop().time() - self._wrote_at
        if waiting > 0 and taken == self._taken and since >= self.seconds:
            self.transport.abort()
            return
        self._taken = taken
        self._again()


class Shortcut:
    """From the page cache to the client past this process, where no TLS and no framing is between.

    It is open while everything that was written has left. A client that takes nothing right
    now is waited for, as long as any: the guard does not see this wait, since nothing of ours
    is in a buffer then.
    """

    def __init__(self, guard: StallGuard, content: "Patient", stop: int | None) -> None:
        transport = guard.transport
        self._content = content
        self._seconds = guard.seconds
        self._transport: asyncio.Transport | None = None
        self.chunk = CHUNK
        plain = transport is not None and transport.get_extra_info("sslcontext") is None
        if transport is not None and plain and stop is not None:
            self._transport = transport
            self.chunk = _SMALL
            transport.set_write_buffer_limits(high=0)

    async def send(self, offset: int, length: int) -> int:
        """Send up to `length` bytes from `offset`; how many, 0 where it is closed.

        Raises:
            ConnectionError: the client has left, or has taken nothing for too long.
        """
        transport = self._transport
        if transport is None or transport.is_closing() or transport.get_write_buffer_size():
            return 0
        descriptor: int = transport.get_extra_info("socket").fileno()
        try:
            return self._content.try_send(descriptor, offset, length)
        except BlockingIOError:
            pass
        try:
            async with asyncio.timeout(self._seconds):
                await _writable(descriptor)
        except TimeoutError:
            transport.abort()
            raise ConnectionAbortedError("the client takes nothing") from None
        return await self.send(offset, length)


async def _writable(descriptor: int) -> None:
    """Wait until a socket takes something.

    By a duplicate, since the descriptor itself is the transport's to watch.
    """
    loop = asyncio.get_running_loop()
    duplicate = os.dup(descriptor)
    ready = asyncio.Event()
    loop.add_writer(duplicate, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_writer(duplicate)
        os.close(duplicate)


class Patient:
    """Content that is waited for, but not for ever."""

    def __init__(self, content: Readable, seconds: float) -> None:
        self._content = content
        self._seconds = seconds
        self.try_read = content.try_read
        self.try_send = content.try_send

    async def read(self, offset: int, length: int) -> bytes:
        """Up to `length` bytes from `offset`; empty at the end.

        Raises:
            UpstreamTimeout: none came in time.
        """
        try:
            async with asyncio.timeout(self._seconds):
                return await self._content.read(offset, length)
        except TimeoutError as error:
            raise UpstreamTimeout(f"no byte came for {self._seconds:g} seconds") from error


async def send(
    response: web.StreamResponse,
    guard: StallGuard,
    content: Patient,
    start: int,
    stop: int | None,
) -> None:
    """Write bytes `start` up to `stop`; without a `stop`, up to the end.

    Raises:
        CacheproxyError: the bytes will never come. The response cannot be ended then.
        ConnectionError: the client has left.
    """
    offset, shortcut = start, Shortcut(guard, content, stop)
    while stop is None or offset < stop:
        length = CHUNK if stop is None else min(CHUNK, stop - offset)
        if offset > start and (sent := await shortcut.send(offset, length)):
            guard.writes(sent)
            offset += sent
            await asyncio.sleep(0)  # for the others: this one may never have to wait
            continue
        length = min(length, shortcut.chunk)
        chunk = content.try_read(offset, length) or await content.read(offset, length)
        if not chunk:
            if stop is not None:
                raise StorageError(f"the blob ended at {offset}, before {stop}")
            return
        guard.writes(len(chunk))
        await response.write(chunk)
        offset += len(chunk)
