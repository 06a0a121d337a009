"""Where things are below the cache directory, and that it can be used at all.

blobs/sha256/6c/6c3c…      committed: verified, complete, read-only
ledger.db                  the account: sizes, uses, reservations
ingest/sha256-6c3c…        being written by the process that holds its lock, or left over
quarantine/sha256-6c3c…    had a blob's name, and other bytes; for the operator to look at
"""

import contextlib
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from cacheproxy.domain.digest import Digest
from cacheproxy.domain.errors import StartError

# What `st_blocks` counts in, whatever the file system's own blocks are (POSIX).
_STAT_BLOCK = 512


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

    def holds(self, digest: Digest) -> bool:
        """Whether there is something of a committed blob's name."""
        return os.path.lexists(self.blob(digest))

    def ingest(self, digest: Digest) -> Path:
        """Of a blob in flight."""
        return self.root / "ingest" / f"{digest.algorithm}-{digest.encoded}"

    def quarantine(self, digest: Digest) -> Path:
        """Of what was stored as this blob, and was not."""
        return self.root / "quarantine" / f"{digest.algorithm}-{digest.encoded}"

    @property
    def metadata(self) -> Path:
        """Of the embedded metadata store."""
        return self.root / "metadata"

    @property
    def ledger(self) -> Path:
        """Of the account of all this."""
        return self.root / "ledger.db"

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

    def free_bytes(self) -> int:
        """That this user may still take of the volume, or that downloads have taken so far."""
        return shutil.disk_usage(self.root).free + self._ingest_bytes()

    def _ingest_bytes(self) -> int:
        """The room that downloads take, partial ones included."""
        taken = 0
        with os.scandir(self.root / "ingest") as found:
            for path in found:
                with contextlib.suppress(FileNotFoundError):  # committed meanwhile
                    taken += path.stat(follow_symlinks=False).st_blocks * _STAT_BLOCK
        return taken
