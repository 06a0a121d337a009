"""Leaving: what is under way ends well if it can, nothing new begins, and nothing is left."""

import asyncio
import contextlib
import random
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from typing_extensions import override

from cacheproxy.bootstrap.serving import Serving, serving
from tests.support import images
from tests.support.hasty import Events, HastyClock, Wanted, settings_for
from tests.support.scripted_registry import Always, Gate, Match, NoAnswer, ScriptedRegistry
from tests.unit.support.raw_client import connected

_BODY = random.Random(141).randbytes(3_000_000)
_IMAGE = images.simple(seed=142)
_WITHIN = 60.0
_DELAY = 7.0


@dataclass(frozen=True, slots=True)
class _Proxy:
    """One that can be left while it is asked."""

    served: Serving
    stack: AsyncExitStack
    client: aiohttp.ClientSession
    clock: HastyClock
    directory: Path

    @property
    def url(self) -> str:
        """Where clients pull."""
        return "http://{}:{}".format(*self.served.pull)

    async def admin(self, path: str) -> int:
        """The status of a page of the admin port."""
        url = "http://{}:{}".format(*self.served.admin) + path
        async with self.client.get(url) as response:
            return response.status

    async def refuses(self) -> None:
        """Wait until nobody listens any more where clients pull."""
        async with asyncio.timeout(_WITHIN):
            while True:
                try:
                    _, writer = await asyncio.open_connection(*self.served.pull)
                except ConnectionError:
                    return
                writer.close()
                await asyncio.sleep(0.005)

    def files(self, below: str) -> list[Path]:
        """Of the cache."""
        return [path for path in (self.directory / below).rglob("*") if path.is_file()]


@asynccontextmanager
async def _proxy(
    hub: ScriptedRegistry,
    directory: Path,
    drain: float,
    clock: HastyClock | None = None,
    **wanted: Any,
) -> AsyncIterator[_Proxy]:
    server = {"drain_timeout": drain} | wanted.pop("server", {})
    settings = settings_for({"docker.io": hub}, directory, Wanted(server=server, **wanted))
    clock = clock or HastyClock()
    async with aiohttp.ClientSession() as client, AsyncExitStack() as stack:
        served = await stack.enter_async_context(serving(settings, Events(), clock))
        yield _Proxy(served, stack, client, clock, directory)


@pytest.fixture
def blob(hub: ScriptedRegistry) -> str:
    """The path of a large blob."""
    return f"/v2/app/blobs/{hub.add_blob('library/app', _BODY)}"


async def test_a_download_ends_well(hub: ScriptedRegistry, tmp_path: Path, blob: str) -> None:
    """A client that is being served gets the rest; meanwhile nobody new is let in."""
    gate = Gate(at=1_000_000)
    hub.script(Match.blob(), gate)
    async with _proxy(hub, tmp_path, drain=_WITHIN) as proxy, asyncio.TaskGroup() as group:
        response = await proxy.client.get(proxy.url + blob)
        await gate.reached()
        assert await proxy.admin("/readyz") == 200
        group.create_task(proxy.stack.aclose())
        await proxy.refuses()
        assert await proxy.admin("/readyz") == 503
        assert await proxy.admin("/healthz") == 200
        gate.release()
        assert await response.read() == _BODY
    assert [path.stat().st_size for path in proxy.files("blobs")] == [len(_BODY)]


class _Held(HastyClock):
    """A clock that stands still before the port is closed, until it is let go on."""

    def __init__(self) -> None:
        super().__init__()
        self.is_reached, self.is_over = asyncio.Event(), asyncio.Event()

    @override
    async def sleep(self, seconds: float) -> None:
        if seconds == _DELAY:
            self.is_reached.set()
            await self.is_over.wait()
        else:
            await super().sleep(seconds)


