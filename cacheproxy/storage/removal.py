"""Opening blobs and removing them, so that nothing goes while somebody reads it.

Readers share a lock on the file (flock); who removes it needs the lock for itself, and leaves
alone what he does not get it for. Both ends of it hold across processes.
"""

import fcntl
import os
from concurrent.futures import Executor
from pathlib import Path
from stat import S_ISREG

from cacheproxy.domain.digest import Digest
from cacheproxy.storage.layout import Layout
from cacheproxy.storage.reading import READ_ONLY, FileReader


def open_blob(path: str, executor: Executor) -> FileReader | None:
    """The blob at `path`; None where there is none, or no regular file, or one about to go."""
    try:
        descriptor = os.open(path, READ_ONLY)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        status = os.fstat(descriptor)
    except OSError:
        os.close(descriptor)
        return None
    if not S_ISREG(status.st_mode):
        os.close(descriptor)
        return None
    return FileReader(descriptor, status.st_size, executor)


def remove(layout: Layout, digest: Digest) -> bool:
    """Unlink a blob unless somebody reads it; whether it is gone."""
    path = Path(layout.blob(digest))
    try:
        descriptor = os.open(path, READ_ONLY)
    except FileNotFoundError:
        return True
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
