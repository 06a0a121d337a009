import asyncio
import fcntl
import os
import resource
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from cacheproxy.domain.digest import Digest
from cacheproxy.domain.errors import DigestMismatch, StorageError
from cacheproxy.storage import leftovers, reading
from cacheproxy.storage.filesystem import _THREADS, FilesystemStore
from cacheproxy.storage.layout import Layout
from cacheproxy.storage.threads import finished
from tests.support.leaks import open_files, settle
from tests.support.stores import REPOSITORY, keep

_CONTENT = bytes(number % 251 for number in range(10_000))
_DIGEST = Digest.of(_CONTENT)


@contextmanager
def _file_size_limit(size: int) -> Iterator[None]:
    """Have the kernel refuse to write beyond `size`, as on a disk that is full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def _blob(layout: Layout) -> Path:
    return Path(layout.blob(_DIGEST))


def _ingest(layout: Layout) -> Path:
    return Path(layout.ingest(_DIGEST))


async def _append(store: FilesystemStore, content: bytes = _CONTENT) -> int:
    """Append to what is there, and leave it there; the offset that was reached."""
    async with store.ingest(REPOSITORY, _DIGEST) as ingest:
        assert ingest is not None
        await ingest.append(content)
        return ingest.offset


async def _commit(store: FilesystemStore) -> None:
    async with store.ingest(REPOSITORY, _DIGEST) as ingest:
        assert ingest is not None
        ingest.verify()
        await ingest.commit()


# -- what is in a blob's place -----------------------------------------------------------


def _symlink(path: Path) -> None:
    target = path.with_name("elsewhere")
    target.write_bytes(_CONTENT)
    path.symlink_to(target)


def _dangling_symlink(path: Path) -> None:
    path.symlink_to(path.with_name("nowhere"))


@pytest.mark.parametrize(
    "put",
    [
        pytest.param(_symlink, id="a symlink to the right bytes"),
        pytest.param(_dangling_symlink, id="a symlink to nothing"),
        pytest.param(Path.mkdir, id="a directory"),
        pytest.param(os.mkfifo, id="a FIFO"),
    ],
)
async def test_what_is_no_regular_file_is_no_blob(
    store: FilesystemStore, layout: Layout, put: Callable[[Path], None]
) -> None:
    """Whatever else has a blob's name is a miss, blocks nobody, and nothing of it is left open."""
    path = _blob(layout)
    path.parent.mkdir(parents=True)
    put(path)
    before = open_files()
    assert store.open(_DIGEST) is None
    assert await store.document(_DIGEST) is None
    assert open_files() == before


@pytest.mark.parametrize(
    "put",
    [
        pytest.param(_symlink, id="a symlink to the right bytes"),
        pytest.param(_dangling_symlink, id="a symlink to nothing"),
        pytest.param(os.mkfifo, id="a FIFO"),
    ],
)
async def test_a_document_takes_the_place_of_what_is_no_blob(
    store: FilesystemStore, layout: Layout, put: Callable[[Path], None]
) -> None:
    """A document is kept where something else has its name, which a rename replaces."""
    path = _blob(layout)
    path.parent.mkdir(parents=True)
    put(path)
    await keep(store, _DIGEST, _CONTENT)
    assert await store.document(_DIGEST) == _CONTENT
    assert not path.is_symlink()


async def test_a_directory_in_a_documents_place_is_an_error(
    store: FilesystemStore, layout: Layout
) -> None:
    """A document that cannot have its name is not kept, and that is said, not passed over."""
    _blob(layout).mkdir(parents=True)
    with pytest.raises(StorageError):
        await keep(store, _DIGEST, _CONTENT)
    assert store.open(_DIGEST) is None


async def test_a_committed_blob_is_read_only(store: FilesystemStore, layout: Layout) -> None:
    """A committed file has its final mode, and its ingest file is no more."""
    await _append(store)
    assert _ingest(layout).stat().st_mode & 0o777 == 0o600
    await _commit(store)
    assert _blob(layout).stat().st_mode & 0o777 == 0o444
    assert not _ingest(layout).exists()
    assert _blob(layout).read_bytes() == _CONTENT


async def test_a_blob_that_shrinks_while_it_is_read_is_an_error(
    store: FilesystemStore, layout: Layout
) -> None:
    """A document that is cut under its reader is no document, not a shorter one."""
    await keep(store, _DIGEST, _CONTENT)
    blob = store.open(_DIGEST)
    assert blob is not None
    with closing(blob):
        os.truncate(layout.blob(_DIGEST), 5000)
        assert await blob.read(0, 10_000) == _CONTENT[:5000]
        assert await blob.read(5000, 10_000) == b""


