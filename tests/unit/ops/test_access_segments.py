import fcntl
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from cacheproxy.domain.accesses import Access, prefix_of
from cacheproxy.ops import access_segments
from cacheproxy.ops.access_records import (
    HEADER,
    HEADER_BYTES,
    MAGIC,
    RECORD_BYTES,
    Decoder,
    encoded,
)
from cacheproxy.ops.access_segments import SEGMENTS, SegmentReader, SegmentWriter
from tests.support.accesses import access
from tests.support.ledgers import digest_of

MIB = 1024 * 1024
SMALL = SEGMENTS * (HEADER_BYTES + 10 * RECORD_BYTES)  # ten records in a segment
FIRST = "0000000001.log"


def _record(name: object, at: float = 0.0, **fields: Any) -> bytes:
    return encoded(access(name, at, **fields), prefix_of(digest_of(name)))


def _records(first: int, count: int) -> bytes:
    return b"".join(_record(number, float(number)) for number in range(first, first + count))


def _reader(directory: Path) -> SegmentReader:
    return SegmentReader(directory, Decoder(["docker.io", "quay.io"]))


def _read(directory: Path) -> list[Access]:
    return list(_reader(directory).accesses())


def _numbers(directory: Path) -> list[int]:
    return [round(found.at - access("x").at) for found in _read(directory)]


def test_what_is_written_is_read(tmp_path: Path) -> None:
    """Time, content, sizes, kind and upstream come back as they were."""
    made = [
        access("a", 1.5, 10**12, served=7, kind="manifest", registry="quay.io"),
        access("b", 2.25, 1),
    ]
    records = [encoded(made[0], prefix_of(digest_of("a"))), _record("b", 2.25, size=1)]
    SegmentWriter(tmp_path / "new", MIB).append(b"".join(records))
    assert _read(tmp_path / "new") == made
    assert _reader(tmp_path / "new").size() == HEADER_BYTES + 2 * RECORD_BYTES


def test_an_upstream_that_is_gone_has_no_name(tmp_path: Path) -> None:
    """Accesses of an upstream that is not configured any more still count."""
    SegmentWriter(tmp_path, MIB).append(_record("a", registry="gone.example.com"))
    assert [found.registry for found in _read(tmp_path)] == [""]


def test_nothing_is_there_yet(tmp_path: Path) -> None:
    """Without a directory there are no accesses, and no error."""
    assert _read(tmp_path / "none") == []
    assert _reader(tmp_path / "none").size() == 0


def test_a_segment_goes_on_after_a_restart(tmp_path: Path) -> None:
    """Who opens the log anew appends to the last segment."""
    for number in range(3):
        SegmentWriter(tmp_path, MIB).append(_records(number, 1))
    assert [path.name for path in tmp_path.iterdir()] == [FIRST]
    assert _numbers(tmp_path) == [0, 1, 2]


@pytest.mark.parametrize("left", [1, RECORD_BYTES - 1])
def test_a_torn_record_is_left_out(tmp_path: Path, left: int) -> None:
    """What a killed process left of its last record is no access, and nothing follows it there."""
    SegmentWriter(tmp_path, MIB).append(_records(0, 3))
    os.truncate(tmp_path / FIRST, HEADER_BYTES + 2 * RECORD_BYTES + left)
    SegmentWriter(tmp_path, MIB).append(_records(7, 2))
    assert _numbers(tmp_path) == [0, 1, 7, 8]
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize(
    ("content", "newer", "foreign"),
    [
        (b"", 0, 0),
        (HEADER[:5], 0, 1),
        (MAGIC + b"\2\0" + HEADER[10:] + b"?" * 80, 1, 0),
        (MAGIC + b"\1\0\x30\0" + bytes(4) + b"?" * 96, 1, 0),
        (b"\x7fELF" + b"?" * 200, 0, 1),
    ],
    ids=["empty", "truncated", "newer", "other records", "foreign"],
)
def test_what_is_no_segment_is_left_out(
    tmp_path: Path, content: bytes, newer: int, foreign: int
) -> None:
    """Whatever has a segment's name and is none is counted, and what comes after it is read."""
    (tmp_path / FIRST).write_bytes(content)
    SegmentWriter(tmp_path, MIB).append(_records(5, 2))
    reader = _reader(tmp_path)
    assert len(list(reader.accesses())) == 2
    assert (reader.skipped.newer, reader.skipped.foreign) == (newer, foreign)
    assert (tmp_path / FIRST).read_bytes().startswith(content)


def test_other_files_are_not_ours(tmp_path: Path) -> None:
    """What has another name is neither read, nor counted, nor deleted; nor is a directory."""
    (tmp_path / "notes.txt").write_bytes(b"x" * SMALL)
    (tmp_path / "0000000009.log").mkdir()
    writer = SegmentWriter(tmp_path, SMALL)
    for number in range(0, 500, 10):
        writer.append(_records(number, 10))
    assert (tmp_path / "notes.txt").stat().st_size == SMALL
    assert _numbers(tmp_path)[-1] == 499


