"""Opening blobs and removing them, so that nothing goes while somebody reads it.

Readers share a lock on the file (flock). Whoever removes it needs the lock alone, and leaves
the file if that is refused. Both hold across processes.
"""

from concurrent.futures import Executor
from pathlib import Path
from stat import S_ISREG

from cacheproxy.domain.digest import Digest
from cacheproxy.storage.layout import Layout
from cacheproxy.storage.open_file import OpenFile
from cacheproxy.storage.reading import FileReader


def open_blob(path: str, executor: Executor) -> FileReader | None:
    """Open the blob at `path`; None if there is none, no regular file, or one about to go."""
    try:
        file = OpenFile.read_only(path)
    except OSError:
        return None
    try:
        status = file.status() if file.lock_shared() else None
    except OSError:
        status = None
    if status is None or not S_ISREG(status.st_mode):
        file.close()
        return None
    return FileReader(file, status.st_size, executor)


def remove(layout: Layout, digest: Digest) -> bool:
    """Unlink a blob unless somebody reads it; whether it is gone."""
    path = Path(layout.blob(digest))
    try:
        with OpenFile.read_only(path) as file:
            # Compared under the lock: a download may have put another file there meanwhile.
            if not file.lock() or not file.is_at(path):
                return False
            path.unlink()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True
