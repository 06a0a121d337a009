"""Which stored files are known to be what their names say, at the price of a look.

Bytes are verified before a blob gets its name. From then on whoever writes into the file, cuts
it, or puts another in its place changes when it was last modified, without meaning to. So the
fraction of that second is made to follow from the digest and the size: a file that has it is as
it was verified, and one that has not is read again before it is served. That needs no record
that could be lost, holds for all processes of the volume, and survives copies that keep times.
What changes below the file system, such as a bit on the disk, is for scrub to find.
"""

import contextlib
import os

from cacheproxy.domain.digest import Digest
from cacheproxy.storage.open_file import OpenFile

_SECOND = 10**9
# Some file systems keep time in steps of 100 ns (NTFS, SMB); none of the values is 0, which is
# what those have that keep whole seconds.
_STEP = 100
_VALUES = _SECOND // _STEP - 1
# Hex digits of a digest: both algorithms' names have as many letters.
_FIRST, _LAST = 7, 19

Version = tuple[int, int, int]
"""Inode, time of the last modification, size: what differs once a file was written to."""


class Seals:
    """Seals files, and tells whether they are; remembers those that cannot be sealed.

    Such are files of another owner, and those of a file system that keeps no fractions: they
    are read again once in the life of a process.
    """

    def __init__(self) -> None:
        self._remembered: dict[Digest, Version] = {}

    def holds(self, digest: Digest, status: os.stat_result) -> bool:
        """Whether a file is as it was when it was verified."""
        if is_sealed(digest, status):
            return True
        remembered = self._remembered.get(digest)
        return remembered is not None and remembered == version_of(status)

    def put(self, digest: Digest, file: OpenFile, verified: os.stat_result) -> None:
        """Seal an open file whose bytes were verified; as it was before they were read."""
        seal(digest, file, verified)
        status = file.status()
        if not is_sealed(digest, status) and version_of(status) == version_of(verified):
            self._remembered[digest] = version_of(status)

    def remember(self, digest: Digest, status: os.stat_result) -> None:
        """Remember a file that was verified a moment ago, if it could not be sealed."""
        if not is_sealed(digest, status):
            self._remembered[digest] = version_of(status)


def is_sealed(digest: Digest, status: os.stat_result) -> bool:
    """Whether a file is as it was when it was sealed."""
    return status.st_mtime_ns % _SECOND == _fraction(digest, status.st_size)


def seal(digest: Digest, file: OpenFile, verified: os.stat_result) -> None:
    """Seal an open file, if its owner and its file system let us.

    Not if somebody has written to it since: its bytes are not those that were verified.
    """
    status = file.status()
    if version_of(status) != version_of(verified):
        return
    second = status.st_mtime_ns - status.st_mtime_ns % _SECOND
    modified = second + _fraction(digest, status.st_size)
    with contextlib.suppress(OSError):
        file.set_times(status.st_atime_ns, modified)


def doubt(file: OpenFile) -> None:
    """Break the seal of an open file, if we may: it could not be read, or is wrong."""
    with contextlib.suppress(OSError):
        file.set_times()


def _fraction(digest: Digest, size: int) -> int:
    """Nanoseconds of a second, for a verified file."""
    return ((int(digest[_FIRST:_LAST], 16) ^ size) % _VALUES + 1) * _STEP


def version_of(status: os.stat_result) -> Version:
    """Return what differs once a file has been written to, or replaced."""
    return status.st_ino, status.st_mtime_ns, status.st_size
