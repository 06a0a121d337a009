"""Taking what is wrong out of the store, where an operator can still look at it."""

import contextlib
import os
import time
from pathlib import Path
from typing import Literal

from cacheproxy.domain.digest import Digest
from cacheproxy.storage.layout import Layout
from cacheproxy.storage.open_file import OpenFile, identity_of

Taken = Literal["quarantined", "in use", "gone"]


def quarantine(layout: Layout, digest: Digest, condemned: os.stat_result) -> Taken:
    """Move a stored file to the quarantine, unless somebody reads it.

    From then on the blob is a miss. Whoever opened it before has read it to its end.

    Args:
        layout: of the store.
        digest: the name that the file has there.
        condemned: the file that is wrong; one that has replaced it is left alone.

    Raises:
        OSError: it cannot be moved.
    """
    path = Path(layout.blob(digest))
    try:
        with OpenFile.read_only(path) as file:
            if not file.lock():
                return "in use"
            # By its name, now that no reader can come: a download may have put right bytes there.
            if identity_of(path.lstat()) != identity_of(condemned):
                return "gone"
            target = layout.quarantine(digest)
            _prepare(target.parent, layout.root)
            path.rename(target)
    except FileNotFoundError:
        if layout.holds(digest):
            raise  # it is the quarantine that is missing
        return "gone"
    return "quarantined"


def clear(layout: Layout, keep_seconds: float) -> None:
    """Remove what has been in the quarantine for so long that nobody will look at it.

    Raises:
        OSError: the disk refuses.
    """
    oldest = time.time() - keep_seconds
    with contextlib.suppress(FileNotFoundError):  # nothing ever was wrong
        for path in layout.quarantined():
            if path.lstat().st_ctime <= oldest:  # a rename changes that time alone
                path.unlink()


def _prepare(directory: Path, root: Path) -> None:
    """Make the directory; for the owner of the cache, also when root does it."""
    if not directory.is_dir():
        directory.mkdir(mode=0o700)
        owner = root.stat()
        if os.geteuid() == 0:
            os.chown(directory, owner.st_uid, owner.st_gid)
