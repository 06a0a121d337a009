"""Looking through the directory: what is counted, and as what."""

import errno
import fcntl
import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from typing_extensions import override

from cacheproxy.domain.digest import Digest
from cacheproxy.storage import inventory
from cacheproxy.storage.inventory import Stock, look_through
from cacheproxy.storage.layout import Layout
from cacheproxy.storage.leftovers import left
from tests.support import images
from tests.support.leaks import open_files

THEN = 1_600_000_000.0
CONTENT = b"\x1f\x8b some bytes of a layer"
DIGEST = Digest.of(CONTENT)
NOTHING: Mapping[Digest, int] = {}


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    """An empty store."""
    made = Layout(tmp_path / "store")
    made.prepare()
    return made


def _put(layout: Layout, body: bytes, digest: Digest | None = None) -> Digest:
    """A blob that was stored at `THEN`."""
    name = digest or Digest.of(body)
    path = Path(layout.blob(name))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(body)
    os.utime(path, (THEN, THEN))
    return name


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Another process is writing an ingest file."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    yield
    os.close(descriptor)


def test_an_empty_store_has_nothing(layout: Layout) -> None:
    """There is nothing to say of a new directory."""
    assert look_through(layout, NOTHING) == Stock()


def test_what_the_ledger_lacks_is_found(layout: Layout) -> None:
    """A blob counts with the room that it takes, as of when it was stored."""
    large = _put(layout, bytes(4097))
    small = _put(layout, CONTENT)
    stock = look_through(layout, {large: 8192})
    ((found, children),) = stock.unknown
    assert children == ()
    assert (found.digest, found.size, found.kind) == (small, 4096, "blob")
    assert found.since == found.last_used == THEN
    assert stock.missing == set()
    ((found, _),) = look_through(layout, {small: 4096}).unknown
    assert (found.digest, found.size) == (large, 8192)


def test_what_only_the_ledger_has_is_missing(layout: Layout) -> None:
    """A blob whose file was removed by hand is told, and no other."""
    there = _put(layout, CONTENT)
    gone = Digest.of(b"gone")
    stock = look_through(layout, {there: 4096, gone: 4096})
    assert (stock.missing, stock.unknown) == ({gone}, [])


def test_a_blob_of_another_algorithm_is_one(layout: Layout) -> None:
    """What is named by its sha512 is found like any other."""
    digest = _put(layout, CONTENT, Digest("sha512:" + "ab" * 64))
    ((found, _),) = look_through(layout, NOTHING).unknown
    assert found.digest == digest


@pytest.mark.parametrize(
    "put",
    [
        pytest.param(lambda path: path.with_name("readme").write_bytes(b"x"), id="a name"),
        pytest.param(lambda path: path.with_name(path.name[:-1]).write_bytes(b"x"), id="short"),
        pytest.param(lambda path: path.with_name(path.name.upper()).write_bytes(b"x"), id="upper"),
        pytest.param(lambda path: path.symlink_to("/etc/passwd"), id="a symlink"),
        pytest.param(lambda path: path.symlink_to(path.with_name("no")), id="a dangling symlink"),
        pytest.param(Path.mkdir, id="a directory"),
        pytest.param(os.mkfifo, id="a FIFO"),
        pytest.param(lambda path: path.parents[1].joinpath("x").write_bytes(b"x"), id="too high"),
        pytest.param(lambda path: path.parents[2].joinpath("x").write_bytes(b"x"), id="outside"),
        pytest.param(
            lambda path: path.parents[1].joinpath("zz").symlink_to(path.parent), id="shard link"
        ),
    ],
)
def test_what_is_no_blob_is_left_alone(layout: Layout, put: Callable[[Path], object]) -> None:
    """Whatever else lies among the blobs is not counted, not followed, and no error."""
    path = Path(layout.blob(DIGEST))
    path.parent.mkdir(parents=True)
    put(path)
    before = open_files()
    assert look_through(layout, NOTHING) == Stock()
    assert open_files() == before


@pytest.mark.parametrize("name", ["zz", DIGEST.encoded[:1], DIGEST.encoded[:3]])
def test_a_blob_in_a_place_that_is_not_its_own_is_no_blob(layout: Layout, name: str) -> None:
    """A file that nobody would find by its digest cannot be served or evicted: it is foreign."""
    shard = layout.root / "blobs" / "sha256" / name
    shard.mkdir(parents=True)
    (shard / DIGEST.encoded).write_bytes(CONTENT)
    assert look_through(layout, NOTHING).unknown == []


