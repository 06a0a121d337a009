"""A blob that many replicas want at once: it goes down a tree, and nobody is asked by too many."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from cacheproxy.cluster.peers import HttpPeers, Patience
from cacheproxy.cluster_ports import Part, ReplicaBusy
from cacheproxy.domain.digest import Digest
from cacheproxy.domain.events import PeerReceived, PeerServed, UpstreamReceived
from cacheproxy.inprocess.clock import SystemClock
from cacheproxy.inprocess.tasks import Tasks
from cacheproxy.metadata.memory import MemoryMetadata
from tests.integration.fills import until
from tests.support import images
from tests.support.parts.redis import redis_server
from tests.support.replicas import SECRET, Replica, replica
from tests.support.scripted_registry import Gate, Match, ScriptedRegistry

SIZE = 6_000_000
IMAGE = images.simple(seed=63, size=SIZE)
LAYER = IMAGE.layers[0]
DIGEST = Digest(LAYER.digest)
HALF = SIZE // 2
# Of the bytes that came, so many may still be on their way, or be held back.
NEARLY = HALF - 100_000


@dataclass(frozen=True, slots=True)
class Scene:
    """Replicas that want a blob of which upstream sends one half, until it may send the rest."""

    hub: ScriptedRegistry
    replicas: list[Replica]
    gate: Gate

    def has(self, one: Replica) -> int:
        """Bytes of it that came to a replica, from wherever."""
        return sum(e.body_bytes for e in one.events.of(PeerReceived)) + self.fetched(one)

    def fetched(self, *by: Replica) -> int:
        """Bytes of it that came from upstream."""
        return sum(e.body_bytes for one in by for e in one.events.of(UpstreamReceived))

    def filler(self) -> Replica:
        """Who has it from upstream."""
        (found,) = [one for one in self.replicas if self.fetched(one)]
        return found

    def readers(self, one: Replica) -> list[str]:
        """Who reads it from a replica now."""
        return one.readers(DIGEST)

    async def spread(self) -> None:
        """Wait until the half that there is has come to all."""
        await until(lambda: all(self.has(one) > NEARLY for one in self.replicas))

    def last(self) -> tuple[Replica, Replica]:
        """One that reads from another replica, and which others read from; and one of those."""
        by_address = {one.address: one for one in self.replicas}
        middle = next(
            one for one in self.replicas if one is not self.filler() and self.readers(one)
        )
        return middle, by_address[self.readers(middle)[0]]


@asynccontextmanager
async def staged(
    hub: ScriptedRegistry, directory: Path, count: int, *, at: int = HALF, **limits: int
) -> AsyncIterator[Scene]:
    """So many replicas that know each other."""
    hub.add_image("library/app", "1", IMAGE)
    metadata = MemoryMetadata()
    async with AsyncExitStack() as stack:
        port = stack.enter_context(redis_server()).port
        made = [
            await stack.enter_async_context(
                replica(hub, directory / f"replica-{number}", port, metadata, **limits)
            )
            for number in range(count)
        ]
        await until(lambda: all(len(one.index.live) == count - 1 for one in made))
        await made[0].manifest("1")
        for one in made:
            one.events.all.clear()
            one.pauses.clear()
        gate = Gate(at=at)
        hub.script(Match.blob(LAYER.digest), gate)
        stack.callback(gate.release)
        yield Scene(hub, made, gate)


async def _pulled(scene: Scene) -> None:
    """All pull it; what is there comes to all, then the rest, and upstream sends it once."""
    pulling = asyncio.gather(*(one.blob(LAYER.digest) for one in scene.replicas))
    await scene.spread()
    scene.gate.release()
    assert set(await pulling) == {LAYER.body}
    assert len(scene.hub.blob_gets(LAYER.digest)) == 1


@pytest.mark.parametrize(
    ("limits", "most"),
    [
        ({"max_streams": 1}, 1),
        ({"max_streams": 2}, 2),
        ({"max_readers": 2}, 2),
        ({"max_readers": 3}, 3),
    ],
)
async def test_a_tree(
    hub: ScriptedRegistry, tmp_path: Path, limits: dict[str, int], most: int
) -> None:
    """What there is of a blob comes to all replicas before its rest does; each sends it to few."""
    async with staged(hub, tmp_path, 8, **limits) as scene:
        await _pulled(scene)
        served = [len(one.events.of(PeerServed)) for one in scene.replicas]
    # Nobody had ended before all had begun: so many were served at once.
    assert sum(served) == len(served) - 1
    assert max(served) <= most
    # Nobody has waited for seconds: a place was found when there was one.
    assert [one.pauses for one in scene.replicas if sum(one.pauses) > 1.5] == []


async def test_a_small_blob(hub: ScriptedRegistry, tmp_path: Path) -> None:
    """One that is sent in no time goes to all from where it is, whatever the limit for readers."""
    little = IMAGE.blobs[0]
    gate = Gate(at=None)  # so that all want it before anybody has it
    hub.script(Match.blob(little.digest), gate)
    async with staged(hub, tmp_path, 5, max_readers=1) as scene:
        pulling = asyncio.gather(*(one.blob(little.digest) for one in scene.replicas))
        await gate.reached()
        await until(
            lambda: any(len(one.readers(Digest(little.digest))) == 4 for one in scene.replicas)
        )
        gate.release()
        assert set(await pulling) == {little.body}
        served = [len(one.events.of(PeerServed)) for one in scene.replicas]
        paused = [one.pauses for one in scene.replicas]
    assert sorted(served) == [0, 0, 0, 0, 4]
    assert paused == [[]] * 5


async def test_one_in_the_middle_dies(hub: ScriptedRegistry, tmp_path: Path) -> None:
    """Who was reading from it goes on at another one, and upstream sends no byte again."""
    tasks = Tasks()
    async with staged(hub, tmp_path, 5, max_streams=1) as scene:
        pulling = {one: tasks.start(one.blob(LAYER.digest), "pull") for one in scene.replicas}
        await scene.spread()
        middle, below = scene.last()
        await middle.stop()
        await asyncio.gather(pulling.pop(middle), return_exceptions=True)
        scene.gate.release()
        assert set(await asyncio.gather(*pulling.values())) == {LAYER.body}
        assert scene.fetched(*scene.replicas) == len(LAYER.body)
        assert scene.fetched(below) == 0


async def test_the_one_above_all_dies(hub: ScriptedRegistry, tmp_path: Path) -> None:
    """One of those below goes on from upstream, with the rest alone, and the others below it."""
    tasks = Tasks()
    async with staged(hub, tmp_path, 5, max_streams=1) as scene:
        pulling = {one: tasks.start(one.blob(LAYER.digest), "pull") for one in scene.replicas}
        await scene.spread()
        filler = scene.filler()
        await filler.stop()
        await asyncio.gather(pulling.pop(filler), return_exceptions=True)
        scene.gate.release()
        assert set(await asyncio.gather(*pulling.values())) == {LAYER.body}
        assert scene.fetched(*pulling) <= len(LAYER.body) - NEARLY
        assert len(scene.hub.blob_gets(LAYER.digest)) == 2


async def test_who_is_busy_names_its_readers(hub: ScriptedRegistry, tmp_path: Path) -> None:
    """One that serves as many as it may names them; so does one that has no more than the asker."""
    async with staged(hub, tmp_path, 2, max_readers=1) as scene:
        pulling = asyncio.gather(*(one.blob(LAYER.digest) for one in scene.replicas))
        await scene.spread()
        first = scene.filler()
        (second,) = [one for one in scene.replicas if one is not first]
        clock = SystemClock()
        asking = HttpPeers(SECRET, first.events, clock, Patience(1.0), lambda _: True, "")
        with pytest.raises(ReplicaBusy) as busy:
            async with asking.get_blob(first.address, Part(DIGEST)):
                pass
        assert list(busy.value.readers) == [second.address]
        with pytest.raises(ReplicaBusy):
            async with asking.get_blob(second.address, Part(DIGEST, start=HALF, is_ahead=True)):
                pass
        behind = Part(DIGEST, start=NEARLY, stop=NEARLY + 1, is_ahead=True)
        async with asking.get_blob(second.address, behind) as stream:
            got = b"".join([chunk async for chunk in stream.chunks()])
        assert got == LAYER.body[NEARLY : NEARLY + 1]
        await asking.close()
        scene.gate.release()
        assert set(await pulling) == {LAYER.body}


async def test_a_reader_that_hangs_up_gives_back_its_place(
    hub: ScriptedRegistry, tmp_path: Path
) -> None:
    """A reader that leaves while nothing comes from upstream counts no more at once."""
    async with staged(hub, tmp_path, 1, max_readers=1) as scene:
        (first,) = scene.replicas
        pulling = asyncio.gather(first.blob(LAYER.digest))
        await until(lambda: scene.has(first) > NEARLY)
        asking = HttpPeers(
            SECRET, first.events, SystemClock(), Patience(1.0), lambda _: True, "reader:1"
        )
        async with asking.get_blob(first.address, Part(DIGEST)) as stream:
            got = 0
            async for chunk in stream.chunks():
                got += len(chunk)
                if got > NEARLY:
                    break
            await asyncio.sleep(0.1)  # all that there is has left
            assert scene.readers(first) == ["reader:1"]
        await until(lambda: not scene.readers(first))
        assert len(scene.hub.blob_gets(LAYER.digest)) == 1  # upstream is silent as before
        await asking.close()
        scene.gate.release()
        assert [*await pulling] == [LAYER.body]


async def test_upstream_is_slow_to_begin(hub: ScriptedRegistry, tmp_path: Path) -> None:
    """While nobody has a byte, those who find no place are told when there are some."""
    async with staged(hub, tmp_path, 4, at=0, max_streams=1) as scene:
        pulling = asyncio.gather(*(one.blob(LAYER.digest) for one in scene.replicas))
        await scene.gate.reached()
        await asyncio.sleep(1.0)
        assert sum(len(one.pauses) for one in scene.replicas) == 0
        scene.gate.release()
        assert set(await pulling) == {LAYER.body}
        assert len(hub.blob_gets(LAYER.digest)) == 1
