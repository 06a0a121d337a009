"""Moments in which two things happen at once: each was once a wrong byte, an error or a hang.

The simulation (`tests/simulation`) finds such moments by itself; these tests name the ones that
it has found, and hold a call in each of them.
"""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager, closing
from pathlib import Path
from random import Random
from typing import Any

import pytest
from typing_extensions import override

from cacheproxy.cluster_ports import Part
from cacheproxy.domain.digest import Digest
from cacheproxy.domain.errors import Denied, DigestMismatch, StorageError
from cacheproxy.domain.events import Unexpected
from cacheproxy.domain.fill_state import HOLD_BACK, Phase
from cacheproxy.domain.records import Link
from cacheproxy.domain.reference import Name, Repository
from cacheproxy.inprocess.clock import SystemClock
from cacheproxy.inprocess.tasks import Tasks
from cacheproxy.ports import BlobStream, Ingest
from cacheproxy.pullthrough.context import FillContext
from cacheproxy.pullthrough.fill import Fill, Fills
from cacheproxy.pullthrough.follower import Follower
from cacheproxy.pullthrough.origin import Origin
from cacheproxy.storage.filesystem import FilesystemStore
from cacheproxy.storage.ingest import FileIngest
from cacheproxy.storage.open_file import OpenFile
from tests.integration.fills import (
    BODY,
    DIGEST,
    PATH,
    SIZE,
    Pulled,
    all_of,
    cold,
    is_stored,
    pull,
    until,
)
from tests.support.hasty import Events, HastyProxy, Wanted, hasty_proxy
from tests.support.leaks import settle
from tests.support.scripted_registry import Gate, Match, ScriptedRegistry, SlowHeaders, WrongBytes
from tests.support.stores import REPOSITORY, keep, open_store

_RIGHT = Random(1).randbytes(200_000)
_WRONG = Random(2).randbytes(200_000)
_RIGHT_DIGEST = Digest.of(_RIGHT)


def _start(client: Coroutine[Any, Any, Pulled]) -> asyncio.Task[Pulled]:
    return asyncio.get_running_loop().create_task(client)


# -- workers that share a volume -----------------------------------------------------------


@asynccontextmanager
async def _two_workers(
    tmp_path: Path, gate: Gate, wanted: Wanted | None = None
) -> AsyncIterator[tuple[ScriptedRegistry, HastyProxy, HastyProxy]]:
    """A worker that fetches, and holds at a gate; and another one on the same volume."""
    async with cold(tmp_path, gate) as (hub, one), one.get(PATH) as first:
        await gate.reached()
        async with hasty_proxy({"docker.io": hub}, tmp_path / "cache", wanted) as two:
            yield hub, one, two
        gate.release()
        assert await first.read() == BODY


def _hold_second_ingest(
    proxy: HastyProxy, monkeypatch: pytest.MonkeyPatch
) -> tuple[asyncio.Event, asyncio.Event]:
    """Have the second election of a worker wait: its threads are busy for a moment."""
    store: Any = proxy.core.pull_through._store
    real, waiting, go_on, count = store.ingest, asyncio.Event(), asyncio.Event(), 0

    @asynccontextmanager
    async def held(repository: Repository, digest: Digest) -> AsyncIterator[Ingest | None]:
        nonlocal count
        count += 1
        if count == 2:
            waiting.set()
            await go_on.wait()
        async with real(repository, digest) as ingest:
            yield ingest

    monkeypatch.setattr(store, "ingest", held)
    return waiting, go_on


