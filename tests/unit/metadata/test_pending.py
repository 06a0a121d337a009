import pytest

from cacheproxy.domain.digest import Digest
from cacheproxy.domain.errors import StorageError
from cacheproxy.domain.freshness import TagRecord
from cacheproxy.domain.records import Link, Listing
from cacheproxy.domain.reference import Name, Repository, Tag
from cacheproxy.metadata.memory import MemoryMetadata
from cacheproxy.metadata.pending import Pending

_APP = Repository("docker.io", Name("team/app"))
_APPS = Repository("docker.io", Name("team/apps"))
_TAG, _DIGEST, _OTHER = Tag("1"), Digest.of(b"one"), Digest.of(b"other")
_OLD, _NEW = TagRecord(_DIGEST, 1.0), TagRecord(_OTHER, 2.0)
_PAGE = Listing(b"{}", "application/json", None, None, 1.0)


class Offered(MemoryMetadata):
    """A store (`SharedStore`) that fails after so many writes."""

    def __init__(self, writes: int = 1000) -> None:
        super().__init__()
        self.writes = writes

    async def put_tag(self, repository: Repository, tag: Tag, record: TagRecord) -> bool:
        """Take it, or fail."""
        if not self.writes:
            raise StorageError("no more")
        self.writes -= 1
        return await super().put_tag(repository, tag, record)


async def test_what_waits_is_written_once() -> None:
    """Tags, links and pages reach the store, the latest of each, and then wait no more."""
    pending, store = Pending(), Offered()
    pending.put_tag(_APP, _TAG, _OLD)
    pending.put_tag(_APP, _TAG, _NEW)
    pending.add_links(_APP, {_DIGEST: Link(5, None)})
    pending.add_links(_APP, {_DIGEST: Link(None, "a")})
    pending.put_listing("tags", _PAGE)
    assert (len(pending), pending.tag(_APP, _TAG)) == (3, _NEW)
    await pending.deliver(store)
    assert len(pending) == 0
    assert await store.tag(_APP, _TAG) == _NEW
    assert await store.link(_APP, _DIGEST) == Link(5, "a")
    assert await store.listing("tags") == _PAGE


async def test_what_fails_waits_on() -> None:
    """After a failure the rest still waits, and is written the next time."""
    pending, store = Pending(), Offered(writes=1)
    pending.put_tag(_APP, _TAG, _NEW)
    pending.put_tag(_APPS, _TAG, _OLD)
    pending.add_links(_APP, {_DIGEST: Link()})
    with pytest.raises(StorageError):
        await pending.deliver(store)
    assert (pending.tag(_APP, _TAG), pending.tag(_APPS, _TAG)) == (None, _OLD)
    store.writes = 1
    await pending.deliver(store)
    assert len(pending) == 0
    assert await store.link(_APP, _DIGEST) == Link()


async def test_what_comes_meanwhile_waits_on() -> None:
    """A record that is replaced while its elder is written is written after it."""
    pending = Pending()

    class Slow(Offered):
        async def put_tag(self, repository: Repository, tag: Tag, record: TagRecord) -> bool:
            if record == _OLD:
                pending.put_tag(repository, tag, _NEW)
            return await super().put_tag(repository, tag, record)

    store = Slow()
    pending.put_tag(_APP, _TAG, _OLD)
    await pending.deliver(store)
    assert await store.tag(_APP, _TAG) == _NEW


def test_too_many_make_the_oldest_go() -> None:
    """It is bounded: of tags, links and pages alike the oldest go."""
    pending = Pending(limit=2, pages=1)
    for number in range(4):
        pending.put_tag(_APP, Tag(str(number)), _OLD)
        pending.add_links(_APP, {Digest.of(bytes([number])): Link()})
        pending.put_listing(str(number), _PAGE)
    assert len(pending) == 5
    assert pending.tag(_APP, Tag("1")) is None
    assert pending.tag(_APP, Tag("2")) == _OLD
    assert (pending.listing("2"), pending.listing("3")) == (None, _PAGE)


@pytest.mark.parametrize(
    ("scope", "tag", "left"),
    [
        ("docker.io/team/app ", "1", {"app 2", "apps 1", "link", "links"}),
        ("docker.io/team/app ", None, {"apps 1", "links"}),
        ("docker.io/", None, set()),
        ("quay.io/", None, {"app 1", "app 2", "apps 1", "link", "links"}),
    ],
)
def test_what_was_purged_waits_no_more(scope: str, tag: str | None, left: set[str]) -> None:
    """A purge of a tag, of a repository or of an upstream takes what waits, and nothing else."""
    pending = Pending()
    for repository, name in ((_APP, "1"), (_APP, "2"), (_APPS, "1")):
        pending.put_tag(repository, Tag(name), _OLD)
    pending.add_links(_APP, {_DIGEST: Link()})
    pending.add_links(_APPS, {_DIGEST: Link()})
    pending.forget(scope, tag)
    kept = {f"{r.name.removeprefix('team/')} {t}" for r, t in pending._tags}
    kept |= {"link" if r == _APP else "links" for r, _ in pending._links}
    assert kept == left
