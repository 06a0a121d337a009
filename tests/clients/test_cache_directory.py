"""A cache directory that is not as it should be: too small, full, read-only, or not ours alone."""

import os
import shutil
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.clients.catalogue import Entry
from tests.support import images
from tests.support.parts import exposition, wire
from tests.support.parts.link import CountedLink, counted_link
from tests.support.parts.process import wait_until
from tests.support.parts.program import run
from tests.support.parts.proxy import Proxy, proxy, refused
from tests.support.parts.registry import DockerRegistry, docker_registry
from tests.support.parts.scratch import scratch
from tests.support.parts.user import NOBODY
from tests.support.parts.volume import filled, read_only, small_volume

pytestmark = pytest.mark.clients

MIB = 1024 * 1024
PROMPT = 60.0
VOLUME = 16 * MIB

APPS = [
    Entry(f"library/app-{n}", "1", images.image([images.layer(n, 1_400_000)])) for n in range(16)
]
FIRST, SECOND, THIRD = APPS[:3]


@pytest.fixture(scope="module")
def registry() -> Iterator[DockerRegistry]:
    """An upstream with more than a small volume takes."""
    with docker_registry() as running:
        for entry in APPS:
            images.push(running.push_url, entry.repository, entry.image, entry.tag)
        yield running


class Scene:
    """A directory for a cache, and the link to what is behind it."""

    def __init__(self, directory: Path, link: CountedLink, made: "Made | None" = None) -> None:
        self.directory = directory
        self.cache = directory / "cache"
        self.link = link
        self._made = made

    def settings(self, **cache: Any) -> dict[str, Any]:
        """A configuration with further keys for the cache."""
        return {"cache": {"directory": str(self.cache), "min_free": "1B", **cache}}

    @contextmanager
    def served(self, *, workers: int = 1, user: int | None = None, **cache: Any) -> Iterator[Proxy]:
        """A proxy with its cache there."""
        settings = self.settings(**cache) | {"server": {"workers": workers}}
        with proxy({"docker.io": self.link.url}, settings=settings, user=user) as running:
            yield running

    def refusal(self, *, workers: int = 1, user: int | None = None) -> str:
        """What a proxy says that cannot start there."""
        upstreams = {"docker.io": {"url": self.link.url}}
        settings = self.settings() | {"server": {"workers": workers}, "upstreams": upstreams}
        return refused(settings, user=user)

    def blob(self, digest: str) -> Path:
        """Where a blob is."""
        hexadecimal = digest.partition(":")[2]
        return self.cache / "blobs" / "sha256" / hexadecimal[:2] / hexadecimal

    def ingest(self, digest: str) -> Path:
        """Where a blob is written."""
        return self.cache / "ingest" / digest.replace(":", "-")

    def quarantine(self, digest: str) -> Path:
        """Where it is put aside."""
        return self.cache / "quarantine" / digest.replace(":", "-")

    def on_disk(self) -> int:
        """The room that blobs and downloads take."""
        trees = [(self.cache / below).rglob("*") for below in ("blobs", "ingest")]
        files = [path for tree in trees for path in tree if path.is_file()]
        return sum(path.lstat().st_blocks * 512 for path in files)

    def fetched(self, digest: str) -> int:
        """How often a blob's bytes were asked for upstream."""
        return sum(c.method == "GET" and c.target.endswith(digest) for c in self.link.crossings)

    def make(self, user: int = 0) -> None:
        """Puts a cache there that a user has made, with what is first in it."""
        assert self._made is not None
        self.cache.mkdir(exist_ok=True)
        run(["cp", "--archive", f"{self._made(user)}/.", str(self.cache)])


Made = Callable[[int], Path]
"""Where a cache is that a user has made."""


