"""What every `Metadata` keeps: one suite for all of them."""

import asyncio
import os
import pickle
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, closing, contextmanager
from functools import cache
from pathlib import Path
from typing import TypeVar, get_args

import pytest

from cacheproxy.domain.digest import Digest
from cacheproxy.domain.errors import StartError, StorageError
from cacheproxy.domain.events import Event, MetadataFailed
from cacheproxy.domain.freshness import TagRecord
from cacheproxy.domain.records import Link, Listing
from cacheproxy.domain.reference import Name, Repository, Tag
from cacheproxy.metadata.embedded import EmbeddedMetadata
from cacheproxy.metadata.hot import HotMetadata
from cacheproxy.metadata.memory import MemoryMetadata
from cacheproxy.ops.observers import Observers
from cacheproxy.ports import Metadata
from tests.support.parts.redis import Engine, redis_cluster, redis_server
from tests.support.redis_stores import OwnRedis, own_namespace, shared

M = TypeVar("M", bound=Metadata)

_NGINX = Repository("docker.io", Name("library/nginx"))
_APP = Repository("registry.local:5000", Name("team/app"))
_LATEST = Tag("latest")
_DIGEST, _OTHER = Digest.of(b"one"), Digest.of(b"other")
_SHA512 = Digest.parse("sha512:" + "0123456789abcdef" * 8)
_RECORD = TagRecord(_DIGEST, 1_700_000_000.25)
_LATEST_RECORD = TagRecord(_DIGEST, 1_700_000_003.5)
_PAGE = Listing(bytes(range(256)), "application/json", "n=2&last=a%2Fb", "artifactType", 1.5)

# What each is opened with: a directory, and the URL of a Redis where it has one.
_ADAPTERS: dict[str, Callable[[Path, str], Metadata]] = {
    "memory": lambda *_: MemoryMetadata(),
    "embedded": lambda path, _: EmbeddedMetadata(path),
    "hot over memory": lambda *_: HotMetadata(MemoryMetadata(), Observers([])),
    "hot over embedded": lambda path, _: HotMetadata(EmbeddedMetadata(path), Observers([])),
    "redis": lambda _, url: OwnRedis(url),
    "redis cluster": lambda _, url: OwnRedis(url),
    "valkey": lambda _, url: OwnRedis(url),
    "valkey cluster": lambda _, url: OwnRedis(url),
    "model": lambda _, url: OwnRedis(url),
    "shared by redis": lambda path, url: shared(url, path),
    "hot over shared by redis": lambda path, url: HotMetadata(shared(url, path), Observers([])),
}
_DURABLE = (
    "embedded",
    "hot over embedded",
    "redis",
    "redis cluster",
    "valkey",
    "valkey cluster",
    "model",
    "shared by redis",
    "hot over shared by redis",
)


@asynccontextmanager
async def _closing(metadata: M) -> AsyncIterator[M]:
    try:
        yield metadata
    finally:
        await metadata.close()


@pytest.fixture(scope="module")
def servers() -> Iterator[Callable[[Engine, bool], str]]:
    """The URL of a server, or of a Cluster; each is started for the first who wants it."""
    with ExitStack() as stack:

        @cache
        def url_of(engine: Engine, is_cluster: bool) -> str:
            if not is_cluster:
                return stack.enter_context(redis_server(engine=engine)).url
            first, *_ = stack.enter_context(redis_cluster(engine=engine))
            return f"redis+cluster://{first.address}"

        yield url_of


def _url_for(request: pytest.FixtureRequest) -> str:
    """Of what an adapter's name says that it needs; a namespace of its own for each test."""
    for engine in get_args(Engine):
        if engine in request.param:
            url_of = request.getfixturevalue("servers")
            return own_namespace(url_of(engine, "cluster" in request.param))
    return ""


@pytest.fixture(params=_ADAPTERS)
async def metadata(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Metadata]:
    make = _ADAPTERS[request.param]
    async with _closing(make(tmp_path / "metadata", _url_for(request))) as opened:
        yield opened


async def test_nothing_is_known_at_first(metadata: Metadata) -> None:
    """What was never put there is None."""
    assert await metadata.tag(_NGINX, _LATEST) is None
    assert await metadata.link(_NGINX, _DIGEST) is None
    assert await metadata.listing("tags") is None


