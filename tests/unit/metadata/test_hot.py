import asyncio
from collections.abc import Mapping

import pytest

from cacheproxy.domain.digest import Digest
from cacheproxy.domain.errors import StorageError
from cacheproxy.domain.events import Event, MetadataFailed
from cacheproxy.domain.freshness import TagRecord
from cacheproxy.domain.records import Link, Listing
from cacheproxy.domain.reference import Name, Repository, Tag
from cacheproxy.inprocess.tasks import Tasks
from cacheproxy.metadata.hot import HotMetadata
from cacheproxy.metadata.memory import MemoryMetadata
from tests.support.clock import FakeClock, time_the_loop
from tests.support.leaks import settle

_REPOSITORY = Repository("docker.io", Name("library/nginx"))
_TAG = Tag("latest")
_OLD, _NEW = TagRecord(Digest.of(b"old"), 1.0), TagRecord(Digest.of(b"new"), 2.0)
_DIGEST, _OTHER = Digest.of(b"digest"), Digest.of(b"other")
_PAGE = Listing(b"{}", "application/json", None, None, 1.0)


class Told:
    """An observer (`Observer`) that keeps what it is told."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def observe(self, event: Event) -> None:
        """Keep it."""
        self.events.append(event)


class Full(MemoryMetadata):
    """A store on a full volume: it is read, and not written."""

    async def put_tag(self, repository: Repository, tag: Tag, record: TagRecord) -> bool:
        """Refuse."""
        raise StorageError("no room for a tag")

    async def put_listing(self, key: str, listing: Listing) -> None:
        """Refuse."""
        raise StorageError("no room for a page")

    async def add_links(self, repository: Repository, links: Mapping[Digest, Link]) -> None:
        """Refuse."""
        raise StorageError("no room for links")


class Slow(MemoryMetadata):
    """A store whose readers have their answer, and get it when they are let go."""

    def __init__(self) -> None:
        super().__init__()
        self.let_go = asyncio.Event()

    async def tag(self, repository: Repository, tag: Tag) -> TagRecord | None:
        """What was there when it was asked."""
        record = await super().tag(repository, tag)
        await self.let_go.wait()
        return record

    async def link(self, repository: Repository, digest: Digest) -> Link | None:
        """What was there when it was asked."""
        link = await super().link(repository, digest)
        await self.let_go.wait()
        return link


async def test_another_processs_word_is_heard_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tag is answered from memory for some seconds; then the store's record counts again."""
    clock, store = FakeClock(), MemoryMetadata()
    time_the_loop(clock, monkeypatch)
    hot = HotMetadata(store, Told(), tag_seconds=5.0)
    await store.put_tag(_REPOSITORY, _TAG, _OLD)
    assert await hot.tag(_REPOSITORY, _TAG) == _OLD
    await store.put_tag(_REPOSITORY, _TAG, _NEW)
    clock.advance(4.9)
    await settle()
    assert await hot.tag(_REPOSITORY, _TAG) == _OLD
    clock.advance(0.2)
    await settle()
    assert await hot.tag(_REPOSITORY, _TAG) == _NEW
    await hot.close()


async def test_a_link_is_looked_up_again_after_an_hour(monkeypatch: pytest.MonkeyPatch) -> None:
    """What another process learnt of a link is taken over in time."""
    clock, store, digest = FakeClock(), MemoryMetadata(), Digest.of(b"")
    time_the_loop(clock, monkeypatch)
    hot = HotMetadata(store, Told())
    await hot.add_links(_REPOSITORY, {digest: Link()})
    await store.add_links(_REPOSITORY, {digest: Link(5, "a")})
    assert await hot.link(_REPOSITORY, digest) == Link()
    clock.advance(3601)
    await settle()
    assert await hot.link(_REPOSITORY, digest) == Link(5, "a")
    await hot.close()


async def test_closing_closes_the_store_behind() -> None:
    """Who closes the hot store closes the one behind it, once."""
    closed = []

    class Watched(MemoryMetadata):
        async def close(self) -> None:
            closed.append(self)

    hot = HotMetadata(Watched(), Told())
    await hot.put_tag(_REPOSITORY, _TAG, _OLD)
    await hot.close()
    assert len(closed) == 1


