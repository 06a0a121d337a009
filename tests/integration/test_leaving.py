"""A replica that ends when it is told to: the others ask it for nothing more, and read on."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

import aiohttp
import pytest

from cacheproxy.bootstrap.serving import Serving, serving
from cacheproxy.cluster.index import Index
from cacheproxy.cluster.shared import Keys
from cacheproxy.domain.digest import Digest
from cacheproxy.domain.events import PeerReceived, PeerServed
from cacheproxy.inprocess.clock import SystemClock
from cacheproxy.inprocess.tasks import Tasks
from cacheproxy.settings.addresses import Address
from cacheproxy.settings.model import ClusterSettings, Settings
from cacheproxy.settings.secret import Secret
from tests.integration.fills import until
from tests.support import images
from tests.support.hasty import Events, Wanted, settings_for
from tests.support.parts.process import free_port
from tests.support.parts.redis import RedisServer, redis_server
from tests.support.replicas import SECRET
from tests.support.scripted_registry import Gate, Match, ScriptedRegistry

SIZE = 3_000_000
IMAGE = images.simple(seed=64, size=SIZE)
LAYER = IMAGE.layers[0]
KEYS = Keys("cacheproxy:1")
HALF = SIZE // 2
# Others learn it with their next heartbeat, a second later at most; and this machine is busy.
SOON = 2.0
# Beyond what it drains: less than Redis is waited for by a pull.
PROMPT = 1.0
DRAIN = 20.0


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    """A Redis of the test's own."""
    with redis_server() as server:
        yield server


@dataclass(frozen=True, slots=True)
class Running:
    """A replica that is whole but for its process."""

    served: Serving
    stack: AsyncExitStack
    events: Events
    address: str
    client: aiohttp.ClientSession

    @property
    def index(self) -> Index:
        """What it knows of the others."""
        assert self.served.core.cluster is not None
        return self.served.core.cluster.index

    async def get(self, path: str) -> aiohttp.ClientResponse:
        """The head of an answer."""
        return await self.client.get("http://{}:{}".format(*self.served.pull) + path)

    async def end(self) -> float:
        """End it as a signal does; how many seconds that takes."""
        begun = time.monotonic()
        await self.stack.aclose()
        return time.monotonic() - begun


def _settings(hub: ScriptedRegistry, directory: Path, redis: RedisServer) -> Settings:
    wanted = Wanted(metadata=redis.url, server={"drain_timeout": DRAIN})
    address = Address("127.0.0.1", free_port())
    cluster = ClusterSettings(address, Secret(SECRET.decode()), address)
    return replace(settings_for({"docker.io": hub}, directory, wanted), cluster=cluster)


@asynccontextmanager
async def replicas(
    hub: ScriptedRegistry, directory: Path, redis: RedisServer, count: int = 2
) -> AsyncIterator[list[Running]]:
    """So many that know each other."""
    hub.add_image("library/app", "1", IMAGE)
    async with aiohttp.ClientSession() as client, AsyncExitStack() as stack:
        made = []
        for number in range(count):
            settings = _settings(hub, directory / str(number), redis)
            own, events = await stack.enter_async_context(AsyncExitStack()), Events()
            served = await own.enter_async_context(serving(settings, events, SystemClock()))
            assert settings.cluster is not None
            made.append(Running(served, own, events, str(settings.cluster.advertise), client))
        everyone = {one.address for one in made}
        await until(lambda: all(one.index.live == everyone - {one.address} for one in made))
        yield made


def _keys(redis: RedisServer, pattern: str) -> set[str]:
    with redis.client() as client:
        return {key.decode() for key in client.scan_iter(pattern)}


def _members(redis: RedisServer) -> set[str]:
    with redis.client() as client:
        return {name.decode() for name in client.zrange(KEYS.members, 0, -1)}


async def test_it_is_asked_for_nothing_more(
    hub: ScriptedRegistry, tmp_path: Path, redis: RedisServer
) -> None:
    """The others learn within a second that it ends, while they still read from it."""
    gate = Gate(at=HALF)
    hub.script(Match.blob(LAYER.digest), gate)
    async with (
        replicas(hub, tmp_path, redis) as (leaving, staying),
        asyncio.TaskGroup() as group,
    ):
        path = f"/v2/app/blobs/{LAYER.digest}"
        async with await leaving.get("/v2/app/manifests/1") as manifest:
            assert manifest.status == 200
        first = await leaving.get(path)
        await gate.reached()
        second = await staying.get(path)
        await until(lambda: staying.events.of(PeerReceived))
        begun = time.monotonic()
        ending = group.create_task(leaving.end())
        await until(lambda: not staying.index.knows(leaving.address))
        assert time.monotonic() - begun < SOON
        # It is there for those who read from it, and drains for as long as it takes.
        assert staying.index.is_there(leaving.address)
        assert not ending.done()
        await asyncio.sleep(SOON)
        assert staying.index.is_there(leaving.address)
        gate.release()
        assert [await first.read(), await second.read()] == [LAYER.body] * 2
        await ending
        await until(lambda: not staying.index.is_there(leaving.address))
        assert _members(redis) == {staying.address}
    assert len(hub.blob_gets(LAYER.digest)) == 1