# -- left-over ingests -------------------------------------------------------------------


async def test_a_leftover_is_hashed_again(store: FilesystemStore, layout: Layout) -> None:
    """Bytes that rotted in a left-over file are found out, for they are not taken on trust."""
    await _append(store, _CONTENT[:5000])
    leftover = _ingest(layout)
    leftover.write_bytes(b"x" + leftover.read_bytes()[1:])
    async with store.ingest(REPOSITORY, _DIGEST) as ingest:
        assert ingest is not None
        assert ingest.offset == 5000
        await ingest.append(_CONTENT[5000:])
        with pytest.raises(DigestMismatch):
            ingest.verify()


async def test_a_leftover_that_is_whole_is_committed(
    store: FilesystemStore, layout: Layout
) -> None:
    """A process that was killed before its commit has left all that there is to commit."""
    _ingest(layout).write_bytes(_CONTENT)
    await _commit(store)
    assert await store.document(_DIGEST) == _CONTENT


@pytest.mark.parametrize(
    "put",
    [
        pytest.param(lambda path: path.symlink_to("/dev/null"), id="a symlink"),
        pytest.param(Path.mkdir, id="a directory"),
        pytest.param(os.mkfifo, id="a FIFO"),
    ],
)
async def test_what_is_no_ingest_file_is_refused(
    store: FilesystemStore, layout: Layout, put: Callable[[Path], None]
) -> None:
    """Whatever else has an ingest's name is never written to, nor watched, and blocks nobody."""
    put(_ingest(layout))
    before = open_files()
    with pytest.raises(StorageError):
        await _append(store)
    assert store.watch(_DIGEST) is None
    assert open_files() == before