@pytest.fixture(scope="module")
def made(registry: DockerRegistry) -> Iterator[Made]:
    """Made by a running proxy, once for all tests: each has a copy."""
    with ExitStack() as stack:

        @cache
        def by(user: int) -> Path:
            scene = stack.enter_context(_placed(registry))
            scene.cache.mkdir()
            os.chown(scene.cache, user, user)
            with scene.served(user=user or None) as running:
                store(running, FIRST)
            return scene.cache

        yield by


@contextmanager
def _placed(registry: DockerRegistry, made: Made | None = None) -> Iterator[Scene]:
    with scratch() as directory, counted_link(registry.port) as link:
        directory.chmod(0o755)
        yield Scene(directory, link, made)


@pytest.fixture
def scene(registry: DockerRegistry, made: Made) -> Iterator[Scene]:
    """With no cache yet, where all users may look."""
    with _placed(registry, made) as placed:
        yield placed


def pull(running: Proxy, entry: Entry) -> str:
    """An image, each byte compared; where its layer came from, in the words of Cache-Status."""
    base = f"{running.url}/v2/docker.io/{entry.repository}"
    manifest = wire.get(f"{base}/manifests/{entry.tag}")
    assert (manifest.status, manifest.body) == (200, entry.image.manifest)
    status = ""
    for blob in entry.image.blobs:
        answer = wire.get(f"{base}/blobs/{blob.digest}")
        assert (answer.status, answer.body) == (200, blob.body)
        status = answer.headers["Cache-Status"] or ""
    return status


def store(running: Proxy, entry: Entry) -> None:
    """Pulls an image until it comes from the store: the answer may end before the commit."""
    wait_until(lambda: is_hit(pull(running, entry)), PROMPT, f"{entry.repository} is cached")


def layer(entry: Entry) -> images.Blob:
    """The one layer of an image."""
    (only,) = entry.image.layers
    return only


def is_hit(status: str) -> bool:
    """Whether it came from the store."""
    return "; hit" in status


def is_past_the_disk(status: str) -> bool:
    """Whether it came from upstream, and was not to be stored."""
    return "detail=disk" in status


# -- the size ---------------------------------------------------------------------------


@pytest.mark.parametrize("max_size", ["1B", "64KiB", "1MiB"])
def test_a_budget_below_one_blob(scene: Scene, max_size: str) -> None:
    """What is larger than the whole budget comes right each time, and is never stored."""
    with scene.served(max_size=max_size) as running:
        with ThreadPoolExecutor(8) as pool:
            statuses = list(pool.map(lambda n: pull(running, APPS[n % 4]), range(24)))
        assert all(is_past_the_disk(status) for status in statuses)
        allowed = exposition.total(running.admin_url, "cacheproxy_store_max_bytes")
        assert scene.on_disk() <= allowed
        assert not list((scene.cache / "ingest").iterdir())


@pytest.mark.parametrize("workers", [1, 2])
def test_a_budget_larger_than_the_volume(scene: Scene, workers: int) -> None:
    """It is said once in the log; the volume's end less `min_free` bounds the cache then."""
    with (
        small_volume(scene.cache, VOLUME) as volume,
        scene.served(max_size="1TiB", min_free="4MiB", workers=workers) as running,
    ):
        spare = []
        for entry in [*APPS, *APPS]:
            pull(running, entry)
            spare.append(shutil.disk_usage(volume).free)
        store(running, APPS[-1])
        lines = running.log_lines()
        (line,) = [line for line in lines if "larger than its volume" in line["event"]]
        assert (line["level"], line["max_size"], line["volume"]) == ("warning", 2**40, VOLUME)
        # The ledger and the metadata grow without asking.
        assert min(spare) >= 3.5 * MIB
        assert scene.on_disk() > VOLUME / 2
        assert sum(line["event"] == "evicted" for line in lines) > len(APPS) / 2