async def test_the_port_stays_open_for_a_while(hub: ScriptedRegistry, tmp_path: Path) -> None:
    """Who is told to leave says so first, and goes on serving until everyone may know."""
    hub.add_image("library/app", "1", _IMAGE)
    clock = _Held()
    server = {"drain_delay": _DELAY}
    async with (
        _proxy(hub, tmp_path, _WITHIN, clock, server=server) as proxy,
        asyncio.TaskGroup() as group,
    ):
        assert await proxy.admin("/readyz") == 200
        group.create_task(proxy.stack.aclose())
        async with asyncio.timeout(_WITHIN):
            await clock.is_reached.wait()
        assert await proxy.admin("/readyz") == 503
        async with proxy.client.get(f"{proxy.url}/v2/app/manifests/1") as response:
            assert await response.read() == _IMAGE.manifest
        clock.is_over.set()
        await proxy.refuses()


async def test_an_answer_that_is_awaited(hub: ScriptedRegistry, tmp_path: Path) -> None:
    """So does a client whose answer has not begun."""
    hub.add_image("library/app", "1", _IMAGE)
    gate = Gate(at=None)
    hub.script(Match.manifest(), gate)
    async with _proxy(hub, tmp_path, drain=_WITHIN) as proxy, asyncio.TaskGroup() as group:

        async def pull() -> bytes:
            async with proxy.client.get(f"{proxy.url}/v2/app/manifests/1") as response:
                return await response.read()

        pulling = group.create_task(pull())
        await gate.reached()
        group.create_task(proxy.stack.aclose())
        await proxy.refuses()
        gate.release()
        assert await pulling == _IMAGE.manifest


async def test_a_download_that_takes_too_long(
    hub: ScriptedRegistry, tmp_path: Path, blob: str
) -> None:
    """Beyond `drain_timeout` a client is cut, and can tell; what came is kept to be taken up."""
    gate = Gate(at=1_000_000)
    hub.script(Match.blob(), gate)
    async with _proxy(hub, tmp_path, drain=0.05) as proxy:
        response = await proxy.client.get(proxy.url + blob)
        assert response.content_length == len(_BODY)
        await gate.reached()
        async with asyncio.timeout(_WITHIN):
            await proxy.stack.aclose()
        with pytest.raises(aiohttp.ClientError):
            await response.read()
    gate.release()
    assert proxy.files("blobs") == []
    assert [path.stat().st_size <= 1_000_000 for path in proxy.files("ingest")] == [True]


async def test_upstream_is_silent(hub: ScriptedRegistry, tmp_path: Path) -> None:
    """A client that waits for a silent upstream does not hold up the end for longer than that."""
    over = asyncio.Event()
    hub.script(Match(), Always(NoAnswer(over)))
    async with _proxy(hub, tmp_path, drain=0.05) as proxy, asyncio.TaskGroup() as group:

        async def pull() -> None:
            with contextlib.suppress(aiohttp.ClientError):
                async with proxy.client.get(f"{proxy.url}/v2/app/manifests/1") as response:
                    assert response.status >= 500

        group.create_task(pull())
        await hub.until(1)
        async with asyncio.timeout(_WITHIN):
            await proxy.stack.aclose()
    over.set()


async def test_a_client_that_reads_nothing(
    hub: ScriptedRegistry, tmp_path: Path, blob: str
) -> None:
    """Nor does one that takes no bytes."""
    async with _proxy(hub, tmp_path, drain=0.05) as proxy, connected(proxy.url) as client:
        client.connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        await client.ask(blob)
        assert (await client.head()).status == 200
        async with asyncio.timeout(_WITHIN):
            await proxy.stack.aclose()


async def test_idle_connections(hub: ScriptedRegistry, tmp_path: Path) -> None:
    """Connections that wait for their next request are closed at once."""
    async with _proxy(hub, tmp_path, drain=60.0) as proxy, connected(proxy.url) as client:
        await client.ask("/v2/")
        assert (await client.head()).status == 200
        assert await client.exactly(2) == b"{}"
        async with asyncio.timeout(_WITHIN), connected(proxy.url) as silent:
            await asyncio.sleep(0.05)  # for the proxy to know of it
            await proxy.stack.aclose()
            assert (await client.rest()).data == b""
            assert (await silent.rest()).data == b""


