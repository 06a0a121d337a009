"""Where things are below the cache directory, and that it can be used at all.

blobs/sha256/6c/6c3c…      committed: verified, complete, read-only
ledger.db                  the account: sizes, uses, reservations
ledger.db.lock             held by a process that makes the ledger anew
ledger.db.damaged-17…      a ledger that could not be read, set aside
ingest/sha256-6c3c…        being written by the process that holds its lock, or left over
scrub                      how far the scrub in the background is
warm                       locked by the process that goes by the schedule of `warm`
traffic.db                 what was served and fetched, by hour
accesses/0000000001.log    what clients were served, for `cacheproxy plan`
quarantine/sha256-6c3c…    had a blob's name, and other bytes; for the operator to look at
version                    of all this
"""

import contextlib
import errno
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from cacheproxy.domain.budget import on_disk
from cacheproxy.domain.digest import Digest
from cacheproxy.domain.errors import DigestInvalid, StartError

VERSION = 1
"""A later version migrates; an older one, that does not know what there is, leaves it alone."""

# What `st_blocks` counts in, whatever the file system's own blocks are (POSIX).
_STAT_BLOCK = 512
_DIRECTORIES = ("blobs", "ingest", "metadata")
_IN_THE_WAY = frozenset({errno.EEXIST, errno.ENOTDIR})
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


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

    def quarantined(self) -> list[Path]:
        """The files in the quarantine, whatever they are called.

        Raises:
            FileNotFoundError: nothing ever was put there.
        """
        directory = self.root / "quarantine"
        return [path for path in directory.iterdir() if path.is_file() and not path.is_symlink()]

    @property
    def metadata(self) -> Path:
        """Of the embedded metadata store."""
        return self.root / "metadata"

    @property
    def scrub(self) -> Path:
        """Of how far the scrub in the background is."""
        return self.root / "scrub"

    @property
    def warm(self) -> Path:
        """Of the lock of the schedule of warming."""
        return self.root / "warm"

    @property
    def traffic(self) -> Path:
        """Of what was served and fetched, by hour."""
        return self.root / "traffic.db"

    @property
    def version(self) -> Path:
        """Says by which version of the layout all this is."""
        return self.root / "version"

    @property
    def admin_token(self) -> Path:
        """The token of the admin port, where the configuration has none."""
        return self.root / "admin.token"

    @property
    def accesses(self) -> Path:
        """Of what clients were served; made by whoever writes it."""
        return self.root / "accesses"

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
            for name in _DIRECTORIES:
                (self.root / name).mkdir(parents=True, exist_ok=True, mode=0o700)
            self._try_writing()
            self.check_version()
            self._write_version()
        except OSError as error:
            raise StartError(
                f"the cache directory {self.root} cannot be used: {error.strerror}: "
                f"{error.filename}; {_remedy(error)}, or set cache.directory to another"
            ) from error

    def check_version(self) -> None:
        """See to it that what is here is of a version that is known.

        Raises:
            StartError: it is of a later one.
            OSError: that cannot be read.
        """
        try:
            written = self.version.read_text(encoding="ascii").strip()
        except FileNotFoundError:
            return  # of before there were any, or new
        except UnicodeDecodeError:
            written = "?"
        if not (written.isdigit() and int(written) <= VERSION):
            raise StartError(
                f"the cache directory {self.root} is of version {written[:20]!r}, and this "
                f"cacheproxy knows {VERSION} at most: run a later one, or set cache.directory to "
                "another; nothing was changed"
            )

    def _write_version(self) -> None:
        if self.version.exists():
            return
        beside = self.root / f".version-{os.getpid()}"
        try:
            beside.write_text(f"{VERSION}\n", encoding="ascii")
            beside.replace(self.version)
        except OSError as error:
            beside.unlink(missing_ok=True)
            if error.errno not in _FULL:  # else at the next start
                raise

    def _try_writing(self) -> None:
        """A write, since permission bits say nothing of a read-only mount (nor to root)."""
        ingest = self.root / "ingest"
        probe = ingest / f".probe-{os.getpid()}"
        try:
            probe.touch()
            probe.unlink()
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(ingest)) from error
        for path in (self.root, *(self.root / name for name in _DIRECTORIES)):
            if not os.access(path, os.R_OK | os.W_OK | os.X_OK):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    def volume_bytes(self) -> int:
        """Of the whole volume that the directory is on."""
        return shutil.disk_usage(self.root).total

    def spare_bytes(self) -> int:
        """That this user may still take of the volume."""
        return shutil.disk_usage(self.root).free

    def free_bytes(self) -> int:
        """That this user may still take of the volume, or that downloads have taken so far."""
        return self.spare_bytes() + self._ingest_bytes()

    def _ingest_bytes(self) -> int:
        """The room that downloads take, partial ones included; not what else lies there."""
        taken = 0
        with os.scandir(self.root / "ingest") as found:
            for path in found:
                with contextlib.suppress(DigestInvalid, FileNotFoundError):  # committed meanwhile
                    ingested(path.name)
                    taken += path.stat(follow_symlinks=False).st_blocks * _STAT_BLOCK
        return taken


def ingested(name: str) -> Digest:
    """Of which blob a file in `ingest` would be.

    Raises:
        DigestInvalid: of none: somebody put it there.
    """
    return Digest.parse(name.replace("-", ":", 1))


def room(status: os.stat_result) -> int:
    """The room that a file takes, in whole blocks: for one full of holes, less than its size."""
    return min(on_disk(status.st_size), on_disk(status.st_blocks * _STAT_BLOCK))


def _remedy(error: OSError) -> str:
    if error.errno in _FULL:
        return "make room on its volume"
    if error.errno in _IN_THE_WAY:
        return "remove what is in its way and no directory"
    return "make it and all that is in it writable for this user"