# -- read-only --------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [1, 2])
def test_no_start_on_a_read_only_volume(scene: Scene, workers: int) -> None:
    """A start on a read-only volume ends with exit code 1 and a sentence, made before or not."""
    scene.cache.mkdir()
    with read_only(scene.cache):
        said = scene.refusal(workers=workers)
    assert f"{scene.cache} cannot be used: Read-only file system" in said
    scene.make()
    with read_only(scene.cache):
        said = scene.refusal(workers=workers)
    assert f"{scene.cache} cannot be used: Read-only file system" in said
    assert "or set cache.directory to another" in said


@pytest.mark.parametrize("workers", [1, 2])
def test_a_volume_that_turns_read_only(scene: Scene, workers: int) -> None:
    """What is cached is served, what is not streams through, and later it is cached again."""
    with scene.served(workers=workers) as running:
        store(running, FIRST)
        with read_only(scene.cache):
            for _ in range(2 * workers):
                assert is_hit(pull(running, FIRST))
                assert is_past_the_disk(pull(running, SECOND))
            assert wire.get(f"{running.admin_url}/metrics").status == 200
            assert wire.answers(f"{running.admin_url}/readyz")
        store(running, SECOND)
        assert scene.blob(layer(SECOND).digest).read_bytes() == layer(SECOND).body


# -- full -------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [1, 2])
def test_a_start_on_a_full_volume_lets_go_of_what_is_worth_least(
    scene: Scene, workers: int
) -> None:
    """Where others have taken all that was left, cold blobs make room for the start."""
    with small_volume(scene.cache, VOLUME) as volume:
        with scene.served() as running:
            for entry in APPS[:4]:
                store(running, entry)
            for _ in range(3):
                pull(running, FIRST)
        with filled(volume):
            with scene.served(workers=workers) as running:
                assert is_hit(pull(running, FIRST))
                for entry in APPS[:6]:
                    pull(running, entry)
                gone = [line for line in running.log_lines() if line["event"] == "evicted"]
            assert gone
            assert layer(FIRST).digest not in {line["digest"] for line in gone}
        assert {line["reason"] for line in gone} <= {"space", "size"}


def test_a_start_without_a_ledger_on_a_full_volume(scene: Scene) -> None:
    """What was stored longest ago makes room where nobody knows what was used."""
    with small_volume(scene.cache, VOLUME) as volume:
        with scene.served() as running:
            for entry in APPS[:4]:
                store(running, entry)
        old = time.time() - 86400
        os.utime(scene.blob(layer(THIRD).digest), (old, old))
        (scene.cache / "ledger.db").unlink()
        with filled(volume), scene.served() as running:
            # In this order: once stock is taken, what is fetched may take another one's place.
            assert is_hit(pull(running, FIRST))
            assert not is_hit(pull(running, THIRD))


@pytest.mark.alone
@pytest.mark.parametrize("spare", [0, 100_000], ids=["full", "nearly"])
def test_no_start_on_a_volume_that_others_have_filled(scene: Scene, spare: int) -> None:
    """Where the cache has nothing to let go of, the start ends with what to do."""
    with small_volume(scene.directory / "volume", 4 * MIB) as volume, filled(volume, spare):
        scene.cache = volume / "cache"
        begun = time.monotonic()
        said = scene.refusal()
    assert "make room if its volume is full" in said
    assert time.monotonic() - begun < 5.0


def test_no_start_where_no_file_can_be_made(scene: Scene) -> None:
    """A volume with room for bytes and none for files is said to be full."""
    with small_volume(scene.directory / "volume", 4 * MIB, "nr_inodes=3") as volume:
        scene.cache = volume / "cache"
        said = scene.refusal()
    assert f"{scene.cache} cannot be used: No space left on device" in said
    assert "make room on its volume" in said


# -- files put there by hand ------------------------------------------------------------


