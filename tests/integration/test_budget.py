"""The disk budget: what it holds, what goes, and that no client ever notices."""

import asyncio
import re
import sqlite3
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, closing, suppress
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import aiohttp
import pytest
import structlog

from cacheproxy.domain.budget import PolicyName, on_disk
from cacheproxy.domain.digest import Digest
from cacheproxy.domain.store_events import Evicted
from cacheproxy.settings.sizes import Bytes
from tests.integration.fills import until
from tests.support import images
from tests.support.hasty import HastyProxy, Wanted, hasty_proxy
from tests.support.scripted_registry import (
    Always,
    CloseAfter,
    Fault,
    Gate,
    HangUp,
    Match,
    NoContentLength,
    ScriptedRegistry,
    StatusFault,
    WrongBytes,
)
from tests.support.seen import Seen, see

KIB = 1024
MIB = 1024 * KIB
POLICIES: tuple[PolicyName, ...] = ("lru", "lfu-decay", "gdsf-decay")


@dataclass(frozen=True, slots=True)
class Blob:
    """A blob of an upstream, and how clients ask for it."""

    body: bytes
    registry: str = "docker.io"

    @classmethod
    def of(cls, seed: int, size: int, registry: str = "docker.io") -> "Blob":
        """A blob of bytes that are the same for the same seed."""
        return cls(Random(seed).randbytes(size), registry)

    @property
    def digest(self) -> Digest:
        """Of its bytes."""
        return Digest.of(self.body)

    @property
    def path(self) -> str:
        """Where clients find it."""
        return f"/v2/{self.registry}/library/app/blobs/{self.digest}"


class Scene:
    """A proxy with a budget, its upstream, and what is on its disk."""

    def __init__(self, hub: ScriptedRegistry, proxy: HastyProxy) -> None:
        self.hub = hub
        self.proxy = proxy

    def blobs(self, count: int, size: int, first: int = 0) -> list[Blob]:
        """So many blobs, which upstream holds."""
        return [self.blob(first + number, size) for number in range(count)]

    def blob(self, seed: int, size: int, *faults: Fault) -> Blob:
        """A blob that upstream holds, with these faults."""
        made = Blob.of(seed, size)
        self.hub.add_blob("library/app", made.body)
        if faults:
            self.hub.script(Match.blob(made.digest), *faults)
        return made

    async def pull_in_vain(self, blob: Blob) -> None:
        """Pull a blob that breaks off: the client is cut, or told so if it has nothing yet."""
        with suppress(aiohttp.ClientPayloadError):
            assert (await see(self.proxy, blob.path)).status == 502

    async def pull(self, blob: Blob) -> Seen:
        """Pull a blob, which a client must get whole."""
        seen = await see(self.proxy, blob.path)
        assert seen.status == 200
        assert seen.body == blob.body
        return seen

    async def store(self, blob: Blob) -> None:
        """Pull a blob, and wait until it is stored and accounted for."""
        await self.pull(blob)
        await until(lambda: self.is_known(blob))

    def is_known(self, blob: Blob) -> bool:
        """Whether the ledger has the blob."""
        return bool(self.rows("SELECT 1 FROM blob WHERE digest = ?", blob.digest))

    async def used(self, blob: Blob) -> None:
        """Pull a blob that is stored, and wait until that is written down."""
        before = self.row(blob)["last_used"]
        self.proxy.clock.advance(1)
        await self.pull(blob)
        await until(lambda: self.row(blob)["last_used"] > before)

    def gets(self, blob: Blob) -> int:
        """How often upstream was asked for a blob."""
        return len(self.hub.blob_gets(blob.digest))

    def holds(self, blob: Blob) -> bool:
        """Whether the blob is stored."""
        return any(path.name == blob.digest.encoded for path in self.proxy.files("blobs"))

    def on_disk(self) -> int:
        """Bytes that blobs and downloads take, as `du` counts them."""
        return on_disk_of(self.proxy.directory)

    def row(self, blob: Blob) -> Mapping[str, Any]:
        """What the ledger says of a blob."""
        (row,) = self.rows("SELECT * FROM blob WHERE digest = ?", blob.digest)
        return row

    def usage(self) -> tuple[int, int]:
        """Bytes stored and reserved, by the ledger."""
        (row,) = self.rows("SELECT TOTAL(stored) AS s, TOTAL(reserved) AS r FROM used")
        return int(row["s"]), int(row["r"])

    def rows(self, query: str, *values: str) -> list[Mapping[str, Any]]:
        """What the ledger holds."""
        with closing(sqlite3.connect(self.proxy.directory / "ledger.db")) as ledger:
            ledger.row_factory = sqlite3.Row
            return [dict(row) for row in ledger.execute(query, values)]

    def evicted(self) -> list[Evicted]:
        """What has been evicted."""
        return self.proxy.events.of(Evicted)


