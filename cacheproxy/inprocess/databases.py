"""Opening SQLite databases: the one place that does.

POSIX drops all locks that a process holds on a file as soon as the process closes any descriptor
of that file. SQLite counts its own descriptors of each file and closes none too early, so several
connections in one process are safe. A descriptor that anybody else closes is not: the locks go,
the next process that closes the database takes itself for the last one, and deletes the
write-ahead log that this process still writes to. So nothing but SQLite ever opens a database
file, not even to make it.
"""

import errno
import os
import sqlite3
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal

Access = Literal["rw", "ro", "ro&immutable=1"]
"""SQLite's `mode`. `immutable` ignores locks and the write-ahead log: for a file that nobody has
open, on a volume that has no room for the log's index."""

Identity = tuple[int, int]
"""Device and inode of a file."""

_RETRY_SECONDS = 0.02
_BUSY = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED})
# A retry does not help against these.
_LASTING = frozenset({sqlite3.SQLITE_FULL, sqlite3.SQLITE_READONLY})
_DAMAGED = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})


class DamagedDatabase(sqlite3.DatabaseError):
    """A file that is no database, or a broken one.

    Attributes:
        path: of the file.
        identity: of the file that was opened.
    """

    def __init__(self, error: sqlite3.Error, path: Path, identity: Identity | None) -> None:
        super().__init__(str(error))
        self.path = path
        self.identity = identity


def open_database(path: Path, busy_timeout: float, access: Access = "rw") -> sqlite3.Connection:
    """Connect to a database that exists.

    Args:
        path: of the database.
        busy_timeout: seconds that a statement waits for the lock of another connection.
        access: read and write, or read only.

    Raises:
        sqlite3.Error: the file does not exist or cannot be opened.
    """
    return sqlite3.connect(
        f"{path.absolute().as_uri()}?mode={access}",
        uri=True,
        timeout=busy_timeout,
        isolation_level=None,  # transactions begin and end where the code says so
        check_same_thread=False,
    )


def make_database(
    path: Path, busy_timeout: float, prepare: Callable[[sqlite3.Connection], None]
) -> sqlite3.Connection:
    """Connect to a database with a write-ahead log; make it, for its owner alone, if need be.

    Args:
        path: of the database.
        busy_timeout: seconds that a statement waits for the lock of another connection.
        prepare: makes the tables; called again while another process keeps the database busy.

    Raises:
        sqlite3.Error, OSError: the database cannot be used.
    """
    make_file(path)
    # SQLite would open it read-only, or try again and again.
    if not os.access(path, os.R_OK | os.W_OK, effective_ids=True):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
    identity = identity_of(path)
    database = open_database(path, busy_timeout)
    try:
        _prepare(database, time.monotonic() + busy_timeout, prepare)
    except BaseException as error:
        database.close()
        if isinstance(error, sqlite3.Error) and is_damaged(error):
            raise DamagedDatabase(error, path, identity) from error
        raise
    return database


def make_file(path: Path) -> None:
    """Make an empty file for its owner alone, unless there is one. Opens nothing.

    Raises:
        OSError: the file cannot be made.
    """
    with suppress(FileExistsError):
        os.mknod(path, stat.S_IFREG | 0o600)


def identity_of(path: Path) -> Identity | None:
    """Return which file has this path now; None if there is none.

    Raises:
        OSError: that cannot be told.
    """
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino


@contextmanager
def transaction(database: sqlite3.Connection) -> Iterator[None]:
    """Commit all of the block, or nothing. The right to write is taken at its beginning.

    Two processes that took it later could both read first, and both act on what they read.
    """
    database.execute("BEGIN IMMEDIATE")
    try:
        yield
        database.execute("COMMIT")
    except BaseException:
        if database.in_transaction:  # after some errors SQLite has rolled back by itself
            database.execute("ROLLBACK")
        raise


def _prepare(
    database: sqlite3.Connection, deadline: float, prepare: Callable[[sqlite3.Connection], None]
) -> None:
    """Set the journal mode, for which SQLite does not wait for a lock, and make the tables."""
    while True:
        try:
            database.execute("PRAGMA journal_mode=WAL")
            database.execute("PRAGMA synchronous=NORMAL")
            prepare(database)
        except sqlite3.OperationalError as error:
            if _primary(error) in _LASTING or time.monotonic() > deadline:
                raise
            time.sleep(_RETRY_SECONDS)
        else:
            return


def is_passing(error: sqlite3.Error) -> bool:
    """Return whether the connection may work again as it is: busy, full or read-only."""
    return _primary(error) in _BUSY | _LASTING


def is_damaged(error: sqlite3.Error) -> bool:
    """Return whether SQLite says that the file is no database, or a broken one."""
    return _primary(error) in _DAMAGED


def _primary(error: sqlite3.Error) -> int:
    """Return SQLite's primary result code; 0 for an error of the Python module."""
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF
