"""What every `BlobStore` keeps: one suite for all of them."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from cacheproxy.domain.digest import Digest
from cacheproxy.domain.errors import DigestMismatch, StorageError
from cacheproxy.domain.manifest import SIZE_LIMIT
from cacheproxy.ports import BlobStore, Ingest, Readable
from cacheproxy.storage.layout import Layout
from tests.support.stores import REPOSITORY, keep, open_store

_CONTENT = bytes(number % 251 for number in range(10_000))
_DIGEST = Digest.of(_CONTENT)
_SHA512 = Digest.parse("sha512:" + hashlib.sha512(_CONTENT).hexdigest())
_EMPTY = Digest.of(b"")
_THERE = Digest.of(b"there")


@dataclass(frozen=True, slots=True)
class Subject:
    """A store under test.

    Attributes:
        store: that is tested.
        reopen: opens the same blobs again, as another process would; closed with the first.
        evict: removes a committed blob behind the store's back.
    """

    store: BlobStore
    reopen: Callable[[], BlobStore]
    evict: Callable[[Digest], None]


@asynccontextmanager
async def _filesystem(path: Path) -> AsyncIterator[Subject]:
    async with AsyncExitStack() as stack:

        def opened() -> BlobStore:
            store = open_store(path)
            stack.callback(store.close)
            return store

        yield Subject(opened(), opened, lambda digest: Path(Layout(path).blob(digest)).unlink())


_ADAPTERS = {"filesystem": _filesystem}


@pytest.fixture(params=_ADAPTERS)
async def subject(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Subject]:
    async with _ADAPTERS[request.param](tmp_path / "store") as made:
        yield made


@pytest.fixture
def store(subject: Subject) -> BlobStore:
    """The store under test, where a test needs no more of it."""
    return subject.store


@asynccontextmanager
async def _ingest(store: BlobStore, digest: Digest = _DIGEST) -> AsyncIterator[Ingest]:
    """An ingest that nobody else has."""
    async with store.ingest(REPOSITORY, digest) as ingest:
        assert ingest is not None
        yield ingest


async def _put(store: BlobStore, content: bytes = _CONTENT, digest: Digest = _DIGEST) -> None:
    async with _ingest(store, digest) as ingest:
        await ingest.append(content)
        ingest.verify()
        await ingest.commit()


async def _all(content: Readable, step: int = 4096) -> bytes:
    parts: list[bytes] = []
    while part := await content.read(sum(map(len, parts)), step):
        assert len(part) <= step
        parts.append(bytes(part))
    return b"".join(parts)


async def _stored(store: BlobStore, digest: Digest = _DIGEST) -> bytes | None:
    blob = store.open(digest)
    if blob is None:
        return None
    with closing(blob):
        content = await _all(blob)
        assert blob.size == len(content)
        return content


async def test_nothing_is_there_at_first(store: BlobStore) -> None:
    """What was never committed is not there, in any of the ways to ask for it."""
    assert store.open(_DIGEST) is None
    assert await store.document(_DIGEST) is None
    assert store.watch(_DIGEST) is None


@pytest.mark.parametrize(
    ("content", "digest"),
    [
        pytest.param(_CONTENT, _DIGEST, id="sha256"),
        pytest.param(_CONTENT, _SHA512, id="sha512"),
        pytest.param(b"x", Digest.of(b"x"), id="one byte"),
    ],
)
async def test_a_blob_is_invisible_until_committed(
    store: BlobStore, content: bytes, digest: Digest
) -> None:
    """A blob is there from its commit on, whole, and not a moment before."""
    async with _ingest(store, digest) as ingest:
        await ingest.append(content)
        ingest.verify()
        assert store.open(digest) is None
        assert await store.document(digest) is None
        await ingest.commit()
        assert await _stored(store, digest) == content
    assert await _stored(store, digest) == content
    assert await store.document(digest) == content
    assert store.watch(digest) is None


async def test_an_empty_blob_is_one(store: BlobStore) -> None:
    """A blob of no bytes is committed and found like any other."""
    async with _ingest(store, _EMPTY) as ingest:
        ingest.verify()
        await ingest.commit()
    assert await _stored(store, _EMPTY) == b""
    assert await store.document(_EMPTY) == b""


@pytest.mark.parametrize("step", [1, 4096, 1 << 20])
async def test_chunks_are_put_together(store: BlobStore, step: int) -> None:
    """However the bytes come, empty chunks included, the blob is their sequence."""
    content = _CONTENT[:300] if step == 1 else _CONTENT
    digest = Digest.of(content)
    async with _ingest(store, digest) as ingest:
        for at in range(0, len(content), step):
            assert ingest.offset == at
            await ingest.append(content[at : at + step])
            await ingest.append(b"")
        assert ingest.offset == len(content)
        ingest.verify()
        await ingest.commit()
    assert await _stored(store, digest) == content


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(_CONTENT[:-1], id="a byte short"),
        pytest.param(_CONTENT + b"x", id="a byte long"),
        pytest.param(b"x" + _CONTENT[1:], id="a byte wrong"),
        pytest.param(b"", id="nothing"),
    ],
)
async def test_wrong_bytes_do_not_verify(store: BlobStore, content: bytes) -> None:
    """Bytes that are not those of the digest are found out, and nothing becomes visible."""
    async with _ingest(store) as ingest:
        await ingest.append(content)
        with pytest.raises(DigestMismatch):
            ingest.verify()
        await ingest.discard()
    assert store.open(_DIGEST) is None
    async with _ingest(store) as ingest:
        assert ingest.offset == 0


async def test_what_is_left_over_is_taken_up_again(subject: Subject) -> None:
    """An attempt goes on where the last one broke off, in this process and in another one."""
    async with _ingest(subject.store) as ingest:
        await ingest.append(_CONTENT[:3000])
    assert subject.store.open(_DIGEST) is None
    async with _ingest(subject.store) as ingest:
        assert ingest.offset == 3000
        await ingest.append(_CONTENT[3000:4000])
    store = subject.reopen()
    async with _ingest(store) as ingest:
        assert ingest.offset == 4000
        await ingest.append(_CONTENT[4000:])
        ingest.verify()
        await ingest.commit()
    assert await _stored(subject.store) == _CONTENT


async def test_an_attempt_that_breaks_keeps_its_bytes(store: BlobStore) -> None:
    """Whatever exception ends an attempt, its bytes are there for the next one."""

    async def attempt() -> None:
        async with _ingest(store) as ingest:
            await ingest.append(_CONTENT[:10])
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await attempt()
    async with _ingest(store) as ingest:
        assert ingest.offset == 10


async def test_an_attempt_without_bytes_leaves_nothing(store: BlobStore) -> None:
    """Beginning and giving up at once leaves no trace."""
    async with _ingest(store):
        pass
    assert store.watch(_DIGEST) is None
    async with _ingest(store) as ingest:
        assert ingest.offset == 0


async def test_what_is_discarded_is_gone(store: BlobStore) -> None:
    """After a discard the next attempt begins anew."""
    async with _ingest(store) as ingest:
        await ingest.append(b"wrong")
        await ingest.discard()
    assert store.watch(_DIGEST) is None
    await _put(store)
    assert await _stored(store) == _CONTENT


async def test_what_is_dropped_is_another_file_than_what_comes_next(store: BlobStore) -> None:
    """After a discard the next attempt begins with a file of its own; readers keep the old one."""
    async with _ingest(store) as ingest:
        await ingest.append(b"wrong" * 5000)
    async with _ingest(store) as ingest:
        assert (ingest.offset, ingest.resumed_at) == (25_000, 25_000)
        reader = ingest.reader()
        await ingest.discard()
    with closing(reader):
        async with _ingest(store) as ingest:
            assert (ingest.offset, ingest.resumed_at) == (0, 0)
            await ingest.append(_CONTENT)
            with closing(ingest.reader()) as other:
                assert other.identity != reader.identity
            ingest.verify()
            await ingest.commit()
        assert await reader.read(0, 5) == b"wrong"
    assert await _stored(store) == _CONTENT


async def test_a_reader_can_be_shared(store: BlobStore) -> None:
    """Each holder of a file closes its own handle, and may close it twice."""
    async with _ingest(store) as ingest:
        await ingest.append(_CONTENT)
        one = ingest.reader()
        other = one.share()
        assert one.identity == other.identity
        one.close()
        one.close()
        assert await other.read(0, 6) == _CONTENT[:6]
        with pytest.raises(StorageError):
            await one.read(0, 6)
        other.close()


async def test_a_reader_holds_no_lock(store: BlobStore) -> None:
    """Who still reads what a failed attempt left does not keep the next one from writing it."""
    async with _ingest(store) as ingest:
        await ingest.append(_CONTENT[:6000])
        reader = ingest.reader()
    with closing(reader):
        async with _ingest(store) as ingest:
            assert ingest.offset == 6000
            await ingest.append(_CONTENT[6000:])
            ingest.verify()
            await ingest.commit()
        assert await _all(reader) == _CONTENT
    assert await _stored(store) == _CONTENT


async def test_there_is_one_writer_at_a_time(subject: Subject) -> None:
    """While one writes a blob, others get nothing to write, wherever they are."""
    other = subject.reopen()
    async with _ingest(subject.store) as ingest:
        await ingest.append(_CONTENT)
        for store in (subject.store, other):
            async with store.ingest(REPOSITORY, _DIGEST) as second:
                assert second is None
        async with _ingest(other, _EMPTY):
            pass
        ingest.verify()
        await ingest.commit()
    assert await _stored(other) == _CONTENT
    async with _ingest(other) as ingest:
        assert ingest.offset == 0


async def test_of_many_at_once_one_writes(store: BlobStore) -> None:
    """Of many who begin at the same moment exactly one is the writer."""
    losers, all_others_lost = 0, asyncio.Event()

    async def attempt() -> bool:
        nonlocal losers
        async with store.ingest(REPOSITORY, _DIGEST) as ingest:
            if ingest is not None:
                await all_others_lost.wait()
                return True
        losers += 1
        if losers == 19:
            all_others_lost.set()
        return False

    async with asyncio.TaskGroup() as group:
        attempts = [group.create_task(attempt()) for _ in range(20)]
    assert sorted(attempt.result() for attempt in attempts) == [False] * 19 + [True]


async def test_a_blob_is_committed_twice_at_no_harm(store: BlobStore) -> None:
    """Whoever commits a blob that is there already changes nothing for its readers."""
    await _put(store)
    blob = store.open(_DIGEST)
    assert blob is not None
    with closing(blob):
        await _put(store)
        assert await _all(blob) == _CONTENT
    assert await _stored(store) == _CONTENT


async def test_an_open_blob_stays_readable(subject: Subject) -> None:
    """A blob that is evicted while it is read is read to its end; then it is not there."""
    await _put(subject.store)
    blob = subject.store.open(_DIGEST)
    assert blob is not None
    with closing(blob):
        assert await blob.read(0, 100) == _CONTENT[:100]
        subject.evict(_DIGEST)
        assert subject.store.open(_DIGEST) is None
        assert await _all(blob) == _CONTENT
    await _put(subject.store)
    assert await _stored(subject.store) == _CONTENT


@pytest.mark.parametrize(
    ("offset", "length"),
    [
        (0, 1),
        (0, 10_000),
        (0, 20_000),
        (5000, 100),
        (9999, 1),
        (9999, 100),
        (10_000, 1),
        (10**12, 1),
    ],
)
async def test_a_read_is_a_slice(store: BlobStore, offset: int, length: int) -> None:
    """A read gives at least one of the bytes that are asked for, and none at the end."""
    await _put(store)
    blob = store.open(_DIGEST)
    assert blob is not None
    with closing(blob):
        expected = _CONTENT[offset : offset + length]
        for part in (await blob.read(offset, length), blob.try_read(offset, length) or b""):
            assert expected.startswith(part)
        assert bool(await blob.read(offset, length)) == bool(expected)
        assert blob.try_read(offset, length) != b""


async def test_readers_are_independent(store: BlobStore) -> None:
    """Each reader reads at its own offset, and closing one twice closes no other."""
    await _put(store)
    one, other = store.open(_DIGEST), store.open(_DIGEST)
    assert one is not None
    assert other is not None
    assert await one.read(0, 10) == await other.read(0, 10) == _CONTENT[:10]
    one.close()
    with closing(other):
        one.close()
        assert await _all(other) == _CONTENT


async def test_a_growing_blob_is_read_from_within(store: BlobStore) -> None:
    """A reader of an ingest sees what has been appended, and outlives commit and context."""
    async with _ingest(store) as ingest:
        with closing(ingest.reader()) as early:
            await ingest.append(_CONTENT[:6000])
            assert await _all(early) == _CONTENT[:6000]
        late = ingest.reader()
        await ingest.append(_CONTENT[6000:])
        ingest.verify()
        await ingest.commit()
        assert await _all(late) == _CONTENT
    with closing(late):
        assert await _all(late) == _CONTENT


async def test_a_reader_outlives_a_discard(store: BlobStore) -> None:
    """Who follows bytes that turn out to be wrong is not failed by their removal."""
    async with _ingest(store) as ingest:
        await ingest.append(b"wrong")
        with closing(ingest.reader()) as reader:
            await ingest.discard()
            assert await _all(reader) == b"wrong"


async def test_a_growing_blob_is_watched_from_outside(subject: Subject) -> None:
    """Another process sees how far a blob is, reads that, and is told when it is committed."""
    other = subject.reopen()
    async with _ingest(subject.store) as ingest:
        await ingest.append(_CONTENT[:6000])
        growing = other.watch(_DIGEST)
        assert growing is not None
        with closing(growing), closing(growing.reader()) as reader:
            assert (growing.received(), growing.is_gone()) == (6000, False)
            assert await _all(reader) == _CONTENT[:6000]
            await ingest.append(_CONTENT[6000:])
            assert growing.received() == 10_000
            ingest.verify()
            await ingest.commit()
            assert growing.is_gone()
            assert growing.received() == 10_000
            assert await _all(reader) == _CONTENT
    assert other.watch(_DIGEST) is None


async def test_a_watcher_is_told_of_a_discard(store: BlobStore) -> None:
    """What was discarded is gone for a watcher too, even while the next attempt is on."""
    async with _ingest(store) as ingest:
        await ingest.append(b"wrong")
        growing = store.watch(_DIGEST)
        assert growing is not None
        await ingest.discard()
    with closing(growing):
        async with _ingest(store) as ingest:
            await ingest.append(_CONTENT[:10])
            assert growing.is_gone()
            assert growing.received() == 5


# -- documents ---------------------------------------------------------------------------


async def test_a_document_is_kept(subject: Subject) -> None:
    """A document is a blob like any other, and keeping it again is harmless."""
    for _ in range(2):
        await keep(subject.store, _DIGEST, _CONTENT)
        assert await subject.store.document(_DIGEST) == _CONTENT
    assert await _stored(subject.reopen()) == _CONTENT


async def test_a_document_replaces_what_a_broken_fill_left(store: BlobStore) -> None:
    """Bytes that are verified do not wait for those of an attempt that broke."""
    async with _ingest(store) as ingest:
        await ingest.append(b"x" * 20_000)
    await keep(store, _DIGEST, _CONTENT)
    assert await _stored(store) == _CONTENT


async def test_a_document_that_is_being_written_is_left_to_its_writer(store: BlobStore) -> None:
    """Who keeps a document that another one writes soon gives up, and disturbs nothing."""
    async with _ingest(store) as ingest:
        await ingest.append(_CONTENT[:10])
        await keep(store, _DIGEST, _CONTENT)
        assert store.open(_DIGEST) is None
        assert ingest.offset == 10
        await ingest.append(_CONTENT[10:])
        ingest.verify()
        await ingest.commit()
    assert await _stored(store) == _CONTENT


async def test_a_wrong_document_is_not_kept(store: BlobStore) -> None:
    """A document under a digest that is not its own does not become visible."""
    with pytest.raises(DigestMismatch):
        await keep(store, _DIGEST, b"wrong")
    assert store.open(_DIGEST) is None


@pytest.mark.parametrize("excess", [0, 1])
async def test_a_document_is_no_larger_than_a_manifest(store: BlobStore, excess: int) -> None:
    """What is larger than a manifest may be is a blob, but no document."""
    content = b"x" * (SIZE_LIMIT + excess)
    digest = Digest.of(content)
    await _put(store, content, digest)
    assert (await store.document(digest) == content) == (excess == 0)
    blob = store.open(digest)
    assert blob is not None
    blob.close()


# -- whoever gives up --------------------------------------------------------------------


async def _append_a_little(store: BlobStore) -> None:
    async with store.ingest(REPOSITORY, _DIGEST) as ingest:
        if ingest is not None:
            await ingest.discard()
            for at in range(0, len(_CONTENT), 2500):
                await ingest.append(_CONTENT[at : at + 2500])


async def _append_and_discard(store: BlobStore) -> None:
    async with store.ingest(REPOSITORY, _DIGEST) as ingest:
        if ingest is not None:
            await ingest.append(b"wrong")
            await ingest.discard()


async def _write_all(store: BlobStore) -> None:
    async with store.ingest(REPOSITORY, _DIGEST) as ingest:
        if ingest is not None:
            await ingest.append(_CONTENT)
            ingest.verify()
            await ingest.commit()


@pytest.mark.parametrize("turns", range(12))
@pytest.mark.parametrize(
    "work",
    [
        pytest.param(_append_a_little, id="appending"),
        pytest.param(_append_and_discard, id="discarding"),
        pytest.param(_write_all, id="committing"),
        pytest.param(lambda store: store.document(_THERE), id="reading a document"),
        pytest.param(lambda store: keep(store, _DIGEST, _CONTENT), id="keeping a document"),
    ],
)
async def test_whoever_is_cancelled_leaves_the_store_in_order(
    store: BlobStore, work: Callable[[BlobStore], Awaitable[object]], turns: int
) -> None:
    """Cancelled at whatever moment, work leaves no file open, no lock held and no half blob."""
    await keep(store, _THERE, b"there")

    async def run() -> None:
        await work(store)

    async with asyncio.TaskGroup() as group:
        task = group.create_task(run())
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
    assert await _stored(store) in (None, _CONTENT)
    async with _ingest(store) as ingest:
        await ingest.discard()
    await _put(store)
    assert await _stored(store) == _CONTENT
