import asyncio
from collections.abc import Mapping
from functools import partial

import pytest

from cacheproxy.domain.digest import Digest
from cacheproxy.domain.errors import StorageError
from cacheproxy.domain.events import MetadataFailed
from cacheproxy.domain.freshness import TagRecord, newest
from cacheproxy.domain.records import Link, Listing
from cacheproxy.domain.reference import Name, Repository, Tag
from cacheproxy.inprocess.tasks import Tasks
from cacheproxy.metadata.cluster_clock import ClusterClock
from cacheproxy.metadata.memory import MemoryMetadata
from cacheproxy.metadata.redis_connection import RedisFailed
from cacheproxy.metadata.shared import SharedMetadata
from tests.support.clock import FakeClock
from tests.support.hasty import Events

_APP, _TAG = Repository("docker.io", Name("team/app")), Tag("1")
_DIGEST, _OTHER = Digest.of(b"one"), Digest.of(b"other")
_OLD, _NEW = TagRecord(_DIGEST, 100.0), TagRecord(_OTHER, 200.0)
_LATER = FakeClock().now() + 3600
_PAGE = Listing(b"{}", "application/json", None, None, 100.0)


class Shared(MemoryMetadata):
    """A shared store (`SharedStore`) that can be down, or refuse to write."""

    def __init__(self) -> None:
        super().__init__()
        self.is_down = False
        self.is_read_only = False

    def _read(self) -> None:
        if self.is_down:
            raise RedisFailed("it is down")

    def _write(self) -> None:
        self._read()
        if self.is_read_only:
            raise RedisFailed("it is read-only")

    async def tag(self, repository: Repository, tag: Tag) -> TagRecord | None:
        self._read()
        return await super().tag(repository, tag)

    async def put_tag(self, repository: Repository, tag: Tag, record: TagRecord) -> bool:
        self._write()
        known = await super().tag(repository, tag)
        if newest((record, known), FakeClock().now()) is not record:
            return False
        return await super().put_tag(repository, tag, record)

    async def listing(self, key: str) -> Listing | None:
        self._read()
        return await super().listing(key)

    async def put_listing(self, key: str, listing: Listing) -> None:
        self._write()
        await super().put_listing(key, listing)

    async def link(self, repository: Repository, digest: Digest) -> Link | None:
        self._read()
        return await super().link(repository, digest)

    async def add_links(self, repository: Repository, links: Mapping[Digest, Link]) -> None:
        self._write()
        await super().add_links(repository, links)


@pytest.fixture
def shared() -> Shared:
    return Shared()


@pytest.fixture
def local() -> MemoryMetadata:
    return MemoryMetadata()


@pytest.fixture
def events() -> Events:
    return Events()


@pytest.fixture
def both(shared: Shared, local: MemoryMetadata, events: Events) -> SharedMetadata:
    return SharedMetadata(shared, local, events, ClusterClock(FakeClock()))


async def test_writes_go_to_both(
    both: SharedMetadata, shared: Shared, local: MemoryMetadata
) -> None:
    """What is learnt is in the shared store and in our own."""
    await both.put_tag(_APP, _TAG, _OLD)
    await both.add_links(_APP, {_DIGEST: Link(5)})
    await both.put_listing("tags", _PAGE)
    for store in (shared, local):
        assert await store.tag(_APP, _TAG) == _OLD
        assert await store.link(_APP, _DIGEST) == Link(5)
        assert await store.listing("tags") == _PAGE


async def test_what_others_wrote_is_kept_here_too(both: SharedMetadata, shared: Shared) -> None:
    """What was read from the shared store once is known when that is down."""
    await shared.put_tag(_APP, _TAG, _OLD)
    await shared.add_links(_APP, {_DIGEST: Link(5)})
    await shared.put_listing("tags", _PAGE)
    for is_down in (False, True):
        shared.is_down = is_down
        assert await both.tag(_APP, _TAG) == _OLD
        assert await both.link(_APP, _DIGEST) == Link(5)
        assert await both.listing("tags") == _PAGE


@pytest.mark.parametrize(("there", "here"), [(_OLD, _NEW), (_NEW, _OLD), (None, _OLD)])
async def test_the_newer_record_counts(
    both: SharedMetadata,
    shared: Shared,
    local: MemoryMetadata,
    there: TagRecord | None,
    here: TagRecord,
) -> None:
    """Of two records of a tag the newer one is believed, and gets to where it is not known."""
    newer = here if there is None else max(there, here, key=lambda each: each.checked_at)
    if there is not None:
        await shared.put_tag(_APP, _TAG, there)
    await local.put_tag(_APP, _TAG, here)
    assert await both.tag(_APP, _TAG) == newer
    await both.pending.deliver(shared)
    assert await shared.tag(_APP, _TAG) == newer
    assert await local.tag(_APP, _TAG) == newer