@pytest.mark.parametrize(
    "record",
    [
        pytest.param(_RECORD, id="found"),
        pytest.param(TagRecord(_SHA512, 0.0), id="sha512, at the epoch"),
        pytest.param(TagRecord(None, 1_700_000_000.25), id="not found"),
    ],
)
async def test_a_tag_record_comes_back(metadata: Metadata, record: TagRecord) -> None:
    """A record comes back as it was put, a negative one too, and with digests that are digests."""
    await metadata.put_tag(_NGINX, _LATEST, record)
    for _ in range(2):
        read = await metadata.tag(_NGINX, _LATEST)
        assert read == record
        assert read is not None
        assert read.digest is None or isinstance(read.digest, Digest)


async def test_a_tag_record_is_replaced(metadata: Metadata) -> None:
    """The last record of a tag is the one that counts, also where it says that there is none."""
    later = 1_700_000_001.0
    for record in (_RECORD, TagRecord(_OTHER, later), TagRecord(None, later + 1), _LATEST_RECORD):
        await metadata.put_tag(_NGINX, _LATEST, record)
        assert await metadata.tag(_NGINX, _LATEST) == record


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(_PAGE, id="binary"),
        pytest.param(Listing(b"", "application/json", None, None, 0.0), id="empty"),
        pytest.param(
            Listing(b"x" * 3_000_000, "application/json", "", "", 9.0), id="large, empty strings"
        ),
    ],
)
async def test_a_page_comes_back(metadata: Metadata, page: Listing) -> None:
    """A page comes back byte for byte, whatever the bytes, and is replaced by the next."""
    await metadata.put_listing("tags of a", Listing(b"old", "x", None, None, 0.0))
    await metadata.put_listing("tags of a", page)
    assert await metadata.listing("tags of a") == page
    assert await metadata.listing("tags of b") is None


async def test_links_come_back(metadata: Metadata) -> None:
    """Every link of those that were added at once is known, under its repository alone."""
    links = {_DIGEST: Link(5, "a/b", is_read=True), _OTHER: Link(), _SHA512: Link(0, None)}
    await metadata.add_links(_NGINX, links)
    assert {digest: await metadata.link(_NGINX, digest) for digest in links} == links
    assert await metadata.link(_APP, _DIGEST) is None


@pytest.mark.parametrize("read_between", [True, False])
async def test_what_a_link_knows_is_never_lost(metadata: Metadata, read_between: bool) -> None:
    """A link adds to what is known, and overrules nothing that was read from a manifest itself."""
    steps = [
        (Link(), Link()),
        (Link(5, None), Link(5, None)),
        (Link(None, "a"), Link(5, "a")),
        (Link(), Link(5, "a")),
        (Link(is_read=True), Link(5, "a", is_read=True)),
        (Link(6, "b"), Link(5, "a", is_read=True)),
    ]
    for added, expected in steps:
        await metadata.add_links(_NGINX, {_DIGEST: added})
        if read_between:
            assert await metadata.link(_NGINX, _DIGEST) == expected
    assert await metadata.link(_NGINX, _DIGEST) == Link(5, "a", is_read=True)


async def test_no_links_are_no_links(metadata: Metadata) -> None:
    """Adding nothing is harmless, as for an empty index."""
    await metadata.add_links(_NGINX, {})
    assert await metadata.link(_NGINX, _DIGEST) is None


_LOOK_ALIKES = [
    Repository("docker.io", Name("library/nginx")),
    Repository("docker.io", Name("nginx")),
    Repository("quay.io", Name("library/nginx")),
    Repository("docker.io", Name("library/nginx-latest")),
    Repository("docker.io", Name("docker.io/library/nginx")),
    Repository("localhost", Name("a/b")),
    Repository("localhost:5000", Name("a/b")),
    Repository("localhost:5000", Name("5000/a/b")),
]


