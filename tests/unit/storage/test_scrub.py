"""One pass over a store made by hand."""

import ctypes
import fcntl
import mmap
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from cacheproxy.domain.digest import Digest
from cacheproxy.storage.inventory import stored
from cacheproxy.storage.open_file import OpenFile
from cacheproxy.storage.pace import Pace
from cacheproxy.storage.scrub import Checked, Finding, Hashed, Scrub, Step
from tests.support.cached import Cached
from tests.support.clock import FakeClock
from tests.support.parts.process import leave_out

MIB = 1024 * 1024
_TRIES = 20


@pytest.fixture
def cached(tmp_path: Path) -> Cached:
    """An empty cache."""
    return Cached(tmp_path / "cache")


def _steps(cached: Cached, clock: FakeClock | None = None, rate: int = 2**40) -> Iterator[Step]:
    """A whole pass, as the command makes it."""
    time = clock or FakeClock()
    with cached.ledger() as ledger:
        yield from Scrub(
            cached.layout,
            lambda digests: ledger.strike(digests, cached.layout.holds),
            Pace(rate, time.monotonic, time.advance),
        ).run(
            [digest for digest, _ in stored(cached.layout)],
            [entry.digest for entry in ledger.entries()],
        )


def _findings(cached: Cached) -> dict[Digest, tuple[str, str]]:
    """What is found in the end."""
    found = [step for step in _steps(cached) if isinstance(step, Finding)]
    return {finding.digest: (finding.problem, finding.outcome) for finding in found}


def _quarantined(cached: Cached, digest: Digest) -> bytes:
    return cached.layout.quarantine(digest).read_bytes()


def test_what_is_right_is_left_alone(cached: Cached) -> None:
    """Every blob is read to its end, in the order of the digests, and stays where it is."""
    digests = sorted(cached.blob(bytes([n]) * n) for n in range(20))
    steps = list(_steps(cached))
    assert [step.digest for step in steps if isinstance(step, Checked)] == digests
    assert sum(step.count for step in steps if isinstance(step, Hashed)) == sum(range(20))
    assert not [step for step in steps if isinstance(step, Finding)]
    assert all(cached.has(digest) for digest in digests)
    assert not (cached.layout.root / "quarantine").exists()


@pytest.mark.parametrize(
    "damaged",
    [b"rights", b"righT", b"righ", b"", b"\0" * 5],
    ids=["longer", "flipped", "cut", "empty", "zeroes"],
)
def test_what_is_wrong_is_quarantined(cached: Cached, damaged: bytes) -> None:
    """Wrong bytes are moved out of the way and struck out of the ledger, and kept to look at."""
    digest, other = cached.blob(b"right"), cached.blob(b"other")
    cached.write(digest, damaged)
    assert _findings(cached) == {digest: ("damaged", "quarantined")}
    assert not cached.has(digest)
    assert cached.entry(digest) is None
    assert _quarantined(cached, digest) == damaged
    assert cached.has(other)
    assert cached.entry(other) is not None


def test_swapped_blobs_are_both_wrong(cached: Cached) -> None:
    """Right bytes under the wrong name are wrong."""
    one, two = cached.blob(b"one"), cached.blob(b"two")
    cached.write(one, b"two")
    cached.write(two, b"one")
    assert _findings(cached) == dict.fromkeys((one, two), ("damaged", "quarantined"))


def test_a_sha512_blob_is_checked_as_such(cached: Cached) -> None:
    """A digest's own algorithm is used."""
    hasher = Digest("sha512:" + "0" * 128).hasher()
    hasher.update(b"long")
    right, wrong = Digest("sha512:" + hasher.hexdigest()), Digest("sha512:" + "0" * 128)
    cached.write(right, b"long")
    cached.write(wrong, b"long")
    assert _findings(cached) == {wrong: ("damaged", "quarantined")}


def test_a_blob_whose_file_is_gone_is_struck_out(cached: Cached) -> None:
    """What only the ledger knows takes no room, so it counts no more."""
    digest = cached.blob(b"gone")
    cached.path(digest).unlink()
    assert _findings(cached) == {digest: ("missing", "struck out")}
    with cached.ledger() as ledger:
        assert ledger.usage().total == 0


