"""Several replicas as one cache: what one has, none fetches again."""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from redis.asyncio import Redis

from cacheproxy.cluster.peers import HttpPeers, Patience
from cacheproxy.cluster.shared import Keys
from cacheproxy.cluster.signature import sign
from cacheproxy.cluster_ports import Part
from cacheproxy.domain.digest import Digest
from cacheproxy.domain.errors import DigestMismatch, ManifestUnknown, StorageError
from cacheproxy.domain.events import (
    FillEnded,
    PeerReceived,
    PeerServed,
    ReplicasSeen,
    UpstreamReceived,
)
from cacheproxy.inprocess.clock import SystemClock
from cacheproxy.metadata.memory import MemoryMetadata
from tests.integration.fills import until
from tests.support import images
from tests.support.parts.redis import (
    Engine,
    RedisServer,
    on_each_engine,
    on_each_engine_and_model,
    redis_server,
)
from tests.support.replicas import SECRET, Replica, replica
from tests.support.scripted_registry import CloseAfter, Gate, Match, ScriptedRegistry

SIZE = 3_000_000
IMAGE = images.simple(seed=61, size=SIZE)
LAYER = IMAGE.layers[0]


class Scene:
    """Three replicas in front of one registry, on one Redis."""

    def __init__(self, hub: ScriptedRegistry, redis: RedisServer, replicas: list[Replica]) -> None:
        self.hub = hub
        self.redis = redis
        self.replicas = replicas

    async def ask(self, work: Callable[["Redis"], Awaitable[Any]]) -> None:
        """Do something to Redis that no replica does."""
        async with Redis(port=self.redis.port) as redis:
            await work(redis)

    @property
    def is_acquainted(self) -> bool:
        """Whether each knows all others."""
        everyone = {one.address for one in self.replicas}
        return all(one.index.live == everyone - {one.address} for one in self.replicas)

    async def acquainted(self) -> None:
        """Wait until each knows all others."""
        await until(lambda: self.is_acquainted)

    async def learnt(self, digest: str, by: int = 1) -> None:
        """Wait until the others are told that so many have a blob."""
        asking = self.replicas[-1]

        async def known() -> int:
            return len(await asking.index.holders(Digest(digest)))

        async with asyncio.timeout(60):
            while await known() < by:  # noqa: ASYNC110  # in Redis, which tells nobody
                await asyncio.sleep(0.01)

    async def unlearnt(self, digest: str, one: Replica) -> None:
        """Wait until the others are told that a replica does not have a blob."""
        async with asyncio.timeout(60):
            while one.address in await self.replicas[-1].index.holders(Digest(digest)):  # noqa: ASYNC110  # in Redis, which tells nobody
                await asyncio.sleep(0.01)

    def fetched(self) -> int:
        """Blob bytes that crossed the upstream link."""
        return sum(
            event.body_bytes for one in self.replicas for event in one.events.of(UpstreamReceived)
        )


@pytest.fixture
async def scene(hub: ScriptedRegistry, tmp_path: Path, engine: Engine) -> AsyncIterator[Scene]:
    """All of them know each other."""
    hub.add_image("library/app", "1", IMAGE)
    metadata = MemoryMetadata()
    async with AsyncExitStack() as stack:
        redis = stack.enter_context(redis_server(engine=engine))
        replicas = [
            await stack.enter_async_context(
                replica(hub, tmp_path / f"replica-{number}", redis.port, metadata)
            )
            for number in range(3)
        ]
        made = Scene(hub, redis, replicas)
        await made.acquainted()
        yield made


@on_each_engine_and_model
async def test_a_cold_blob_is_fetched_once_by_all(scene: Scene) -> None:
    """Clients of all replicas at once get the blob, which crosses the link once."""
    await scene.replicas[0].manifest("1")
    bodies = await asyncio.gather(
        *(one.blob(LAYER.digest) for one in scene.replicas for _ in range(8))
    )
    assert set(bodies) == {LAYER.body}
    assert len(scene.hub.blob_gets(LAYER.digest)) == 1
    received = [sum(e.body_bytes for e in one.events.of(PeerReceived)) for one in scene.replicas]
    assert sorted(received) == [0, len(LAYER.body), len(LAYER.body)]
    assert sum(e.body_bytes for one in scene.replicas for e in one.events.of(PeerServed)) == sum(
        received
    )


