"""Whom a replica asks for bytes, in which order, and whom never."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from cacheproxy.cluster_ports import Part, ReplicaBusy
from cacheproxy.domain.digest import Digest
from cacheproxy.domain.errors import (
    BlobUnknown,
    CacheproxyError,
    Denied,
    UpstreamLimited,
    UpstreamUnavailable,
)
from cacheproxy.ports import BlobStream
from cacheproxy.pullthrough.nearest import Nearest
from tests.support.clock import FakeClock

DIGEST = Digest.of(b"wanted")
ME = "me"


def busy(*readers: str) -> ReplicaBusy:
    """One that serves as many as it may, and whom."""
    return ReplicaBusy("busy", readers)


@dataclass
class World:
    """Other replicas, of which each says one thing (`Replicas`, `Peers`).

    Attributes:
        says: by address; one that is not here gives its bytes.
        whole: who is said to have the blob.
        filler: who has the lease; nobody: whoever claims it gets it.
        strangers: who is named, and is no replica.
        clock: which an answer moves on by `seconds`.
    """

    says: dict[str, CacheproxyError] = field(default_factory=dict)
    whole: list[str] = field(default_factory=list)
    filler: str = ""
    strangers: Sequence[str] = (ME,)
    asked: list[tuple[str, bool]] = field(default_factory=list)
    released: list[str] = field(default_factory=list)
    turns: int = 0
    clock: FakeClock = field(default_factory=FakeClock)
    seconds: float = 0.0

    async def holders(self, _: Digest) -> Sequence[str]:
        self.turns += 1
        return list(self.whole)

    @asynccontextmanager
    async def claim(self, _: str) -> AsyncIterator[str | None]:
        yield self.filler or None

    def knows(self, address: str) -> bool:
        return address not in self.strangers

    async def release(self, _: str, address: str) -> None:
        self.released.append(address)
        self.filler = ""

    @asynccontextmanager
    async def get_blob(self, address: str, part: Part) -> AsyncIterator[BlobStream]:
        self.asked.append((address, part.is_ahead))
        self.clock.advance(self.seconds)
        if address in self.says:
            raise self.says[address]
        yield cast("BlobStream", address)


async def found(world: World, start: int = 0, nearest: Nearest | None = None) -> Any:
    """Who gives the bytes; None: upstream."""
    async with AsyncExitStack() as stack:
        nearest = nearest or Nearest(world, world, world.clock)
        return await nearest.stream(stack, Part(DIGEST, start))


async def test_who_has_it_is_asked_first() -> None:
    """One that has it whole gives it, whoever fetches it."""
    world = World(whole=["a"], filler="f")
    assert await found(world) == "a"
    assert world.asked == [("a", True)]


async def test_nobody_has_it() -> None:
    """It is for us to fetch, where nobody has it or fetches it."""
    assert await found(World()) is None


async def test_who_fetches_it_is_asked_for_what_it_has_not_yet() -> None:
    """It waits for nobody but upstream, so we may wait for it."""
    world = World(filler="f")
    assert await found(world) == "f"
    assert world.asked == [("f", False)]


async def test_who_is_busy_names_another() -> None:
    """The readers of a busy one are asked, and theirs, for what they have already."""
    world = World(says={"f": busy("a"), "a": busy("b"), "b": busy("c")}, filler="f")
    assert await found(world) == "c"
    assert world.asked == [("f", False), ("a", True), ("b", True), ("c", True)]
    assert world.turns == 1


async def test_readers_of_who_has_it_are_asked() -> None:
    """Also where all who have it whole are busy."""
    world = World(says={"a": busy(), "b": busy("c")}, whole=["a", "b"], filler="f")
    assert await found(world) == "c"
    assert ("f", False) not in world.asked


@pytest.mark.parametrize(
    "error", [BlobUnknown("no"), Denied("no"), UpstreamUnavailable("gone"), busy()]
)
async def test_one_that_cannot_give_it_is_passed_over(error: CacheproxyError) -> None:
    """Another reader of the same one is asked instead."""
    world = World(says={"f": busy("a", "b"), "a": error}, filler="f")
    assert await found(world) == "b"
    assert world.released == []


async def test_strangers_are_not_asked() -> None:
    """Neither is who is no replica any more, nor are we ourselves, whoever names us."""
    world = World(says={"f": busy(ME, "gone", "a")}, filler="f", strangers=(ME, "gone"))
    assert await found(world) == "a"
    assert [address for address, _ in world.asked] == ["f", "a"]


async def test_a_ring_ends() -> None:
    """Replicas that name each other are each asked once at a time; then upstream is asked."""
    world = World(says={"f": busy("a"), "a": busy("b"), "b": busy("a")}, filler="f")
    assert await found(world) is None
    assert len(world.asked) == 3 * world.turns
    assert world.released == ["f"]


async def test_not_too_many_are_asked_at_one_go() -> None:
    """However many are named, so many are asked before it is looked again."""
    says = {f"r{n}": busy(*(f"r{m}" for m in range(n, n + 9))) for n in range(500)}
    world = World(says={"f": busy("r0"), **says}, filler="f")
    assert await found(world) is None
    assert len(world.asked) <= 33 * world.turns


async def test_a_replica_that_gave_wrong_bytes_is_shunned_for_a_while() -> None:
    """A replica that gave wrong bytes is not asked for that blob again within a minute."""
    world = World(says={"f": busy("a")}, filler="f")
    nearest = Nearest(world, world, world.clock)
    assert await found(world, nearest=nearest) == "a"
    assert await found(world, start=7, nearest=nearest) == "a"
    nearest.distrust(DIGEST)
    world.says = {"f": busy("a", "b")}
    assert await found(world, nearest=nearest) == "b"
    world.clock.advance(60)
    world.says = {"f": busy("a")}
    assert await found(world, nearest=nearest) == "a"


async def test_a_replica_is_not_blamed_for_our_disk() -> None:
    """Bytes that are wanted again from their start, and were not wrong, come from the same one."""
    world = World(whole=["a"])
    nearest = Nearest(world, world, world.clock)
    for _ in range(3):
        assert await found(world, nearest=nearest) == "a"


async def test_only_the_giver_of_wrong_bytes_is_shunned() -> None:
    """A replica that gave the blob before the attempt which failed is still asked."""
    world = World(whole=["a"])
    nearest = Nearest(world, world, world.clock)
    assert await found(world, nearest=nearest) == "a"
    world.whole = ["b"]
    assert await found(world, nearest=nearest) == "b"
    nearest.distrust(DIGEST)
    world.whole = ["b", "a"]
    assert await found(world, nearest=nearest) == "a"


async def test_a_shunned_holder_of_the_lease_keeps_it() -> None:
    """A lease is not ended for others because its holder once gave us wrong bytes."""
    world = World(whole=["f"])
    nearest = Nearest(world, world, world.clock)
    await found(world, nearest=nearest)
    nearest.distrust(DIGEST)
    world.whole, world.filler = [], "f"
    assert await found(world, nearest=nearest) is None
    assert world.released == []


@pytest.mark.parametrize("error", [UpstreamLimited("failed"), BlobUnknown("not yet"), busy()])
@pytest.mark.parametrize("seconds", [0.0, 2.0])
async def test_the_holder_of_the_lease_is_asked_for_nine_seconds(
    error: CacheproxyError, seconds: float
) -> None:
    """However long an answer takes, upstream is asked after nine seconds without bytes."""
    world = World(says={"f": error}, filler="f", seconds=seconds)
    begun = world.clock.monotonic()
    assert await found(world) is None
    assert 9 <= world.clock.monotonic() - begun < 12
    assert world.released == ["f"]


async def test_a_replica_that_waits_for_upstream_is_waited_for() -> None:
    """The holder of the lease is asked for a minute while it has no byte from upstream itself."""
    waiting = ReplicaBusy("nothing has come", is_waiting=True)
    world = World(says={"f": waiting}, filler="f", seconds=2.0)
    begun = world.clock.monotonic()
    assert await found(world) is None
    assert 60 <= world.clock.monotonic() - begun < 63


async def test_a_holder_that_does_not_answer_is_not_busy() -> None:
    """A holder that accepts connections and is silent has upstream asked after one deadline."""
    world = World(says={"a": UpstreamUnavailable("silent")}, whole=["a"], seconds=3.0)
    begun = world.clock.monotonic()
    assert await found(world) is None
    assert world.clock.monotonic() - begun == 3.0
    assert world.turns == 1


async def test_a_holder_that_has_failed_is_not_busy() -> None:
    """A holder is busy only if it says so; one that fails is not waited for."""
    world = World(says={"a": UpstreamLimited("failed")}, whole=["a"])
    assert await found(world) is None
    assert world.turns == 1


async def test_who_fetches_it_is_gone() -> None:
    """Its lease is ended at once, and we fetch it."""
    world = World(says={"f": UpstreamUnavailable("gone")}, filler="f")
    assert await found(world) is None
    assert (world.released, world.turns) == (["f"], 2)


async def test_a_holder_that_has_it_no_more_is_passed_over() -> None:
    """The holder of the lease is asked after a holder whose entry is wrong."""
    world = World(says={"a": BlobUnknown("no")}, whole=["a"], filler="f")
    assert await found(world) == "f"
