"""Clients that take their time, and clients that take nothing any more."""

import asyncio
import hashlib
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from urllib.parse import urlsplit

import pytest

from cacheproxy.domain.events import Responded
from tests.integration.fills import until
from tests.support.hasty import HastyProxy, Wanted, hasty_proxy
from tests.support.scripted_registry import ScriptedRegistry

BODY = Random(5).randbytes(12_000_000)
DIGEST = "sha256:" + hashlib.sha256(BODY).hexdigest()
PATH = f"/v2/app/blobs/{DIGEST}"
# Small, so that the proxy's side is full after a little.
_BUFFER = 16_384


@asynccontextmanager
async def _warm(tmp_path: Path, write_timeout: float) -> AsyncIterator[HastyProxy]:
    wanted = Wanted(server={"write_timeout": write_timeout})
    async with ScriptedRegistry() as hub:
        hub.add_blob("library/app", BODY)
        async with hasty_proxy({"docker.io": hub}, tmp_path, wanted) as proxy:
            assert await proxy.body(PATH) == BODY
            await until(lambda: len(proxy.events.of(Responded)) == 1)
            yield proxy


@asynccontextmanager
async def _asking(proxy: HastyProxy) -> AsyncIterator[socket.socket]:
    """A client with a small buffer that has asked for the blob."""
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
    client.setblocking(False)
    where = urlsplit(proxy.url)
    loop = asyncio.get_running_loop()
    with client:
        await loop.sock_connect(client, (where.hostname, where.port))
        request = f"GET {PATH} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
        await loop.sock_sendall(client, request.encode())
        yield client


@pytest.mark.parametrize("pause", [0.0, 0.001])
async def test_a_slow_client_gets_all_of_it(tmp_path: Path, pause: float) -> None:
    """However slowly a client reads, it gets the blob, and is not taken for one that stalls."""
    # With so small a buffer packets are dropped, and come again after 0.2 s, or 0.4 s.
    async with _warm(tmp_path, write_timeout=1.0) as proxy, _asking(proxy) as client:
        received = bytearray()
        while chunk := await asyncio.get_running_loop().sock_recv(client, 65_536):
            received += chunk
            await asyncio.sleep(pause)
        assert received.partition(b"\r\n\r\n")[2] == BODY
        await until(lambda: len(proxy.events.of(Responded)) == 2)
        ended = proxy.events.of(Responded)[-1]
        assert (ended.status, ended.body_bytes, ended.error) == (200, len(BODY), None)


async def test_a_client_that_takes_nothing_is_cut(tmp_path: Path) -> None:
    """After `write_timeout` without a byte taken the connection ends, and all it held is free."""
    async with _warm(tmp_path, write_timeout=0.1) as proxy, _asking(proxy) as client:
        await until(lambda: len(proxy.events.of(Responded)) == 2)
        ended = proxy.events.of(Responded)[-1]
        assert ended.error == "the client left"
        assert 0 < ended.body_bytes < len(BODY)
        assert client.fileno() >= 0, "it had not closed it"


async def test_fast_and_slow_clients_at_once(tmp_path: Path) -> None:
    """Ten clients read at once while another one takes nothing."""
    async with _warm(tmp_path, write_timeout=5.0) as proxy, _asking(proxy):
        bodies = await asyncio.gather(*(proxy.body(PATH) for _ in range(10)))
        assert all(body == BODY for body in bodies)
