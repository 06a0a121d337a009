"""The ledger that one process has open, opened again when it fails or its file is replaced."""

import contextlib
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from cacheproxy.inprocess.databases import (
    DamagedDatabase,
    Identity,
    identity_of,
    is_damaged,
    is_passing,
)
from cacheproxy.storage.ledger import Ledger
from cacheproxy.storage.open_file import lock_held

T = TypeVar("T")

_ASIDE = ".damaged-"
# SQLite keeps these beside a database: its write-ahead log, and the index of that.
_COMPANIONS = ("-wal", "-shm")


class LedgerHandle:
    """Runs work on a ledger that outlives damage to its file. For the ledger's thread.

    A file that SQLite calls damaged is set aside, at most one of them. One process makes the new
    file; the others notice, before their next work, that the path leads to another file.

    Attributes:
        generation: counts the files; a new one knows nothing of what the directory holds.
        replaced_because: why the last file was given up; empty for the first one.
    """

    def __init__(
        self, open_ledger: Callable[[], Ledger], on_replaced: Callable[[Ledger], None]
    ) -> None:
        """Open it.

        Args:
            open_ledger: opens the ledger, or makes it.
            on_replaced: called with a ledger that takes the place of another one.

        Raises:
            sqlite3.Error, OSError: it cannot be used.
        """
        self._open_ledger = open_ledger
        self._on_replaced = on_replaced
        self.generation = 0
        self.replaced_because = ""
        self._ledger: Ledger | None = None
        self._identity: Identity | None = None
        self._damaged: Identity | None = None
        try:
            self._ledger = open_ledger()
            self._path, self._identity = self._ledger.path, self._ledger.identity
        except DamagedDatabase as error:
            self._path, self._identity = error.path, error.identity
            self._give_up(error)
            self._open()

    def run(self, work: Callable[[Ledger], T]) -> T:
        """Return the result of work on the ledger, which is opened anew first if need be.

        Raises:
            sqlite3.Error: the ledger cannot be used now. The next call tries again.
        """
        try:
            ledger = self._current()
        except OSError as error:
            raise sqlite3.OperationalError(error.strerror or str(error)) from error
        try:
            return work(ledger)
        except sqlite3.Error as error:
            if not is_passing(error):
                self._give_up(error)
            raise

    def close(self) -> None:
        """Close the ledger."""
        if self._ledger is not None:
            with contextlib.suppress(sqlite3.Error):  # nothing in it can be saved any more
                self._ledger.close()
            self._ledger = None

    def _current(self) -> Ledger:
        if self._ledger is not None and not self._ledger.is_current():
            self.replaced_because = "its file was removed or replaced"
            self.close()
            self._identity = None  # the next file may get the same inode
        return self._ledger or self._open()

    def _give_up(self, error: sqlite3.Error) -> None:
        self.replaced_because = str(error)
        self._damaged = self._identity if is_damaged(error) else None
        self.close()

    def _open(self) -> Ledger:
        """Open the file that is there; make a new one if there is none, or a damaged one."""
        with lock_held(self._path.with_name(f"{self._path.name}.lock")):
            self._clear_way()
            try:
                ledger = self._open_ledger()
            except DamagedDatabase as error:
                self.replaced_because = str(error)
                self._damaged = error.identity
                self._clear_way()
                ledger = self._open_ledger()
        is_another = ledger.identity != self._identity or self._damaged is not None
        self._ledger, self._identity, self._damaged = ledger, ledger.identity, None
        if is_another:
            self.generation += 1
            self._on_replaced(ledger)
        return ledger

    def _clear_way(self) -> None:
        """Set a damaged file aside, and remove what belonged to a file that is gone.

        The companions would otherwise be those of the new file too, and processes that have the
        old file open would write into them.
        """
        found = identity_of(self._path)
        if found is not None and found == self._damaged:
            set_aside(self._path, int(time.time()))
        elif found is None:
            for companion in _companions(self._path):
                companion.unlink(missing_ok=True)


def set_aside(path: Path, now: int) -> None:
    """Rename a database with its companions, and remove what was set aside before.

    Args:
        path: of the database.
        now: seconds since the epoch, for its new name.

    Raises:
        OSError: the directory refuses.
    """
    for old in path.parent.glob(f"{path.name}{_ASIDE}*"):
        old.unlink(missing_ok=True)
    target = path.with_name(f"{path.name}{_ASIDE}{now}")
    path.rename(target)
    for companion, renamed in zip(_companions(path), _companions(target), strict=True):
        with contextlib.suppress(FileNotFoundError):
            companion.rename(renamed)


def _companions(path: Path) -> list[Path]:
    return [path.with_name(path.name + ending) for ending in _COMPANIONS]