async def test_a_connection_that_has_just_come(hub: ScriptedRegistry, tmp_path: Path) -> None:
    """One that was accepted in the very moment in which it ends does not hold up the end."""
    async with _proxy(hub, tmp_path, drain=60.0) as proxy, connected(proxy.url) as silent:
        async with asyncio.timeout(_WITHIN):
            await proxy.stack.aclose()
            assert (await silent.rest()).data == b""


@pytest.mark.parametrize("said", [b"GET /v2/ HT", b"GET /v2/ HTTP/1.1\r\nHost: a\r\n"])
async def test_half_a_request(hub: ScriptedRegistry, tmp_path: Path, said: bytes) -> None:
    """So are those whose request is not all there yet: nobody knows when it will be."""
    async with _proxy(hub, tmp_path, drain=60.0) as proxy, connected(proxy.url) as client:
        await asyncio.get_running_loop().sock_sendall(client.connection, said)
        await asyncio.sleep(0.05)  # for the proxy to have read it
        async with asyncio.timeout(_WITHIN):
            await proxy.stack.aclose()
            assert (await client.rest()).data == b""


async def test_a_download_that_nobody_follows(
    hub: ScriptedRegistry, tmp_path: Path, blob: str
) -> None:
    """A download whose client has left is given up at the end, and nobody waits for it."""
    gate = Gate(at=1_000_000)
    hub.script(Match.blob(), gate)
    async with _proxy(hub, tmp_path, drain=60.0) as proxy:
        response = await proxy.client.get(proxy.url + blob)
        await gate.reached()
        response.close()
        async with asyncio.timeout(_WITHIN):
            await proxy.stack.aclose()
    gate.release()
    assert proxy.files("blobs") == []


async def test_work_behind_the_scenes(hub: ScriptedRegistry, tmp_path: Path) -> None:
    """A revalidation that goes on behind a client's back ends with the rest."""
    hub.add_image("library/app", "1", _IMAGE)
    tags = {"fresh_for": 10.0, "stale_while_revalidate": 1000.0}
    gate = Gate(at=None)
    hub.script(Match("HEAD"), gate)
    async with _proxy(hub, tmp_path, drain=60.0, tags=tags) as proxy:
        for passed in (0, 20):
            proxy.clock.advance(passed)
            async with proxy.client.get(f"{proxy.url}/v2/app/manifests/1") as response:
                assert await response.read() == _IMAGE.manifest
        await gate.reached()
        async with asyncio.timeout(_WITHIN):
            await proxy.stack.aclose()
    gate.release()


async def test_many_at_once(hub: ScriptedRegistry, tmp_path: Path, blob: str) -> None:
    """All who follow one download get its rest."""
    gate = Gate(at=1_000_000)
    hub.script(Match.blob(), gate)
    async with _proxy(hub, tmp_path, drain=_WITHIN) as proxy, asyncio.TaskGroup() as group:
        responses = [await proxy.client.get(proxy.url + blob) for _ in range(20)]
        await gate.reached()
        group.create_task(proxy.stack.aclose())
        await proxy.refuses()
        gate.release()
        for response in responses:
            assert await response.read() == _BODY
    assert len(hub.blob_gets(blob.rpartition("/")[2])) == 1


async def test_again(hub: ScriptedRegistry, tmp_path: Path) -> None:
    """The same directory and the same port can be served again at once."""
    hub.add_image("library/app", "1", _IMAGE)
    for _ in range(3):
        async with (
            _proxy(hub, tmp_path, drain=1.0) as proxy,
            proxy.client.get(f"{proxy.url}/v2/app/manifests/1") as response,
        ):
            assert await response.read() == _IMAGE.manifest
    assert len(hub.requests()) == 1