class _Vanishing(dict[Digest, int]):
    """Asked whether it knows a blob, it does not; and the blob is gone by the time it says so."""

    def __init__(self, layout: Layout) -> None:
        super().__init__()
        self._layout = layout

    @override
    def __contains__(self, digest: object) -> bool:
        assert isinstance(digest, Digest)
        Path(self._layout.blob(digest)).unlink()
        return False


def test_what_goes_while_we_look_is_not_there(layout: Layout) -> None:
    """Another worker may evict a blob between our seeing its name and our looking at it."""
    _put(layout, CONTENT)
    assert look_through(layout, _Vanishing(layout)).unknown == []


# -- manifests ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "image",
    [
        pytest.param(images.simple(1), id="OCI image"),
        pytest.param(images.simple(1, kind=images.Format.DOCKER), id="Docker image"),
        pytest.param(images.multi_arch(2), id="OCI index"),
        pytest.param(images.docker_list(3), id="Docker list"),
        pytest.param(images.referrer(images.simple(1)), id="artifact"),
    ],
)
def test_manifests_are_recognised(layout: Layout, image: images.Image) -> None:
    """A manifest is one by what is in it, and is known with all that it refers to."""
    digest = _put(layout, image.manifest)
    ((found, children),) = look_through(layout, NOTHING).unknown
    assert (found.digest, found.kind) == (digest, "manifest")
    document = json.loads(image.manifest)
    named = [part["digest"] for part in document.get("manifests", document.get("layers"))]
    named += [document["config"]["digest"]] if "config" in document else []
    assert set(children) == set(named)
    assert len(named) > 1


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(images.simple(1).blobs[0].body, id="image config"),
        pytest.param(images.helm_chart(1).blobs[0].body, id="chart config"),
        pytest.param(b"{}", id="empty config"),
        pytest.param(b"", id="nothing"),
        pytest.param(b"{", id="a brace"),
        pytest.param(b'{"layers": 1}', id="something alike"),
        pytest.param(b'{"config": {"Cmd": ["true"]}, "rootfs": {}}', id="a config without sizes"),
        pytest.param(b'{"a":' * 100_000, id="deep"),
        pytest.param(b"{\xff\xfe}", id="not UTF-8"),
        pytest.param(b'{"_type": "https://in-toto.io/Statement/v1"}', id="attestation"),
        pytest.param(images.simple(1).layers[0].body, id="layer"),
        pytest.param(b" " + images.simple(1).manifest, id="a blank before it"),
    ],
)
def test_other_blobs_are_not_taken_for_manifests(layout: Layout, body: bytes) -> None:
    """Configs and whatever else is JSON are blobs, which go before manifests do."""
    _put(layout, body)
    ((found, children),) = look_through(layout, NOTHING).unknown
    assert (found.kind, children) == ("blob", ())


def test_what_is_too_large_for_a_manifest_is_not_read(layout: Layout) -> None:
    """A layer that happens to begin like JSON costs no reading of it."""
    path = Path(layout.blob(DIGEST))
    path.parent.mkdir(parents=True)
    with path.open("wb") as file:
        file.write(b"{")
        file.truncate(2**40)  # sparse: could not be read into memory
    ((found, _),) = look_through(layout, NOTHING).unknown
    assert found.kind == "blob"


# -- partial downloads -------------------------------------------------------------------


def test_partial_downloads_count(layout: Layout) -> None:
    """A download of which something is there is found, and the room that it takes."""
    layout.ingest(DIGEST).write_bytes(bytes(5000))
    stock = look_through(layout, NOTHING)
    assert stock == Stock(partial={DIGEST})
    assert left(layout, DIGEST) == ("partial", 8192)


@pytest.mark.parametrize("name", ["blob", "ingest"])
def test_holes_are_no_room(layout: Layout, name: str) -> None:
    """A file counts with the blocks that it has, however long it is."""
    path = Path(getattr(layout, name)(DIGEST))
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.write(b"x")
        file.truncate(2**40)
    stock = look_through(layout, NOTHING)
    found = [entry.size for entry, _ in stock.unknown]
    found += [left(layout, digest)[1] for digest in stock.partial]
    assert found == [4096]


