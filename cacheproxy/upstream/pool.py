"""Connections to one upstream: how many there are, and how long their requests may take."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from types import SimpleNamespace

import aiohttp
from yarl import URL

from cacheproxy.domain.errors import ConnectionsBusy
from cacheproxy.inprocess.deadline import within
from cacheproxy.upstream.config import UpstreamConfig

# Signed URLs and tokens are long; aiohttp's 8 KiB are too few for both.
_FIELD_SIZE = 32 * 1024
_READ_BUFFER = 512 * 1024
_HEADERS = {
    # Ours must be the bytes that the digest names, whatever a server would like to compress.
    "Accept-Encoding": "identity",
    "User-Agent": "cacheproxy",
}


@dataclass(slots=True)
class ConnectionTrace:
    """The connections of one request.

    Attributes:
        deadline: of the response's head; None if the request has another one.
        is_reused: whether the last connection was kept from an earlier request.
    """

    deadline: asyncio.Timeout | None = None
    is_reused: bool = False


async def send_request(
    session: aiohttp.ClientSession,
    config: UpstreamConfig,
    method: str,
    url: URL,
    headers: Mapping[str, str],
    deadline: asyncio.Timeout | None = None,
) -> aiohttp.ClientResponse:
    """Send a GET or a HEAD, and return the response, or the redirect.

    A server may have closed a kept connection without a word. The request is sent again then, by
    the next connection, as RFC 9112 §9.3.1 allows for methods that change nothing: aiohttp does
    so once, but its next connection may be dead as well.

    Args:
        session: of a connection pool.
        config: of the upstream on whose behalf the request is sent.
        method: of the request.
        url: of the request.
        headers: beside those of all requests.
        deadline: of the response's head.
    """
    trace = ConnectionTrace(deadline)
    dead = 0
    while True:
        try:
            return await session.request(
                method,
                url,
                headers={**_HEADERS, **headers},
                allow_redirects=False,
                proxy=config.proxy,
                ssl=config.tls_for(url),
                trace_request_ctx=trace,
            )
        except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError):
            dead += 1
            if not trace.is_reused or dead > config.max_connections:
                raise


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
        trace_configs=[_trace(config)],
        requote_redirect_url=False,
        read_bufsize=_READ_BUFFER,
        max_field_size=_FIELD_SIZE,
        max_line_size=_FIELD_SIZE,
    )


def _trace(config: UpstreamConfig) -> aiohttp.TraceConfig:
    """Note which connection a request takes, and end the deadline of one that is too late.

    A request that finds its connection dead takes another one. If the first took as long as to
    connect does, it is too late for that.
    """

    def take(trace: ConnectionTrace, *, is_reused: bool) -> None:
        trace.is_reused = is_reused
        if trace.deadline is not None and (ends := trace.deadline.when()) is not None:
            now = asyncio.get_running_loop().time()
            if now - (ends - config.answer_timeout) > config.connect_timeout / 2:
                trace.deadline.reschedule(now)

    async def create(_: aiohttp.ClientSession, context: SimpleNamespace, __: object) -> None:
        take(context.trace_request_ctx, is_reused=False)

    async def reuse(_: aiohttp.ClientSession, context: SimpleNamespace, __: object) -> None:
        take(context.trace_request_ctx, is_reused=True)

    trace = aiohttp.TraceConfig()
    trace.on_connection_create_start.append(create)
    trace.on_connection_reuseconn.append(reuse)
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
