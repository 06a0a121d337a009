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
from tests.support.hasty import HastyClock

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
    """

    says: dict[str, CacheproxyError] = field(default_factory=dict)
    whole: list[str] = field(default_factory=list)
    filler: str = ""
    strangers: Sequence[str] = (ME,)
    asked: list[tuple[str, bool]] = field(default_factory=list)
    doubted: list[str] = field(default_factory=list)
    released: list[str] = field(default_factory=list)
    turns: int = 0

    async def holders(self, _: Digest) -> Sequence[str]:
        self.turns += 1
        return list(self.whole)

    @asynccontextmanager
    async def claim(self, _: str) -> AsyncIterator[str | None]:
        yield self.filler or None

    def knows(self, address: str) -> bool:
        return address not in self.strangers

    async def doubt(self, _: Digest, address: str) -> None:
        self.doubted.append(address)

    async def release(self, _: str, address: str) -> None:
        self.released.append(address)
        self.filler = ""

    @asynccontextmanager
    async def get_blob(self, address: str, part: Part) -> AsyncIterator[BlobStream]:
        self.asked.append((address, part.is_ahead))
        if address in self.says:
            raise self.says[address]
        yield cast("BlobStream", address)


async def found(world: World, start: int = 0, nearest: Nearest | None = None) -> Any:
    """Who gives the bytes; None: upstream."""
    async with AsyncExitStack() as stack:
        nearest = nearest or Nearest(world, world, HastyClock())
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
    assert (world.doubted, world.released) == ([], [])


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


async def test_what_was_of_no_use_is_not_had_there_again() -> None:
    """A reader that gave wrong bytes, which are wanted from the start again, is passed over."""
    world = World(says={"f": busy("a")}, filler="f")
    nearest = Nearest(world, world, HastyClock())
    assert await found(world, nearest=nearest) == "a"
    assert await found(world, start=7, nearest=nearest) == "a"
    world.says = {"f": busy("a", "b")}
    assert await found(world, nearest=nearest) == "b"


@pytest.mark.parametrize("error", [UpstreamLimited("slow"), BlobUnknown("not yet")])
async def test_who_fetches_it_is_asked_again(error: CacheproxyError) -> None:
    """One that does not begin is asked many times, and then upstream is."""
    world = World(says={"f": error}, filler="f")
    assert await found(world) is None
    assert world.turns == 40


async def test_who_fetches_it_is_gone() -> None:
    """Its lease is ended at once, and we fetch it."""
    world = World(says={"f": UpstreamUnavailable("gone")}, filler="f")
    assert await found(world) is None
    assert (world.released, world.turns) == (["f"], 2)


async def test_who_has_it_no_more_is_doubted() -> None:
    """An entry that is wrong is struck out, and the one who fetches it is asked."""
    world = World(says={"a": BlobUnknown("no")}, whole=["a"], filler="f")
    assert await found(world) == "f"
    assert world.doubted == ["a"]
