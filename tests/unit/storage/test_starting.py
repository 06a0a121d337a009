"""Room to start in, on a volume that is full."""

import os
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from cacheproxy.domain.budget import Budget
from cacheproxy.domain.digest import Digest
from cacheproxy.storage.removal import open_blob
from cacheproxy.storage.starting import make_room_to_start
from tests.support.ledgers import AMPLE, DAY, NOW, Books, books, digest_of, entry

KIB = 1024
SIZE = 400 * KIB
FULL = 8 * KIB  # bytes that are free all the same
A, B, C, D = (digest_of(name) for name in "abcd")


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Books]:
    """Four blobs, of which `a` is worth least, and a download that broke."""
    with books(tmp_path / "store") as opened:
        for heat, name in enumerate("abcd"):
            opened.ledger.commit(entry(name, SIZE, heat=float(heat)))
            _write(Path(opened.layout.blob(digest_of(name))))
        _write(opened.layout.ingest(digest_of("partial")))
        yield opened


def _write(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(bytes(SIZE))


def _volume(made: Books, full: int = FULL) -> Callable[[], int]:
    """A volume that all files of the store have filled but for so much."""
    root = made.layout.root

    def taken() -> int:
        trees = [(root / name).rglob("*") for name in ("blobs", "ingest")]
        return sum(path.lstat().st_size for tree in trees for path in tree if path.is_file())

    before = taken()
    return lambda: full + before - taken()


def _here(made: Books) -> set[Digest]:
    return {digest for digest in (A, B, C, D) if made.layout.holds(digest)}


def _gone(made: Books, free: Callable[[], int], budget: Budget = AMPLE) -> list[Digest]:
    return [found.digest for found in make_room_to_start(made.layout, budget, NOW, free)]


def test_nothing_goes_where_there_is_room(made: Books) -> None:
    """A volume with a mebibyte left is left as it is."""
    assert _gone(made, _volume(made, 1024 * KIB)) == []
    assert _here(made) == {A, B, C, D}


def test_what_is_worth_least_goes_and_no_more(made: Books) -> None:
    """A partial download goes first, then the coldest blobs, until there is room."""
    assert _gone(made, _volume(made)) == [digest_of("partial"), A, B]
    assert _here(made) == {C, D}
    assert not made.layout.ingest(digest_of("partial")).exists()


def test_what_is_pinned_stays(made: Books) -> None:
    """A pin holds although the account cannot be written."""
    made.ledger.name("docker.io/library/a:1", A)
    pinned = Budget(2**50, pins=("docker.io/library/a:*",))
    assert _gone(made, _volume(made), pinned) == [digest_of("partial"), B, C]
    assert _here(made) == {A, D}


def test_what_is_read_stays(made: Books) -> None:
    """Another worker's reader is left alone; the next one goes instead."""
    blob = open_blob(made.layout.blob(A), made.executor)
    assert blob is not None
    with closing(blob):
        assert _gone(made, _volume(made)) == [digest_of("partial"), B, C]


def test_what_is_not_there_frees_nothing(made: Books) -> None:
    """A blob that only the account has is not counted as room."""
    Path(made.layout.blob(A)).unlink()
    assert _gone(made, _volume(made)) == [digest_of("partial"), B, C]


@pytest.mark.parametrize("spoilt", [None, b"no database"])
def test_what_is_oldest_goes_where_nobody_knows(made: Books, spoilt: bytes | None) -> None:
    """Without an account to read, the time of storing decides."""
    for age, digest in enumerate((C, A, D, B)):
        os.utime(made.layout.blob(digest), (NOW - DAY, NOW - DAY * (4 - age)))
    made.ledger.close()
    for path in made.layout.root.glob("ledger.db*"):
        path.unlink()
    if spoilt is not None:
        made.layout.ledger.write_bytes(spoilt)
    assert _gone(made, _volume(made)) == [digest_of("partial"), C, A]


def test_a_file_system_that_tells_later_is_believed(made: Books) -> None:
    """Where what was removed is not free at once, no more goes than is needed."""
    assert _gone(made, lambda: 0) == [digest_of("partial"), A, B]


def test_a_symlink_is_neither_followed_nor_removed(made: Books) -> None:
    """What a blob's or a download's name leads to is not ours to remove."""
    strange = made.layout.root / "strange"
    strange.write_bytes(b"strange")
    for path in (Path(made.layout.blob(A)), made.layout.ingest(digest_of("partial"))):
        path.unlink()
        path.symlink_to(strange)
    assert _gone(made, _volume(made)) == [B, C, D]
    assert strange.read_bytes() == b"strange"
    assert made.layout.holds(A)


def test_an_empty_store_has_nothing_to_let_go_of(tmp_path: Path) -> None:
    """Where others have filled the volume, that is all there is to it."""
    with books(tmp_path / "store") as opened:
        assert make_room_to_start(opened.layout, AMPLE, NOW, lambda: 0) == []
