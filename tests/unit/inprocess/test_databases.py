"""Databases that several processes have open at once."""

import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from cacheproxy.inprocess.databases import (
    is_damaged,
    is_passing,
    make_database,
    open_database,
)
from tests.support.leaks import open_files

_SECONDS = 0.05
# Opens a database as another process does, writes to it, and closes it.
_OTHER = (
    "import sqlite3, sys; db = sqlite3.connect(sys.argv[1], isolation_level=None);"
    "db.execute('INSERT INTO t VALUES (2)'); db.close()"
)


def _make_table(database: sqlite3.Connection) -> None:
    database.execute("CREATE TABLE IF NOT EXISTS t (n INTEGER)")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where a database is to be."""
    return tmp_path / "some.db"


@pytest.fixture
def database(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection to it, which has been used."""
    with closing(make_database(path, _SECONDS, _make_table)) as made:
        made.execute("INSERT INTO t VALUES (1)")
        yield made


def _deleted() -> list[str]:
    return [name for name in open_files() if name.endswith("(deleted)") and ".db" in name]


@pytest.mark.parametrize("access", ["rw", "ro", "make"])
def test_a_second_connection_drops_no_lock(
    database: sqlite3.Connection, path: Path, access: str
) -> None:
    """A connection that comes and goes in this process leaves the locks of the first one."""
    match access:
        case "rw":
            open_database(path, _SECONDS).close()
        case "ro":
            with closing(open_database(path, _SECONDS, "ro")) as second:
                second.execute("SELECT * FROM t").fetchall()
        case _:
            make_database(path, _SECONDS, _make_table).close()
    subprocess.run([sys.executable, "-c", _OTHER, path], check=True)
    assert not _deleted()
    assert database.execute("SELECT n FROM t ORDER BY n").fetchall() == [(1,), (2,)]
    database.execute("INSERT INTO t VALUES (3)")
    with closing(open_database(path, _SECONDS, "ro")) as reader:
        assert reader.execute("SELECT count(*) FROM t").fetchone() == (3,)


def test_a_database_is_its_owners_from_the_first_moment(path: Path) -> None:
    """A new database, and all that SQLite puts beside it, is readable for its owner alone."""
    before = os.umask(0)
    try:
        with closing(make_database(path, _SECONDS, _make_table)):
            modes = {one.name: one.stat().st_mode & 0o777 for one in path.parent.iterdir()}
    finally:
        os.umask(before)
    assert set(modes.values()) == {0o600}
    assert len(modes) == 3


def test_what_does_not_exist_is_not_made_by_opening(path: Path) -> None:
    """Only `make_database` makes a file; to open one that does not exist is an error."""
    with pytest.raises(sqlite3.OperationalError, match="unable to open"):
        open_database(path, _SECONDS)
    assert not path.exists()


def test_a_directory_that_does_not_exist_is_an_error(path: Path) -> None:
    """Where a database cannot be made, the operating system says why."""
    with pytest.raises(FileNotFoundError):
        make_database(path / "x.db", _SECONDS, _make_table)


def test_a_file_that_is_not_ours_to_write_is_an_error_at_once(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A database of another user is refused before SQLite would open it for reading only."""
    make_database(path, _SECONDS, _make_table).close()
    monkeypatch.setattr(os, "access", lambda *_, **__: False)  # root may write everything
    with pytest.raises(PermissionError, match="Permission denied") as caught:
        make_database(path, 60.0, _make_table)
    assert caught.value.filename == str(path)


def test_making_waits_for_who_makes_it_too(path: Path) -> None:
    """Processes that start at once make one database between them."""
    calls: list[int] = []

    def busy_once(database: sqlite3.Connection) -> None:
        calls.append(1)
        if len(calls) == 1:
            error = sqlite3.OperationalError("database is locked")
            error.sqlite_errorcode = sqlite3.SQLITE_BUSY
            raise error
        _make_table(database)

    make_database(path, 60.0, busy_once).close()
    assert len(calls) == 2


def test_a_failure_to_prepare_closes_the_file(path: Path) -> None:
    """A database whose tables cannot be made is not left open."""

    def refuse(_: sqlite3.Connection) -> None:
        raise sqlite3.DatabaseError("a later version has written it")

    with pytest.raises(sqlite3.DatabaseError, match="later version"):
        make_database(path, _SECONDS, refuse)
    assert not [name for name in open_files() if str(path) in name]


@pytest.mark.parametrize(
    ("code", "passing", "damaged"),
    [
        (sqlite3.SQLITE_BUSY, True, False),
        (sqlite3.SQLITE_BUSY_SNAPSHOT, True, False),
        (sqlite3.SQLITE_FULL, True, False),
        (sqlite3.SQLITE_READONLY, True, False),
        (sqlite3.SQLITE_IOERR_READ, False, False),
        (sqlite3.SQLITE_CORRUPT, False, True),
        (sqlite3.SQLITE_NOTADB, False, True),
        (None, False, False),
    ],
)
def test_errors_are_told_apart(code: int | None, passing: bool, damaged: bool) -> None:
    """Only some errors end by themselves, and only two mean that the file is broken."""
    error = sqlite3.OperationalError()
    if code is not None:
        error.sqlite_errorcode = code
    assert (is_passing(error), is_damaged(error)) == (passing, damaged)