async def test_a_worker_that_watches_can_be_joined_between_two_looks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever joins between two elections reads the blob, and no file that was opened since."""
    gate = Gate(at=1_000_000)
    async with _two_workers(tmp_path, gate) as (_, _, two):
        waiting, go_on = _hold_second_ingest(two, monkeypatch)
        async with AsyncExitStack() as stack:
            early = await stack.enter_async_context(two.get(PATH))
            await waiting.wait()
            # Whatever the watcher has closed, its numbers belong to these files now.
            for _ in range(8):
                stack.enter_context(OpenFile.read_only(__file__))
            late = await stack.enter_async_context(two.get(PATH))
            assert late.status == 200
            go_on.set()
            gate.release()
            assert await late.read() == BODY
            assert await early.read() == BODY
        assert not two.events.of(Unexpected)


async def test_clients_come_and_go_at_a_worker_that_watches(tmp_path: Path) -> None:
    """However many join, read a little and leave: none of them gets an error."""
    gate, statuses = Gate(at=1_000_000), set[int]()
    async with _two_workers(tmp_path, gate) as (_, _, two), two.get(PATH) as stays:

        async def come_and_go() -> None:
            for _ in range(40):
                async with two.get(PATH) as response:
                    await response.content.readexactly(1000)
                    statuses.add(response.status)

        await asyncio.gather(*(come_and_go() for _ in range(4)))
        gate.release()
        assert await stays.read() == BODY
        assert statuses == {200}
        assert not two.events.of(Unexpected)


# -- a file is its inode -------------------------------------------------------------------


class _HookedClock(SystemClock):
    """Runs something before the next pause, or before the nth one."""

    def __init__(self) -> None:
        self.hook: Callable[[], Awaitable[object]] | None = None
        self.after = 1

    @override
    async def sleep(self, seconds: float) -> None:
        self.after -= 1
        if self.hook is not None and self.after <= 0:
            hook, self.hook = self.hook, None
            await hook()
        await asyncio.sleep(min(seconds, 0.001))


class _Honest:
    """An upstream that sends the right bytes (`Upstream`, as far as a download asks it)."""

    start, size, source = 0, len(_RIGHT), "fill"

    @asynccontextmanager
    async def get_blob(self, *_: object) -> AsyncIterator[BlobStream]:
        """Begin to send."""
        yield self  # type: ignore[misc]  # it is its own stream

    async def chunks(self) -> AsyncIterator[bytes]:
        """Send all."""
        yield _RIGHT


@asynccontextmanager
async def _stores(tmp_path: Path) -> AsyncIterator[tuple[FilesystemStore, FilesystemStore, Tasks]]:
    one, two, tasks = open_store(tmp_path), open_store(tmp_path), Tasks()
    try:
        yield one, two, tasks
    finally:
        await tasks.close()
        one.close()
        two.close()


def _fill(store: FilesystemStore, clock: SystemClock, events: Events | None = None) -> Fill:
    upstream: Any = _Honest()
    origin = Origin(upstream, REPOSITORY, _RIGHT_DIGEST, len(_RIGHT), linked=True)
    return Fill(_RIGHT_DIGEST, origin, FillContext(store, events or Events(), clock))


async def _write(store: FilesystemStore, body: bytes) -> None:
    async with store.ingest(REPOSITORY, _RIGHT_DIGEST) as ingest:
        assert ingest is not None
        await ingest.append(body)
        ingest.verify()
        await ingest.commit()


async def test_the_end_of_another_file_is_never_served(tmp_path: Path) -> None:
    """Wrong bytes that another worker drops are cut, though right ones are stored at once."""
    clock = _HookedClock()
    async with _stores(tmp_path) as (one, two, tasks):
        writing = one.ingest(REPOSITORY, _RIGHT_DIGEST)
        ingest = await writing.__aenter__()
        assert ingest is not None
        await ingest.append(_WRONG)
        fill = _fill(two, clock)
        fill.start(tasks)
        await fill.wait_open(REPOSITORY)
        follower = Follower(fill, None, None, (FillContext(two, Events(), clock), tasks))
        with closing(follower):
            got = bytearray()
            while len(got) < len(_WRONG) - HOLD_BACK:
                got += await follower.read(len(got), 65_536)

            async def replace() -> None:
                await ingest.discard()
                await writing.__aexit__(None, None, None)
                await _write(one, _RIGHT)

            clock.hook = replace
            with pytest.raises(DigestMismatch):
                await follower.read(len(got), 65_536)
        await fill.progress.wait_committed()
        assert await two.document(_RIGHT_DIGEST) == _RIGHT


async def test_a_follower_goes_on_in_the_file_of_the_next_writer(tmp_path: Path) -> None:
    """Right bytes that were dropped for room are fetched again, and their follower reads on."""
    clock, events = _HookedClock(), Events()
    async with _stores(tmp_path) as (one, two, tasks):
        writing = one.ingest(REPOSITORY, _RIGHT_DIGEST)
        ingest = await writing.__aenter__()
        assert ingest is not None
        await ingest.append(_RIGHT[:100_000])

        async def die() -> None:
            await writing.__aexit__(None, None, None)  # its bytes stay, and then go for room
            assert await one.accounts.drop_partial([_RIGHT_DIGEST])

        fill = _fill(two, clock, events)
        fill.start(tasks)
        await fill.wait_open(REPOSITORY)
        follower = Follower(fill, None, None, (FillContext(two, Events(), clock), tasks))
        with closing(follower):
            got = bytearray(await follower.read(0, 50_000))
            clock.after, clock.hook = 40, die
            while chunk := await follower.read(len(got), 65_536):
                got += chunk
        assert bytes(got) == _RIGHT
        assert not events.of(Unexpected)


# -- a fill that ends ----------------------------------------------------------------------


async def _link(proxy: HastyProxy, *names: str) -> None:
    metadata = proxy.core.pull_through._blobs._metadata
    for name in names:
        repository = Repository("docker.io", Name(f"library/{name}"))
        await metadata.add_links(repository, {Digest(DIGEST): Link(SIZE)})


async def test_one_repository_fails_and_another_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever has joined for a repository of his own gets the blob from that."""
    async with ScriptedRegistry() as hub:
        for name in ("one", "two"):
            hub.add_blob(f"library/{name}", BODY)
        async with hasty_proxy({"docker.io": hub}, tmp_path / "cache") as proxy:
            await _link(proxy, "one", "two")
            upstream: Any = proxy.core.pull_through.registries["docker.io"].upstream
            real, asked, go_on = upstream.get_blob, asyncio.Event(), asyncio.Event()

            @asynccontextmanager
            async def get_blob(
                repository: Repository, *rest: Any, **options: Any
            ) -> AsyncIterator[BlobStream]:
                if repository.name == "library/one":
                    asked.set()
                    await go_on.wait()
                    raise Denied("upstream answered 403")
                async with real(repository, *rest, **options) as stream:
                    yield stream

            monkeypatch.setattr(upstream, "get_blob", get_blob)
            pulls = [pull(proxy, f"/v2/{name}/blobs/{DIGEST}") for name in ("one", "two")]
            first = _start(pulls[0])
            await asked.wait()
            second = _start(pulls[1])
            await until(lambda: next(iter(proxy.core.pull_through.fills)).followers == 2)
            go_on.set()
            assert (await second).right
            assert (await first).right
            assert not proxy.events.of(Unexpected)