@pytest.mark.alone
def test_junk_is_left_alone(scene: Scene) -> None:
    """What is no blob by its name or its kind disturbs nothing, and stays where it is."""
    scene.make()
    junk = [
        scene.cache / "notes.txt",
        scene.cache / "blobs" / "README",
        scene.cache / "blobs" / "sha256" / "zz" / "junk",
        scene.cache / "blobs" / "sha256" / "00" / ("0" * 63),
        scene.cache / "blobs" / "sha256" / "00" / ("f" * 64),  # in another's shard
        scene.cache / "blobs" / "md5" / "00" / ("0" * 32),
        scene.cache / "metadata" / "junk",
        *(scene.cache / "ingest" / f"junk-{n}" for n in range(5000)),
    ]
    for path in junk:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"junk")
    begun = time.monotonic()
    with scene.served(max_size="1GiB") as running:
        assert time.monotonic() - begun < 5.0
        assert is_hit(pull(running, FIRST))
        for entry in APPS[1:5]:
            store(running, entry)
    assert all(path.read_bytes() == b"junk" for path in junk)


def test_what_lies_in_ingest_is_not_taken_for_room(scene: Scene) -> None:
    """The bytes of strange files in `ingest` are not counted as if downloads had them."""
    with small_volume(scene.cache, VOLUME) as volume:
        scene.cache.joinpath("ingest").mkdir()
        (scene.cache / "ingest" / "backup.tar").write_bytes(bytes(4 * MIB))
        with scene.served(max_size="1TiB", min_free="4MiB") as running:
            for entry in APPS:
                pull(running, entry)
            assert shutil.disk_usage(volume).free >= 3.5 * MIB


def _directory(path: Path) -> None:
    path.mkdir()
    (path / "inside").write_bytes(b"junk")


@pytest.mark.parametrize(
    ("put", "is_replaced"),
    [(_directory, False), (os.mkfifo, True), (Path.touch, True)],
    ids=["directory", "fifo", "empty"],
)
@pytest.mark.parametrize("place", ["blob", "ingest"])
def test_something_else_has_a_blobs_name(
    scene: Scene, put: Callable[[Path], None], is_replaced: bool, place: str
) -> None:
    """Nothing but a file is taken for a blob, or for a partial one: the pull goes past it."""
    scene.make()
    path = (scene.blob if place == "blob" else scene.ingest)(layer(SECOND).digest)
    path.parent.mkdir(exist_ok=True)
    put(path)
    with scene.served() as running:
        pull(running, SECOND)
        assert is_hit(pull(running, FIRST))
        if place == "blob" and is_replaced:
            store(running, SECOND)
            assert path.read_bytes() == layer(SECOND).body
    assert is_replaced or (path / "inside").read_bytes() == b"junk"


def test_a_right_copy_is_taken_at_its_word_once_read(scene: Scene) -> None:
    """A blob that was copied there is read again, served, and not fetched."""
    scene.make()
    blob = layer(SECOND)
    with scene.served() as running:
        base = f"{running.url}/v2/docker.io/{SECOND.repository}"
        wire.get(f"{base}/manifests/{SECOND.tag}")
        path = scene.blob(blob.digest)
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(blob.body)
        os.utime(path, (1_600_000_000, 1_600_000_000))
        answer = wire.get(f"{base}/blobs/{blob.digest}")
        assert (answer.status, answer.body) == (200, blob.body)
        store(running, SECOND)
    assert scene.fetched(blob.digest) == 0


def _wrong(path: Path) -> None:
    path.write_bytes(b"these are the bytes of something else")


def _sparse(path: Path) -> None:
    path.touch()
    os.truncate(path, 64 * MIB)


