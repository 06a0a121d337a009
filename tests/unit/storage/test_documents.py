import os
from collections.abc import Callable
from pathlib import Path

import pytest

from cacheproxy.domain.digest import Digest
from cacheproxy.storage.documents import Documents
from cacheproxy.storage.layout import Layout

_SIZE = 1024
_ROOM = 4 * 1024


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    """Of a store in which nothing is yet."""
    made = Layout(tmp_path)
    made.prepare()
    return made


def _stored(layout: Layout, number: int) -> Digest:
    body = bytes([number]) * _SIZE
    digest = Digest.of(body)
    path = Path(layout.blob(digest))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(body)
    return digest


def _kept(documents: Documents, layout: Layout, digest: Digest) -> None:
    path = Path(layout.blob(digest))
    documents.keep(digest, path.read_bytes(), path.stat())


def test_what_is_kept_is_had(layout: Layout) -> None:
    """What was never kept is not, and what was is, each time."""
    documents = Documents(layout, _ROOM)
    digest, other = _stored(layout, 1), _stored(layout, 2)
    _kept(documents, layout, digest)
    assert documents.get(digest) == documents.get(digest) == bytes([1]) * _SIZE
    assert documents.get(other) is None


def _removed(path: Path) -> None:
    path.unlink()


def _written(path: Path) -> None:
    path.write_bytes(bytes([9]) * _SIZE)
    os.utime(path, (1, 1))


def _replaced(path: Path) -> None:
    times = path.stat().st_atime_ns, path.stat().st_mtime_ns
    beside = path.with_suffix(".new")
    beside.write_bytes(bytes([9]) * _SIZE)
    os.utime(beside, ns=times)
    beside.rename(path)


def _linked(path: Path) -> None:
    target = path.with_suffix(".target")
    path.rename(target)
    path.symlink_to(target)


@pytest.mark.parametrize("change", [_removed, _written, _replaced, _linked])
def test_a_file_that_is_another_is_not_served_from_memory(
    layout: Layout, change: Callable[[Path], None]
) -> None:
    """A blob that is gone, written to, swapped or led elsewhere is looked at again on the disk."""
    documents = Documents(layout, _ROOM)
    digest = _stored(layout, 1)
    _kept(documents, layout, digest)
    change(Path(layout.blob(digest)))
    assert documents.get(digest) is None


def test_memory_is_bounded_and_the_oldest_goes(layout: Layout) -> None:
    """What was asked for longest ago makes room, and no more of it goes than must."""
    documents = Documents(layout, _ROOM)
    first, second, third = (_stored(layout, number) for number in (1, 2, 3))
    _kept(documents, layout, first)
    _kept(documents, layout, second)
    assert documents.get(first) is not None
    _kept(documents, layout, third)
    assert documents.get(second) is None
    assert documents.get(first) is not None
    assert documents.get(third) is not None


def test_one_kept_again_takes_its_room_once(layout: Layout) -> None:
    """A body that is read by many at once is kept once."""
    documents = Documents(layout, _ROOM)
    first, second = _stored(layout, 1), _stored(layout, 2)
    _kept(documents, layout, first)
    for _ in range(8):
        _kept(documents, layout, second)
    assert documents.get(first) is not None


@pytest.mark.parametrize("limit", [0, _SIZE])
def test_what_has_no_room_is_not_kept(layout: Layout, limit: int) -> None:
    """Without memory, or with less than it takes, nothing is kept, and nothing fails."""
    documents = Documents(layout, limit)
    digest = _stored(layout, 1)
    _kept(documents, layout, digest)
    assert documents.get(digest) is None
