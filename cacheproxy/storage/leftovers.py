"""Partial downloads that nobody took up again."""

import contextlib
import time
from collections.abc import Callable
from pathlib import Path

from cacheproxy.domain.digest import Digest
from cacheproxy.domain.errors import DigestInvalid
from cacheproxy.storage.claims import Left
from cacheproxy.storage.layout import Layout, ingested, room
from cacheproxy.storage.open_file import OpenFile


def older(directory: Path, keep_seconds: float) -> list[Digest]:
    """Of which blobs there are ingest files that were last written so long ago."""
    found = []
    # The system's clock, since it is what the file system dates by.
    oldest = time.time() - keep_seconds
    for path in list(directory.iterdir()):
        with contextlib.suppress(DigestInvalid, OSError):  # not ours, or gone
            digest = ingested(path.name)
            if path.lstat().st_mtime <= oldest:
                found.append(digest)
    return found


def drop(layout: Layout, digest: Digest) -> bool:
    """Remove a partial download unless somebody writes it; whether it was removed.

    One that is being written is locked, and left alone; so is one that is taken up again
    between our look and our lock, since its writer has the lock then.
    """
    path = layout.ingest(digest)
    return _with_lock(path, path.unlink)


def left(layout: Layout, digest: Digest) -> Left:
    """What there is of a download now, and the room that it takes."""
    path = layout.ingest(digest)
    try:
        status = path.lstat()
    except FileNotFoundError:
        return _stored(layout, digest)
    except OSError:
        return "written", 0  # nobody can tell: what is reserved stays so
    return ("written" if is_locked(path) else "partial"), room(status)


def _stored(layout: Layout, digest: Digest) -> Left:
    try:
        return "stored", room(Path(layout.blob(digest)).lstat())
    except FileNotFoundError:
        return "none", 0
    except OSError:
        return "written", 0


def is_locked(path: Path) -> bool:
    """Whether somebody is writing an ingest file."""
    return not _with_lock(path, lambda: None)


def _with_lock(path: Path, work: Callable[[], None]) -> bool:
    """Do something with a file that nobody else has locked; whether it was done."""
    try:
        with OpenFile.read_only(path) as file:
            # Else it is the file of another download by now.
            if not file.lock() or not file.is_at(path):
                return False
            work()
    except OSError:
        return False
    return True