async def test_what_it_has_is_had_elsewhere(
    hub: ScriptedRegistry, tmp_path: Path, redis: RedisServer
) -> None:
    """Of two that have a blob, the one that drains is not asked for it."""
    path = f"/v2/app/blobs/{LAYER.digest}"
    manifest = "/v2/app/manifests/1"
    async with replicas(hub, tmp_path, redis, 3) as (leaving, has, wants):
        for one in (leaving, has):
            for each in (manifest, path):
                async with await one.get(each) as answer:
                    await answer.read()

        async def holders() -> set[str]:
            return set(await wants.index.holders(Digest(LAYER.digest)))

        async with asyncio.timeout(60):
            while await holders() != {leaving.address, has.address}:  # noqa: ASYNC110  # in Redis
                await asyncio.sleep(0.01)
        served = len(leaving.events.of(PeerServed))
        leaving.served.core.leave()
        await until(lambda: not wants.index.knows(leaving.address))
        assert await holders() == {has.address}
        async with await wants.get(path) as answer:
            assert await answer.read() == LAYER.body
        assert len(leaving.events.of(PeerServed)) == served
        assert len(has.events.of(PeerServed)) == 1


async def test_its_leases_are_given_back(
    hub: ScriptedRegistry, tmp_path: Path, redis: RedisServer
) -> None:
    """What it was fetching for nobody may be fetched by another one at once."""
    gate = Gate(at=HALF)
    hub.script(Match.blob(LAYER.digest), gate)
    async with replicas(hub, tmp_path, redis) as (leaving, staying):
        path = f"/v2/app/blobs/{LAYER.digest}"
        async with await leaving.get("/v2/app/manifests/1") as manifest:
            await manifest.read()
        client = await leaving.get(path)
        await gate.reached()
        client.close()
        assert any(LAYER.digest in key for key in _keys(redis, "*:lease:*"))
        assert await leaving.end() < PROMPT
        assert _keys(redis, "*:lease:*") == set()
        gate.release()
        async with await staying.get(path) as answer:
            assert await answer.read() == LAYER.body


async def test_what_was_counted_stays(
    hub: ScriptedRegistry, tmp_path: Path, redis: RedisServer
) -> None:
    """The sums that it has told are there when it has gone."""
    async with replicas(hub, tmp_path, redis) as (leaving, staying):
        async with await leaving.get("/v2/app/manifests/1") as manifest:
            await manifest.read()
        await until(lambda: _keys(redis, "*:traffic:all"), within=60)
        told = _keys(redis, "*:traffic:*")
        await leaving.end()
        await until(lambda: staying.index.live == frozenset())
        assert _keys(redis, "*:traffic:*") == told


@pytest.mark.parametrize("how", ["dead", "silent", "silent for long"])
async def test_without_redis_it_ends_as_soon(
    hub: ScriptedRegistry, tmp_path: Path, redis: RedisServer, how: str
) -> None:
    """A Redis that is down or says nothing holds up no end."""
    async with replicas(hub, tmp_path, redis) as (leaving, _):
        async with await leaving.get("/v2/app/manifests/1") as manifest:
            await manifest.read()
        if how == "dead":
            redis.kill()
        else:
            redis.pause()
        if how == "silent for long":
            await until(lambda: leaving.index.live == frozenset())
        assert await leaving.end() < PROMPT


async def test_it_may_be_cancelled(
    hub: ScriptedRegistry, tmp_path: Path, redis: RedisServer
) -> None:
    """Who loses patience with a last word that nobody takes down gets an end all the same."""
    async with replicas(hub, tmp_path, redis) as (leaving, _):
        tasks = Tasks()
        redis.pause()
        ending = tasks.start(leaving.end(), "end")
        await asyncio.sleep(0.2)
        assert not ending.done()
        ending.cancel()
        begun = time.monotonic()
        with suppress(asyncio.CancelledError):
            await ending
        assert time.monotonic() - begun < PROMPT
        with pytest.raises(ConnectionError):
            await asyncio.open_connection(*leaving.served.pull)
        host, _, port = leaving.address.partition(":")
        with pytest.raises(ConnectionError):
            await asyncio.open_connection(host, int(port))
        redis.go_on()


async def test_the_next_one_with_its_address(
    hub: ScriptedRegistry, tmp_path: Path, redis: RedisServer
) -> None:
    """One that is there again counts, though one before it was killed while it left."""
    async with replicas(hub, tmp_path, redis) as (again, staying):
        with redis.client() as client:
            client.zadd(KEYS.members, {f"{again.address} leaving": client.time()[0] + 60})
        begun = time.monotonic()
        while time.monotonic() < begun + SOON:
            await asyncio.sleep(0.05)
            assert staying.index.knows(again.address)