def on_disk_of(directory: Path) -> int:
    """Bytes that blobs and downloads take, each file once although it may move meanwhile."""
    found: dict[int, int] = {}
    for below in ("ingest", "blobs"):
        for path in (directory / below).rglob("*"):
            try:
                status = path.lstat()
            except FileNotFoundError:
                continue
            if path.is_file():
                found[status.st_ino] = status.st_blocks * 512
    return sum(found.values())


@asynccontextmanager
async def scene(
    tmp_path: Path, max_size: int, *, upstream: Mapping[str, Any] | None = None, **cache: Any
) -> AsyncIterator[Scene]:
    """A proxy that may hold so many bytes."""
    settings = {"max_size": Bytes(max_size), "min_free": Bytes(1), **cache}
    async with (
        ScriptedRegistry() as hub,
        hasty_proxy(
            {"docker.io": hub}, tmp_path / "cache", Wanted(cache=settings, upstream=upstream or {})
        ) as proxy,
    ):
        yield Scene(hub, proxy)


# -- what goes ---------------------------------------------------------------------------


@pytest.mark.parametrize("policy", POLICIES)
async def test_more_than_the_budget_is_pulled(tmp_path: Path, policy: PolicyName) -> None:
    """Blobs come and go, the disk never holds more than it may, and clients get all of them."""
    async with scene(tmp_path, 2 * MIB, policy=policy) as made:
        for blob in made.blobs(20, 256 * KIB + 1):
            await made.store(blob)
            assert made.on_disk() <= 2 * MIB
        assert {gone.reason for gone in made.evicted()} == {"size"}
        assert made.on_disk() > MIB
        assert made.usage() == (made.on_disk(), 0)


async def test_many_pulls_at_once_stay_within(tmp_path: Path) -> None:
    """Downloads at the same moment share the room; who gets none is served all the same."""
    async with scene(tmp_path, MIB) as made:
        blobs = made.blobs(16, 256 * KIB)
        over: list[int] = []

        async def watch() -> None:
            while True:
                over.append(await asyncio.to_thread(made.on_disk))

        async with asyncio.TaskGroup() as group:
            watching = group.create_task(watch())
            async with asyncio.TaskGroup() as pulls:
                for blob in blobs:
                    pulls.create_task(made.pull(blob))
            watching.cancel()
        assert max(over) <= MIB
        assert len(over) > 3
        # A client has the last byte before the blob has its name.
        await until(lambda: made.usage()[0] > 0)


@pytest.mark.parametrize("policy", POLICIES)
async def test_what_is_hot_stays(tmp_path: Path, policy: PolicyName) -> None:
    """What clients ask for all the time is fetched once, whatever else comes and goes."""
    async with scene(tmp_path, 2 * MIB, policy=policy) as made:
        hot = made.blob(1000, 256 * KIB)
        await made.store(hot)
        for _ in range(3):
            await made.used(hot)
        for blob in made.blobs(20, 256 * KIB):
            await made.store(blob)
            await made.used(hot)
        assert made.gets(hot) == 1
        assert len(made.evicted()) > 10


