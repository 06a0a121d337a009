"""The ledger as the store uses it: rooms, uses, events, and what is counted when."""

import asyncio
import fcntl
import os
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, closing, suppress
from pathlib import Path

import pytest

from cacheproxy.domain.budget import Budget
from cacheproxy.domain.digest import Digest
from cacheproxy.domain.errors import StartError, StorageError
from cacheproxy.domain.manifest import Manifest, parse
from cacheproxy.domain.reference import Name, Repository, Tag
from cacheproxy.domain.store_events import Evicted, LedgerReplaced, StoreFailed, StoreRecovered
from cacheproxy.ports import Ingest
from cacheproxy.storage.accounts import Accounts, Holding
from cacheproxy.storage.claims import Claim, Usage
from cacheproxy.storage.filesystem import FilesystemStore
from cacheproxy.storage.inventory import Stock, look_through
from cacheproxy.storage.layout import Layout
from cacheproxy.storage.ledger import Ledger
from tests.support import images
from tests.support.clock import FakeClock
from tests.support.hasty import Events
from tests.support.ledgers import left
from tests.support.stores import open_store

BLOCK = 4096
MIB = 1024 * 1024
CONTENT = bytes(3 * BLOCK)
DIGEST = Digest.of(CONTENT)
OTHER = Digest.of(b"other")
REPOSITORY = Repository("docker.io", Name("library/app"))
BUDGET = Budget(10 * BLOCK, low_water=1.0, policy="lru")


class Scene:
    """A store in an empty directory, its clock, and what it stated."""

    def __init__(self, root: Path, budget: Budget = BUDGET) -> None:
        self.root = root
        self.clock = FakeClock()
        self.events = Events()
        self.store = open_store(root, budget, self.clock, self.events)
        self.accounts: Accounts = self.store.accounts

    @property
    def ledger(self) -> Ledger:
        """The ledger that the store has open."""
        assert self.accounts._handle._ledger is not None
        return self.accounts._handle._ledger

    async def put(self, body: bytes) -> Digest:
        """Store a blob."""
        digest = Digest.of(body)
        async with self.store.ingest(REPOSITORY, digest) as ingest:
            assert ingest is not None
            await _write(ingest, body)
        return digest

    async def used(self, digest: Digest) -> float:
        """When a blob was last asked for, as far as it is written down."""
        entries = await self.accounts._do(Ledger.entries)
        return {entry.digest: entry.last_used for entry in entries}[digest]


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    """The store."""
    made = Scene(tmp_path / "store")
    with closing(made.store):
        yield made


async def _write(ingest: Ingest, body: bytes) -> None:
    await ingest.reserve(len(body))
    await ingest.append(body)
    ingest.verify()
    await ingest.commit()


def _manifest(seed: int = 1) -> Manifest:
    return parse(images.simple(seed).manifest, None)


