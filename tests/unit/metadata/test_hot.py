import pytest

from cacheproxy.domain.digest import Digest
from cacheproxy.domain.freshness import TagRecord
from cacheproxy.domain.records import Link
from cacheproxy.domain.reference import Name, Repository, Tag
from cacheproxy.metadata.hot import HotMetadata
from cacheproxy.metadata.memory import MemoryMetadata
from tests.support.clock import FakeClock, time_the_loop
from tests.support.leaks import settle

_REPOSITORY = Repository("docker.io", Name("library/nginx"))
_TAG = Tag("latest")
_OLD, _NEW = TagRecord(Digest.of(b"old"), 1.0), TagRecord(Digest.of(b"new"), 2.0)


async def test_another_processs_word_is_heard_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tag is answered from memory for some seconds; then the store's record counts again."""
    clock, store = FakeClock(), MemoryMetadata()
    time_the_loop(clock, monkeypatch)
    hot = HotMetadata(store, tag_seconds=5.0)
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
    hot = HotMetadata(store)
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

    hot = HotMetadata(Watched())
    await hot.put_tag(_REPOSITORY, _TAG, _OLD)
    await hot.close()
    assert len(closed) == 1