async def test_what_nobody_asks_for_goes(tmp_path: Path) -> None:
    """After `idle_for` without a pull a blob goes, though there is room; others stay."""
    async with scene(tmp_path, 2 * MIB, idle_for=3600.0) as made:
        idle, used = made.blobs(2, 64 * KIB)
        await made.store(idle)
        await made.store(used)
        made.proxy.clock.advance(3000)
        await made.used(used)
        made.proxy.clock.advance(700)
        await until(made.evicted)
        assert not made.holds(idle)
        assert made.holds(used)
        (gone,) = made.evicted()
        assert (gone.digest, gone.reason, gone.size) == (idle.digest, "idle", 64 * KIB)
        assert 3600 < gone.age < 4000


async def test_what_is_pinned_stays(tmp_path: Path) -> None:
    """A pinned image stays with all its layers, though it is the coldest thing there is."""
    async with scene(tmp_path, MIB, pins=("docker.io/library/app:1",), policy="lru") as made:
        image = images.simple(1, 100 * KIB)
        made.hub.add_image("library/app", "1", image)
        assert (await see(made.proxy, "/v2/library/app/manifests/1")).status == 200
        pinned = [Blob(blob.body) for blob in image.blobs]
        for blob in pinned:
            await made.store(blob)
        for blob in made.blobs(10, 256 * KIB):
            await made.store(blob)
        assert len(made.evicted()) > 5
        assert all(made.holds(blob) for blob in pinned)
        assert made.holds(Blob(image.manifest))


async def test_an_upstream_keeps_to_its_share(tmp_path: Path) -> None:
    """One upstream's blobs take no more than its share, and displace no other's for it."""
    cache = {"max_size": Bytes(8 * MIB), "min_free": Bytes(1)}
    wanted = Wanted(cache=cache, upstream={"max_size": Bytes(MIB)})
    async with (
        ScriptedRegistry() as hub,
        ScriptedRegistry() as quay,
        hasty_proxy({"docker.io": hub, "quay.io": quay}, tmp_path / "cache", wanted) as proxy,
    ):
        made = Scene(hub, proxy)
        other = Blob.of(500, 512 * KIB, "quay.io")
        quay.add_blob("library/app", other.body)
        await made.store(other)
        for blob in made.blobs(10, 256 * KIB):
            await made.store(blob)
            assert made.on_disk() <= MIB + 512 * KIB
        assert made.holds(other)
        assert {gone.registry for gone in made.evicted()} == {"docker.io"}


async def test_a_budget_that_shrank_is_kept_after_a_restart(tmp_path: Path) -> None:
    """A smaller `max_size` is true of what is there already, and what is hot stays."""
    async with scene(tmp_path, 4 * MIB) as made:
        hot, *blobs = made.blobs(12, 256 * KIB)
        for blob in (hot, *blobs):
            await made.store(blob)
        await made.used(hot)
        assert made.on_disk() > 2 * MIB
    async with scene(tmp_path, MIB) as made:
        await until(made.evicted)
        assert made.on_disk() <= MIB
        assert made.holds(hot)


# -- what does not fit -------------------------------------------------------------------


async def test_what_is_larger_than_the_budget_streams_through(tmp_path: Path) -> None:
    """What could never be stored is served uncached, and says so; nothing goes for it."""
    async with scene(tmp_path, MIB) as made:
        small, large = made.blob(1, 256 * KIB), made.blob(2, 3 * MIB)
        await made.store(small)
        for _ in range(2):
            seen = await made.pull(large)
            assert seen.cache == {"fwd": "bypass", "detail": "disk"}
            assert made.on_disk() == 256 * KIB
        assert made.holds(small)
        assert made.evicted() == []
        await until(lambda: made.usage() == (256 * KIB, 0))


async def test_a_blob_as_large_as_the_budget_is_stored(tmp_path: Path) -> None:
    """All of the budget is there to be used."""
    async with scene(tmp_path, MIB) as made:
        await made.store(made.blob(1, 256 * KIB))
        await made.store(made.blob(2, MIB))
        assert made.on_disk() == MIB


