"""Clients that ask and then read nothing, on every port and in every part of a response."""

import asyncio
import hashlib
import json
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import trustme
from aiohttp import web

from cacheproxy.bootstrap.clustering import Cluster, listen_for_replicas
from cacheproxy.bootstrap.listening import Listening, bind, listen
from cacheproxy.bootstrap.metadata import Surroundings
from cacheproxy.bootstrap.serving import listen_for_operators
from cacheproxy.domain.events import Responded
from cacheproxy.edge.guard import GuardedServer
from cacheproxy.edge.peers import Limits
from cacheproxy.pullthrough.sharing import Sharing
from cacheproxy.settings import Address
from tests.integration.fills import until
from tests.support.clock import FakeClock, time_the_loop
from tests.support.hasty import Wanted, hasty_proxy
from tests.support.images import OCI_MANIFEST
from tests.support.leaks import settle
from tests.support.scripted_registry import ScriptedRegistry

# Small, so that the connection is full after a little.
_BUFFER = 4096
_CLOSE = "Connection: close\r\n"
_DIGEST = "sha256:" + "0" * 64
# Rounds of the fake clock: the kernel's buffers may fill meanwhile, which takes real time.
_PATIENCE = 100
_DRAIN = 10_000.0

# The kernel's list: local address, state and inode are the columns 1, 3 and 9.
_CONNECTIONS = Path("/proc/net/tcp")
_LISTENS = "0A"

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


@pytest.fixture
async def clock(monkeypatch: pytest.MonkeyPatch) -> FakeClock:
    """Return the clock that the timers of the event loop go by."""
    made = FakeClock()
    time_the_loop(made, monkeypatch)
    return made


@pytest.fixture
def bound() -> socket.socket:
    """Return a socket to listen on whose connections have small buffers."""
    made = bind(Address("127.0.0.1", 0))
    made.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER)
    return made


@asynccontextmanager
async def _asking(
    address: tuple[str, int], request: str, tls: ssl.SSLContext | None = None
) -> AsyncIterator[socket.socket]:
    """A client that sends a request, and then reads nothing."""
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
        with await asyncio.to_thread(_send, client, address, request, tls) as asking:
            yield asking
    await settle()


def _send(
    client: socket.socket, address: tuple[str, int], request: str, tls: ssl.SSLContext | None
) -> socket.socket:
    client.connect(address)
    if tls is not None:
        client = tls.wrap_socket(client, server_hostname=address[0])
    client.sendall(request.encode())
    return client


def _get(path: str, fields: str = "") -> str:
    return f"GET {path} HTTP/1.1\r\nHost: a\r\n{fields}\r\n"


async def _pass(clock: FakeClock, seconds: int) -> None:
    for _ in range(seconds):
        clock.advance(1.0)
        await settle()


async def _assert_cut(bound: socket.socket, clock: FakeClock) -> None:
    """The server keeps its end of the connection for less than its time, and then lets it go."""
    await _pass(clock, 50)
    assert _accepted(bound) == 1
    for _ in range(_PATIENCE):
        await _pass(clock, 50)
        if _accepted(bound) == 0:
            return
    raise AssertionError("the connection is still there")


def _accepted(bound: socket.socket) -> int:
    """Count the connections of a port that a process still has open."""
    rows = [row.split() for row in _CONNECTIONS.read_text().splitlines()[1:]]
    port = f":{bound.getsockname()[1]:04X}"
    return sum(row[1].endswith(port) and row[3] != _LISTENS and row[9] != "0" for row in rows)


async def _serve(stack: AsyncExitStack, on: socket.socket, handler: Handler, **how: Any) -> None:
    listening = Listening(on, **how)
    server = GuardedServer(handler, **listening.options())
    await listen(stack, web.ServerRunner(server, shutdown_timeout=_DRAIN), listening)


async def _large(_: web.BaseRequest) -> web.StreamResponse:
    return web.Response(body=bytes(3_900_000))


async def _small(_: web.BaseRequest) -> web.StreamResponse:
    return web.Response(body=bytes(500))


async def _just_not_sent(_: web.BaseRequest) -> web.StreamResponse:
    """More than the sockets take, and less than a handler waits for."""
    return web.Response(body=bytes(60_000))


async def _hidden_by_tls(_: web.BaseRequest) -> web.StreamResponse:
    """More than both sides buffer, and less than makes TLS tell the handler to wait."""
    return web.Response(body=bytes(900_000))


async def _head_only(_: web.BaseRequest) -> web.StreamResponse:
    """Heads without a body, as long as the whole connection takes."""
    return web.Response(headers={"X-Long": "x" * 7000})