def _locked(layout: Layout) -> sqlite3.Connection:
    """Somebody else who writes the ledger, and does not come to an end."""
    other = sqlite3.connect(layout.ledger, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    return other


# -- room --------------------------------------------------------------------------------


async def test_what_counts_is_the_room_that_files_take(scene: Scene) -> None:
    """Reservations, leftovers and blobs count in whole blocks."""
    await scene.accounts.reserve(DIGEST, "docker.io", 1)
    assert await scene.accounts.usage() == Usage(0, BLOCK)
    await scene.accounts.settle_one(DIGEST, left(2 * BLOCK))
    assert await scene.accounts.usage() == Usage(0, 2 * BLOCK)
    scene.accounts.holds = lambda _: True
    await scene.accounts.commit(DIGEST, BLOCK, Holding("docker.io"))
    assert await scene.accounts.usage() == Usage(BLOCK, 0)
    assert await scene.accounts.known() == {DIGEST: BLOCK}


async def test_no_room_is_a_storage_error(scene: Scene) -> None:
    """What does not fit is refused, and nothing is reserved for it."""
    with pytest.raises(StorageError, match="no room for 40961 bytes"):
        await scene.accounts.reserve(DIGEST, "docker.io", 10 * BLOCK + 1)
    assert await scene.accounts.usage() == Usage(0, 0)
    assert list(scene.ledger.reservations()) == []


async def test_evictions_are_stated(scene: Scene) -> None:
    """Each blob that goes is told, with why it went and how old it became."""
    digest = await scene.put(CONTENT)
    scene.clock.advance(100)
    await scene.accounts.reserve(OTHER, "docker.io", 8 * BLOCK)
    expected = Evicted("docker.io", digest, 3 * BLOCK, "size", pytest.approx(100))  # type: ignore[arg-type]
    assert scene.events.of(Evicted) == [expected]


async def test_evictions_for_a_full_disk_are_stated(scene: Scene) -> None:
    """A disk that is fuller than it should be has a reason of its own."""
    await scene.put(CONTENT)
    await scene.accounts.make_room(1)
    assert [(gone.digest, gone.reason) for gone in scene.events.of(Evicted)] == [(DIGEST, "space")]


async def test_upkeep_states_why_what_goes(tmp_path: Path) -> None:
    """What is idle and what is too much are told apart."""
    made = Scene(tmp_path / "store", Budget(10 * BLOCK, idle_for=60, low_water=1.0))
    with closing(made.store):
        idle = await made.put(CONTENT)
        made.clock.advance(61)
        one, other = await made.put(b"1" * BLOCK), await made.put(b"2" * BLOCK)
        made.accounts.budget = Budget(BLOCK, idle_for=60, low_water=1.0)
        await made.accounts.keep_within()
        told = {gone.digest: gone.reason for gone in made.events.of(Evicted)}
        assert told.pop(idle) == "idle"
        assert list(told.values()) == ["size"]
        assert set(told) < {one, other}


@pytest.mark.parametrize("jump", [365 * 86400.0, -365 * 86400.0])
async def test_a_clock_that_jumps_makes_nothing_idle(tmp_path: Path, jump: float) -> None:
    """When the time of day is set, nothing goes for it; what is idle since then does."""
    made = Scene(tmp_path / "store", Budget(10 * BLOCK, idle_for=3600))
    with closing(made.store):
        await made.put(CONTENT)
        made.clock.set_back(-jump)
        for _ in range(3):
            await made.accounts.keep_within()
            made.clock.advance(60)
        assert not made.events.of(Evicted)
        made.accounts.use(DIGEST)
        await made.accounts.flush()
        made.clock.advance(3700)
        if jump < 0:
            made.clock.advance(-jump)  # by which it is still to be used in the future
        await made.accounts.keep_within()
        assert [gone.reason for gone in made.events.of(Evicted)] == ["idle"]


async def test_who_follows_a_download_uses_it(scene: Scene) -> None:
    """Those who asked for a blob on its way count, though it had no entry then."""
    async with scene.store.ingest(REPOSITORY, DIGEST) as ingest:
        assert ingest is not None
        await ingest.reserve(len(CONTENT))
        for _ in range(31):
            scene.store.use(DIGEST)
        await scene.accounts.flush()
        await _write(ingest, CONTENT)
    await scene.accounts.flush()
    (entry,) = await scene.accounts._do(Ledger.entries)
    assert entry.heat == 32


async def test_a_copy_that_others_have_is_the_first_to_go(tmp_path: Path) -> None:
    """Where other replicas have enough copies of a blob, ours makes room before all else."""
    made = Scene(tmp_path / "store", Budget(2 * BLOCK, low_water=1.0))
    spare = Digest.of(b"2" * BLOCK)
    made.accounts.is_spare = lambda digest: digest == spare
    with closing(made.store):
        await made.put(b"1" * BLOCK)
        made.clock.advance(3600)
        await made.put(b"2" * BLOCK)
        await made.put(b"3" * BLOCK)
        assert [gone.digest for gone in made.events.of(Evicted)] == [spare]


async def test_what_was_used_a_moment_ago_stays(tmp_path: Path) -> None:
    """Room is made by what is known now, not by what was last written down."""
    made = Scene(tmp_path / "store", Budget(2 * BLOCK, policy="lru", low_water=1.0))
    with closing(made.store):
        used = await made.put(b"1" * BLOCK)
        made.clock.advance(1)
        other = await made.put(b"2" * BLOCK)
        made.clock.advance(1)
        reader = made.store.open(used)
        assert reader is not None
        reader.close()
        await made.put(b"3" * BLOCK)
        assert [gone.digest for gone in made.events.of(Evicted)] == [other]


async def test_a_partial_download_goes_before_blobs(scene: Scene) -> None:
    """What nobody goes on with makes room for what is asked for; one under way does not."""
    async with AsyncExitStack() as stack:
        under_way = await stack.enter_async_context(scene.store.ingest(REPOSITORY, OTHER))
        assert under_way is not None
        await under_way.reserve(2 * BLOCK)
        await under_way.append(bytes(BLOCK))
        left = Digest.of(b"left")
        async with scene.store.ingest(REPOSITORY, left) as ingest:
            assert ingest is not None
            await ingest.append(bytes(3 * BLOCK))
        blob = await scene.put(b"1" * 5 * BLOCK)
        assert await scene.accounts.usage() == Usage(5 * BLOCK, 5 * BLOCK)
        await scene.put(b"2" * BLOCK)
        assert [gone.digest for gone in scene.events.of(Evicted)] == [left]
        assert not Layout(scene.root).ingest(left).exists()
        assert set(await scene.accounts.known()) == {blob, Digest.of(b"2" * BLOCK)}
        assert await scene.accounts.usage() == Usage(6 * BLOCK, 2 * BLOCK)


async def test_a_partial_download_stays_for_what_cannot_fit(scene: Scene) -> None:
    """Nothing goes for a blob that is larger than all that there may be."""
    left = Digest.of(b"left")
    async with scene.store.ingest(REPOSITORY, left) as ingest:
        assert ingest is not None
        await ingest.append(bytes(3 * BLOCK))
    with pytest.raises(StorageError, match="no room"):
        await scene.accounts.reserve(OTHER, "docker.io", 11 * BLOCK)
    assert Layout(scene.root).ingest(left).exists()


async def test_what_a_process_left_is_settled(scene: Scene) -> None:
    """A blob whose entry is missing gets one; a reservation without a download ends."""
    stored = await scene.put(CONTENT)
    scene.ledger.strike([stored], lambda _: False)
    await scene.accounts.reserve(stored, "quay.io", len(CONTENT))
    await scene.accounts.reserve(OTHER, "docker.io", 2 * BLOCK)
    async with scene.store.ingest(REPOSITORY, Digest.of(b"x")) as ingest:
        assert ingest is not None
        await ingest.reserve(BLOCK)
        await scene.store.settle()
        assert await scene.accounts.usage() == Usage(3 * BLOCK, BLOCK)
    assert await scene.accounts.known() == {stored: 3 * BLOCK}


async def test_a_manifest_that_came_as_a_blob_is_one(scene: Scene) -> None:
    """Whoever pulls it as a manifest later has it kept as one, with its parts."""
    manifest = _manifest()
    await scene.put(manifest.body)
    await scene.store.keep_manifest(REPOSITORY, manifest)
    (entry,) = await scene.accounts._do(Ledger.entries)
    assert entry.kind == "manifest"
    relations = scene.ledger.relations()
    assert relations.children[manifest.digest] == {child.digest for child in manifest.children}


async def test_a_manifest_waits_for_who_looks_at_its_file(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever has its file for a moment, to look whether it is written, does not keep it out."""
    manifest = _manifest()
    waits = []
    with Layout(scene.root).ingest(manifest.digest).open("x") as file:
        fcntl.flock(file, fcntl.LOCK_EX)

        async def sleep(seconds: float) -> None:
            waits.append(seconds)
            if len(waits) == 3:
                fcntl.flock(file, fcntl.LOCK_UN)

        monkeypatch.setattr(scene.clock, "sleep", sleep)
        await scene.store.keep_manifest(REPOSITORY, manifest)
    assert len(waits) == 3
    assert await scene.store.document(manifest.digest) == manifest.body


async def test_a_manifest_waits_not_for_ever(scene: Scene) -> None:
    """Somebody who has its file and does not end costs half a second."""
    manifest = _manifest()
    before = scene.clock.monotonic()
    with Layout(scene.root).ingest(manifest.digest).open("x") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        await scene.store.keep_manifest(REPOSITORY, manifest)
    assert scene.store.open(manifest.digest) is None
    assert scene.clock.monotonic() - before == pytest.approx(0.5)


async def test_the_ledger_is_its_owners(scene: Scene) -> None:
    """Nobody else may read what repositories there are."""
    assert (scene.root / "ledger.db").stat().st_mode & 0o777 == 0o600


async def test_downloads_wait_until_all_is_counted(tmp_path: Path) -> None:
    """What is on disk and not counted yet could be more than is allowed."""
    layout = Layout(tmp_path / "store")
    layout.prepare()
    store = FilesystemStore.at(layout, BUDGET, FakeClock(), Events())
    with closing(store):
        async with asyncio.TaskGroup() as group:
            waiting = group.create_task(store.accounts.reserve(DIGEST, "docker.io", 1))
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.05):
                    await asyncio.shield(waiting)
            await store.take_stock()
        assert await store.accounts.usage() == Usage(0, BLOCK)


async def test_a_reservation_that_is_cancelled_can_be_given_back(scene: Scene) -> None:
    """Cancelled at whatever moment, a reservation is there or not, and never half."""
    for turns in range(6):
        async with asyncio.TaskGroup() as group:
            task = group.create_task(scene.accounts.reserve(DIGEST, "docker.io", BLOCK))
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
        assert await scene.accounts.usage() in (Usage(0, 0), Usage(0, BLOCK))
        await scene.accounts.settle_one(DIGEST, left(0))
        assert await scene.accounts.usage() == Usage(0, 0)


async def test_a_download_of_unknown_size_needs_no_more_than_it_takes(scene: Scene) -> None:
    """Nobody knows how long a blob will be: but a small one fits into a small cache."""
    async with scene.store.ingest(REPOSITORY, DIGEST) as ingest:
        assert ingest is not None
        await ingest.append(CONTENT)
        ingest.verify()
        await ingest.commit()
    assert await scene.accounts.usage() == Usage(3 * BLOCK, 0)


async def test_a_manifest_takes_no_more_room_than_it_needs(tmp_path: Path) -> None:
    """For a manifest of a few hundred bytes no large blob has to go."""
    made = Scene(tmp_path / "store", Budget(20 * MIB))
    with closing(made.store):
        large = await made.put(bytes(12 * MIB))
        manifest = _manifest()
        await made.store.keep_manifest(REPOSITORY, manifest)
        assert set(await made.accounts.known()) == {large, manifest.digest}
        assert made.events.of(Evicted) == []


# -- uses --------------------------------------------------------------------------------


async def test_uses_are_written_down_when_they_are_flushed(scene: Scene) -> None:
    """A use is in memory until then, and counts only once."""
    digest = await scene.put(CONTENT)
    before = scene.clock.now()
    scene.clock.advance(50)
    for _ in range(2):
        blob = scene.store.open(digest)
        assert blob is not None
        blob.close()
    assert await scene.used(digest) == before
    await scene.accounts.flush()
    assert await scene.used(digest) == before + 50
    entry = await scene.accounts._do(lambda ledger: ledger.entry(digest))
    assert entry is not None
    assert entry.heat == pytest.approx(3.0, abs=0.01)
    await scene.accounts.flush()
    assert await scene.accounts._do(lambda ledger: ledger.entry(digest)) == entry


async def test_who_began_a_download_is_not_counted_twice(scene: Scene) -> None:
    """A blob that is opened by whoever had it fetched was used once: the commit counts that."""
    digest = await scene.put(CONTENT)
    blob = scene.store.open(digest, is_use=False)
    assert blob is not None
    blob.close()
    await scene.accounts.flush()
    (entry,) = scene.ledger.entries()
    assert entry.heat == 1.0


async def test_uses_are_written_down_at_the_end(tmp_path: Path) -> None:
    """What was asked for just before the end is known after the next start."""
    made = Scene(tmp_path / "store")
    with closing(made.store):
        digest = await made.put(CONTENT)
        made.clock.advance(50)
        made.accounts.use(digest)
    again = Scene(tmp_path / "store")
    with closing(again.store):
        assert await again.used(digest) == made.clock.now()


async def test_asking_for_what_is_not_here_is_no_use(scene: Scene) -> None:
    """Misses heat nothing, and are not remembered."""
    assert scene.store.open(DIGEST) is None
    assert await scene.store.document(DIGEST) is None
    assert scene.accounts._uses == {}


async def test_a_tag_pins_what_it_names(tmp_path: Path) -> None:
    """A pinned image stays when all else goes, from the moment its tag is known."""
    budget = Budget(10 * BLOCK, pins=("docker.io/library/app:1",), low_water=0.0)
    made = Scene(tmp_path / "store", budget)
    with closing(made.store):
        image = images.simple(1, 10, count=1)
        manifest = parse(image.manifest, None)
        await made.store.keep_manifest(REPOSITORY, manifest)
        await made.store.name(REPOSITORY, Tag("1"), manifest.digest)
        for blob in image.blobs:
            await made.put(blob.body)
        await made.put(CONTENT)
        await made.accounts.reserve(OTHER, "docker.io", 7 * BLOCK)
        left = set(await made.accounts.known())
        assert left == {manifest.digest, *(Digest(blob.digest) for blob in image.blobs)}


# -- a ledger that refuses ---------------------------------------------------------------


async def test_a_ledger_that_refuses_is_a_storage_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A download that cannot be accounted for is refused, as by a full disk; then it goes on."""
    monkeypatch.setattr("cacheproxy.storage.ledger._LOCK_SECONDS", 0.02)
    made = Scene(tmp_path / "store")
    with closing(made.store):
        locked = closing(_locked(Layout(made.root)))
        with locked, pytest.raises(StorageError, match="ledger"):
            await made.accounts.reserve(DIGEST, "docker.io", 1)
        await made.accounts.reserve(DIGEST, "docker.io", 1)


async def test_a_ledger_that_refuses_costs_no_uses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Uses that could not be written down are written down the next time."""
    monkeypatch.setattr("cacheproxy.storage.ledger._LOCK_SECONDS", 0.02)
    made = Scene(tmp_path / "store")
    with closing(made.store):
        digest = await made.put(CONTENT)
        made.clock.advance(50)
        made.accounts.use(digest)
        with closing(_locked(Layout(made.root))), pytest.raises(StorageError):
            await made.accounts.flush()
        await made.accounts.flush()
        assert await made.used(digest) == made.clock.now()


async def test_a_ledger_that_refuses_does_not_hinder_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What cannot be written down at the end is lost; it ends all the same, threads and all."""
    monkeypatch.setattr("cacheproxy.storage.ledger._LOCK_SECONDS", 0.02)
    before = set(threading.enumerate())
    made = Scene(tmp_path / "store")
    made.accounts.use(DIGEST)
    with closing(_locked(Layout(made.root))):
        made.store.close()
    assert set(threading.enumerate()) <= before


def test_a_ledger_of_a_later_version_is_left_alone(tmp_path: Path) -> None:
    """A store does not start on a ledger that it does not know how to keep, and says which."""
    layout = Layout(tmp_path / "store")
    layout.prepare()
    with closing(sqlite3.connect(layout.ledger)) as ledger:
        ledger.execute("PRAGMA user_version=99")
    with pytest.raises(StartError, match=rf"{layout.ledger}.*a later version"):
        FilesystemStore.at(layout, BUDGET, FakeClock(), Events())
    assert [path.name for path in layout.root.glob("*damaged*")] == []


# -- a ledger that fails -----------------------------------------------------------------


def _spoil(layout: Layout) -> None:
    """Overwrite the ledger in place, as a failing disk does, with nothing in its log."""
    with closing(sqlite3.connect(layout.ledger)) as ledger:
        ledger.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    with layout.ledger.open("r+b") as file:
        file.write(b"no database " * 4000)


def _remove(layout: Layout) -> None:
    layout.ledger.unlink()


def _remove_all(layout: Layout) -> None:
    for path in layout.root.glob("ledger.db*"):
        path.unlink()


def _replace(layout: Layout) -> None:
    _remove_all(layout)
    with closing(sqlite3.connect(layout.ledger)) as ledger:
        ledger.execute("CREATE TABLE other (n)")


async def _recounted(store: FilesystemStore) -> None:
    """Look after the ledger once, as upkeep does."""
    with suppress(StorageError):
        await store.accounts.probe()
    await store.accounts.probe()
    assert not store.accounts.is_counted
    await store.accounts.wait_stock_needed()
    await store.take_stock()
    assert store.accounts.is_counted


_HARM = [_spoil, _remove, _remove_all, _replace]


@pytest.mark.parametrize("harm", _HARM)
async def test_a_ledger_is_made_anew_from_the_directory(
    scene: Scene, harm: Callable[[Layout], None]
) -> None:
    """Whatever becomes of its file, the ledger knows soon what is stored, within the budget."""
    stored = await scene.put(CONTENT)
    harm(Layout(scene.root))
    await _recounted(scene.store)
    assert await scene.accounts.known() == {stored: 3 * BLOCK}
    assert len(scene.events.of(LedgerReplaced)) == 1
    assert scene.accounts.problem is None
    for n in range(9):
        await scene.put(b"%d" % n * BLOCK)
        assert (await scene.accounts.usage()).total <= BUDGET.max_size
    assert scene.events.of(Evicted)


async def test_a_damaged_ledger_is_set_aside_once(scene: Scene) -> None:
    """The last damaged file is kept for the operator to look at, and no other."""
    layout = Layout(scene.root)
    for _ in range(3):
        _spoil(layout)
        await _recounted(scene.store)
    (kept,) = layout.root.glob("ledger.db.damaged-*[0-9]")
    assert kept.read_bytes().startswith(b"no database")


async def test_a_damaged_ledger_does_not_keep_a_store_from_starting(tmp_path: Path) -> None:
    """A store that finds its ledger damaged sets it aside, and takes stock as ever."""
    layout = Layout(tmp_path / "store")
    layout.prepare()
    layout.ledger.write_bytes(b"no database " * 1000)
    events = Events()
    with closing(FilesystemStore.at(layout, BUDGET, FakeClock(), events)) as store:
        await store.take_stock()
        await store.accounts.reserve(DIGEST, "docker.io", 1)
    (said,) = events.of(LedgerReplaced)
    assert said.reason == "file is not a database"


async def test_a_new_ledger_knows_of_the_downloads_under_way(scene: Scene) -> None:
    """Room that downloads have reserved stays reserved when the ledger is made anew."""
    async with scene.store.ingest(REPOSITORY, DIGEST) as ingest:
        assert ingest is not None
        await ingest.reserve(len(CONTENT))
        _remove(Layout(scene.root))
        await _recounted(scene.store)
        assert await scene.accounts.usage() == Usage(0, 3 * BLOCK)
        await _write(ingest, CONTENT)
    assert await scene.accounts.usage() == Usage(3 * BLOCK, 0)


async def test_a_download_waits_until_a_new_ledger_has_counted(scene: Scene) -> None:
    """A reservation that finds the ledger gone is made once the new one knows all there is."""
    await scene.put(bytes(9 * BLOCK))
    _remove(Layout(scene.root))
    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(scene.accounts.reserve(OTHER, "docker.io", 2 * BLOCK))
        await scene.accounts.wait_stock_needed()
        assert not waiting.done()
        await scene.store.take_stock()
    assert await scene.accounts.usage() == Usage(0, 2 * BLOCK)


@pytest.mark.parametrize("harm", _HARM)
async def test_workers_make_one_ledger_between_them(
    scene: Scene, harm: Callable[[Layout], None]
) -> None:
    """The first worker that sees the harm makes the ledger anew; the others open that one."""
    others = [open_store(scene.root, BUDGET, scene.clock, Events()) for _ in range(2)]
    try:
        blob = await scene.put(CONTENT)
        harm(Layout(scene.root))
        for store in (scene.store, *others):
            await _recounted(store)
        await others[0].accounts.reserve(OTHER, "docker.io", BLOCK)
        for store in (scene.store, *others):
            assert await store.accounts.usage() == Usage(3 * BLOCK, BLOCK)
            assert await store.accounts.known() == {blob: 3 * BLOCK}
    finally:
        for store in others:
            store.close()
    assert len(list(Layout(scene.root).root.glob("ledger.db.damaged-*[0-9]"))) <= 1


async def test_that_nothing_is_stored_is_stated_once(scene: Scene) -> None:
    """A ledger that cannot be written is told once, and so is that it can be written again."""
    scene.ledger._db.execute("PRAGMA busy_timeout=1")
    with closing(_locked(Layout(scene.root))):
        for _ in range(3):
            with pytest.raises(StorageError):
                await scene.accounts.reserve(DIGEST, "docker.io", 1)
        (failed,) = scene.events.of(StoreFailed)
        assert failed.error == "the ledger cannot be written: database is locked"
        assert scene.accounts.problem == failed.error
        with pytest.raises(StorageError):
            await scene.accounts.probe()
    await scene.accounts.probe()
    told = [type(event) for event in scene.events.all if "Store" in type(event).__name__]
    assert told == [StoreFailed, StoreRecovered]


async def test_a_ledger_that_fails_to_read_is_opened_again(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After an I/O error the same file is opened again, and nothing has to be counted."""
    stored = await scene.put(CONTENT)
    first = scene.ledger

    def fail(_: Ledger) -> Usage:
        error = sqlite3.OperationalError("disk I/O error")
        error.sqlite_errorcode = sqlite3.SQLITE_IOERR_READ
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(Ledger, "usage", fail)
        with pytest.raises(StorageError, match="disk I/O error"):
            await scene.accounts.usage()
    assert await scene.accounts.usage() == Usage(3 * BLOCK, 0)
    assert scene.ledger is not first
    assert scene.accounts.is_counted
    assert await scene.accounts.known() == {stored: 3 * BLOCK}


# -- taking stock ------------------------------------------------------------------------


async def test_stock_is_what_is_on_disk(scene: Scene) -> None:
    """What the ledger did not know is counted, and what is not there any more is struck out."""
    layout = Layout(scene.root)
    gone = await scene.put(CONTENT)
    Path(layout.blob(gone)).unlink()
    found = Path(layout.blob(OTHER))
    found.parent.mkdir(parents=True)
    found.write_bytes(b"other")
    left = layout.ingest(Digest.of(b"left"))
    left.write_bytes(bytes(BLOCK + 1))
    await scene.accounts.reserve(Digest.of(b"died"), "docker.io", 5 * BLOCK)
    await scene.store.take_stock()
    assert await scene.accounts.known() == {OTHER: BLOCK}
    assert list(scene.ledger.reservations()) == [Digest.of(b"left")]
    assert await scene.accounts.usage() == Usage(BLOCK, 2 * BLOCK)


async def test_a_lost_ledger_is_made_anew(tmp_path: Path) -> None:
    """A ledger that was removed is made from the directory, manifests with their parts."""
    made = Scene(tmp_path / "store")
    with closing(made.store):
        manifest = _manifest()
        await made.store.keep_manifest(REPOSITORY, manifest)
        layer = await made.put(images.simple(1).layers[0].body)
    for path in made.root.glob("ledger.db*"):
        path.unlink()
    again = Scene(tmp_path / "store")
    with closing(again.store):
        await again.store.take_stock()
        assert await again.accounts.known() == {manifest.digest: BLOCK, layer: 2 * BLOCK}
        again.clock.advance(1e9)
        again.accounts.use(manifest.digest)
        await again.accounts.flush()
        assert await again.used(layer) == again.clock.now()


async def test_stock_leaves_a_download_its_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A download that another worker takes up while we look keeps all that it has reserved."""
    layout = Layout(tmp_path / "store")
    layout.prepare()
    layout.ingest(DIGEST).write_bytes(CONTENT[:BLOCK])
    locks: list[int] = []

    def taken_up_meanwhile(layout: Layout, known: dict[Digest, int]) -> Stock:
        stock = look_through(layout, known)
        locks.append(os.open(layout.ingest(DIGEST), os.O_RDWR))
        fcntl.flock(locks[0], fcntl.LOCK_EX)
        with closing(Ledger(layout.ledger, lambda _: False, lambda: 2**50)) as worker:
            worker.reserve(Claim(DIGEST, "docker.io", 3 * BLOCK), BUDGET, 0.0)
        return stock

    monkeypatch.setattr("cacheproxy.storage.filesystem.look_through", taken_up_meanwhile)
    with closing(FilesystemStore.at(layout, BUDGET, FakeClock(), Events())) as store:
        await store.take_stock()
        os.close(locks[0])
        assert await store.accounts.usage() == Usage(0, 3 * BLOCK)


async def test_stock_that_cannot_be_taken_does_not_stop_downloads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A directory that cannot be read is an error once, and not a wait without end for all."""

    def fail(*_: object) -> Stock:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("cacheproxy.storage.filesystem.look_through", fail)
    layout = Layout(tmp_path / "store")
    layout.prepare()
    with closing(FilesystemStore.at(layout, BUDGET, FakeClock(), Events())) as store:
        with suppress(OSError, StorageError):
            await store.take_stock()
        async with asyncio.timeout(60):
            with suppress(StorageError):
                await store.accounts.reserve(DIGEST, "docker.io", 1)


async def test_who_discards_leaves_the_next_one_alone(tmp_path: Path) -> None:
    """A worker that begins anew after another gave up keeps its file and its room."""
    one, other = Scene(tmp_path / "store"), Scene(tmp_path / "store")
    layout = Layout(tmp_path / "store")
    with closing(one.store), closing(other.store):
        async with AsyncExitStack() as stack:
            async with one.store.ingest(REPOSITORY, DIGEST) as first:
                assert first is not None
                await first.reserve(len(CONTENT))
                await first.append(b"wrong")
                await first.discard()
                second = await stack.enter_async_context(other.store.ingest(REPOSITORY, DIGEST))
                assert second is not None
                await second.reserve(len(CONTENT))
                await second.append(CONTENT)
            assert layout.ingest(DIGEST).exists()
            assert await other.accounts.usage() == Usage(0, 3 * BLOCK)
            second.verify()
            await second.commit()
        assert await other.accounts.usage() == Usage(3 * BLOCK, 0)


async def test_a_blob_that_the_ledger_refuses_is_counted_later(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is stored all the same; an empty one, for which nothing is reserved, is not forgotten."""
    real = scene.accounts._handle.run

    def refuse(_: object) -> None:
        raise sqlite3.OperationalError("database is locked")

    monkeypatch.setattr(scene.accounts._handle, "run", refuse)
    digest = await scene.put(b"")
    monkeypatch.setattr(scene.accounts._handle, "run", real)
    assert await scene.accounts.known() == {}
    await scene.accounts.flush()
    assert await scene.accounts.known() == {digest: 0}


async def test_a_stock_that_cannot_be_taken_is_taken_again(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A ledger that is busy at the start leaves nothing uncounted, and holds up no download."""
    made = FilesystemStore.at(Layout(scene.root), BUDGET, scene.clock, scene.events)
    with closing(made) as store:
        monkeypatch.setattr("cacheproxy.storage.accounts._COUNT_SECONDS", 0.01)
        with closing(_locked(Layout(scene.root))) as other:
            store.accounts._handle._current()._db.execute("PRAGMA busy_timeout=1")
            with pytest.raises(StorageError, match="database is locked"):
                await store.take_stock()
            other.execute("ROLLBACK")
        await store.accounts.wait_stock_needed()
        with pytest.raises(StorageError, match="still being counted"):
            await store.accounts.reserve(DIGEST, "docker.io", 1)
        await store.take_stock()
        await store.accounts.reserve(DIGEST, "docker.io", 1)


async def test_a_new_ledger_waits_for_the_downloads_of_other_workers(scene: Scene) -> None:
    """Room that another worker is about to write to is never given to somebody else."""
    with closing(open_store(scene.root, BUDGET, scene.clock, Events())) as other:
        async with other.ingest(REPOSITORY, DIGEST) as ingest:
            assert ingest is not None
            await ingest.reserve(8 * BLOCK)
            await ingest.append(bytes(BLOCK))
            _remove(Layout(scene.root))
            await scene.accounts.probe()
            with pytest.raises(StorageError, match="other workers"):
                await scene.store.take_stock()
            assert not scene.accounts.is_counted
            await other.accounts.probe()  # as its upkeep does within seconds
            await scene.store.take_stock()
            assert await scene.accounts.usage() == Usage(0, 8 * BLOCK)