async def test_a_blob_that_is_stored_and_not_yet_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between its rename and the ledger's transaction a blob can be pulled like any other."""
    async with cold(tmp_path, SlowHeaders(0.3)) as (hub, proxy):
        # The first client leaves before upstream has answered: nobody knows of a link.
        first = _start(pull(proxy))
        await until(lambda: hub.blob_gets(DIGEST))
        first.cancel()
        store: Any = proxy.core.pull_through._store
        real, go_on = store.accounts.commit, asyncio.Event()

        async def commit(*arguments: Any) -> None:
            await go_on.wait()
            await real(*arguments)

        monkeypatch.setattr(store.accounts, "commit", commit)
        await until(lambda: proxy.files("blobs"))
        assert (await pull(proxy)).right
        assert not proxy.events.of(Unexpected)
        go_on.set()


async def test_nobody_joins_what_was_abandoned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client that comes while an abandoned download is put down has one of its own."""
    gate = Gate(at=1_000_000)
    async with cold(tmp_path, gate, wanted=Wanted(cache={"abandon_after": 0.05})) as (_, proxy):
        store: Any = proxy.core.pull_through._store
        real, ending, go_on = store.accounts.settle_one, asyncio.Event(), asyncio.Event()

        async def settle_one(*arguments: Any) -> None:
            ending.set()
            await go_on.wait()
            await real(*arguments)

        monkeypatch.setattr(store.accounts, "settle_one", settle_one)
        response = await proxy.get(PATH)
        await response.content.readexactly(1000)
        response.close()
        await asyncio.wait_for(ending.wait(), 10)
        late = _start(pull(proxy))
        await settle()
        go_on.set()
        gate.release()
        assert (await late).right


async def test_an_error_at_the_end_changes_no_outcome(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A ledger that refuses while the ingest of a stored blob is closed fails nothing."""
    async with _stores(tmp_path) as (store, _, _):
        await keep(store, _RIGHT_DIGEST, _RIGHT)

        async def refuse(*_: object) -> None:
            raise StorageError("the ledger cannot be written")

        monkeypatch.setattr(store.accounts, "settle_one", refuse)
        fill = _fill(store, SystemClock())
        await fill.run()
        assert (fill.state.phase, fill.progress.error) == (Phase.COMMITTED, None)


async def test_the_table_forgets_a_fill_in_the_step_in_which_it_ends() -> None:
    """What has failed or was committed cannot be joined, not even before its task has ended."""
    tasks, store = Tasks(), _NoStore()
    fills = Fills(FillContext(store, Events(), SystemClock()), tasks)  # type: ignore[arg-type]
    fill, _ = fills.join(_RIGHT_DIGEST, None)
    fill.progress.fail(StorageError("the disk is full"))
    assert fills.get(_RIGHT_DIGEST) is None
    other, is_joined = fills.join(_RIGHT_DIGEST, None)
    assert other is not fill
    assert not is_joined
    await tasks.close()


class _NoStore:
    """A store whose disk never answers."""

    @asynccontextmanager
    async def ingest(self, *_: object) -> AsyncIterator[None]:
        """Wait for ever."""
        await asyncio.Event().wait()
        yield


# -- a disk or a ledger that refuses -------------------------------------------------------


