"""A file that another process writes: how far it is, and whether it has ended."""

import os
from concurrent.futures import Executor
from pathlib import Path
from stat import S_ISREG

from cacheproxy.storage.reading import READ_ONLY, FileReader


class GrowingFile:
    """An ingest file of another process (`Growing`).

    The open descriptor stays good whatever becomes of the name: after a commit it is the
    blob, after a discard it is bytes that nobody else will see.
    """

    def __init__(self, path: Path, descriptor: int, executor: Executor) -> None:
        self._path = path
        self._descriptor = descriptor
        self._executor = executor

    def received(self) -> int:
        """Bytes on disk now."""
        return os.fstat(self._descriptor).st_size

    def is_gone(self) -> bool:
        """Whether the name no longer stands for this file."""
        try:
            there = self._path.stat(follow_symlinks=False)
        except FileNotFoundError:
            return True
        return not os.path.samestat(there, os.fstat(self._descriptor))

    def reader(self) -> FileReader:
        """Read what is on disk, through a descriptor of the reader's own."""
        return FileReader(os.dup(self._descriptor), self.received(), self._executor)

    def close(self) -> None:
        """Stop watching."""
        os.close(self._descriptor)


def watch(path: Path, executor: Executor) -> GrowingFile | None:
    """The ingest file at `path`; None where there is none."""
    try:
        descriptor = os.open(path, READ_ONLY)
    except OSError:
        return None
    if not S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        return None
    return GrowingFile(path, descriptor, executor)
