"""Open files: counted handles, each of which is closed by its holder."""

import errno
from collections.abc import Callable
from pathlib import Path

import pytest

from cacheproxy.storage.open_file import OpenFile, lock_held, locked
from tests.support.leaks import open_files


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file."""
    made = tmp_path / "file"
    made.write_bytes(b"some bytes")
    return made


def test_the_last_handle_closes_the_file(path: Path) -> None:
    """Whoever closes a handle, also twice, takes it from nobody else."""
    before = open_files()
    one = OpenFile.read_only(path)
    other = one.share()
    one.close()
    one.close()
    assert other.read(0, 4) == b"some"
    other.close()
    assert open_files() == before


@pytest.mark.parametrize(
    "use",
    [
        lambda file: file.read(0, 1),
        lambda file: file.status(),
        lambda file: file.lock(),
        lambda file: file.share().read(0, 1),
    ],
)
def test_a_closed_handle_refuses(path: Path, use: Callable[[OpenFile], object]) -> None:
    """It never reads on in whatever file has the number of its descriptor by now."""
    file = OpenFile.read_only(path)
    file.close()
    with OpenFile.read_only(__file__), pytest.raises(OSError, match="Bad file descriptor") as error:
        use(file)
    assert error.value.errno == errno.EBADF
    assert file.read_cached(0, 1) is None


def test_a_file_is_its_inode(path: Path) -> None:
    """A name that leads to another file, or to none, is told from the file that was opened."""
    with OpenFile.read_only(path) as file:
        assert file.is_at(path)
        path.rename(path.with_name("moved"))
        assert not file.is_at(path)
        path.write_bytes(b"some bytes")
        assert not file.is_at(path)
        assert file.is_at(path.with_name("moved"))


def test_a_lock_is_shared_by_all_handles_of_an_open_file(path: Path) -> None:
    """It is given back by hand, or with the last handle; another open file has none of it."""
    with OpenFile.read_only(path) as other:
        file = OpenFile.read_write(path)
        assert file.lock()
        shared = file.share()
        file.close()
        assert not other.lock()
        shared.unlock()
        assert other.lock()
        assert not shared.lock_shared()
        shared.close()


def test_a_lock_file_is_made_for_its_owner(tmp_path: Path) -> None:
    """One at a time holds it; the file stays."""
    path = tmp_path / "lock"
    with locked(path) as file, locked(path) as other:
        assert file is not None
        assert other is None
    with lock_held(path), locked(path) as other:
        assert other is None
    assert path.stat().st_mode & 0o777 == 0o600


def test_all_is_written_and_appended(tmp_path: Path) -> None:
    """Content is written where it is to be, and behind what is there."""
    path = tmp_path / "file"
    with OpenFile.read_write(path) as file:
        assert file.write(3, b"abc") == 6
    with OpenFile.append_to(path) as file:
        file.append(b"def")
    assert path.read_bytes() == b"\0\0\0abcdef"
    with OpenFile.read_write(path) as file:
        file.truncate()
    assert path.read_bytes() == b""
