"""Blobs as files, named by their digest."""

import os
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from stat import S_ISREG

from cacheproxy.domain.digest import Digest
from cacheproxy.domain.errors import StorageError
from cacheproxy.domain.manifest import SIZE_LIMIT
from cacheproxy.storage.growing import GrowingFile, watch
from cacheproxy.storage.ingest import FileIngest, Place, finished, open_ingest
from cacheproxy.storage.layout import Layout
from cacheproxy.storage.leftovers import sweep
from cacheproxy.storage.reading import READ_ONLY, FileReader

# Threads that wait for the disk: a few reads of cold files beside the writes of fills. The
# default pool of the loop is not for this, since name resolution waits there.
_THREADS = 8


class FilesystemStore:
    """A content-addressed directory (`BlobStore`).

    The name is given by rename, once everything is written, verified and on disk; so what
    has a name is whole, and needs no check when it is opened.
    """

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._executor = ThreadPoolExecutor(_THREADS, thread_name_prefix="disk")

    @classmethod
    def at(cls, root: Path) -> "FilesystemStore":
        """The store in a directory, which is made.

        Raises:
            StartError: the directory cannot be used.
        """
        layout = Layout(root)
        layout.prepare()
        return cls(layout)

    def close(self) -> None:
        """End the threads, after what they are doing."""
        self._executor.shutdown()

    def open(self, digest: Digest) -> FileReader | None:
        """The blob; None where it is not here, or is no regular file."""
        try:
            descriptor = os.open(self._layout.blob(digest), READ_ONLY)
        except OSError:
            return None
        status = os.fstat(descriptor)
        if not S_ISREG(status.st_mode):
            os.close(descriptor)
            return None
        return FileReader(descriptor, status.st_size, self._executor)

    async def document(self, digest: Digest) -> bytes | None:
        """A small blob whole; None where it is not here, or larger than a manifest may be."""
        blob = self.open(digest)
        if blob is None:
            return None
        try:
            if blob.size > SIZE_LIMIT:
                return None
            return await _whole(blob)
        finally:
            blob.close()

    async def keep_document(self, digest: Digest, content: bytes) -> None:
        """Store a small blob that was verified already."""
        known = self.open(digest)
        if known is not None:
            known.close()
            return
        async with self.ingest(digest) as ingest:
            if ingest is None:
                return  # another process is writing the same bytes
            if ingest.offset:
                # Left by a blob fill that broke: what is verified replaces it.
                await ingest.restart()
            await ingest.append(content)
            ingest.verify()
            await ingest.commit()

    @asynccontextmanager
    async def ingest(self, digest: Digest) -> AsyncIterator[FileIngest | None]:
        """Begin, or take up again, the writing of a blob; None while another writes it."""
        place = Place(digest, self._layout.ingest(digest), Path(self._layout.blob(digest)))
        ingest = await self._locked(place)
        try:
            yield ingest
        finally:
            if ingest is not None:
                ingest.close()

    def watch(self, digest: Digest) -> GrowingFile | None:
        """What another process is writing; None where there is nothing (any more)."""
        return watch(self._layout.ingest(digest), self._executor)

    async def sweep(self, keep_seconds: float) -> int:
        """Remove partial downloads that nobody took up for so long; how many there were."""
        directory = self._layout.root / "ingest"
        return await finished(self._executor, lambda: sweep(directory, keep_seconds))

    async def _locked(self, place: Place) -> FileIngest | None:
        try:
            return await finished(self._executor, lambda: open_ingest(place, self._executor))
        except OSError as error:
            raise StorageError(f"the disk refused to write: {error.strerror}") from error


async def _whole(blob: FileReader) -> bytes:
    parts: list[bytes] = []
    offset = 0
    while offset < blob.size:
        part = await blob.read(offset, blob.size - offset)
        if not part:
            raise StorageError("a stored blob is shorter than it was when it was opened")
        parts.append(part)
        offset += len(part)
    return b"".join(parts)
