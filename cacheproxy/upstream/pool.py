"""Connections to one upstream: how many there are, and how long their requests may take."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from types import SimpleNamespace

import aiohttp

from cacheproxy.domain.errors import ConnectionsBusy
from cacheproxy.inprocess.deadline import within
from cacheproxy.upstream.config import UpstreamConfig

# Signed URLs and tokens are long; aiohttp's 8 KiB are too few for both.
_FIELD_SIZE = 32 * 1024
_READ_BUFFER = 512 * 1024


class ConnectionPool:
    """Connections for requests of one kind, handed out in the order in which they are wanted.

    A request owns a connection before it is sent, so its wait for one counts for none of its
    deadlines, and nothing that upstream is blamed for happens before.
    """

    def __init__(self, config: UpstreamConfig, *, total: float | None, patience: float) -> None:
        """Begin without connections.

        Args:
            config: of the upstream.
            total: seconds for a request with its whole response; None for as long as it takes.
            patience: seconds to wait for a connection.
        """
        self._config = config
        self._patience = patience
        self._free = asyncio.Semaphore(config.max_connections)
        self._session = _make_session(config, total)

    async def close(self) -> None:
        """Close all connections."""
        await self._session.close()

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[aiohttp.ClientSession]:
        """Own a connection within this context, for one request at a time.

        Raises:
            ConnectionsBusy: none became free in time.
        """
        try:
            await within(self._patience, self._free.acquire())
        except TimeoutError as error:
            count, place = self._config.max_connections, self._config.place
            raise ConnectionsBusy(
                f"all {count} connections to {place} were in use for {self._patience:g} s"
            ) from error
        try:
            yield self._session
        finally:
            self._free.release()


def _make_session(config: UpstreamConfig, total: float | None) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(
            limit=0,  # the pool counts them, before aiohttp's deadlines begin
            ssl=config.tls,
            socket_factory=_sockets(config.connect_timeout),
        ),
        timeout=aiohttp.ClientTimeout(
            total=total, sock_connect=config.connect_timeout, sock_read=config.idle_timeout
        ),
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        trace_configs=[_give_up_early(config)],
        requote_redirect_url=False,
        read_bufsize=_READ_BUFFER,
        max_field_size=_FIELD_SIZE,
        max_line_size=_FIELD_SIZE,
    )


def _give_up_early(config: UpstreamConfig) -> aiohttp.TraceConfig:
    """End the deadline of a request that found out late that its connection was dead.

    aiohttp then takes another connection. If the first took as long as to connect does, it is
    too late for that.
    """

    async def check(_: aiohttp.ClientSession, context: SimpleNamespace, __: object) -> None:
        deadline = context.trace_request_ctx
        if isinstance(deadline, asyncio.Timeout) and (ends := deadline.when()) is not None:
            now = asyncio.get_running_loop().time()
            if now - (ends - config.answer_timeout) > config.connect_timeout / 2:
                deadline.reschedule(now)

    trace = aiohttp.TraceConfig()
    trace.on_connection_create_start.append(check)
    trace.on_connection_reuseconn.append(check)
    return trace


def _sockets(seconds: float) -> Callable[[aiohttp.AddrInfoType], socket.socket]:
    """Sockets that give up if what they send is not even received for so long.

    A connection that was kept says nothing of whether there still is a way: without this, a
    request by one is waited for as long as a slow answer is.
    """

    def make(address: aiohttp.AddrInfoType) -> socket.socket:
        family, kind, protocol, _, _ = address
        made = socket.socket(family, kind, protocol)
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            milliseconds = max(1, round(seconds * 1000))
            made.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, milliseconds)
        return made

    return make