def test_a_blob_that_the_ledger_does_not_know_is_checked_too(cached: Cached) -> None:
    """What is read is the directory: it is served, whatever the account says."""
    known, unknown = cached.write(Digest.of(b"a"), b"a"), Digest.of(b"b")
    cached.write(unknown, b"not b")
    assert _findings(cached) == {unknown: ("damaged", "quarantined")}
    assert known.exists()


def test_what_is_not_ours_is_left_alone(cached: Cached) -> None:
    """Other names, links and directories that somebody put there are neither read nor moved."""
    beside = cached.path(cached.blob(b"x")).parent
    (beside / "README").write_text("hello", encoding="utf-8")
    (beside / "0").mkdir()
    link, folder = cached.path("sha256:" + "ab" * 32), cached.path("sha256:" + "cd" * 32)
    for path in (link, folder):
        path.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(beside / "README")
    folder.mkdir()
    before = sorted(cached.layout.root.rglob("*"))
    assert _findings(cached) == {}
    assert sorted(cached.layout.root.rglob("*")) == before


def test_what_is_being_read_is_never_moved(cached: Cached) -> None:
    """A reader's lock keeps a damaged blob in its place; it is tried again at the end."""
    digest = cached.blob(b"right")
    path = cached.write(digest, b"wrong")
    clock = FakeClock()
    began = clock.monotonic()
    with path.open("rb") as reader:
        fcntl.flock(reader, fcntl.LOCK_SH)
        steps = [step for step in _steps(cached, clock) if isinstance(step, Finding)]
    assert [(step.outcome, step.is_mended) for step in steps] == [("in use", False)]
    assert path.exists()
    assert 5 < clock.monotonic() - began < 20
    assert _findings(cached) == {digest: ("damaged", "quarantined")}


def test_what_was_being_read_is_moved_at_the_end(cached: Cached) -> None:
    """Once its reader has gone, a damaged blob is quarantined by a later step."""
    digest = cached.blob(b"right")
    path = cached.write(digest, b"wrong")
    outcomes = []
    with path.open("rb") as reader:
        fcntl.flock(reader, fcntl.LOCK_SH)
        for step in _steps(cached):
            if isinstance(step, Finding):
                outcomes.append(step.outcome)
                fcntl.flock(reader, fcntl.LOCK_UN)
    assert outcomes == ["in use", "quarantined"]
    assert not cached.has(digest)


def test_what_was_replaced_meanwhile_is_left_alone(cached: Cached) -> None:
    """A blob that was put right between the look and the lock is not moved, nor struck out."""
    digest = cached.blob(b"right")
    path = cached.write(digest, b"wrong")
    with path.open("rb") as reader:
        fcntl.flock(reader, fcntl.LOCK_SH)
        for step in _steps(cached):
            if isinstance(step, Finding) and step.outcome == "in use":
                cached.write(digest, b"right")
    assert path.read_bytes() == b"right"
    assert cached.entry(digest) is not None


def test_what_is_evicted_meanwhile_is_nothing(cached: Cached) -> None:
    """A blob that goes between the list and the look is no finding."""
    digests = sorted((cached.blob(b"a"), cached.blob(b"b")))
    steps = _steps(cached)
    next(steps)
    with cached.ledger() as ledger:
        assert ledger.purge(digests[1:]) == digests[1:]
    assert not [step for step in steps if isinstance(step, Finding)]


def test_a_quarantine_that_refuses_is_said(cached: Cached) -> None:
    """What cannot be moved stays, and is a finding that is not mended."""
    digest = cached.blob(b"right")
    cached.write(digest, b"wrong")
    (cached.layout.root / "quarantine").touch()
    (finding,) = [step for step in _steps(cached) if isinstance(step, Finding)]
    assert (finding.outcome, finding.is_mended) == ("refused", False)
    assert "cannot be moved" in finding.detail
    assert cached.has(digest)
    assert cached.entry(digest) is not None