async def test_no_repository_is_taken_for_another(metadata: Metadata) -> None:
    """Repositories, tags and keys whose spellings are alike are kept apart."""
    for number, repository in enumerate(_LOOK_ALIKES):
        await metadata.add_links(repository, {_DIGEST: Link(number)})
        for tag in ("1", "latest", "latest.latest"):
            await metadata.put_tag(repository, Tag(tag), TagRecord(Digest.of(tag.encode()), number))
        await metadata.put_listing(f"{repository} latest", Listing(b"", "", None, None, number))
        await metadata.put_listing(
            f"tag {repository} latest", Listing(b"", "", None, None, -number)
        )
    for number, repository in enumerate(_LOOK_ALIKES):
        assert await metadata.link(repository, _DIGEST) == Link(number)
        for tag in ("1", "latest", "latest.latest"):
            expected = TagRecord(Digest.of(tag.encode()), number)
            assert await metadata.tag(repository, Tag(tag)) == expected
        page = await metadata.listing(f"{repository} latest")
        assert page is not None
        assert page.checked_at == number


async def test_case_matters(metadata: Metadata) -> None:
    """Tags that differ in case alone are two."""
    await metadata.put_tag(_NGINX, Tag("RC"), _RECORD)
    assert await metadata.tag(_NGINX, Tag("rc")) is None


async def test_many_at_once(metadata: Metadata) -> None:
    """Whatever is read and written at the same time, nothing is lost and nothing is mixed up."""
    digests = [Digest.of(str(number).encode()) for number in range(40)]

    async def one(number: int) -> None:
        digest, tag = digests[number], Tag(f"t{number}")
        await metadata.add_links(_NGINX, {digest: Link(number, None)})
        await metadata.put_tag(_NGINX, tag, TagRecord(digest, float(number)))
        await metadata.add_links(_NGINX, {digest: Link(None, "a"), _DIGEST: Link(1, None)})
        assert await metadata.tag(_NGINX, tag) == TagRecord(digest, float(number))

    async with asyncio.TaskGroup() as group:
        for number in range(len(digests)):
            group.create_task(one(number))
    links = [await metadata.link(_NGINX, digest) for digest in digests]
    assert links == [Link(number, "a") for number in range(len(digests))]


async def test_one_who_gives_up_disturbs_nobody(metadata: Metadata) -> None:
    """A reader or a writer that is cancelled leaves the store in order for the rest."""
    await metadata.put_tag(_NGINX, _LATEST, _RECORD)
    for turns in range(6):
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(metadata.tag(_NGINX, _LATEST)),
                group.create_task(metadata.put_tag(_NGINX, _LATEST, _RECORD)),
                group.create_task(metadata.add_links(_NGINX, {_DIGEST: Link(5)})),
            ]
            for _ in range(turns):
                await asyncio.sleep(0)
            for task in tasks:
                task.cancel()
    await metadata.add_links(_NGINX, {_DIGEST: Link(5)})
    assert await metadata.tag(_NGINX, _LATEST) == _RECORD
    assert await metadata.link(_NGINX, _DIGEST) == Link(5)


# -- of those that outlive the process ---------------------------------------------------


@pytest.fixture(params=_DURABLE)
def reopened(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], Metadata]:
    """Opens the same store again each time."""
    url = _url_for(request)
    return lambda: _ADAPTERS[request.param](tmp_path / "metadata", url)


async def test_a_durable_store_remembers(reopened: Callable[[], Metadata]) -> None:
    """Tags, links and pages are there after the store was closed and opened again."""
    async with _closing(reopened()) as metadata:
        await metadata.put_tag(_NGINX, _LATEST, _RECORD)
        await metadata.put_tag(_NGINX, Tag("gone"), TagRecord(None, 7.0))
        await metadata.add_links(_NGINX, {_DIGEST: Link(5, "a")})
        await metadata.put_listing("tags", _PAGE)
    async with _closing(reopened()) as metadata:
        assert await metadata.tag(_NGINX, _LATEST) == _RECORD
        assert await metadata.tag(_NGINX, Tag("gone")) == TagRecord(None, 7.0)
        assert await metadata.link(_NGINX, _DIGEST) == Link(5, "a")
        assert await metadata.listing("tags") == _PAGE


async def test_links_are_merged_with_those_of_before(reopened: Callable[[], Metadata]) -> None:
    """What an earlier process knew of a link is kept in the store by one that knows less."""
    async with _closing(reopened()) as metadata:
        await metadata.add_links(_NGINX, {_DIGEST: Link(5, "a", is_read=True)})
    async with _closing(reopened()) as metadata:
        await metadata.add_links(_NGINX, {_DIGEST: Link()})
    async with _closing(reopened()) as metadata:
        assert await metadata.link(_NGINX, _DIGEST) == Link(5, "a", is_read=True)