@pytest.mark.parametrize("put", [_wrong, _sparse, Path.touch], ids=["wrong", "sparse", "empty"])
def test_a_wrong_file_is_put_aside_and_fetched_anew(
    scene: Scene, put: Callable[[Path], None]
) -> None:
    """Wrong bytes under a blob's name are found out by the first pull, which gets the right."""
    scene.make()
    digest = layer(SECOND).digest
    scene.blob(digest).parent.mkdir(exist_ok=True)
    put(scene.blob(digest))
    size = scene.blob(digest).stat().st_size
    with scene.served() as running:
        store(running, SECOND)
        (line,) = [line for line in running.log_lines() if line["event"] == "stored blob damaged"]
    assert line["digest"] == digest
    assert scene.fetched(digest) == 1
    assert scene.quarantine(digest).stat().st_size == size
    assert scene.blob(digest).read_bytes() == layer(SECOND).body


@pytest.mark.alone
@pytest.mark.parametrize("place", ["blob", "ingest"])
def test_holes_take_no_room(scene: Scene, place: str) -> None:
    """A file that is all holes, however long, drives nothing out of the cache."""
    scene.make()
    path = (scene.blob if place == "blob" else scene.ingest)("sha256:" + "5" * 64)
    path.parent.mkdir(exist_ok=True)
    path.touch()
    os.truncate(path, 2**40)
    begun = time.monotonic()
    with scene.served(max_size="64MiB") as running:
        assert time.monotonic() - begun < 5.0
        store(running, SECOND)
        assert is_hit(pull(running, FIRST))
        assert '"event":"evicted"' not in running.log()
    assert path.stat().st_size == 2**40


# -- the wrong owner --------------------------------------------------------------------


each_foreign_part = pytest.mark.parametrize(
    ("name", "mode"),
    [
        (".", 0o700),
        (".", 0o755),
        ("blobs", 0o700),
        ("blobs", 0o755),
        ("ingest", 0o700),
        ("ingest", 0o755),
        ("metadata", 0o755),
        ("metadata/cache.db", 0o600),
        ("metadata/cache.db", 0o644),
        ("ledger.db", 0o600),
        ("ledger.db", 0o644),
    ],
)


def _take(scene: Scene, name: str, mode: int) -> Path:
    """Gives a part of a user's cache to another one."""
    scene.make(NOBODY)
    path = scene.cache / name
    os.chown(path, 0, 0)
    path.chmod(mode)
    return path


@pytest.mark.parametrize("workers", [1, 2])
@each_foreign_part
def test_what_must_be_ours_and_is_not_is_said(
    scene: Scene, name: str, mode: int, workers: int
) -> None:
    """A part of the directory that this user cannot write ends the start, and is named."""
    path = _take(scene, name, mode)
    said = scene.refusal(user=NOBODY, workers=workers)
    assert str(path.parent if name == "metadata/cache.db" else path) in said
    assert "writable for this user" in said


@pytest.mark.alone
@each_foreign_part
def test_what_is_not_ours_is_not_waited_for(scene: Scene, name: str, mode: int) -> None:
    """Such a start ends soon, with workers too: nobody tries again what cannot succeed."""
    _take(scene, name, mode)
    begun = time.monotonic()
    scene.refusal(user=NOBODY, workers=2)
    assert time.monotonic() - begun < 5.0


@pytest.mark.parametrize("mode", [0o400, 0o444])
def test_blobs_of_another_user(scene: Scene, mode: int) -> None:
    """They are served where they can be read, and fetched anew where they cannot."""
    scene.make(NOBODY)
    for blob in FIRST.image.blobs:
        path = scene.blob(blob.digest)
        os.chown(path, 0, 0)
        path.chmod(mode)
        os.utime(path, (1_600_000_000, 1_600_000_000))  # nor is it known to be right
    with scene.served(user=NOBODY) as running:
        store(running, FIRST)
    fetched = 0 if mode == 0o444 else 1
    assert scene.fetched(layer(FIRST).digest) == fetched
    assert scene.blob(layer(FIRST).digest).stat().st_uid == (0 if mode == 0o444 else NOBODY)