async def test_what_is_kept_is_told_by_where_it_came_from(scene: Scene) -> None:
    """A download of upstream's bytes can be told from one of another replica's."""
    await scene.replicas[0].manifest("1")
    await asyncio.gather(*(one.blob(LAYER.digest) for one in scene.replicas))
    await until(lambda: all(one.events.of(FillEnded) for one in scene.replicas))
    ends = [one.events.of(FillEnded)[0] for one in scene.replicas]
    assert sorted((end.source, end.error) for end in ends) == [
        ("fill", None),
        ("peer", None),
        ("peer", None),
    ]


async def test_who_comes_and_goes_is_told_once(scene: Scene) -> None:
    """Each replica states how many there are whenever that changes, and not all the time."""

    def told(one: Replica) -> list[int]:
        return [event.count for event in one.events.of(ReplicasSeen)]

    first, second, third = scene.replicas
    await until(lambda: all(told(one)[-1] == 3 for one in scene.replicas))
    await third.stop()
    await until(lambda: all(told(one)[-1] == 2 for one in (first, second)), within=60)
    scene.redis.stop()
    await until(lambda: all(told(one)[-1] == 1 for one in (first, second)), within=60)
    for one in (first, second):
        assert all(before != after for before, after in pairwise(told(one)))


async def test_a_cold_tag_is_asked_once_by_all(scene: Scene) -> None:
    """All replicas get a manifest by its tag for one GET of upstream, whenever they hear of it."""
    for number in range(20):
        image, tag = images.simple(seed=62 + number), f"cold-{number}"
        scene.hub.add_image("library/app", tag, image)
        asked = [one.manifest(tag) for one in scene.replicas for _ in range(4)]
        assert set(await asyncio.gather(*asked)) == {image.manifest}
    methods = [entry.method for entry in scene.hub.requests() if "manifests" in entry.path]
    assert methods == ["GET"] * 20


async def test_a_missing_tag_is_asked_once_by_all(scene: Scene) -> None:
    """Replicas that are asked at once for a tag that upstream lacks ask for it once."""
    for number in range(10):
        asking = [one.manifest(f"missing-{number}") for one in scene.replicas for _ in range(4)]
        found = await asyncio.gather(*asking, return_exceptions=True)
        assert {type(each) for each in found} == {ManifestUnknown}
    methods = [entry.method for entry in scene.hub.requests() if "missing" in entry.path]
    assert methods == ["GET"] * 10


@on_each_engine_and_model
async def test_who_comes_later_asks_who_has_it(scene: Scene) -> None:
    """A replica that needs a blob asks one that has it, and not upstream."""
    first, second, third = scene.replicas
    await first.manifest("1")
    assert await first.blob(LAYER.digest) == LAYER.body
    await scene.learnt(LAYER.digest)
    asked = len(scene.hub.requests())
    for one in (second, third):
        assert await one.blob(LAYER.digest) == LAYER.body
    assert len(scene.hub.requests()) == asked


