"""Where things are below the cache directory, and that it can be used at all.

blobs/sha256/6c/6c3c…      committed: verified, complete, read-only
ingest/sha256-6c3c…        being written by the process that holds its lock, or left over
"""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from cacheproxy.domain.digest import Digest
from cacheproxy.domain.errors import StartError


@dataclass(frozen=True, slots=True)
class Layout:
    """The paths below one cache directory."""

    root: Path

    def blob(self, digest: Digest) -> str:
        """Of a committed blob; 256 directories keep each one small.

        A string, since making a Path takes longer than opening the file.
        """
        algorithm, _, encoded = digest.partition(":")
        return f"{self.root}/blobs/{algorithm}/{encoded[:2]}/{encoded}"

    def ingest(self, digest: Digest) -> Path:
        """Of a blob in flight."""
        return self.root / "ingest" / f"{digest.algorithm}-{digest.encoded}"

    @property
    def metadata(self) -> Path:
        """Of the embedded metadata store."""
        return self.root / "metadata"

    def prepare(self) -> None:
        """Make the directories.

        Raises:
            StartError: the directory cannot be made, or not be written.
        """
        try:
            for name in ("blobs", "ingest", "metadata"):
                (self.root / name).mkdir(parents=True, exist_ok=True, mode=0o700)
            self._try_writing()
        except OSError as error:
            raise StartError(
                f"the cache directory {self.root} cannot be used: {error.strerror}; "
                "make it writable for this user, or set cache.directory to another"
            ) from error

    def _try_writing(self) -> None:
        """A write, since permission bits say nothing of a read-only mount (nor to root)."""
        probe = self.root / "ingest" / f".probe-{os.getpid()}"
        probe.touch()
        probe.unlink()

    def volume_bytes(self) -> int:
        """Of the whole volume that the directory is on."""
        return shutil.disk_usage(self.root).total
