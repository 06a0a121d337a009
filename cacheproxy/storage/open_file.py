"""Open files: the only module of the store that handles descriptor numbers.

A number that outlives its file is another file's number a moment later. So a descriptor has one
owner, which counts its holders: each holder closes its own handle, once, and the last one
closes the descriptor. A handle that was closed refuses (EBADF) instead of reading on.
"""

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from stat import S_ISREG
from typing import Self

# Where the kernel has it, a read that would wait for the disk says so instead of waiting.
_NOWAIT: int | None = getattr(os, "RWF_NOWAIT", None)
# O_NONBLOCK: opening a FIFO that somebody has put there would wait for its writer.
_READ = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
_WRITE = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
_APPEND = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC

Identity = tuple[int, int]
"""Device and inode: two names, or two handles, with the same ones are of the same file."""


class _Descriptor:
    """A descriptor number, and how many handles share it."""

    __slots__ = ("holders", "number")

    def __init__(self, number: int) -> None:
        self.number = number
        self.holders = 1


_CLOSED = _Descriptor(-1)


class OpenFile:
    """A handle of an open file. `share` makes further ones; each is closed by its holder.

    All methods raise OSError as the system call does; with EBADF once the handle is closed.
    """

    __slots__ = ("_descriptor",)

    def __init__(self, descriptor: _Descriptor) -> None:
        self._descriptor = descriptor

    @classmethod
    def read_only(cls, path: str | Path) -> Self:
        """Open an existing file. Never follows a symbolic link, never waits for a FIFO."""
        return cls(_Descriptor(os.open(path, _READ)))

    @classmethod
    def read_write(cls, path: str | Path) -> Self:
        """Open a file for its owner alone, and create it if there is none."""
        return cls(_Descriptor(os.open(path, _WRITE, 0o600)))

    @classmethod
    def append_to(cls, path: str | Path) -> Self:
        """Open a file to append to, for its owner alone, and create it if there is none."""
        return cls(_Descriptor(os.open(path, _APPEND, 0o600)))

    @classmethod
    def directory(cls, path: str | Path) -> Self:
        """Open a directory, to lock it or to have its names on the disk."""
        return cls(_Descriptor(os.open(path, _DIRECTORY)))

    def share(self) -> "OpenFile":
        """Return another handle of the same open file, which shares its locks."""
        descriptor = self._descriptor
        if descriptor is not _CLOSED:
            descriptor.holders += 1
        return OpenFile(descriptor)

    def close(self) -> None:
        """Close this handle. Closing twice is harmless."""
        descriptor, self._descriptor = self._descriptor, _CLOSED
        if descriptor is _CLOSED:
            return
        descriptor.holders -= 1
        if not descriptor.holders:
            os.close(descriptor.number)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- what it is ---------------------------------------------------------------------------

    def status(self) -> os.stat_result:
        """Return the status of the file now."""
        return os.fstat(self._descriptor.number)

    @property
    def identity(self) -> Identity:
        """Device and inode."""
        return identity_of(self.status())

    def is_regular(self) -> bool:
        """Whether it is a regular file."""
        return S_ISREG(self.status().st_mode)

    def is_at(self, path: str | Path) -> bool:
        """Whether the name stands for this file, and for no other one."""
        try:
            return identity_of(os.lstat(path)) == self.identity
        except FileNotFoundError:
            return False

    # -- bytes --------------------------------------------------------------------------------

    def read(self, offset: int, length: int) -> bytes:
        """Read up to `length` bytes; empty at the end of the file. May wait for the disk."""
        return os.pread(self._descriptor.number, length, offset)

    def read_cached(self, offset: int, length: int) -> bytes | None:
        """Read what is in the page cache; None if the disk is needed, or nothing is there."""
        if _NOWAIT is None:
            return None
        buffer = bytearray(length)
        try:
            count = os.preadv(self._descriptor.number, [buffer], offset, _NOWAIT)
        except OSError:
            # EAGAIN: not cached. EOPNOTSUPP: a file system without it. `read` tells.
            return None
        if count == length:
            return buffer  # type: ignore[return-value]  # a bytes-like that nobody changes
        return bytes(memoryview(buffer)[:count]) if count else None

    def read_uncached(self, offset: int, length: int) -> bytes:
        """Read, and leave in the page cache what was there before, and nothing more.

        Whoever reads every blob once would otherwise push out what clients ask for.

        Args:
            offset: in the file.
            length: not beyond the end, or the last pages count as not cached.
        """
        content = self.read_cached(offset, length)
        if content is not None and len(content) == length:
            return content
        content = self.read(offset, length)
        os.posix_fadvise(self._descriptor.number, offset, len(content), os.POSIX_FADV_DONTNEED)
        return content

    def expect_random_reads(self) -> None:
        """Have the kernel not read ahead."""
        os.posix_fadvise(self._descriptor.number, 0, 0, os.POSIX_FADV_RANDOM)

    def send(self, socket: int, offset: int, length: int) -> int:
        """Give the kernel bytes for a socket if they are in the page cache; how many it took.

        Both ends are looked at, and the kernel reads ahead between them: to be sure of each
        page would cost as much as a copy.

        Raises:
            BlockingIOError: the socket takes nothing right now.
            ConnectionError: its peer has left.
        """
        if _NOWAIT is None or not self._is_cached(offset, offset + length - 1):
            return 0
        try:
            return os.sendfile(socket, self._descriptor.number, offset, length)
        except (BlockingIOError, ConnectionError):
            raise
        except OSError:
            return 0  # the file system cannot do it

    def _is_cached(self, *offsets: int) -> bool:
        probe, number = bytearray(1), self._descriptor.number
        try:
            return all(os.preadv(number, [probe], at, _NOWAIT or 0) for at in offsets)
        except OSError:
            return False

    def write(self, offset: int, chunk: bytes) -> int:
        """Write all of a chunk; returns the offset behind it."""
        view = memoryview(chunk)
        while view:
            written = os.pwrite(self._descriptor.number, view, offset)
            offset += written
            view = view[written:]
        return offset

    def append(self, content: bytes) -> None:
        """Write all of it at the end of the file."""
        while content:
            content = content[os.write(self._descriptor.number, content) :]

    def truncate(self) -> None:
        """Cut the file down to nothing."""
        os.ftruncate(self._descriptor.number, 0)

    def sync(self) -> None:
        """Wait until everything written is on the disk."""
        os.fsync(self._descriptor.number)

    # -- status that can be changed -------------------------------------------------------------

    def make_read_only(self) -> None:
        """Take away everybody's permission to write."""
        os.fchmod(self._descriptor.number, 0o444)

    def set_times(self, accessed: int | None = None, modified: int | None = None) -> None:
        """Set both times, in nanoseconds since the epoch; without them, to now."""
        if accessed is None or modified is None:
            os.utime(self._descriptor.number)
        else:
            os.utime(self._descriptor.number, ns=(accessed, modified))

    # -- locks (flock): of the open file, so shared by all handles of it ------------------------

    def lock(self) -> bool:
        """Take the lock for this open file alone, without waiting; whether it was free."""
        return self._flock(fcntl.LOCK_EX)

    def wait_for_lock(self) -> None:
        """Take the lock for this open file alone, once others let go of it. Blocks."""
        self._lock_file(fcntl.LOCK_EX)

    def lock_shared(self) -> bool:
        """Share the lock with other open files, without waiting; whether nobody has it alone."""
        return self._flock(fcntl.LOCK_SH)

    def unlock(self) -> None:
        """Give the lock back, also while other handles stay open."""
        self._lock_file(fcntl.LOCK_UN)

    def _flock(self, operation: int) -> bool:
        try:
            self._lock_file(operation | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _lock_file(self, operation: int) -> None:
        if self._descriptor is _CLOSED:  # for which Python would raise a ValueError
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        fcntl.flock(self._descriptor.number, operation)


def identity_of(status: os.stat_result) -> Identity:
    """Return the device and inode of a status."""
    return status.st_dev, status.st_ino


def sync_directory(path: str | Path) -> None:
    """Make the names in a directory survive a power cut."""
    with OpenFile.directory(path) as directory:
        directory.sync()


@contextmanager
def locked(path: str | Path) -> Iterator[OpenFile | None]:
    """Open a file, or create it, and lock it; None while somebody else has the lock.

    Raises:
        OSError: it cannot be opened, or not be created.
    """
    with OpenFile.read_write(path) as file:
        yield file if file.lock() else None


@contextmanager
def lock_held(path: str | Path) -> Iterator[None]:
    """Hold the lock on a file, which is created if there is none, once others let go of it.

    Blocks: for a thread, and for locks that nobody holds for long.

    Raises:
        OSError: the file cannot be opened, or not be created.
    """
    with OpenFile.read_write(path) as file:
        file.wait_for_lock()
        yield