async def test_a_blob_of_unknown_size_is_stored_if_it_fits(tmp_path: Path) -> None:
    """Where upstream does not say how long a blob is, room is reserved as it comes."""
    async with scene(tmp_path, MIB) as made:
        blob = made.blob(1, 700 * KIB, NoContentLength())
        await made.store(blob)
        assert made.usage() == (700 * KIB, 0)


async def test_a_blob_of_unknown_size_that_does_not_fit_is_served(tmp_path: Path) -> None:
    """Where the room ends in the middle, clients get the rest past the disk."""
    async with scene(tmp_path, MIB) as made:
        blob = made.blob(1, 3 * MIB, Always(NoContentLength()))
        await made.pull(blob)
        assert made.on_disk() == 0
        await until(lambda: made.usage() == (0, 0))


async def test_an_image_fits_into_a_small_budget(tmp_path: Path) -> None:
    """Manifests are stored in a budget that is not much larger than what they name."""
    async with scene(tmp_path, MIB) as made:
        image = images.simple(1, 100 * KIB)
        made.hub.add_image("library/app", "1", image)
        for _ in range(2):
            assert (await see(made.proxy, "/v2/library/app/manifests/1")).body == image.manifest
        assert made.holds(Blob(image.manifest))


# -- what a download gives back ----------------------------------------------------------


@pytest.mark.parametrize(
    "faults",
    [
        pytest.param((Always(StatusFault(404)),), id="unknown"),
        pytest.param((Always(StatusFault(500)),), id="upstream fails"),
        pytest.param((Always(HangUp()),), id="no answer"),
        pytest.param((WrongBytes(),), id="wrong bytes"),
        pytest.param((WrongBytes(at=699 * KIB),), id="wrong bytes at the end"),
    ],
)
async def test_a_download_that_fails_gives_its_room_back(
    tmp_path: Path, faults: tuple[Fault, ...]
) -> None:
    """What was reserved for what did not come is there for the next one."""
    async with scene(tmp_path, MIB) as made:
        failing = made.blob(1, 700 * KIB, *faults)
        with pytest.raises((AssertionError, aiohttp.ClientPayloadError)):
            await made.pull(failing)
        await until(lambda: made.usage() == (0, 0))
        await made.store(made.blob(2, MIB))


async def test_a_download_that_breaks_off_counts_with_what_it_left(tmp_path: Path) -> None:
    """Bytes that are kept for the next attempt take room, and are the first to make it."""
    async with scene(tmp_path, MIB) as made:
        faults = (CloseAfter(300 * KIB), Always(StatusFault(503)))
        await made.pull_in_vain(made.blob(1, 700 * KIB, *faults))
        await until(lambda: made.usage() == (0, made.on_disk()))
        left = made.on_disk()
        assert 0 < left <= 300 * KIB
        made.proxy.clock.advance(60)  # in which upstream is given a rest
        await made.store(made.blob(2, MIB - left - 8 * KIB))
        assert made.usage() == (MIB - left - 8 * KIB, left)
        # What nobody has asked for since it broke off is the first to go.
        await made.store(made.blob(3, 16 * KIB))
        assert made.usage() == (MIB - left + 8 * KIB, 0)


async def test_a_download_that_is_given_up_counts_with_what_it_left(tmp_path: Path) -> None:
    """When all clients have left, what came so far counts, and the rest is given back."""
    gate = Gate(at=300 * KIB)
    async with scene(tmp_path, MIB, abandon_after=0.0) as made:
        blob = made.blob(1, 700 * KIB, gate)
        async with asyncio.TaskGroup() as group:
            client = group.create_task(made.pull(blob))
            await gate.reached()
            await until(lambda: made.on_disk() > 200 * KIB)
            assert made.usage() == (0, 700 * KIB)
            client.cancel()
        await until(lambda: made.usage() == (0, made.on_disk()))
        assert 200 * KIB < made.on_disk() <= 300 * KIB
        gate.release()
        await made.store(blob)
        assert made.usage() == (700 * KIB, 0)