async def test_two_processes_share_a_store(reopened: Callable[[], Metadata]) -> None:
    """What one process writes, another one that has the store open too can read."""
    async with _closing(reopened()) as one, _closing(reopened()) as other:
        await one.put_tag(_NGINX, _LATEST, _RECORD)
        assert await other.tag(_NGINX, _LATEST) == _RECORD
        await one.add_links(_NGINX, {_DIGEST: Link(5, None)})
        await other.add_links(_NGINX, {_OTHER: Link(6, None)})
        assert await other.link(_NGINX, _DIGEST) == Link(5, None)
        assert await one.link(_NGINX, _OTHER) == Link(6, None)


# -- of the embedded one -----------------------------------------------------------------


@pytest.fixture
async def stored(tmp_path: Path) -> Path:
    """A closed store with one tag, one link and one page in it."""
    path = tmp_path / "metadata"
    async with _closing(EmbeddedMetadata(path)) as metadata:
        await metadata.put_tag(_NGINX, _LATEST, _RECORD)
        await metadata.add_links(_NGINX, {_DIGEST: Link(5, "a")})
        await metadata.put_listing("tags", _PAGE)
    return path


def _tamper(path: Path, mode: int | None, value: object) -> None:
    with closing(sqlite3.connect(path / "cache.db")) as database, database:
        changed = database.execute("UPDATE Cache SET mode = ?, value = ?", (mode, value))
        assert changed.rowcount == 3


@contextmanager
def _full(metadata: EmbeddedMetadata) -> Iterator[None]:
    """Have SQLite refuse to write, and read on, as on a volume without room."""

    def query_only(on: int) -> None:
        metadata._cache._sql(f"PRAGMA query_only = {on}")

    # In the thread that has the connection.
    metadata._executor.submit(query_only, 1).result()
    try:
        yield
    finally:
        metadata._executor.submit(query_only, 0).result()


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"\x00\xff", id="no text"),
        pytest.param(b"{", id="cut"),
        pytest.param(b"null", id="null"),
        pytest.param(b"[]", id="a list"),
        pytest.param(
            b'{"digest":"sha256:beef","checked_at":1.0,"size":"x","body":"!"}', id="wrong"
        ),
        pytest.param(b'{"digest":7,"checked_at":null,"size":-1.5,"body":1}', id="other types"),
        pytest.param("{}", id="a text"),
        pytest.param("\x00", id="NUL in a text"),
        pytest.param(7, id="an integer"),
        pytest.param(7.5, id="a number"),
        pytest.param(None, id="NULL"),
        pytest.param(b"[" * 100_000, id="deep"),
    ],
)
async def test_a_record_that_cannot_be_read_is_none(stored: Path, value: object) -> None:
    """A damaged record counts as none, and is overwritten like any other."""
    _tamper(stored, 1, value)
    async with _closing(EmbeddedMetadata(stored)) as metadata:
        assert await metadata.tag(_NGINX, _LATEST) is None
        assert await metadata.listing("tags") is None
        await metadata.add_links(_NGINX, {_DIGEST: Link(7)})
        await metadata.put_tag(_NGINX, _LATEST, _RECORD)
        assert await metadata.tag(_NGINX, _LATEST) == _RECORD
        assert await metadata.link(_NGINX, _DIGEST) == Link(7)


