import errno
import os
from pathlib import Path

import pytest

from cacheproxy.doctor.directory import check_directory, check_file_system
from cacheproxy.doctor.findings import Finding
from cacheproxy.settings import Settings, load


def _settings(tmp_path: Path, *, directory: str = "cache", **cache: str) -> Settings:
    keys = {"directory": str(tmp_path / directory), "max_size": "1MiB", "min_free": "1B", **cache}
    file = tmp_path / "cacheproxy.yaml"
    file.write_text("cache:\n" + "".join(f"  {key}: {value}\n" for key, value in keys.items()))
    return load(file, {})


def _found(settings: Settings, name: str = "cache directory") -> Finding:
    (finding,) = [each for each in check_directory(settings) if each.name == name]
    return finding


def test_a_directory_that_is_not_there_yet_will_be_made(tmp_path: Path) -> None:
    """What is above it is tried, and nothing is made."""
    found = _found(_settings(tmp_path, directory="a/b"))
    assert found.state == "ok"
    assert found.said.endswith(f"will be made; {tmp_path} is writable")
    assert not (tmp_path / "a").exists()


def test_trying_to_write_leaves_nothing(tmp_path: Path) -> None:
    """The directory is written to, and is as empty afterwards as it was."""
    (tmp_path / "cache").mkdir()
    assert _found(_settings(tmp_path)).state == "ok"
    assert list((tmp_path / "cache").iterdir()) == []


def test_something_in_the_way_is_said(tmp_path: Path) -> None:
    """A file of that name is no directory."""
    (tmp_path / "cache").touch()
    found = _found(_settings(tmp_path))
    assert found.state == "failed"
    assert "in the way" in found.advice


@pytest.mark.parametrize(
    ("number", "advice"),
    [
        (errno.ENOSPC, "free some of its volume"),
        (errno.EROFS, "mount its volume writable"),
        (errno.EACCES, "chown it"),
        (errno.EIO, "dmesg"),
    ],
)
def test_why_it_cannot_be_written_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, advice: str
) -> None:
    """Each refusal of the system has advice of its own."""

    def refuse(_: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", refuse)
    found = _found(_settings(tmp_path))
    assert (found.state, os.strerror(number) in found.said) == ("failed", True)
    assert advice in found.advice


def test_no_room_at_all_fails(tmp_path: Path) -> None:
    """A volume with less free than must stay free keeps nothing."""
    found = _found(_settings(tmp_path, min_free="1000TiB"), "cache directory: room")
    assert found.state == "failed"
    assert "make cache.min_free smaller" in found.advice


def test_less_room_than_it_may_have_is_a_warning(tmp_path: Path) -> None:
    """How far it can grow is said."""
    found = _found(_settings(tmp_path, max_size="1000TiB"), "cache directory: room")
    assert found.state == "warning"
    assert "not to cache.max_size" in found.said
    assert "make cache.max_size smaller" in found.advice
    assert _found(_settings(tmp_path), "cache directory: room").state == "ok"


def test_another_owner_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What one user may says little of what another one may."""
    (tmp_path / "cache").mkdir()
    monkeypatch.setattr(os, "geteuid", lambda: 4_000_000)
    found = _found(_settings(tmp_path), "cache directory: owner")
    assert found.state == "warning"
    assert "user 4000000" in found.said
    assert "as the user that the server runs as" in found.advice


_MOUNTS = """\
22 1 8:1 / / rw - ext4 /dev/sda1 rw
30 22 0:40 / /srv rw shared:1 - nfs4 files:/srv rw
31 30 8:2 / /srv/my\\040disk rw - xfs /dev/sdb rw
32 22 0:41 / /run rw - tmpfs tmpfs rw
"""


@pytest.mark.parametrize(
    ("place", "state", "said"),
    [
        ("/var/cache", "ok", "ext4"),
        ("/srv", "warning", "over the network"),
        ("/srv/cache", "warning", "nfs4"),
        ("/srv/my disk/cache", "ok", "xfs"),
        ("/srvx", "ok", "ext4"),
        ("/run/cache", "warning", "memory"),
    ],
)
def test_the_file_system_is_that_of_the_nearest_mount(place: str, state: str, said: str) -> None:
    """A network's, or memory, is a warning, with advice."""
    (found,) = check_file_system(Path(place), _MOUNTS)
    assert (found.state, said in found.said) == (state, True)
    assert bool(found.advice) == (state == "warning")
