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
    descriptor = _opened(path)
    try:
        yield descriptor if _is_ours(descriptor) else None
    finally:
        os.close(descriptor)


@contextmanager
def waited_for(path: Path | str) -> Iterator[None]:
    """Hold the lock on a file, which is made if there is none, once other processes let go of it.

    Blocks: for a thread, and for locks that nobody holds for long.

    Raises:
        OSError: the file cannot be opened, or made.
    """
    descriptor = _opened(path)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _opened(path: Path | str) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)


def _is_ours(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