def test_a_disk_that_cannot_read_is_damage(cached: Cached, monkeypatch: pytest.MonkeyPatch) -> None:
    """A blob that the disk cannot read is of no use: it is taken out as well."""
    digest = cached.blob(b"right")

    def fail(*_: object) -> bytes:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(OpenFile, "read_uncached", fail)
    assert _findings(cached) == {digest: ("unreadable", "quarantined")}


def test_an_older_quarantine_is_replaced(cached: Cached) -> None:
    """The same blob damaged again takes the place of what was kept of it."""
    digest = cached.blob(b"right")
    for damaged in (b"first", b"second"):
        cached.write(digest, damaged)
        assert _findings(cached) == {digest: ("damaged", "quarantined")}
        assert _quarantined(cached, digest) == damaged


def test_it_can_be_left_after_any_step(cached: Cached) -> None:
    """Whoever stops in the middle leaves every blob either in its place or in quarantine."""
    digests = [cached.blob(bytes([n])) for n in range(6)]
    for digest in digests:
        cached.write(digest, b"wrong")
    for count in range(1, 20):
        steps = _steps(cached)
        for _ in range(count):
            next(steps, None)
        for digest in digests:
            kept = cached.layout.quarantine(digest).exists()
            assert cached.has(digest) != kept
            assert (cached.entry(digest) is None) == kept
    assert not any(cached.has(digest) for digest in digests)


def test_no_more_than_the_rate_is_read(cached: Cached) -> None:
    """Bytes divided by seconds never exceed the rate, whatever the sizes are."""
    for n in (1, 10, MIB, 3 * MIB + 1):
        cached.blob(bytes([n % 251]) * n)
    clock, read = FakeClock(), 0
    began = clock.monotonic()
    for step in _steps(cached, clock, rate=MIB):
        if isinstance(step, Hashed):
            # A step is read at once, and paid for after it.
            assert read <= MIB * (clock.monotonic() - began + 0.11)
            read += step.count
    assert clock.monotonic() - began >= 4 - 0.11


def test_a_pause_is_not_made_up_for() -> None:
    """After a stall the rate is what it was: no burst."""
    clock = FakeClock()
    pace = Pace(100, clock.monotonic, clock.advance)
    clock.advance(1000)
    at = clock.monotonic()
    for _ in range(10):
        pace.spend(100)
    assert clock.monotonic() - at == pytest.approx(10 - 0.1)


def _pages_in_memory(path: Path) -> int:
    """How many pages of a file the kernel holds; asking for it by reading would change it."""
    size = path.stat().st_size
    pages = (ctypes.c_ubyte * (-(-size // mmap.PAGESIZE)))()
    with path.open("rb") as file, mmap.mmap(file.fileno(), size, access=mmap.ACCESS_COPY) as map_:
        view = (ctypes.c_char * size).from_buffer(map_)
        ctypes.CDLL(None, use_errno=True).mincore(
            ctypes.byref(view), ctypes.c_size_t(size), ctypes.byref(pages)
        )
        del view
    return sum(page & 1 for page in pages)


def _has_in_memory(path: Path, pages: int) -> bool:
    """Have all of a file in memory, or none; whether it is so. The kernel does it if it can."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
        if pages:
            file.read()
        else:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    return _pages_in_memory(path) == pages


@pytest.mark.parametrize("size", [1000, 2 * MIB + 5000])
@pytest.mark.parametrize("is_cached", [True, False])
def test_memory_is_left_as_it_was(cached: Cached, size: int, *, is_cached: bool) -> None:
    """What the kernel had in memory stays there; what it had not does not push that out."""
    path = cached.path(cached.blob(os.urandom(size)))
    wanted = -(-size // mmap.PAGESIZE) if is_cached else 0
    found = []
    for _ in range(_TRIES):
        if _has_in_memory(path, wanted):
            assert _findings(cached) == {}
            found.append(_pages_in_memory(path))
    if not found:
        leave_out("this file system keeps files in memory as it likes")
    # The kernel drops what it can: of many attempts, a page or two may stay after some.
    assert wanted in found


def test_a_store_without_blobs_is_right(cached: Cached) -> None:
    """An empty store has nothing to find."""
    shutil.rmtree(cached.layout.root / "blobs")
    (cached.layout.root / "blobs").mkdir()
    assert list(_steps(cached)) == []
