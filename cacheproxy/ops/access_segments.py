"""The files of the access log: numbered segments, of which the last one grows.

All processes of a cache directory append to the same segment, under a lock on its directory
(flock). A segment for each process would need none; but then every restart leaves a short
file behind, each process would have to guess what the others are about to write, and the
bound would hold by luck. With the lock it holds exactly, to rotate and to delete is safe, and
a record that a killed process left torn is seen by the next one, which leaves that segment
alone and begins another. The kernel drops the lock with its holder. It is held for one write
every few seconds; who does not get it soon keeps what it has for the next time.
"""

import contextlib
import errno
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from stat import S_ISREG

from cacheproxy.domain.accesses import Access
from cacheproxy.ops.access_records import HEADER, HEADER_BYTES, MAGIC, RECORD_BYTES, Decoder
from cacheproxy.storage.open_file import OpenFile

# With this many, the oldest is a sixteenth of what is known: to delete it costs little of that.
SEGMENTS = 16
_NAME = re.compile(r"[0-9]{10}\.log")
_CHUNK = 4096 * RECORD_BYTES
_LOCK_SECONDS = 1.0
_LOCK_PAUSE = 0.02


@dataclass(frozen=True, slots=True)
class _Segment:
    """A segment; or something else that has the name of one, which stays as it is."""

    path: Path
    size: int
    is_file: bool = True


class SegmentWriter:
    """Appends records, within a bound for all segments together. Synchronous."""

    def __init__(self, directory: Path, bound: int) -> None:
        self._directory = directory
        self._bound = bound
        records = max(1, (bound // SEGMENTS - HEADER_BYTES) // RECORD_BYTES)
        self._longest = HEADER_BYTES + records * RECORD_BYTES

    def append(self, records: bytes) -> None:
        """Append whole records; the oldest segments go for them.

        Raises:
            BlockingIOError: another process keeps the lock for too long; nothing is written.
            OSError: the disk refuses. Some of the records may be there all the same.
        """
        self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        with _locked(self._directory):
            while records:
                segments = _segments(self._directory)
                last = self._growing(segments)
                part = records[: self._longest - max(last.size, HEADER_BYTES)]
                self._make_room([s for s in segments if s.path != last.path], last, len(part))
                _write(last, part)
                records = records[len(part) :]

    def _growing(self, segments: list[_Segment]) -> _Segment:
        """The last segment if it may grow, else one that is not there yet."""
        if not segments:
            return _Segment(self._directory / f"{1:010}.log", 0)
        last = segments[-1]
        if last.is_file and last.size + RECORD_BYTES <= self._longest and _is_whole(last):
            return last
        return _Segment(self._directory / f"{int(last.path.stem) + 1:010}.log", 0)

    def _make_room(self, others: list[_Segment], last: _Segment, wanted: int) -> None:
        taken = sum(segment.size for segment in others)
        allowed = self._bound - max(last.size, HEADER_BYTES) - wanted
        for segment in others:
            if taken <= allowed:
                return
            if segment.is_file:
                segment.path.unlink(missing_ok=True)
                taken -= segment.size


@dataclass(slots=True)
class Skipped:
    """Segments that were left out of a reading.

    Attributes:
        newer: of a version that is not known here.
        foreign: that are none, in spite of their names, or cannot be read.
    """

    newer: int = 0
    foreign: int = 0


class SegmentReader:
    """Reads what is there, beside processes that append to it and delete from it."""

    def __init__(self, directory: Path, decoder: Decoder) -> None:
        self._directory = directory
        self._decoder = decoder
        self.skipped = Skipped()

    def size(self) -> int:
        """Bytes of all segments."""
        try:
            return sum(segment.size for segment in _segments(self._directory))
        except OSError:
            return 0

    def accesses(self) -> Iterator[Access]:
        """All accesses, segment by segment; within one almost in the order of time.

        What cannot be read is left out, and counted in `skipped`.
        """
        try:
            segments = _segments(self._directory)
        except FileNotFoundError:
            return
        except OSError:
            self.skipped.foreign += 1
            return
        for segment in segments:
            try:
                yield from self._of(segment)
            except FileNotFoundError:
                continue  # deleted meanwhile
            except OSError:
                self.skipped.foreign += 1

    def _of(self, segment: _Segment) -> Iterator[Access]:
        with OpenFile.read_only(segment.path) as file:
            header = file.read(0, HEADER_BYTES)
            if header != HEADER:
                self._skip(header)
                return
            offset = HEADER_BYTES
            while chunk := file.read(offset, _CHUNK):
                offset += len(chunk)
                # A record that is not whole is the last one: torn, or being written.
                yield from self._decoder.accesses(
                    chunk[: len(chunk) // RECORD_BYTES * RECORD_BYTES]
                )
                if len(chunk) < _CHUNK:
                    return

    def _skip(self, header: bytes) -> None:
        if len(header) == HEADER_BYTES and header.startswith(MAGIC):
            self.skipped.newer += 1
        elif header:
            self.skipped.foreign += 1


def _segments(directory: Path) -> list[_Segment]:
    """The segments, the oldest first. Whatever else is there is not ours."""
    found = []
    with os.scandir(directory) as entries:
        for entry in entries:
            if _NAME.fullmatch(entry.name):
                with contextlib.suppress(FileNotFoundError):
                    status = entry.stat(follow_symlinks=False)
                    is_file = S_ISREG(status.st_mode)
                    size = status.st_size if is_file else 0
                    found.append(_Segment(directory / entry.name, size, is_file))
    return sorted(found, key=lambda segment: segment.path.name)


def _is_whole(segment: _Segment) -> bool:
    """Whether it is ours, of this version, and ends with a whole record."""
    if (segment.size - HEADER_BYTES) % RECORD_BYTES:
        return False
    try:
        with segment.path.open("rb") as file:
            return file.read(HEADER_BYTES) == HEADER
    except OSError:
        return False


def _write(segment: _Segment, records: bytes) -> None:
    with OpenFile.append_to(segment.path) as file:
        file.append(records if segment.size else HEADER + records)


@contextmanager
def _locked(directory: Path) -> Iterator[None]:
    with OpenFile.directory(directory) as file:
        deadline = time.monotonic() + _LOCK_SECONDS
        while not file.lock():
            if time.monotonic() > deadline:
                raise BlockingIOError(errno.EAGAIN, "another process keeps the lock")
            time.sleep(_LOCK_PAUSE)
        yield