@pytest.mark.parametrize("is_read", [False, True])
async def test_wrong_bytes_go_while_the_ledger_is_busy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_read: bool
) -> None:
    """They are dropped and their lock is given back, whatever the ledger says."""
    monkeypatch.setattr("cacheproxy.storage.ledger._LOCK_SECONDS", 0.1)
    gate = Gate(at=2_000_000)
    async with cold(tmp_path, WrongBytes()) as (hub, proxy):
        hub.script(Match.blob(DIGEST), gate)
        first = _start(pull(proxy))
        await until(lambda: proxy.core.pull_through.fills)
        fill = next(iter(proxy.core.pull_through.fills))
        await fill.wait_open(fill.repository)
        reader = fill.progress.share_file() if is_read else None
        with closing(sqlite3.connect(tmp_path / "cache" / "ledger.db", isolation_level=None)) as db:
            db.execute("BEGIN IMMEDIATE")
            assert (await first).harmless
            await until(lambda: not proxy.files("ingest"))
            db.execute("ROLLBACK")
        gate.release()
        assert (await pull(proxy)).right
        if reader is not None:
            reader.close()


async def test_a_range_ahead_of_a_download_whose_disk_refuses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It comes from upstream instead: there is nothing that its client could have read before."""
    gate = Gate(at=1_000_000)
    async with cold(tmp_path, gate) as (_, proxy):
        whole = _start(pull(proxy))
        await gate.reached()
        wanted = {"Range": "bytes=2000000-2000999"}
        part = _start(pull(proxy, headers=wanted))
        await until(lambda: next(iter(proxy.core.pull_through.fills)).followers == 2)
        monkeypatch.setattr(FileIngest, "_append", _refuse)
        gate.release()
        assert (await part).body == BODY[2_000_000:2_001_000]
        assert (await whole).right


def _refuse(*_: object) -> None:
    raise OSError(5, "Input/output error")


async def test_a_range_of_a_blob_of_unknown_size_past_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A part is a part, also where no manifest has said how long the blob is."""

    async def no_room(*_: object) -> None:
        raise StorageError("no room")

    monkeypatch.setattr(FileIngest, "reserve", no_room)
    async with cold(tmp_path) as (_, proxy):
        got = await pull(proxy, headers={"Range": "bytes=500-999"})
        assert (got.status, got.body) == (206, BODY[500:1000])
        assert not proxy.events.of(Unexpected)


async def test_a_client_of_a_fill_that_another_replica_has_begun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It goes on from its own upstream when the writer's disk refuses."""
    gate = Gate(at=1_000_000)
    async with cold(tmp_path, gate) as (hub, one), one.get(PATH) as first:
        await gate.reached()
        async with hasty_proxy({"docker.io": hub}, tmp_path / "cache") as two:
            offer = two.core.pull_through.sharing.look(Part(Digest(DIGEST)))
            with closing(offer):
                async with two.get(PATH) as client:
                    await client.content.readexactly(1000)
                    monkeypatch.setattr(FileIngest, "_append", _refuse)
                    gate.release()
                    assert await client.read() == BODY[1000:]
        assert await first.read() == BODY


async def test_a_client_of_a_peers_fill_survives_the_worker_that_fetches(tmp_path: Path) -> None:
    """A client that joins a fill begun for a peer gets the rest when the writer's process dies."""
    clock, events = _HookedClock(), Events()
    async with _stores(tmp_path) as (one, two, tasks):
        writing = one.ingest(REPOSITORY, _RIGHT_DIGEST)
        ingest = await writing.__aenter__()
        assert ingest is not None
        await ingest.append(_RIGHT[:100_000])
        context = FillContext(two, events, clock)
        fills = Fills(context, tasks)
        fill, _ = fills.join(_RIGHT_DIGEST, None)
        with fill.attended():  # by another replica
            await fill.wait_open()
            upstream: Any = _Honest()
            origin = Origin(upstream, REPOSITORY, _RIGHT_DIGEST, len(_RIGHT), linked=True)
            assert fills.join(_RIGHT_DIGEST, origin) == (fill, True)
            with closing(Follower(fill, origin, None, (context, tasks))) as follower:
                got = bytearray(await follower.read(0, 50_000))
                await writing.__aexit__(None, None, None)  # its bytes stay
                while chunk := await follower.read(len(got), 65_536):
                    got += chunk
        assert bytes(got) == _RIGHT
        assert not events.of(Unexpected)


async def test_what_an_earlier_process_left_may_be_wrong(tmp_path: Path) -> None:
    """A leftover of zeros, as after a power cut, is dropped, and the blob is fetched anew."""
    async with cold(tmp_path) as (hub, proxy):
        (tmp_path / "cache" / "ingest" / DIGEST.replace(":", "-")).write_bytes(bytes(100_000))
        results = await all_of([pull(proxy) for _ in range(2)])
        # Its first bytes were sent before anybody could know: that shows as a cut.
        assert all(result.harmless or result.right for result in results)
        await until(lambda: is_stored(proxy))
        assert (await pull(proxy)).right
        assert hub.blob_gets(DIGEST)