@pytest.mark.parametrize(
    ("handler", "requests"),
    [
        pytest.param(_large, _get("/"), id="large"),
        pytest.param(_large, _get("/", _CLOSE), id="large, then the end"),
        pytest.param(_just_not_sent, _get("/"), id="little, kept alive"),
        pytest.param(_just_not_sent, _get("/", _CLOSE), id="little, then the end"),
        pytest.param(_small, _get("/") * 500, id="many small ones"),
        pytest.param(_head_only, _get("/") * 50, id="heads"),
    ],
)
async def test_a_client_that_reads_nothing_is_cut(
    clock: FakeClock, bound: socket.socket, handler: Handler, requests: str
) -> None:
    """A client that takes no byte of what was written is cut after `write_timeout`."""
    async with AsyncExitStack() as stack:
        await _serve(stack, bound, handler)
        async with _asking(bound.getsockname(), requests):
            await _assert_cut(bound, clock)


async def test_a_client_that_reads_nothing_under_tls_is_cut(
    clock: FakeClock, bound: socket.socket
) -> None:
    """TLS hides what waits in its own buffers, and the client is cut all the same."""
    authority = trustme.CA()
    ours, theirs = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH), ssl.create_default_context()
    authority.issue_cert("127.0.0.1").configure_cert(ours)
    authority.configure_trust(theirs)
    async with AsyncExitStack() as stack:
        await _serve(stack, bound, _hidden_by_tls, tls=ours)
        async with _asking(bound.getsockname(), _get("/"), theirs):
            await _assert_cut(bound, clock)


async def test_a_client_that_reads_nothing_is_cut_while_draining(
    clock: FakeClock, bound: socket.socket
) -> None:
    """A drain does not wait longer for a client that has stalled than for its `write_timeout`."""
    stack = AsyncExitStack()
    await _serve(stack, bound, _large)
    async with _asking(bound.getsockname(), _get("/")), asyncio.TaskGroup() as group:
        draining = group.create_task(stack.aclose())
        await _pass(clock, 50)
        assert not draining.done()
        await _pass(clock, 5000)
        assert draining.done()


async def test_operators_that_read_nothing_are_cut(clock: FakeClock, bound: socket.socket) -> None:
    """The admin port is guarded too."""
    app = web.Application()
    app.router.add_get("/", _large)
    async with AsyncExitStack() as stack:
        await listen_for_operators(stack, app, bound)
        async with _asking(bound.getsockname(), _get("/")):
            await _assert_cut(bound, clock)


async def test_replicas_that_read_nothing_are_cut(clock: FakeClock, bound: socket.socket) -> None:
    """The port of other replicas is guarded too."""
    index = SimpleNamespace(has_not=lambda _: None)
    cluster = SimpleNamespace(limits=Limits(1, 1), is_signed=lambda *_: False, index=index)
    around = SimpleNamespace(observer=None, clock=clock)
    async with AsyncExitStack() as stack:
        await listen_for_replicas(
            stack,
            cast("Cluster", cluster),
            cast("Sharing", None),
            cast("Surroundings", around),
            bound,
        )
        async with _asking(bound.getsockname(), _get(f"/blobs/{_DIGEST}") * 500):
            await _assert_cut(bound, clock)


@asynccontextmanager
async def _warm(tmp_path: Path) -> AsyncIterator[Any]:
    """A proxy with a large manifest in its store, and its path."""
    body = json.dumps({"schemaVersion": 2, "layers": [], "annotations": {"x": "y" * 3_900_000}})
    wanted = Wanted(server={"write_timeout": 0.1})
    async with ScriptedRegistry() as hub:
        hub.add_manifest("library/app", "1", body.encode(), OCI_MANIFEST)
        path = "/v2/app/manifests/sha256:" + hashlib.sha256(body.encode()).hexdigest()
        async with hasty_proxy({"docker.io": hub}, tmp_path, wanted) as proxy:
            assert await proxy.body(path) == body.encode()
            yield proxy, path


async def test_clients_that_read_nothing_of_a_manifest_are_cut(tmp_path: Path) -> None:
    """Each of twenty clients that take nothing of a manifest ends, and says so once."""
    async with _warm(tmp_path) as (proxy, path), AsyncExitStack() as stack:
        host, port = proxy.url.removeprefix("http://").split(":")
        for _ in range(20):
            await stack.enter_async_context(_asking((host, int(port)), _get(path)))
        await until(lambda: len(proxy.events.of(Responded)) == 21, within=60.0)
        errors = [event.error for event in proxy.events.of(Responded)[1:]]
        assert errors == ["the client left"] * 20