async def test_the_lock_is_the_kernels(store: FilesystemStore, layout: Layout) -> None:
    """Whoever holds the file's lock is the writer, this process or another; a death frees it."""
    descriptor = os.open(layout.ingest(_DIGEST), os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    async with store.ingest(REPOSITORY, _DIGEST) as ingest:
        assert ingest is None
    os.close(descriptor)
    assert await _append(store) == 10_000


async def test_a_follower_does_not_hold_the_lock(store: FilesystemStore, layout: Layout) -> None:
    """A failed ingest gives its lock back, although somebody still has the file open."""
    before = open_files()
    async with store.ingest(REPOSITORY, _DIGEST) as ingest:
        assert ingest is not None
        await ingest.append(_CONTENT)
        reader = ingest.reader()
    with closing(reader):
        descriptor = os.open(layout.ingest(_DIGEST), os.O_RDWR)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        finally:
            os.close(descriptor)
        await _commit(store)
        assert await reader.read(0, 10_000) == _CONTENT
    assert open_files() == before


async def test_an_empty_blob_keeps_its_name(store: FilesystemStore, layout: Layout) -> None:
    """Ending the ingest of a committed blob without bytes leaves another's leftover alone."""
    empty = Digest.of(b"")
    leftover = layout.ingest(empty)
    async with store.ingest(REPOSITORY, empty) as ingest:
        assert ingest is not None
        await ingest.commit()
        leftover.write_bytes(b"of somebody else")
    assert leftover.read_bytes() == b"of somebody else"
    assert await store.document(empty) == b""


# -- work that cannot be stopped ---------------------------------------------------------


@pytest.fixture
def thread() -> Iterator[ThreadPoolExecutor]:
    """One thread."""
    with ThreadPoolExecutor(1) as executor:
        yield executor


async def test_a_timeout_waits_for_the_thread_and_is_one(thread: ThreadPoolExecutor) -> None:
    """Work that takes longer than it may is finished, and the timeout is a TimeoutError."""
    task, let_go, ended = asyncio.current_task(), threading.Event(), list[bool]()
    assert task is not None

    async def work() -> None:
        async with asyncio.timeout(0):
            await finished(thread, let_go.wait)
            ended.append(let_go.is_set())
            await asyncio.sleep(0)

    asyncio.get_running_loop().call_later(0.01, let_go.set)
    with pytest.raises(TimeoutError):
        await work()
    assert ended == [True]
    assert task.cancelling() == 0
    await asyncio.sleep(0)


async def test_a_cancellation_comes_after_the_work(thread: ThreadPoolExecutor) -> None:
    """However often it is cancelled, the work's outcome is had, and then it is cancelled once."""
    begun, let_go, seen = threading.Event(), threading.Event(), list[str]()

    def work() -> str:
        begun.set()
        let_go.wait()
        return "done"

    async def run() -> None:
        seen.append(await finished(thread, work))
        await asyncio.sleep(0)
        seen.append("not reached")

    async with asyncio.TaskGroup() as group:
        task = group.create_task(run())
        await settle()
        assert begun.is_set()
        for _ in range(3):
            task.cancel()
            await settle()
        assert not task.done()
        let_go.set()
    assert seen == ["done"]
    assert task.cancelled()


async def test_failing_work_fails_its_caller(thread: ThreadPoolExecutor) -> None:
    """What the thread raises is raised, whether or not a cancellation came meanwhile."""

    def work() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await finished(thread, work)


# -- a disk that refuses -----------------------------------------------------------------


async def test_a_full_disk_is_our_error(store: FilesystemStore, layout: Layout) -> None:
    """Where nothing more can be written, what was written counts, and can be gone on from."""
    async with store.ingest(REPOSITORY, _DIGEST) as ingest:
        assert ingest is not None
        await ingest.append(_CONTENT[:4000])
        with _file_size_limit(6000), pytest.raises(StorageError):
            await ingest.append(_CONTENT[4000:])
        assert ingest.offset == 4000
        assert store.open(_DIGEST) is None
        await ingest.append(_CONTENT[4000:])
    await _commit(store)
    assert await store.document(_DIGEST) == _CONTENT


async def test_a_document_that_does_not_fit_is_an_error(store: FilesystemStore) -> None:
    """A document on a full disk is not kept, and the next attempt keeps it."""
    with _file_size_limit(4096), pytest.raises(StorageError):
        await keep(store, _DIGEST, _CONTENT)
    assert store.open(_DIGEST) is None
    await keep(store, _DIGEST, _CONTENT)
    assert await store.document(_DIGEST) == _CONTENT


async def test_an_ingest_directory_that_refuses(store: FilesystemStore, layout: Layout) -> None:
    """Where no ingest file can be made, that is a StorageError, and nothing stays open."""
    (layout.root / "ingest").rmdir()
    before = open_files()
    with pytest.raises(StorageError):
        await _append(store)
    assert store.watch(_DIGEST) is None
    assert open_files() == before


async def test_a_blob_directory_that_refuses(store: FilesystemStore, layout: Layout) -> None:
    """Where the blob cannot be given its name, the verified bytes stay for another attempt."""
    obstacle = layout.root / "blobs" / "sha256"
    obstacle.write_bytes(b"")
    await _append(store)
    with pytest.raises(StorageError):
        await _commit(store)
    assert store.open(_DIGEST) is None
    obstacle.unlink()
    await _commit(store)
    assert await store.document(_DIGEST) == _CONTENT


# -- reads that need the disk ------------------------------------------------------------


@pytest.fixture
def cold(monkeypatch: pytest.MonkeyPatch) -> None:
    """A kernel that cannot read without waiting."""
    monkeypatch.setattr(reading, "_NOWAIT", None)


async def test_a_read_that_needs_the_disk_goes_to_a_thread(
    store: FilesystemStore, cold: None
) -> None:
    """What is not to be had at once is read in a thread, and is the same."""
    await keep(store, _DIGEST, _CONTENT)
    assert await store.document(_DIGEST) == _CONTENT
    blob = store.open(_DIGEST)
    assert blob is not None
    with closing(blob):
        assert blob.try_read(0, 10) is None
        assert await blob.read(100, 200) == _CONTENT[100:300]
        assert await blob.read(10_000, 1) == b""
        reads = await asyncio.gather(*(blob.read(at, 10) for at in range(0, 1000, 10)))
        assert b"".join(reads) == _CONTENT[:1000]


async def test_a_disk_that_fails_is_our_error(
    store: FilesystemStore, cold: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A failing read is a StorageError, and leaves nothing open."""

    def fail(*_: object) -> bytes:
        raise OSError(5, "Input/output error")

    await keep(store, _DIGEST, _CONTENT)
    before = open_files()
    monkeypatch.setattr(os, "pread", fail)
    with pytest.raises(StorageError, match="Input/output error"):
        await store.document(_DIGEST)
    assert open_files() == before


async def test_a_cancelled_read_leaks_no_descriptor(
    store: FilesystemStore, layout: Layout, cold: None
) -> None:
    """A read that is given up before any thread has begun it leaves no file open."""
    await keep(store, _DIGEST, _CONTENT)
    before = open_files()
    let_go = threading.Event()
    busy = [store._executor.submit(let_go.wait) for _ in range(_THREADS)]
    blob = store.open(_DIGEST)
    assert blob is not None
    with closing(blob):
        reads = [asyncio.gather(blob.read(0, 10)) for _ in range(5)]
        await settle()
        for read in reads:
            read.cancel()
        outcomes = await asyncio.gather(*reads, return_exceptions=True)
        left = open_files() - before
        let_go.set()
        await asyncio.gather(*map(asyncio.wrap_future, busy))
        assert [type(outcome) for outcome in outcomes] == [asyncio.CancelledError] * 5
        assert left == {str(_blob(layout)): 1}
        assert await blob.read(5, 5) == _CONTENT[5:10]
    assert open_files() == before


async def test_a_read_after_closing_is_our_error(store: FilesystemStore, cold: None) -> None:
    """Who reads what is closed gets an error of ours, and never another file's bytes."""
    await keep(store, _DIGEST, _CONTENT)
    before = open_files()
    blob = store.open(_DIGEST)
    assert blob is not None
    blob.close()
    with pytest.raises(StorageError):
        await blob.read(0, 10)
    assert open_files() == before


# -- sweeping ----------------------------------------------------------------------------


def _leftover(name: str) -> str:
    """What the partial download of some blob is called."""
    return f"sha256-{Digest.of(name.encode()).encoded}"


def _aged(path: Path, seconds: float) -> Path:
    status = path.stat()
    os.utime(path, (status.st_atime - seconds, status.st_mtime - seconds))
    return path


async def test_old_leftovers_are_swept(store: FilesystemStore, layout: Layout) -> None:
    """Partial downloads that nobody took up for long go; those of lately stay."""
    directory = layout.root / "ingest"
    for name in ("old", "older", "new"):
        (directory / _leftover(name)).write_bytes(b"x")
    _aged(directory / _leftover("old"), 1000)
    _aged(directory / _leftover("older"), 10_000)
    assert await store.sweep(900) == 2
    assert [path.name for path in directory.iterdir()] == [_leftover("new")]
    assert await store.sweep(900) == 0


async def test_what_is_being_written_is_never_swept(store: FilesystemStore, layout: Layout) -> None:
    """However old its last write is, an ingest that has a writer stays."""
    async with store.ingest(REPOSITORY, _DIGEST) as ingest:
        assert ingest is not None
        await ingest.append(_CONTENT)
        _aged(_ingest(layout), 1000)
        assert await store.sweep(0) == 0
        ingest.verify()
        await ingest.commit()
    assert await store.document(_DIGEST) == _CONTENT


async def test_sweeping_leaves_what_is_no_file(store: FilesystemStore, layout: Layout) -> None:
    """A directory or a symlink among the ingests is not followed, nor is it an error."""
    directory = layout.root / "ingest" / "directory"
    directory.mkdir()
    outside = layout.root / "outside"
    outside.write_bytes(b"x")
    (layout.root / "ingest" / "link").symlink_to(outside)
    assert await store.sweep(-1000) == 0
    assert outside.exists()
    assert directory.is_dir()


async def test_sweeping_does_not_wait_for_a_fifo(store: FilesystemStore, layout: Layout) -> None:
    """A FIFO that nobody writes to does not hold up the sweep."""
    fifo = layout.root / "ingest" / "fifo"
    os.mkfifo(fifo)
    (layout.root / "ingest" / _leftover("old")).write_bytes(b"x")
    async with asyncio.timeout(60):
        await store.sweep(-1000)
    assert not (layout.root / "ingest" / _leftover("old")).exists()


async def test_sweeping_survives_files_that_vanish(
    store: FilesystemStore, layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What somebody else removes while it is looked at is passed over, and the rest is swept."""
    directory = layout.root / "ingest"
    for name in ("a", "b", "c"):
        (directory / _leftover(name)).write_bytes(b"x")
    seen = [_leftover(name) for name in "axbyc"]
    monkeypatch.setattr(Path, "iterdir", lambda path: iter([path / name for name in seen]))
    assert await store.sweep(-1000) == 3
    monkeypatch.undo()
    assert list(directory.iterdir()) == []


async def test_sweeping_leaves_what_was_taken_up_again(
    store: FilesystemStore, layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that has another one's name by the time of the lock is not removed."""
    path = layout.root / "ingest" / _leftover("x")
    path.write_bytes(b"old")
    lock = fcntl.flock

    def slow(descriptor: int, operation: int) -> None:
        # Its writer commits, and the next download of the same blob begins.
        path.rename(path.with_name("committed"))
        path.write_bytes(b"new")
        lock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", slow)
    assert not leftovers.drop(layout, Digest(path.name.replace("-", ":")))
    assert path.read_bytes() == b"new"


async def test_sweeping_a_directory_that_is_gone(store: FilesystemStore, layout: Layout) -> None:
    """Without the directory there is nothing to sweep that anybody could be told of."""
    (layout.root / "ingest").rmdir()
    with pytest.raises(OSError, match="No such file"):
        await store.sweep(0)