async def test_a_newer_page_counts(
    both: SharedMetadata, shared: Shared, local: MemoryMetadata
) -> None:
    """Of two pages the newer one is believed."""
    newer = Listing(b"[]", "application/json", None, None, 300.0)
    await shared.put_listing("tags", _PAGE)
    await local.put_listing("tags", newer)
    assert await both.listing("tags") == newer


async def test_links_are_put_together(
    both: SharedMetadata, shared: Shared, local: MemoryMetadata
) -> None:
    """What one store lacks of a link the other one has, and both know it all afterwards."""
    await shared.add_links(_APP, {_DIGEST: Link(5, None)})
    await local.add_links(_APP, {_DIGEST: Link(None, "a", is_read=True), _OTHER: Link(7)})
    whole = Link(5, "a", is_read=True)
    assert await both.link(_APP, _DIGEST) == whole
    assert await both.link(_APP, _OTHER) == Link(7)
    await both.pending.deliver(shared)
    for store in (shared, local):
        assert await store.link(_APP, _DIGEST) == whole
        assert await store.link(_APP, _OTHER) == Link(7)


@pytest.mark.parametrize("kind", ["tag", "link"])
async def test_what_is_purged_while_it_is_read_is_not_put_back(events: Events, kind: str) -> None:
    """A record that was read before a purge, and compared after it, is read once more."""
    local = MemoryMetadata()

    class Purging(Shared):
        """Is purged between a question to our own store and its own answer, once."""

        purges = 1

        def _read(self) -> None:
            if self.purges:
                self.purges -= 1
                for name, nothing in vars(MemoryMetadata()).items():
                    setattr(local, name, nothing)
                made.pending.forget("docker.io/team/app ", None)

    shared = Purging()
    made = SharedMetadata(shared, local, events, ClusterClock(FakeClock()))
    await local.put_tag(_APP, _TAG, _OLD)
    await local.add_links(_APP, {_DIGEST: Link(5)})
    found = made.tag(_APP, _TAG) if kind == "tag" else made.link(_APP, _DIGEST)
    assert await found is None
    assert shared.purges == len(made.pending) == 0


async def test_nothing_is_told_before_purges_are_known(
    both: SharedMetadata, shared: Shared
) -> None:
    """While it cannot be asked what was purged, what waits goes on waiting."""
    asked = asyncio.Semaphore(0)
    is_known = False

    async def catch_up() -> None:
        asked.release()
        if not is_known:
            raise RedisFailed("it does not say")

    both.pending.put_tag(_APP, _TAG, _OLD)
    tasks = Tasks()
    tasks.keep_running(partial(both.deliver, catch_up), "deliver")
    try:
        both.found()
        await asked.acquire()
        assert len(both.pending) == 1
        is_known = True
        both.found()
        await asked.acquire()
        assert len(both.pending) == 0
    finally:
        await tasks.close()
    assert await shared.tag(_APP, _TAG) == _OLD


@pytest.mark.parametrize("fault", ["is_down", "is_read_only"])
async def test_what_cannot_be_written_waits(
    both: SharedMetadata, shared: Shared, events: Events, fault: str
) -> None:
    """While the shared store does not write, what is new is known here, and told to it later."""
    await both.put_tag(_APP, _TAG, _OLD)
    setattr(shared, fault, True)
    await both.put_tag(_APP, _TAG, _NEW)
    await both.add_links(_APP, {_DIGEST: Link(5)})
    await both.put_listing("tags", _PAGE)
    assert await both.tag(_APP, _TAG) == _NEW
    assert await both.link(_APP, _DIGEST) == Link(5)
    assert await both.listing("tags") == _PAGE
    assert events.all == []
    setattr(shared, fault, False)
    await both.close()
    assert await shared.tag(_APP, _TAG) == _NEW
    assert await shared.link(_APP, _DIGEST) == Link(5)
    assert await shared.listing("tags") == _PAGE


async def test_a_full_disk_is_no_reason_to_tell_nobody(shared: Shared, events: Events) -> None:
    """What our own store cannot keep is told, and shared all the same."""

    class Full(MemoryMetadata):
        async def put_tag(self, repository: Repository, tag: Tag, record: TagRecord) -> bool:
            raise StorageError("no room")

    both = SharedMetadata(shared, Full(), events, ClusterClock(FakeClock()))
    await both.put_tag(_APP, _TAG, _OLD)
    assert events.all == [MetadataFailed("no room")]
    assert await shared.tag(_APP, _TAG) == _OLD


