"""The guard against clients that stop reading."""

import asyncio
import socket
import struct
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from aiohttp import web
from typing_extensions import override

# Of Linux's `struct tcp_info`: tcpi_unacked, tcpi_bytes_acked and tcpi_notsent_bytes.
_TCP_INFO = struct.Struct("=24xI92xQ16xI")
# `struct linger`: to close is to drop what was not sent, and to reset.
_RESET = struct.pack("ii", 1, 0)
# The guard looks this often within a timeout, so it is late by a quarter of it at most.
_LOOKS = 4


@dataclass(slots=True)
class _Watched:
    """A connection, and since when its client has taken nothing.

    Attributes:
        transport: of the connection.
        stalled_at: the bytes that the client had acknowledged at the last look; None if nothing
            was on its way to the client then.
        since: the time of the first look that found them.
    """

    transport: asyncio.Transport
    stalled_at: int | None = None
    since: float = 0.0


class StallGuard:
    """Cuts the connections of clients that take no byte for a while.

    The kernel counts the bytes that a client has acknowledged, so one look covers whatever was
    written: heads, bodies and errors, through TLS or from the page cache, also on a connection
    that closes once its buffer is empty. Nothing to send is no stall, so neither waiting for
    upstream nor an idle connection ends by it. One timer serves all connections, and no request
    sets another.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._watched: dict[web.RequestHandler, _Watched] = {}
        self._timer: asyncio.TimerHandle | None = None

    def watch(self, connection: web.RequestHandler, transport: asyncio.Transport) -> None:
        """Guard a connection until `forget`."""
        self._watched[connection] = _Watched(transport)
        if self._timer is None:
            self._schedule()

    def forget(self, connection: web.RequestHandler) -> None:
        """Stop guarding a connection that has ended."""
        self._watched.pop(connection, None)

    def _schedule(self) -> None:
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(self._seconds / _LOOKS, self._look)

    def _look(self) -> None:
        self._timer = None
        now = asyncio.get_running_loop().time()
        for watched in self._watched.values():
            stalled_at = _acknowledged(watched.transport)
            if stalled_at is None or stalled_at != watched.stalled_at:
                watched.stalled_at, watched.since = stalled_at, now
            elif now - watched.since >= self._seconds:
                _cut(watched.transport)
        if self._watched:
            self._schedule()


class GuardedServer(web.Server):
    """A server that cuts the connections of clients that stop reading."""

    def __init__(
        self,
        handler: Any,  # noqa: ANN401  # aiohttp does not export the type
        *,
        write_timeout: float,
        **options: Any,  # noqa: ANN401  # aiohttp's own
    ) -> None:
        """Serve nobody yet.

        Args:
            handler: answers requests.
            write_timeout: seconds after which a client that takes no byte is cut.
            options: of aiohttp's server.
        """
        super().__init__(handler, **options)
        self._guard = StallGuard(write_timeout)

    @override
    def connection_made(self, handler: web.RequestHandler, transport: asyncio.Transport) -> None:
        """Guard the connection."""
        super().connection_made(handler, transport)
        self._guard.watch(handler, transport)

    @override
    def connection_lost(
        self, handler: web.RequestHandler, exc: BaseException | None = None
    ) -> None:
        """Guard the connection no more."""
        self._guard.forget(handler)
        super().connection_lost(handler, exc)


class GuardedAppRunner(web.AppRunner):
    """A runner whose application is served by a `GuardedServer`."""

    def __init__(self, app: web.Application, *, shutdown_timeout: float, **options: Any) -> None:  # noqa: ANN401  # aiohttp's own
        super().__init__(app, shutdown_timeout=shutdown_timeout)
        self._options = options

    @override
    async def _make_server(self) -> web.Server:
        made = await super()._make_server()
        handler, factory = made.request_handler, made.request_factory
        return GuardedServer(handler, request_factory=factory, **self._options)


def _cut(transport: asyncio.Transport) -> None:
    """Reset the connection: the kernel would offer a closed one's bytes for minutes to come."""
    tcp = transport.get_extra_info("socket")
    with suppress(OSError):
        tcp.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    transport.abort()


def _acknowledged(transport: asyncio.Transport) -> int | None:
    """Return how many bytes the client has acknowledged; None if it has all that was sent."""
    tcp = transport.get_extra_info("socket")
    try:
        info = tcp.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO.size)
    except OSError:
        return None  # not TCP, or closed already
    unacknowledged, acknowledged, unsent = _TCP_INFO.unpack(info)
    return acknowledged if unacknowledged or unsent else None
