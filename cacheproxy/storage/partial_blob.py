"""An ingest file as those see it who do not write it."""

from concurrent.futures import Executor
from pathlib import Path

from cacheproxy.storage.open_file import Identity, OpenFile
from cacheproxy.storage.reading import FileReader


class PartialFile:
    """The ingest file of another writer (`PartialBlob`).

    It stays readable whatever becomes of its name: after a commit it is the blob, after a
    discard it is bytes that nobody else will see. It only ever grows.
    """

    def __init__(self, path: Path, file: OpenFile, executor: Executor) -> None:
        self._path = path
        self._file = file
        self._executor = executor

    @property
    def identity(self) -> Identity:
        """Device and inode."""
        return self._file.identity

    def received(self) -> int:
        """Return the number of bytes in the file now."""
        return self._file.status().st_size

    def is_gone(self) -> bool:
        """Whether the name no longer stands for this file."""
        return not self._file.is_at(self._path)

    def reader(self) -> FileReader:
        """Return a reader with a handle of its own."""
        return FileReader(self._file.share(), self.received(), self._executor)

    def close(self) -> None:
        """Stop watching."""
        self._file.close()


def watch(path: Path, executor: Executor) -> PartialFile | None:
    """Open the ingest file at `path`; None if there is none."""
    try:
        file = OpenFile.read_only(path)
    except OSError:
        return None
    if not file.is_regular():
        file.close()
        return None
    return PartialFile(path, file, executor)