async def test_what_can_never_be_written_does_not_wait(
    both: SharedMetadata, shared: Shared, events: Events, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A record that no store can write down is told of, and keeps nothing else from being told."""

    async def refuse(key: str, listing: Listing) -> None:
        raise StorageError("it cannot be written down")

    monkeypatch.setattr(shared, "put_listing", refuse)
    await both.put_listing("tags", _PAGE)
    assert len(both.pending) == 0
    assert events.all == [MetadataFailed("it cannot be written down")]


async def test_a_success_strikes_out_what_waits(both: SharedMetadata, shared: Shared) -> None:
    """A write that failed is not read, nor repeated, after a later one has succeeded."""
    shared.is_read_only = True
    await both.put_tag(_APP, _TAG, _OLD)
    await both.put_listing("tags", _PAGE)
    shared.is_read_only = False
    await both.put_tag(_APP, _TAG, _NEW)
    await both.put_listing("tags", _PAGE)
    assert len(both.pending) == 0
    assert await both.tag(_APP, _TAG) == _NEW


async def test_what_others_wrote_later_strikes_out_what_waits(
    both: SharedMetadata, shared: Shared
) -> None:
    """A write that failed is dropped when another replica turns out to have written later."""
    shared.is_read_only = True
    await both.put_tag(_APP, _TAG, _OLD)
    shared.is_read_only = False
    await shared.put_tag(_APP, _TAG, _NEW)
    assert await both.tag(_APP, _TAG) == _NEW
    assert len(both.pending) == 0


async def test_a_record_from_the_future_counts_last(
    both: SharedMetadata, shared: Shared, local: MemoryMetadata
) -> None:
    """A record of our own that a wrong clock has stamped is replaced by the shared one."""
    await local.put_tag(_APP, _TAG, TagRecord(_DIGEST, _LATER))
    await shared.put_tag(_APP, _TAG, _NEW)
    assert await both.tag(_APP, _TAG) == _NEW
    assert await local.tag(_APP, _TAG) == _NEW
    await both.pending.deliver(shared)
    assert await shared.tag(_APP, _TAG) == _NEW


@pytest.mark.parametrize("knows", ["own", "shared", "waits"])
async def test_a_slow_answer_replaces_nothing_newer(
    both: SharedMetadata, shared: Shared, local: MemoryMetadata, knows: str
) -> None:
    """A 404 that was asked for before what is known changes nothing, wherever that is known."""
    if knows == "own":
        await local.put_tag(_APP, _TAG, _NEW)
    elif knows == "shared":
        await shared.put_tag(_APP, _TAG, _NEW)
    else:
        both.pending.put_tag(_APP, _TAG, _NEW)
    assert not await both.put_tag(_APP, _TAG, TagRecord(None, 150.0))
    assert await both.tag(_APP, _TAG) == _NEW


async def test_what_was_learnt_before_the_clock_was_measured_counts(
    shared: Shared, local: MemoryMetadata, events: Events
) -> None:
    """A record of an outage at the start is compared by the cluster's time once that is known."""
    wall = FakeClock()
    clock = ClusterClock(wall)
    both = SharedMetadata(shared, local, events, clock)
    shared.is_down = True
    await both.put_tag(_APP, _TAG, TagRecord(_OTHER, wall.now()))
    wall.advance(5)
    server = wall.now() + 3600
    clock.measure(server, wall.monotonic(), wall.monotonic())
    clock.join_epoch(4)
    shared.is_down = False
    await shared.put_tag(_APP, _TAG, TagRecord(_DIGEST, server - 100, 4, "another"))
    found = await both.tag(_APP, _TAG)
    assert found == TagRecord(_OTHER, server - 5)


async def test_an_outage_at_the_start_forbids_nothing_new(
    shared: Shared, local: MemoryMetadata, events: Events
) -> None:
    """A clock that was never measured stamps records that count before those of earlier lives."""
    wall = FakeClock()
    both = SharedMetadata(shared, local, events, ClusterClock(wall))
    shared.is_down = True
    await local.put_tag(_APP, _TAG, TagRecord(_DIGEST, wall.now() - 10, 4, "before"))
    new = TagRecord(_OTHER, wall.now())
    assert await both.put_tag(_APP, _TAG, new)
    assert await both.tag(_APP, _TAG) == new
