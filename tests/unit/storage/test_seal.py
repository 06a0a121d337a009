"""Files that are known to be what their names say."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from cacheproxy.domain.digest import Digest
from cacheproxy.storage.open_file import OpenFile
from cacheproxy.storage.seal import Seals, doubt, is_sealed, seal

BODY = b"verified" * 100
DIGEST = Digest.of(BODY)
OTHER = Digest.of(b"another")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A sealed file."""
    path = tmp_path / "blob"
    path.write_bytes(BODY)
    with OpenFile.read_only(path) as file:
        seal(DIGEST, file, path.stat())
    return path


def test_what_was_verified_is_sealed(path: Path) -> None:
    """A seal is seen by whoever looks, also in another process and after a rename."""
    assert is_sealed(DIGEST, path.stat())
    moved = path.rename(path.with_name("moved"))
    moved.chmod(0o444)
    assert is_sealed(DIGEST, moved.stat())
    assert Seals().holds(DIGEST, moved.stat())


def test_the_second_is_kept(tmp_path: Path) -> None:
    """When a file was stored can still be told from it."""
    path = tmp_path / "blob"
    path.write_bytes(BODY)
    os.utime(path, (1_700_000_000, 1_700_000_000.9))
    with OpenFile.read_only(path) as file:
        seal(DIGEST, file, path.stat())
    assert int(path.stat().st_mtime) == 1_700_000_000
    assert is_sealed(DIGEST, path.stat())


def _flip(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(b"V")


def _cut_with_times_kept(path: Path) -> None:
    times = path.stat()
    os.truncate(path, 100)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def _touch(path: Path) -> None:
    os.utime(path)


def _whole_second(path: Path) -> None:
    os.utime(path, (1_700_000_000, 1_700_000_000))


def _doubt(path: Path) -> None:
    with OpenFile.read_only(path) as file:
        doubt(file)


@pytest.mark.parametrize("change", [_flip, _cut_with_times_kept, _touch, _whole_second, _doubt])
def test_what_was_changed_is_not_sealed(path: Path, change: Callable[[Path], None]) -> None:
    """Whoever writes, cuts or touches breaks the seal."""
    change(path)
    assert not is_sealed(DIGEST, path.stat())


def test_a_seal_is_of_one_digest(path: Path) -> None:
    """Under another name the file is not sealed."""
    assert not is_sealed(OTHER, path.stat())


def test_what_was_written_to_since_is_not_sealed(tmp_path: Path) -> None:
    """Bytes that came after the reading were never verified."""
    path = tmp_path / "blob"
    path.write_bytes(BODY)
    before = path.stat()
    path.write_bytes(BODY + b"!")
    seals = Seals()
    with OpenFile.read_only(path) as file:
        seals.put(DIGEST, file, before)
    assert not seals.holds(DIGEST, path.stat())


def test_what_cannot_be_sealed_is_remembered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the times cannot be set, a file that was verified is not read again each time."""
    path = tmp_path / "blob"
    path.write_bytes(BODY)

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "utime", refuse)
    seals = Seals()
    with OpenFile.read_only(path) as file:
        seals.put(DIGEST, file, path.stat())
    assert not is_sealed(DIGEST, path.stat())
    assert seals.holds(DIGEST, path.stat())
    assert not Seals().holds(DIGEST, path.stat())
    path.write_bytes(b"other")
    assert not seals.holds(DIGEST, path.stat())
