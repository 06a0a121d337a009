"""Partial downloads that nobody took up again."""

import contextlib
import fcntl
import os
import time
from pathlib import Path

from cacheproxy.storage.reading import READ_ONLY


def sweep(directory: Path, keep_seconds: float) -> int:
    """Remove ingest files that nobody writes and that were last written so long ago.

    Returns how many. One that is being written is locked, and left alone; so is one that
    is taken up again between our look and our lock, since its writer has the lock then.
    """
    removed = 0
    # The system's clock, since it is what the file system dates by.
    oldest = time.time() - keep_seconds
    for path in list(directory.iterdir()):
        with contextlib.suppress(OSError):  # gone by now, or taken up again, or no file
            if path.lstat().st_mtime <= oldest:
                removed += _remove_unlocked(path)
    return removed


def _remove_unlocked(path: Path) -> int:
    descriptor = os.open(path, READ_ONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not os.path.samestat(os.fstat(descriptor), path.lstat()):
            return 0  # of another download by now
        path.unlink()
    finally:
        os.close(descriptor)
    return 1