def test_what_is_no_access_is_left_out(tmp_path: Path) -> None:
    """Zeros, as a power cut leaves them, and kinds that there are not, are no accesses."""
    good = _record("a")
    SegmentWriter(tmp_path, MIB).append(bytes(RECORD_BYTES) + good[:-1] + b"\x07" + good)
    assert len(_read(tmp_path)) == 1


def test_the_oldest_goes_first(tmp_path: Path) -> None:
    """Within the bound the newest stay, whole segments go, and the bound is never exceeded."""
    writer = SegmentWriter(tmp_path, SMALL)
    for number in range(0, 400, 5):
        writer.append(_records(number, 5))
        assert _reader(tmp_path).size() <= SMALL
    numbers = _numbers(tmp_path)
    assert numbers == list(range(400 - len(numbers), 400))
    assert len(numbers) > 140


def test_a_batch_beyond_the_bound_keeps_its_end(tmp_path: Path) -> None:
    """More at once than fits in all: the last of it stays."""
    SegmentWriter(tmp_path, SMALL).append(_records(0, 1000))
    assert _reader(tmp_path).size() <= SMALL
    assert _numbers(tmp_path)[-1] == 999


def test_a_smaller_bound_holds_at_once(tmp_path: Path) -> None:
    """What was written under a larger bound goes as soon as something is written."""
    SegmentWriter(tmp_path, MIB).append(_records(0, 1000))
    SegmentWriter(tmp_path, SMALL).append(_records(1000, 1))
    assert _reader(tmp_path).size() <= SMALL
    assert _numbers(tmp_path) == [1000]


_PROCESS = """
import sys
from pathlib import Path
from cacheproxy.domain.accesses import prefix_of
from cacheproxy.ops.access_records import encoded
from cacheproxy.ops.access_segments import SegmentReader, SegmentWriter
from tests.support.accesses import access
from tests.support.ledgers import digest_of
directory, bound, first = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
writer = SegmentWriter(directory, bound)
for begin in range(first, first + 300, 3):
    numbers = range(begin, begin + 3)
    records = b"".join(encoded(access(n, n), prefix_of(digest_of(n))) for n in numbers)
    while records:
        try:
            writer.append(records)
            records = b""
        except BlockingIOError:
            pass  # the others had it all the time
"""


def test_processes_write_at_once(tmp_path: Path) -> None:
    """Several processes share the segments: nothing is torn, and the bound holds for them all."""
    root = Path(__file__).parents[3]
    arguments = [sys.executable, "-c", _PROCESS, str(tmp_path), str(SMALL)]
    writers = [subprocess.Popen([*arguments, str(n)], cwd=root) for n in (0, 1000, 2000)]
    reader = _reader(tmp_path)
    largest = 0
    while any(writer.poll() is None for writer in writers):
        with access_segments._locked(tmp_path):  # so that nobody deletes while it is added up
            largest = max(largest, reader.size())
        time.sleep(0.001)
    assert [writer.returncode for writer in writers] == [0, 0, 0]
    assert 0 < largest <= SMALL
    numbers = [round(found.at - access("x").at) for found in reader.accesses()]
    assert reader.skipped.foreign == 0
    assert all(path.stat().st_size % RECORD_BYTES == HEADER_BYTES for path in tmp_path.iterdir())
    # What one process wrote is in its order; of the last segments none is lost.
    for first in (0, 1000, 2000):
        own = [number for number in numbers if first <= number < first + 300]
        assert own == sorted(set(own))
    assert len(numbers) > 140


def test_a_lock_that_is_kept_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that hangs with the lock does not make the others hang."""
    monkeypatch.setattr(access_segments, "_LOCK_SECONDS", 0.0)
    monkeypatch.setattr(access_segments, "_LOCK_PAUSE", 0.001)
    descriptor = os.open(tmp_path, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        with pytest.raises(OSError, match="keeps the lock"):
            SegmentWriter(tmp_path, MIB).append(_records(0, 1))
    finally:
        os.close(descriptor)
    SegmentWriter(tmp_path, MIB).append(_records(0, 1))
    assert _numbers(tmp_path) == [0]


def test_deleted_while_it_is_read(tmp_path: Path) -> None:
    """A segment that goes meanwhile is read to its end, or is just not there."""
    SegmentWriter(tmp_path, SMALL).append(_records(0, 25))
    reading = _reader(tmp_path).accesses()
    found = [next(reading)]
    for path in tmp_path.iterdir():
        path.unlink()
    assert len([*found, *reading]) == 10


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    """A segment's name that leads elsewhere is not written through, and the next name is taken."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_bytes(HEADER)
    log = tmp_path / "log"
    log.mkdir()
    (log / FIRST).symlink_to(elsewhere)
    SegmentWriter(log, MIB).append(_records(0, 1))
    assert _numbers(log) == [0]
    assert elsewhere.read_bytes() == HEADER
