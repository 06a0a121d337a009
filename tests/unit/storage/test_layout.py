import os
from pathlib import Path

import pytest

from cacheproxy.domain.digest import Digest
from cacheproxy.domain.errors import StartError
from cacheproxy.storage.layout import Layout

_DIGEST = Digest.parse("sha256:6c" + "3" * 62)


def test_the_layout_is_the_documented_one() -> None:
    """Blobs lie below the first two digits of their digest, ingests beside each other."""
    layout = Layout(Path("/cache"))
    hexadecimal = "6c" + "3" * 62
    assert os.fspath(layout.blob(_DIGEST)) == f"/cache/blobs/sha256/6c/{hexadecimal}"
    assert os.fspath(layout.ingest(_DIGEST)) == f"/cache/ingest/sha256-{hexadecimal}"
    assert layout.metadata == Path("/cache/metadata")


def test_algorithms_do_not_meet() -> None:
    """Digests of two algorithms never share a file, however alike their digits are."""
    layout = Layout(Path("/cache"))
    other = Digest.parse("sha512:" + _DIGEST.encoded * 2)
    assert layout.blob(_DIGEST) != layout.blob(other)
    assert layout.ingest(_DIGEST) != layout.ingest(other)


def test_preparing_makes_the_directories_for_the_owner(tmp_path: Path) -> None:
    """The directories are made, for nobody else to look into, and nothing else is left there."""
    layout = Layout(tmp_path / "a" / "store")
    for _ in range(2):
        layout.prepare()
    made = sorted(path for path in layout.root.rglob("*"))
    assert [path.name for path in made] == ["blobs", "ingest", "metadata", "version"]
    assert {path.stat().st_mode & 0o777 for path in made[:3]} == {0o700}


def test_a_directory_without_a_version_gets_one(tmp_path: Path) -> None:
    """What was made before there were versions is of the first."""
    (tmp_path / "blobs").mkdir()
    Layout(tmp_path).prepare()
    assert (tmp_path / "version").read_text() == "1\n"


@pytest.mark.parametrize("written", ["2\n", "10", "one", "", "\u0662"])
def test_a_directory_of_a_later_version_is_left_alone(tmp_path: Path, written: str) -> None:
    """An older program, after a rollback, refuses it, says what to do, and changes nothing."""
    (tmp_path / "version").write_text(written, encoding="utf-8")
    layout = Layout(tmp_path)
    with pytest.raises(StartError, match=r"run a later one, or set cache.directory to another"):
        layout.prepare()
    assert layout.version.read_text(encoding="utf-8") == written


def test_the_volume_has_a_size(tmp_path: Path) -> None:
    """The volume's size is the file system's, in bytes."""
    status = os.statvfs(tmp_path)
    assert Layout(tmp_path).volume_bytes() == status.f_blocks * status.f_frsize


@pytest.mark.parametrize("obstacle", ["", "blobs", "ingest", "metadata"])
def test_a_directory_that_cannot_be_used_says_what_to_do(tmp_path: Path, obstacle: str) -> None:
    """A file in the way of a directory ends the start with the path and the remedy."""
    blocked = tmp_path / "store" / obstacle
    blocked.parent.mkdir(parents=True, exist_ok=True)
    blocked.write_bytes(b"")
    with pytest.raises(StartError, match=r"set cache\.directory to another") as caught:
        Layout(tmp_path / "store").prepare()
    assert str(tmp_path / "store") in str(caught.value)
