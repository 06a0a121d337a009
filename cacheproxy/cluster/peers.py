"""Asking other replicas for blobs (`Peers`)."""

import asyncio
import socket
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Literal

import aiohttp
from yarl import URL

from cacheproxy.cluster.signature import sign
from cacheproxy.cluster_ports import Part, ReplicaBusy
from cacheproxy.domain.digest import Digest
from cacheproxy.domain.errors import BlobUnknown, Denied, UpstreamLimited, UpstreamUnavailable
from cacheproxy.domain.events import PeerReceived
from cacheproxy.domain.peer import ASKER, PATH, READERS, SIZE, START, WAITING
from cacheproxy.inprocess.failures import explain_failure
from cacheproxy.ports import BlobStream, Clock, Observer

_READ_BUFFER = 512 * 1024
# A machine that has vanished says nothing: its kernel is asked after so many seconds without
# a byte, and has so many chances to answer. One that is only slow does.
_PROBES = {"TCP_KEEPIDLE": 1, "TCP_KEEPINTVL": 1, "TCP_KEEPCNT": 3, "TCP_USER_TIMEOUT": 4000}
_SILENT_SECONDS = 3.0


@dataclass(frozen=True, slots=True)
class Patience:
    """How long another replica is waited for, in seconds.

    Attributes:
        connect: until a connection stands; one that is gone costs so much.
        answer: until it begins to answer; one that has nothing to give says so well before.
        idle: without a byte.
        look: without a byte, until it is asked whether the replica is still there.
    """

    connect: float
    answer: float = 3.0
    idle: float = 30.0
    look: float = 2.0


class HttpPeers:
    """Other replicas, over HTTP."""

    def __init__(
        self,
        secret: bytes,
        observer: Observer,
        clock: Clock,
        patience: Patience,
        is_there: Callable[[str], bool],
        me: str,
    ) -> None:
        """Open no connection yet.

        Args:
            secret: that the replicas share.
            observer: is told of bytes.
            clock: of this machine.
            patience: how long to wait.
            is_there: whether a replica, by its address, has been heard of lately.
            me: the address that others ask this replica at.
        """
        self._me = me
        self._secret = secret
        self._observer = observer
        self._clock = clock
        self._patience = patience
        self._is_there = is_there
        # Replicas that did not answer in time, and until when nobody waits for them again.
        self._silent: dict[str, float] = {}
        self._session = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(
                total=None, sock_connect=patience.connect, sock_read=patience.idle
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            connector=aiohttp.TCPConnector(limit=0, socket_factory=_probing),
            read_bufsize=_READ_BUFFER,
        )

    async def close(self) -> None:
        """Close all connections."""
        await self._session.close()

    @asynccontextmanager
    async def get_blob(self, address: str, part: Part) -> AsyncIterator[BlobStream]:
        """Begin to fetch a blob's bytes from a replica, which may still be getting them itself.

        Raises:
            BlobUnknown: it does not have it.
            Denied: it does not know us.
            ReplicaBusy: it serves as many as it may.
            UpstreamLimited: it has failed to get the blob itself.
            UpstreamUnavailable: it cannot be reached, or does not answer in time.
        """
        url = URL.build(scheme="http", authority=address, path=PATH + part.digest)
        response = await self._answer(address, url.with_query(_query(part)), part.digest)
        try:
            _check(response, address)
            is_there = partial(self._is_there, address)
            yield _PeerStream(response, self._observer, self._patience.look, is_there)
        finally:
            response.close()

    async def _answer(self, address: str, url: URL, digest: Digest) -> aiohttp.ClientResponse:
        if self._silent.get(address, 0.0) > self._clock.monotonic():
            raise UpstreamUnavailable(f"replica {address} did not answer a moment ago")
        headers = {
            "Authorization": sign(self._secret, digest, self._clock.now()),
            ASKER: self._me,
        }
        try:
            async with asyncio.timeout(self._patience.answer):
                return await self._session.get(url, headers=headers, allow_redirects=False)
        except TimeoutError as error:
            self._silent[address] = self._clock.monotonic() + _SILENT_SECONDS
            raise UpstreamUnavailable(f"replica {address} does not answer") from error
        except (aiohttp.ClientError, OSError) as error:
            what = explain_failure(error).what
            raise UpstreamUnavailable(f"replica {address}: {what}") from error


def _query(part: Part) -> dict[str, str]:
    query = {"start": str(part.start)}
    if part.stop is not None:
        query["stop"] = str(part.stop)
    if part.is_ahead:
        query["ahead"] = "1"
    return query


def _check(response: aiohttp.ClientResponse, address: str) -> None:
    match response.status:
        case 200:
            return
        case 404:
            raise BlobUnknown(f"replica {address} does not have it")
        case 401:
            raise Denied(f"replica {address} does not know us")
        case 503:
            readers = response.headers.get(READERS, "")
            raise ReplicaBusy(
                f"replica {address} is busy",
                [reader for reader in readers.split(",") if reader],
                is_waiting=WAITING in response.headers,
            )
        case status:
            raise UpstreamLimited(f"replica {address} answered {status}", 0.1)


def _probing(found: aiohttp.AddrInfoType) -> socket.socket:
    """A socket whose other end is asked whether it is still there."""
    family, kind, protocol, *_ = found
    made = socket.socket(family, kind, protocol)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _PROBES.items():
        made.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
    return made


class _PeerStream:
    """A blob coming in from another replica (`BlobStream`)."""

    source: Literal["peer"] = "peer"

    def __init__(
        self,
        response: aiohttp.ClientResponse,
        observer: Observer,
        look: float,
        is_there: Callable[[], bool],
    ) -> None:
        self._response = response
        self._observer = observer
        self._look = look
        self._is_there = is_there
        try:
            self.start = int(response.headers[START])
            self.size = int(response.headers[SIZE]) if SIZE in response.headers else None
        except (KeyError, ValueError) as error:
            raise UpstreamUnavailable("a replica's answer is not understood") from error

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        """The bytes as they come."""
        try:
            while chunk := await self._next():
                self._observer.observe(PeerReceived(len(chunk)))
                yield chunk
        except (aiohttp.ClientError, OSError) as error:
            raise UpstreamUnavailable("a replica broke off") from error

    async def _next(self) -> bytes:
        """What comes next; empty at the end.

        Raises:
            OSError: nothing comes, and the replica is gone.
        """
        while True:
            try:
                async with asyncio.timeout(self._look):
                    return await self._response.content.readany()
            except aiohttp.ServerTimeoutError:
                raise
            except TimeoutError:
                if not self._is_there():
                    raise
