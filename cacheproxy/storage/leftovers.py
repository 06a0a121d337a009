"""Partial downloads that nobody took up again."""

import fcntl
import os
import time
from pathlib import Path


def sweep(directory: Path, keep_seconds: float) -> int:
    """Remove ingest files that nobody writes and that were last written so long ago.

    Returns how many. One that is being written is locked, and left alone; so is one that
    is taken up again between our look and our lock, since its writer has the lock then.
    """
    removed = 0
    # The system's clock, since it is what the file system dates by.
    oldest = time.time() - keep_seconds
    for path in list(directory.iterdir()):
        if path.lstat().st_mtime <= oldest and _remove_unlocked(path):
            removed += 1
    return removed


def _remove_unlocked(path: Path) -> bool:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        path.unlink()
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return True
