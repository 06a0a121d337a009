"""One process of a volume at a time: whoever holds the lock on a file."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def locked(path: Path | str) -> Iterator[int | None]:
    """The file, which is made where there is none; None while another process has it.

    Yields:
        Its descriptor, for reading and writing.

    Raises:
        OSError: it cannot be opened, or made.
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    descriptor = os.open(path, flags, 0o600)
    try:
        yield descriptor if _is_ours(descriptor) else None
    finally:
        os.close(descriptor)


def _is_ours(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