async def test_bytes_come_while_they_come_in(scene: Scene) -> None:
    """A replica that reads from the one that fetches does not wait for the whole."""
    first, second, _ = scene.replicas
    await first.manifest("1")
    gate = Gate(at=SIZE // 2)
    scene.hub.script(Match.blob(LAYER.digest), gate)
    fetching = asyncio.gather(first.blob(LAYER.digest))
    await gate.reached()
    reading = asyncio.gather(second.blob(LAYER.digest))
    await until(
        lambda: sum(e.body_bytes for e in second.events.of(PeerReceived)) > SIZE // 2 - 100_000
    )
    gate.release()
    assert [*await fetching, *await reading] == [LAYER.body] * 2
    assert len(scene.hub.blob_gets(LAYER.digest)) == 1


@on_each_engine_and_model
async def test_when_the_one_that_fetches_dies_another_goes_on(scene: Scene) -> None:
    """Clients of the others get right bytes, and only what is missing is fetched again."""
    first, second, third = scene.replicas
    await first.manifest("1")
    gate = Gate(at=SIZE // 2)
    scene.hub.script(Match.blob(LAYER.digest), gate)
    fetching = asyncio.gather(first.blob(LAYER.digest), return_exceptions=True)
    await gate.reached()
    reading = asyncio.gather(second.blob(LAYER.digest), third.blob(LAYER.digest))
    await until(lambda: all(one.events.of(PeerReceived) for one in (second, third)))
    await first.stop()
    await fetching
    gate.release()
    assert set(await reading) == {LAYER.body}
    assert len(scene.hub.blob_gets(LAYER.digest)) <= 3
    assert scene.fetched() <= 1.5 * SIZE


async def test_a_wrong_entry_is_struck_out(scene: Scene) -> None:
    """A replica that has it no more says so; the blob comes from upstream, and the next asks it."""
    first, second, third = scene.replicas
    await first.manifest("1")
    await first.blob(LAYER.digest)
    await scene.learnt(LAYER.digest)
    path = Path(first.store._layout.blob(Digest(LAYER.digest)))
    path.unlink()
    assert await second.blob(LAYER.digest) == LAYER.body
    assert len(scene.hub.blob_gets(LAYER.digest)) == 2
    await scene.unlearnt(LAYER.digest, first)
    assert await third.blob(LAYER.digest) == LAYER.body
    assert len(scene.hub.blob_gets(LAYER.digest)) == 2


async def test_a_full_disk_is_not_blamed_on_a_peer(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A replica that relays past a full disk reads from its peer, which others go on to ask."""
    first, second, third = scene.replicas
    await first.manifest("1")
    await first.blob(LAYER.digest)
    await scene.learnt(LAYER.digest)

    async def refuse(*_: object) -> None:
        raise StorageError("there is no room")

    monkeypatch.setattr(second.store.accounts, "reserve", refuse)
    for _ in range(2):
        assert await second.blob(LAYER.digest) == LAYER.body
    assert first.address in await third.index.holders(Digest(LAYER.digest))
    assert await third.blob(LAYER.digest) == LAYER.body
    assert len(scene.hub.blob_gets(LAYER.digest)) == 1


async def test_without_redis_each_is_by_itself(scene: Scene) -> None:
    """When Redis is gone, cold pulls succeed, at worst fetched once by each replica."""
    await scene.replicas[0].manifest("1")
    scene.redis.stop()
    bodies = await asyncio.gather(*(one.blob(LAYER.digest) for one in scene.replicas))
    assert set(bodies) == {LAYER.body}
    assert len(scene.hub.blob_gets(LAYER.digest)) <= 3


async def test_a_lying_replica_harms_nobody(scene: Scene) -> None:
    """Wrong bytes of another replica never reach a client whole, and the right ones come next."""
    first, second, third = scene.replicas
    await first.manifest("1")
    await first.blob(LAYER.digest)
    await scene.learnt(LAYER.digest)
    path = Path(first.store._layout.blob(Digest(LAYER.digest)))
    times = path.stat()
    path.chmod(0o644)
    path.write_bytes(bytes(times.st_size))
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    with pytest.raises(DigestMismatch):
        await second.blob(LAYER.digest)
    await until(lambda: second.core._blobs.fills.get(Digest(LAYER.digest)) is None)
    assert await second.blob(LAYER.digest) == LAYER.body
    # Each judges for itself, by the bytes that it has got.
    await scene.learnt(LAYER.digest, by=2)
    with suppress(DigestMismatch):
        await third.blob(LAYER.digest)
    await until(lambda: third.core._blobs.fills.get(Digest(LAYER.digest)) is None)
    assert await third.blob(LAYER.digest) == LAYER.body
    assert len(scene.hub.blob_gets(LAYER.digest)) == 2


async def test_strangers_get_nothing(scene: Scene) -> None:
    """Without the secret, or for another blob than it was signed for, there is nothing to have."""
    first = scene.replicas[0]
    await first.manifest("1")
    await first.blob(LAYER.digest)
    digest = Digest(LAYER.digest)
    url = f"http://{first.address}/peer/v1/blobs/{digest}"
    now = 1e9
    fields = ["", "Basic YTpi", sign(b"other", digest, now), sign(SECRET, Digest.of(b"x"), now)]
    async with aiohttp.ClientSession() as session:
        for field in fields:
            async with session.get(url, headers={"Authorization": field}) as answer:
                assert (answer.status, await answer.read()) == (401, b"")
        async with session.get(f"http://{first.address}/v2/library/app/tags/list") as answer:
            assert answer.status == 404


async def test_a_broken_upstream_is_one_download_for_all(scene: Scene) -> None:
    """A download that breaks and goes on costs no byte twice, whoever reads along."""
    await scene.replicas[0].manifest("1")
    scene.hub.script(Match.blob(LAYER.digest), CloseAfter(SIZE // 2))
    bodies = await asyncio.gather(*(one.blob(LAYER.digest) for one in scene.replicas))
    assert set(bodies) == {LAYER.body}
    assert scene.fetched() <= SIZE * 1.01 + 10_000


@on_each_engine
async def test_a_redis_that_has_lost_everything_is_told_anew(scene: Scene) -> None:
    """After a FLUSHALL each replica says again what it has, and nothing is fetched twice."""
    first, second, _ = scene.replicas
    await first.manifest("1")
    await first.blob(LAYER.digest)
    await scene.learnt(LAYER.digest)
    await scene.ask(lambda redis: redis.flushall())
    await scene.learnt(LAYER.digest)
    assert await second.blob(LAYER.digest) == LAYER.body
    assert len(scene.hub.blob_gets(LAYER.digest)) == 1


@on_each_engine
async def test_what_others_put_into_its_keys_is_made_anew(scene: Scene) -> None:
    """Keys that are no longer of their kind keep nobody from fetching once, and telling it."""
    await scene.replicas[0].manifest("1")
    keys = Keys("tests")
    digest = Digest(LAYER.digest)
    await scene.ask(lambda redis: redis.set(keys.members, "spoilt"))
    await scene.ask(lambda redis: redis.set(keys.holders(digest), "spoilt"))
    await scene.ask(lambda redis: redis.sadd(keys.lease(digest), "spoilt"))
    await until(lambda: not scene.is_acquainted)
    await scene.acquainted()
    bodies = await asyncio.gather(*(one.blob(LAYER.digest) for one in scene.replicas))
    assert set(bodies) == {LAYER.body}
    assert len(scene.hub.blob_gets(LAYER.digest)) == 1
    await scene.learnt(LAYER.digest, by=2)


async def test_who_has_it_and_is_busy_is_waited_for(hub: ScriptedRegistry, tmp_path: Path) -> None:
    """Where all who have a blob serve as many as they may, it does not come from upstream."""
    image = images.simple(seed=62, size=24_000_000)  # more than fits between two sockets
    layer = image.layers[0]
    hub.add_image("library/app", "1", image)
    metadata = MemoryMetadata()
    async with AsyncExitStack() as stack:
        redis = stack.enter_context(redis_server())
        made = [
            await stack.enter_async_context(
                replica(hub, tmp_path / name, redis.port, metadata, max_streams=1)
            )
            for name in ("has", "wants")
        ]
        first, second = made
        scene = Scene(hub, redis, made)
        await scene.acquainted()
        await first.manifest("1")
        await first.blob(layer.digest)
        await scene.learnt(layer.digest)
        await first.index.release(layer.digest, first.address)  # as is so a moment later
        busy = HttpPeers(SECRET, first.events, SystemClock(), Patience(1.0), lambda _: True, "")
        stack.push_async_callback(busy.close)
        async with busy.get_blob(first.address, Part(Digest(layer.digest))):
            wanting = asyncio.gather(second.blob(layer.digest))
            await asyncio.sleep(0.3)
            assert not second.events.of(PeerReceived)
        assert [*await wanting] == [layer.body]
    assert len(hub.blob_gets(layer.digest)) == 1
