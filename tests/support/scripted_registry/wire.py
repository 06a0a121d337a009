"""One connection, written to below HTTP, so that an answer can break its rules."""

import asyncio
import fcntl
import socket
import struct
import termios
from collections.abc import Callable

from aiohttp import web
from aiohttp.http import StreamWriter

PIECE = 64 * 1024  # bytes that are given to the kernel at once
_LINGER_ZERO = struct.pack("ii", 1, 0)
_POLL = 0.001  # seconds


class Wire:
    """Writes raw bytes; each write returns when the kernel has taken them all.

    Under TLS it is the TLS layer that has taken them.

    Raises:
        ConnectionResetError: from any method but `close`: the client is gone.
    """

    def __init__(self, request: web.BaseRequest) -> None:
        if request.transport is None:
            raise ConnectionResetError("the client left before its request was read")
        self._transport: asyncio.Transport = request.transport
        self._writer = StreamWriter(request.protocol, asyncio.get_running_loop())
        # 1 and 0 rather than 0 and 0: with those, asyncio's TLS pauses a writer for good.
        self._transport.set_write_buffer_limits(high=1, low=0)

    async def write(self, data: bytes) -> None:
        """Sends bytes."""
        await self._writer.write(data, drain=False)
        await self._writer.drain()

    async def write_counted(
        self, piece: bytes, count: Callable[[int], None], *, frame: tuple[bytes, bytes] = (b"", b"")
    ) -> None:
        """Sends a piece of a body within its frame; `count` hears of its bytes as they leave."""
        before, behind = frame
        await self._writer.write(before + piece + behind, drain=False)
        waiting = self._transport.get_write_buffer_size() - len(behind)
        left = min(max(waiting, 0), len(piece))
        count(len(piece) - left)
        await self._writer.drain()
        count(left)

    def close(self) -> None:
        """Ends the connection with a FIN."""
        self._transport.close()

    async def reset(self) -> None:
        """Ends the connection with an RST, after the peer's kernel has acknowledged all bytes.

        Without that wait the RST would overtake them: the kernel throws away what it has not sent.
        """
        connection: socket.socket = self._transport.get_extra_info("socket")
        while _unacknowledged(connection):  # noqa: ASYNC110 the kernel has no event for it
            await asyncio.sleep(_POLL)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_ZERO)
        self._transport.abort()


def _unacknowledged(connection: socket.socket) -> int:
    """Bytes in the send queue that the peer has not acknowledged."""
    buffer = fcntl.ioctl(connection.fileno(), termios.TIOCOUTQ, bytes(4))
    waiting: int = struct.unpack("i", buffer)[0]
    return waiting
