"""Partial downloads that nobody took up again."""

import contextlib
import fcntl
import os
import time
from collections.abc import Callable
from pathlib import Path

from cacheproxy.domain.digest import Digest
from cacheproxy.domain.errors import DigestInvalid
from cacheproxy.storage.reading import READ_ONLY


def sweep(directory: Path, keep_seconds: float) -> list[Digest]:
    """Remove ingest files that nobody writes and that were last written so long ago.

    Returns of which blobs. One that is being written is locked, and left alone; so is one
    that is taken up again between our look and our lock, since its writer has the lock then.
    """
    removed = []
    # The system's clock, since it is what the file system dates by.
    oldest = time.time() - keep_seconds
    for path in list(directory.iterdir()):
        with contextlib.suppress(DigestInvalid, OSError):  # not ours, or gone, or taken up again
            digest = Digest.parse(path.name.replace("-", ":", 1))
            if path.lstat().st_mtime <= oldest and _with_lock(path, path.unlink):
                removed.append(digest)
    return removed


def is_locked(path: Path) -> bool:
    """Whether somebody is writing an ingest file."""
    return not _with_lock(path, lambda: None)


def _with_lock(path: Path, work: Callable[[], None]) -> bool:
    """Do something with a file that nobody else has locked; whether it was done."""
    try:
        descriptor = os.open(path, READ_ONLY)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not os.path.samestat(os.fstat(descriptor), path.lstat()):
            return False  # of another download by now
        work()
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return True
