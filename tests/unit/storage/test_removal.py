"""Nothing goes while somebody reads it, in this process or in another."""

import fcntl
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from cacheproxy.domain.digest import Digest
from cacheproxy.domain.reference import Name, Repository
from cacheproxy.storage.layout import Layout
from cacheproxy.storage.open_file import OpenFile
from cacheproxy.storage.reading import FileReader
from cacheproxy.storage.removal import open_blob, remove
from tests.support.leaks import open_files
from tests.support.stores import open_store

CONTENT = b"some bytes of a blob"
DIGEST = Digest.of(CONTENT)
REPOSITORY = Repository("docker.io", Name("library/app"))


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    """A store that holds one blob."""
    made = Layout(tmp_path / "store")
    made.prepare()
    path = Path(made.blob(DIGEST))
    path.parent.mkdir(parents=True)
    path.write_bytes(CONTENT)
    return made


@pytest.fixture
def executor() -> Iterator[ThreadPoolExecutor]:
    """For reads that need the disk."""
    with ThreadPoolExecutor(1) as made:
        yield made


@pytest.fixture
def opened(layout: Layout, executor: ThreadPoolExecutor) -> Callable[[], FileReader]:
    """Opens the blob."""

    def open_it() -> FileReader:
        reader = open_blob(layout.blob(DIGEST), executor)
        assert reader is not None
        return reader

    return open_it


@contextmanager
def _read_elsewhere(path: str) -> Iterator[None]:
    """Another process reads a blob, as workers do."""
    script = (
        "import fcntl, sys; file = open(sys.argv[1], 'rb');"
        "fcntl.flock(file, fcntl.LOCK_SH); print('reads', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"reads\n"
        yield


def test_a_blob_is_removed(layout: Layout, executor: ThreadPoolExecutor) -> None:
    """A blob that nobody reads goes; so it is gone, and gone it is the next time too."""
    before = open_files()
    assert remove(layout, DIGEST)
    assert not layout.holds(DIGEST)
    assert open_blob(layout.blob(DIGEST), executor) is None
    assert remove(layout, DIGEST)
    assert open_files() == before


async def test_a_blob_that_is_read_stays(layout: Layout, opened: Callable[[], FileReader]) -> None:
    """A blob stays as long as anybody has it open, and readers do not hinder one another."""
    before = open_files()
    with closing(opened()) as one:
        with closing(opened()):
            assert not remove(layout, DIGEST)
        assert not remove(layout, DIGEST)
        assert await one.read(0, 100) == CONTENT
    assert remove(layout, DIGEST)
    assert open_files() == before


def test_a_blob_that_another_process_reads_stays(layout: Layout) -> None:
    """The reader may be of another worker; when that ends, however it does, the blob may go."""
    with _read_elsewhere(layout.blob(DIGEST)):
        assert not remove(layout, DIGEST)
        assert layout.holds(DIGEST)
    assert remove(layout, DIGEST)


def test_a_blob_that_is_about_to_go_is_a_miss(layout: Layout, executor: ThreadPoolExecutor) -> None:
    """Who asks for a blob while it is being removed does not wait, and leaves nothing open."""
    descriptor = os.open(layout.blob(DIGEST), os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    before = open_files()
    assert open_blob(layout.blob(DIGEST), executor) is None
    assert not remove(layout, DIGEST)
    assert open_files() == before
    os.close(descriptor)
    assert remove(layout, DIGEST)


@pytest.mark.parametrize(
    "put",
    [
        pytest.param(lambda path: path.symlink_to("/dev/null"), id="a symlink"),
        pytest.param(lambda path: path.symlink_to(path.with_name("no")), id="a dangling symlink"),
        pytest.param(Path.mkdir, id="a directory"),
    ],
)
def test_what_is_no_file_of_ours_is_not_removed(
    layout: Layout, executor: ThreadPoolExecutor, put: Callable[[Path], None]
) -> None:
    """What somebody else has put under a blob's name is neither opened nor removed."""
    path = Path(layout.blob(DIGEST))
    path.unlink()
    put(path)
    before = open_files()
    assert open_blob(layout.blob(DIGEST), executor) is None
    assert not remove(layout, DIGEST)
    assert layout.holds(DIGEST)
    assert open_files() == before


async def test_a_blob_is_guarded_from_its_first_moment(tmp_path: Path) -> None:
    """Who follows a download keeps its blob, without a gap between the download and the blob."""
    layout = Layout(tmp_path / "other")
    with closing(open_store(layout.root)) as store:
        async with store.ingest(REPOSITORY, DIGEST) as ingest:
            assert ingest is not None
            with closing(ingest.reader()):
                await ingest.append(CONTENT)
                ingest.verify()
                await ingest.commit()
                reader = store.open(DIGEST)
                assert reader is not None, "its writer is one reader among others by now"
                reader.close()
                assert not remove(layout, DIGEST)
            assert not remove(layout, DIGEST)  # its writer has not let go of it yet
        assert remove(layout, DIGEST)


async def test_a_follower_outlives_its_download(tmp_path: Path) -> None:
    """Whoever is still reading what a download brought keeps it after the download has ended."""
    layout = Layout(tmp_path / "other")
    with closing(open_store(layout.root)) as store:
        async with store.ingest(REPOSITORY, DIGEST) as ingest:
            assert ingest is not None
            follower = ingest.reader()
            await ingest.append(CONTENT)
            ingest.verify()
            await ingest.commit()
        with closing(follower):
            assert not remove(layout, DIGEST)
            assert await follower.read(0, 100) == CONTENT
        assert remove(layout, DIGEST)


def test_a_blob_that_took_the_place_of_another_stays(
    layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A download that puts its file there between the look and the lock keeps it."""
    path, lock = Path(layout.blob(DIGEST)), OpenFile.lock

    def replace_first(file: OpenFile) -> bool:
        other = path.with_name("other")
        other.write_bytes(CONTENT)
        other.replace(path)
        return lock(file)

    monkeypatch.setattr(OpenFile, "lock", replace_first)
    assert not remove(layout, DIGEST)
    assert path.read_bytes() == CONTENT