async def test_a_store_that_cannot_write_fails_nobody() -> None:
    """Each write that fails is told once, and what it was to keep is known here all the same."""
    told = Told()
    hot = HotMetadata(Full(), told)
    await hot.put_tag(_REPOSITORY, _TAG, _OLD)
    await hot.put_tag(_REPOSITORY, _TAG, _NEW)
    await hot.add_links(_REPOSITORY, {_DIGEST: Link(5, "a"), _OTHER: Link()})
    await hot.put_listing("tags", _PAGE)
    assert told.events == [
        MetadataFailed("no room for a tag"),
        MetadataFailed("no room for a tag"),
        MetadataFailed("no room for links"),
        MetadataFailed("no room for a page"),
    ]
    assert await hot.tag(_REPOSITORY, _TAG) == _NEW
    assert await hot.link(_REPOSITORY, _DIGEST) == Link(5, "a")
    assert await hot.link(_REPOSITORY, _OTHER) == Link()
    assert await hot.listing("tags") is None
    assert len(told.events) == 4
    await hot.close()


async def test_a_store_that_writes_again_is_told_of_by_nobody() -> None:
    """After a failure the next write goes through, and writes that succeed are no events."""
    told, store = Told(), MemoryMetadata()
    hot = HotMetadata(store, told)
    await hot.put_tag(_REPOSITORY, _TAG, _OLD)
    await hot.add_links(_REPOSITORY, {_DIGEST: Link(5, "a")})
    await hot.put_listing("tags", _PAGE)
    assert told.events == []
    assert await store.tag(_REPOSITORY, _TAG) == _OLD
    assert await store.listing("tags") == _PAGE
    await hot.close()


async def test_a_mistake_is_not_taken_for_a_full_disk() -> None:
    """What is no error of the store is raised, and not told as one."""

    class Broken(MemoryMetadata):
        async def put_tag(self, repository: Repository, tag: Tag, record: TagRecord) -> bool:
            raise ZeroDivisionError

    told = Told()
    hot = HotMetadata(Broken(), told)
    with pytest.raises(ZeroDivisionError):
        await hot.put_tag(_REPOSITORY, _TAG, _OLD)
    assert told.events == []
    await hot.close()


async def test_what_a_link_knew_before_is_known_here_too() -> None:
    """A link that says less takes neither size nor type from what only the store has yet."""
    store = MemoryMetadata()
    await store.add_links(_REPOSITORY, {_DIGEST: Link(5, "a")})
    hot = HotMetadata(store, Told())
    await hot.add_links(_REPOSITORY, {_DIGEST: Link()})
    assert await hot.link(_REPOSITORY, _DIGEST) == Link(5, "a")
    await hot.close()


class Counted(MemoryMetadata):
    """A store that counts how often it is asked for a link."""

    reads = 0

    async def link(self, repository: Repository, digest: Digest) -> Link | None:
        """What there is."""
        self.reads += 1
        return await super().link(repository, digest)


async def test_a_blobs_link_that_says_all_is_not_looked_up_first() -> None:
    """What a manifest says of its blobs is kept without asking; of other manifests it is not."""
    store = Counted()
    await store.add_links(_REPOSITORY, {_OTHER: Link(7, "a", is_read=True)})
    hot = HotMetadata(store, Told())
    await hot.add_links(_REPOSITORY, {_DIGEST: Link(5), _OTHER: Link(7, "a")})
    assert store.reads == 1
    assert await hot.link(_REPOSITORY, _DIGEST) == Link(5)
    assert await hot.link(_REPOSITORY, _OTHER) == Link(7, "a", is_read=True)
    assert store.reads == 1
    await hot.close()


async def test_an_older_record_does_not_rise_again() -> None:
    """Who reads while another one writes gets what was there, and does not keep it as newest."""
    store = Slow()
    hot = HotMetadata(store, Told())
    await store.put_tag(_REPOSITORY, _TAG, _OLD)
    async with asyncio.TaskGroup() as group:
        reader = group.create_task(hot.tag(_REPOSITORY, _TAG))
        await settle()
        await hot.put_tag(_REPOSITORY, _TAG, _NEW)
        store.let_go.set()
    assert reader.result() == _OLD
    assert await hot.tag(_REPOSITORY, _TAG) == _NEW
    await hot.close()


async def test_an_older_link_does_not_take_anything_back() -> None:
    """Who reads a link while another one adds to it does not keep the lesser one."""
    store = Slow()
    hot = HotMetadata(store, Told())
    await store.add_links(_REPOSITORY, {_DIGEST: Link()})
    async with asyncio.TaskGroup() as group:
        reader = group.create_task(hot.link(_REPOSITORY, _DIGEST))
        await settle()
        writer = group.create_task(hot.add_links(_REPOSITORY, {_DIGEST: Link(5, "a")}))
        await settle()
        store.let_go.set()
    assert (reader.result(), writer.result()) == (Link(), None)
    assert await hot.link(_REPOSITORY, _DIGEST) == Link(5, "a")
    await hot.close()