class _Trap:
    """Whoever loads its pickle makes a directory."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.path),)


async def test_a_pickle_is_refused_and_never_loaded(stored: Path, tmp_path: Path) -> None:
    """A pickle that somebody put into the file by hand is no record, and runs no code."""
    sprung = tmp_path / "sprung"
    _tamper(stored, 4, pickle.dumps(_Trap(sprung)))
    async with _closing(EmbeddedMetadata(stored)) as metadata:
        assert await metadata.tag(_NGINX, _LATEST) is None
        assert await metadata.link(_NGINX, _DIGEST) is None
        assert await metadata.listing("tags") is None
        assert not sprung.exists()
        await metadata.put_tag(_NGINX, _LATEST, _RECORD)
        assert await metadata.tag(_NGINX, _LATEST) == _RECORD


@pytest.mark.parametrize("mode", [2, 3, 9, None])
async def test_a_row_of_another_kind_is_none(stored: Path, mode: int | None) -> None:
    """A row that says that its value is in a file, or elsewhere, is no record."""
    _tamper(stored, mode, "elsewhere")
    async with _closing(EmbeddedMetadata(stored)) as metadata:
        assert await metadata.tag(_NGINX, _LATEST) is None
        assert await metadata.link(_NGINX, _DIGEST) is None
        assert await metadata.listing("tags") is None


async def test_what_cannot_be_encoded_is_our_error(stored: Path) -> None:
    """A text that is no Unicode is refused with an error of ours, and changes nothing."""
    async with _closing(EmbeddedMetadata(stored)) as metadata:
        with pytest.raises(StorageError, match="cannot be written down"):
            await metadata.put_listing("tags", Listing(b"", "\udcff", None, None, 1.0))
        with pytest.raises(StorageError, match="cannot be written down"):
            await metadata.add_links(_NGINX, {_OTHER: Link(1), _DIGEST: Link(6, "\udcff")})
        assert await metadata.listing("tags") == _PAGE
        assert await metadata.link(_NGINX, _OTHER) is None
        assert await metadata.link(_NGINX, _DIGEST) == Link(5, "a")


async def test_a_store_that_cannot_write_says_so(stored: Path) -> None:
    """What SQLite refuses to write is an error of ours; what was there before can be read."""
    async with _closing(EmbeddedMetadata(stored)) as metadata:
        with _full(metadata):
            for write in (
                metadata.put_tag(_NGINX, _LATEST, TagRecord(_OTHER, 9.0)),
                metadata.put_listing("more", Listing(b"x" * 1_000_000, "x", None, None, 1.0)),
                metadata.add_links(_NGINX, {_OTHER: Link(1)}),
            ):
                with pytest.raises(StorageError, match="the metadata store failed"):
                    await write
            assert await metadata.tag(_NGINX, _LATEST) == _RECORD
            assert await metadata.link(_NGINX, _DIGEST) == Link(5, "a")
        await metadata.put_tag(_NGINX, _LATEST, TagRecord(_OTHER, 9.0))
        assert await metadata.tag(_NGINX, _LATEST) == TagRecord(_OTHER, 9.0)


async def test_a_record_that_does_not_fit_changes_nothing(stored: Path) -> None:
    """A record for which there is no room is an error; what was there stays, a smaller one fits."""
    async with _closing(EmbeddedMetadata(stored)) as metadata:

        def limit() -> None:
            ((pages,),) = metadata._cache._sql("PRAGMA page_count").fetchall()
            metadata._cache._sql(f"PRAGMA max_page_count = {pages}")

        metadata._executor.submit(limit).result()
        with pytest.raises(StorageError, match="the metadata store failed"):
            await metadata.put_listing("tags", Listing(b"x" * 1_000_000, "x", None, None, 1.0))
        assert await metadata.listing("tags") == _PAGE
        await metadata.put_tag(_NGINX, _LATEST, TagRecord(_OTHER, 9.0))
        assert await metadata.tag(_NGINX, _LATEST) == TagRecord(_OTHER, 9.0)


async def test_a_store_that_cannot_read_knows_nothing(stored: Path) -> None:
    """What SQLite fails to read counts as unknown, since upstream can tell it again."""
    async with _closing(EmbeddedMetadata(stored)) as metadata:
        with closing(sqlite3.connect(stored / "cache.db")) as database, database:
            database.execute("ALTER TABLE Cache RENAME TO Elsewhere")
        assert await metadata.tag(_NGINX, _LATEST) is None
        assert await metadata.link(_NGINX, _DIGEST) is None
        assert await metadata.listing("tags") is None
        with pytest.raises(StorageError, match="no such table"):
            await metadata.put_tag(_NGINX, _LATEST, _RECORD)


async def test_a_full_store_fails_no_one_who_pulls(stored: Path) -> None:
    """Behind the hot one, a store that cannot be written to serves on, and each failure is told."""
    events: list[Event] = []

    class Told:
        def observe(self, event: Event) -> None:
            events.append(event)

    embedded = EmbeddedMetadata(stored)
    async with _closing(HotMetadata(embedded, Told())) as metadata:
        with _full(embedded):
            await metadata.put_tag(_NGINX, _LATEST, TagRecord(_OTHER, 9.0))
            await metadata.add_links(_NGINX, {_OTHER: Link(1)})
            await metadata.put_listing("tags", Listing(b"new", "x", None, None, 9.0))
            assert await metadata.tag(_NGINX, _LATEST) == TagRecord(_OTHER, 9.0)
            assert await metadata.link(_NGINX, _OTHER) == Link(1)
            assert await metadata.listing("tags") == _PAGE
    assert [type(event) for event in events] == [MetadataFailed] * 3


async def test_nothing_is_pickled(stored: Path) -> None:
    """All rows are bytes under text keys, in the database itself."""
    with closing(sqlite3.connect(stored / "cache.db")) as database:
        rows = database.execute(
            "SELECT typeof(key), raw, mode, filename, typeof(value) FROM Cache"
        ).fetchall()
    assert rows == [("text", 1, 1, None, "blob")] * 3


async def test_the_directory_is_the_owners_alone(tmp_path: Path) -> None:
    """Nobody else may look into the store that it makes."""
    async with _closing(EmbeddedMetadata(tmp_path / "a" / "metadata")):
        assert (tmp_path / "a" / "metadata").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("spoil", ["no database", "no directory"])
async def test_a_store_that_cannot_be_opened_says_what_to_do(stored: Path, spoil: str) -> None:
    """A damaged store ends the start with a sentence that names the directory and the remedy."""
    path = stored
    if spoil == "no database":
        (stored / "cache.db").write_bytes(b"this is no database" * 1000)
    else:
        path = stored / "cache.db"
    with pytest.raises(StartError, match="remove that directory") as caught:
        EmbeddedMetadata(path)
    assert str(path) in str(caught.value)


# -- of the hot one ----------------------------------------------------------------------


async def test_what_is_hot_is_not_asked_of_the_store() -> None:
    """A tag or a link that was read or written lately is answered from memory."""
    store = MemoryMetadata()
    async with _closing(HotMetadata(store, Observers([]))) as metadata:
        await store.put_tag(_NGINX, _LATEST, _RECORD)
        await store.add_links(_NGINX, {_DIGEST: Link(5, "a")})
        assert await metadata.tag(_NGINX, _LATEST) == _RECORD
        assert await metadata.link(_NGINX, _DIGEST) == Link(5, "a")
        await store.put_tag(_NGINX, _LATEST, TagRecord(_OTHER, 9.0))
        await store.add_links(_NGINX, {_DIGEST: Link(6, "b")})
        assert await metadata.tag(_NGINX, _LATEST) == _RECORD
        assert await metadata.link(_NGINX, _DIGEST) == Link(5, "a")


async def test_what_is_missing_is_asked_again() -> None:
    """That something is unknown is never remembered: another process may learn it meanwhile."""
    store = MemoryMetadata()
    async with _closing(HotMetadata(store, Observers([]))) as metadata:
        assert await metadata.tag(_NGINX, _LATEST) is None
        assert await metadata.link(_NGINX, _DIGEST) is None
        await store.put_tag(_NGINX, _LATEST, _RECORD)
        await store.add_links(_NGINX, {_DIGEST: Link(5, "a")})
        assert await metadata.tag(_NGINX, _LATEST) == _RECORD
        assert await metadata.link(_NGINX, _DIGEST) == Link(5, "a")


async def test_writes_go_through() -> None:
    """Whatever is written to the hot store is in the one behind it when that returns."""
    store = MemoryMetadata()
    async with _closing(HotMetadata(store, Observers([]))) as metadata:
        await metadata.put_tag(_NGINX, _LATEST, _RECORD)
        await metadata.add_links(_NGINX, {_DIGEST: Link(5, "a")})
        await metadata.put_listing("tags", _PAGE)
    assert await store.tag(_NGINX, _LATEST) == _RECORD
    assert await store.link(_NGINX, _DIGEST) == Link(5, "a")
    assert await store.listing("tags") == _PAGE