def test_what_is_being_written_is_told_from_what_was_left(layout: Layout) -> None:
    """A download that is under way has a writer, whose reservation nobody else touches."""
    with _locked(layout.ingest(DIGEST)):
        layout.ingest(DIGEST).write_bytes(b"x")
        assert look_through(layout, NOTHING).partial == {DIGEST}
        assert left(layout, DIGEST) == ("written", 4096)
    assert left(layout, DIGEST) == ("partial", 4096)


def test_what_has_just_begun_is_not_disturbed(layout: Layout) -> None:
    """An empty file, whose writer is about to lock it, is left alone."""
    layout.ingest(DIGEST).touch()
    assert look_through(layout, NOTHING).partial == set()


@pytest.mark.parametrize(
    "put",
    [
        pytest.param(lambda path: path.with_name(".probe-1").write_bytes(b"x"), id="a name"),
        pytest.param(lambda path: path.symlink_to("/etc/passwd"), id="a symlink"),
        pytest.param(lambda path: path.symlink_to(path.with_name("no")), id="a dangling symlink"),
    ],
)
def test_what_is_no_download_is_left_alone(layout: Layout, put: Callable[[Path], object]) -> None:
    """Whatever else lies among the downloads is not counted, and no error."""
    put(layout.ingest(DIGEST))
    before = open_files()
    assert look_through(layout, NOTHING).partial == set()
    assert open_files() == before


# -- a disk that fails -------------------------------------------------------------------


def _fail(monkeypatch: pytest.MonkeyPatch, name: str, path: Path | str) -> None:
    """Have a function of `os` fail for one path as a disk does."""
    real = getattr(os, name)

    def failing(at: Any, *arguments: Any, **options: Any) -> Any:
        if os.fspath(at) == os.fspath(path):
            raise OSError(errno.EIO, os.strerror(errno.EIO), os.fspath(at))
        return real(at, *arguments, **options)

    monkeypatch.setattr(os, name, failing)


def test_a_directory_that_cannot_be_read_costs_no_other(
    layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A directory with an I/O error is noted; blobs in it may be there, and all else is found."""
    blobs = [_put(layout, b"%d" % number) for number in range(5)]
    lost, *others = blobs
    shard = Path(layout.blob(lost)).parent
    _fail(monkeypatch, "scandir", shard)
    stock = look_through(layout, {lost: 4096, DIGEST: 4096})
    assert {entry.digest for entry, _ in stock.unknown} == set(others)
    assert stock.missing == {DIGEST}
    assert stock.unreadable == {str(shard)}


@pytest.mark.parametrize("below", ["blobs", "blobs/sha256", "ingest"])
def test_a_store_whose_directories_fail_is_looked_through(
    layout: Layout, monkeypatch: pytest.MonkeyPatch, below: str
) -> None:
    """What cannot be listed at all is noted, and nothing that is known counts as missing."""
    blob = _put(layout, CONTENT)
    layout.ingest(DIGEST).write_bytes(bytes(5000))
    _fail(monkeypatch, "scandir", layout.root / below)
    stock = look_through(layout, {blob: 4096})
    assert (stock.unknown, stock.missing) == ([], set())
    assert stock.partial == (set() if below == "ingest" else {DIGEST})
    assert stock.unreadable == {str(layout.root / below)}


def test_a_blob_that_cannot_be_read_counts(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file whose first byte cannot be read takes its room all the same."""
    digest = _put(layout, b"{}")

    def fail(self: Path, *_: Any) -> Any:
        raise OSError(errno.EIO, os.strerror(errno.EIO), str(self))

    monkeypatch.setattr(Path, "open", fail)
    ((found, children),) = look_through(layout, NOTHING).unknown
    assert (found.digest, found.size, found.kind, children) == (digest, 4096, "blob", ())


def test_a_list_of_blobs_tells_its_errors(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever lists the store hears of a directory that fails, and gets the rest."""
    lost, other = _put(layout, b"1"), _put(layout, b"2")
    _fail(monkeypatch, "scandir", Path(layout.blob(lost)).parent)
    errors: list[OSError] = []
    assert inventory.stored(layout, errors.append) == [(other, 1)]
    assert [error.errno for error in errors] == [errno.EIO]
    with pytest.raises(OSError, match="Input/output error"):
        inventory.stored(layout)