async def test_a_leftover_that_is_swept_counts_no_more(tmp_path: Path) -> None:
    """Once nobody takes a partial download up again, its room is there for others."""
    async with scene(tmp_path, MIB) as made:
        faults = (CloseAfter(300 * KIB), Always(StatusFault(503)))
        await made.pull_in_vain(made.blob(1, 700 * KIB, *faults))
        await until(lambda: made.on_disk() > 0)
    async with scene(tmp_path, MIB, keep_partial=0.0) as made:
        await until(lambda: made.usage() == (0, 0))
        assert made.on_disk() == 0


# -- readers -----------------------------------------------------------------------------


async def test_a_reader_in_the_middle_is_never_cut(tmp_path: Path) -> None:
    """What a slow client reads stays until it has it all; only then may it go."""
    async with scene(tmp_path, 24 * MIB, policy="lru") as made:
        read = made.blob(1, 20 * MIB)
        await made.store(read)
        async with made.proxy.get(read.path) as response:
            begun = await response.content.readexactly(KIB)
            for blob in made.blobs(6, MIB, first=10):
                await made.store(blob)
            assert made.holds(read)
            assert {gone.digest for gone in made.evicted()}.isdisjoint({read.digest})
            assert begun + await response.read() == read.body
        await made.store(made.blob(2, 22 * MIB))
        assert read.digest in {gone.digest for gone in made.evicted()}


async def test_a_follower_is_never_cut(tmp_path: Path) -> None:
    """Who reads what has just been downloaded gets it all, though nobody has stored more room."""
    async with scene(tmp_path, 24 * MIB, policy="lru") as made:
        read = made.blob(1, 20 * MIB)
        async with made.proxy.get(read.path) as response:
            begun = await response.content.readexactly(KIB)
            await until(lambda: made.holds(read))
            for blob in made.blobs(6, MIB, first=10):
                await made.pull(blob)
            assert made.on_disk() <= 24 * MIB
            assert begun + await response.read() == read.body


# -- what operators see ------------------------------------------------------------------


async def _metrics(proxy: HastyProxy) -> dict[str, float]:
    async with proxy.client.get(proxy.admin_url + "/metrics") as response:
        text = await response.text()
    found = re.findall(r"^(cacheproxy_\S+) (\S+)$", text, re.MULTILINE)
    return {name: float(value) for name, value in found}


async def test_operators_see_what_is_held(tmp_path: Path) -> None:
    """The metrics tell what is stored, what may be, and what has gone and why."""
    gate = Gate(at=KIB)
    async with scene(tmp_path, MIB) as made:
        shown = await _metrics(made.proxy)
        assert shown["cacheproxy_store_max_bytes"] == MIB
        assert shown["cacheproxy_store_bytes"] == 0
        for blob in made.blobs(5, 256 * KIB - 1):
            await made.store(blob)
        slow = made.blob(99, 100 * KIB, gate)
        async with asyncio.TaskGroup() as group:
            group.create_task(made.pull(slow))
            await until(lambda: made.usage()[1] > 0)
            shown = await _metrics(made.proxy)
            gate.release()
        assert shown["cacheproxy_store_reserved_bytes"] == 100 * KIB
        assert 0 < shown["cacheproxy_store_bytes"] - 100 * KIB <= MIB - 100 * KIB
        evicted = shown['cacheproxy_evictions_total{reason="size"}']
        assert evicted == len(made.evicted()) > 0


async def test_each_eviction_is_logged(tmp_path: Path) -> None:
    """For each blob that goes there is a line that says which, how large, and why."""
    with structlog.testing.capture_logs() as lines:
        async with scene(tmp_path, MIB) as made:
            for blob in made.blobs(5, 256 * KIB):
                await made.store(blob)
    logged = [line for line in lines if line["event"] == "evicted"]
    assert [line["digest"] for line in logged] == [gone.digest for gone in made.evicted()]
    for line in logged:
        assert line["upstream"] == "docker.io"
        assert (line["reason"], line["bytes"]) == ("size", on_disk(256 * KIB))
        assert line["age"] >= 0
        assert line["log_level"] == "info"
    assert logged