async def test_while_others_are_heard_a_tag_is_read_again_behind(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Who asks for a tag that was read some seconds ago does not wait for the store."""
    clock, store, tasks = FakeClock(), Slow(), Tasks()
    time_the_loop(clock, monkeypatch)
    hot = HotMetadata(store, Told(), tag_seconds=5.0, tasks=tasks)
    hot.hears(hears=True)
    await hot.put_tag(_REPOSITORY, _TAG, _OLD)
    await store.put_tag(_REPOSITORY, _TAG, _NEW)
    clock.advance(5.1)
    assert await hot.tag(_REPOSITORY, _TAG) == _OLD
    store.let_go.set()
    await settle()
    assert await hot.tag(_REPOSITORY, _TAG) == _NEW
    await tasks.close()
    await hot.close()


async def test_while_nobody_is_heard_a_tag_is_read_again_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Without a word from others a tag is believed for some seconds only."""
    clock, store, tasks = FakeClock(), MemoryMetadata(), Tasks()
    time_the_loop(clock, monkeypatch)
    hot = HotMetadata(store, Told(), tag_seconds=5.0, tasks=tasks)
    hot.hears(hears=True)
    await hot.put_tag(_REPOSITORY, _TAG, _OLD)
    await store.put_tag(_REPOSITORY, _TAG, _NEW)
    hot.hears(hears=False)
    clock.advance(5.1)
    assert await hot.tag(_REPOSITORY, _TAG) == _NEW
    await tasks.close()
    await hot.close()


async def test_a_tag_is_not_believed_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tag that nobody asked for in a minute is read again first, whoever is heard."""
    clock, store, tasks = FakeClock(), MemoryMetadata(), Tasks()
    time_the_loop(clock, monkeypatch)
    hot = HotMetadata(store, Told(), tasks=tasks)
    hot.hears(hears=True)
    await hot.put_tag(_REPOSITORY, _TAG, _OLD)
    await store.put_tag(_REPOSITORY, _TAG, _NEW)
    clock.advance(61)
    await settle()
    assert await hot.tag(_REPOSITORY, _TAG) == _NEW
    await tasks.close()
    await hot.close()


_ELSEWHERE = Repository("docker.io", Name("library/nginx-more"))


@pytest.mark.parametrize(
    ("scope", "tag", "dropped"),
    [
        ("docker.io/library/nginx ", _TAG, {"latest"}),
        ("docker.io/library/nginx ", None, {"latest", "1"}),
        ("docker.io/", None, {"latest", "1", "more"}),
        ("", None, {"latest", "1", "more"}),
        ("quay.io/", None, set()),
    ],
)
async def test_what_is_forgotten_is_read_again(
    scope: str, tag: Tag | None, dropped: set[str]
) -> None:
    """Copies of a tag, a repository, an upstream or of all are dropped, and no others."""
    store = MemoryMetadata()
    hot = HotMetadata(store, Told())
    places = {
        "latest": (_REPOSITORY, _TAG),
        "1": (_REPOSITORY, Tag("1")),
        "more": (_ELSEWHERE, _TAG),
    }
    for repository, name in places.values():
        await hot.put_tag(repository, name, _OLD)
        await store.put_tag(repository, name, _NEW)
    await hot.forget(scope, tag)
    seen = {key: await hot.tag(repository, name) for key, (repository, name) in places.items()}
    assert {key for key, record in seen.items() if record == _NEW} == dropped
    await hot.close()


async def test_links_are_forgotten_by_a_purge_alone() -> None:
    """That a tag changed says nothing of links; a purge takes them along."""
    store = MemoryMetadata()
    hot = HotMetadata(store, Told())
    await hot.add_links(_REPOSITORY, {_DIGEST: Link(5)})
    await store.add_links(_REPOSITORY, {_DIGEST: Link(7)})
    await hot.forget("docker.io/")
    assert await hot.link(_REPOSITORY, _DIGEST) == Link(5)
    await hot.forget("docker.io/", is_purge=True)
    assert await hot.link(_REPOSITORY, _DIGEST) == Link(7)
    await hot.close()


async def test_what_was_read_before_a_message_is_not_kept() -> None:
    """Who reads the store while a change is told does not keep what was there before."""
    store = Slow()
    hot = HotMetadata(store, Told())
    await store.put_tag(_REPOSITORY, _TAG, _OLD)
    async with asyncio.TaskGroup() as group:
        group.create_task(hot.tag(_REPOSITORY, _TAG))
        await settle()
        await hot.forget("docker.io/library/nginx ", _TAG)
        store.let_go.set()
    await store.put_tag(_REPOSITORY, _TAG, _NEW)
    assert await hot.tag(_REPOSITORY, _TAG) == _NEW
    await hot.close()