@pytest.mark.parametrize("mode", [0o700, 0o755])
@pytest.mark.parametrize("has_ledger", [True, False])
def test_a_shard_of_another_user(scene: Scene, mode: int, has_ledger: bool) -> None:
    """Blobs that belong into it come right and uncached; all others are cached as ever."""
    scene.make(NOBODY)
    with scene.served(user=NOBODY) as running:
        store(running, THIRD)
    for name in (layer(FIRST).digest, layer(SECOND).digest):
        shard = scene.blob(name).parent
        shard.mkdir(exist_ok=True)
        os.chown(shard, 0, 0)
        shard.chmod(mode)
    if not has_ledger:
        (scene.cache / "ledger.db").unlink()
    with scene.served(user=NOBODY) as running:
        for _ in range(2):
            assert is_hit(pull(running, FIRST)) == (mode == 0o755)
            assert not is_hit(pull(running, SECOND))
            assert is_hit(pull(running, THIRD))
        store(running, APPS[3])
        assert "Permission denied" in running.log()
        assert '"event":"unexpected error"' not in running.log()
        stored = exposition.total(running.admin_url, "cacheproxy_store_bytes")
    assert stored >= len(layer(THIRD).body) + len(layer(APPS[3]).body)


# -- symlinks ---------------------------------------------------------------------------


def test_the_directory_may_be_a_symlink(scene: Scene) -> None:
    """A cache behind a symlink is as good as another; one that leads nowhere is said to."""
    scene.cache.symlink_to(scene.directory / "elsewhere")
    assert f"{scene.cache} cannot be used" in scene.refusal()
    scene.cache.resolve().mkdir()
    for _ in range(2):
        with scene.served() as running:
            store(running, FIRST)
    assert scene.fetched(layer(FIRST).digest) == 1
    assert scene.cache.is_symlink()


@pytest.mark.parametrize("while_it_runs", [True, False])
@pytest.mark.parametrize("at", ["a strange file", "another blob"])
def test_a_symlink_is_no_blob(scene: Scene, at: str, while_it_runs: bool) -> None:
    """What a blob's name leads to is not served, and neither changed nor removed."""
    scene.make()
    strange = scene.directory / "passwd"
    strange.write_bytes(b"root:x:0:0:root:/root:/bin/sh\n")
    target = strange if at == "a strange file" else scene.blob(layer(FIRST).digest)
    before = target.read_bytes()
    path = scene.blob(layer(SECOND).digest)
    path.parent.mkdir(exist_ok=True)
    if not while_it_runs:
        path.symlink_to(target)
    with scene.served() as running:
        if while_it_runs:
            store(running, SECOND)
            path.unlink()
            path.symlink_to(target)
        store(running, SECOND)
        assert is_hit(pull(running, FIRST))
    assert not path.is_symlink()
    assert target.read_bytes() == before


def test_a_symlink_is_never_evicted_through(scene: Scene) -> None:
    """Room is made beside a symlink, and not of what it leads to."""
    scene.make()
    strange = scene.directory / "strange"
    strange.write_bytes(b"strange")
    path = scene.blob(layer(FIRST).digest)
    path.unlink()
    path.symlink_to(strange)
    with scene.served(max_size="4MiB") as running:
        for entry in APPS[1:10]:
            pull(running, entry)
        assert '"event":"evicted"' in running.log()
    assert path.is_symlink()
    assert strange.read_bytes() == b"strange"


def test_a_symlink_is_no_partial_download(scene: Scene) -> None:
    """Nothing is written through a symlink in `ingest`: the pull goes past the disk."""
    scene.make()
    strange = scene.directory / "strange"
    strange.write_bytes(b"strange")
    scene.ingest(layer(SECOND).digest).symlink_to(strange)
    with scene.served() as running:
        for _ in range(2):
            assert is_past_the_disk(pull(running, SECOND))
        assert is_hit(pull(running, FIRST))
    assert scene.ingest(layer(SECOND).digest).is_symlink()
    assert strange.read_bytes() == b"strange"
