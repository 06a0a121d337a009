"""The traffic of one cache directory, in SQLite: exact over restarts, and over all workers."""

import secrets
import sqlite3
from contextlib import closing
from pathlib import Path

from cacheproxy.domain.traffic import FIELDS, Hours, Totals, Traffic, folded
from cacheproxy.inprocess.databases import make_database, open_database, transaction

_VERSION = 2
_COLUMNS = ", ".join(f"{name} INTEGER NOT NULL" for name in FIELDS)
_SCHEMA = f"""
CREATE TABLE IF NOT EXISTS hourly (
  hour INTEGER NOT NULL, registry TEXT NOT NULL, repository TEXT NOT NULL, {_COLUMNS},
  PRIMARY KEY (hour, registry, repository)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS overall (
  registry TEXT NOT NULL, repository TEXT NOT NULL, {_COLUMNS},
  PRIMARY KEY (registry, repository)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS replica (name TEXT NOT NULL);
"""
# Of the first version, which knew no repositories and no sources.
_MIGRATE = """
INSERT OR IGNORE INTO hourly SELECT hour, registry, '', requests, served, 0, 0, 0, fetched, 0, 0
  FROM traffic;
INSERT OR IGNORE INTO overall SELECT registry, '', requests, served, 0, 0, 0, fetched, 0, 0
  FROM total;
DROP TABLE traffic;
DROP TABLE total;
"""
_MARKS = ", ".join("?" * len(FIELDS))
_SUMS = ", ".join(f"{name} = {name} + excluded.{name}" for name in FIELDS)
_ADD = f"ON CONFLICT DO UPDATE SET {_SUMS}"
_ADD_HOUR = f"INSERT INTO hourly VALUES (?, ?, ?, {_MARKS}) {_ADD}"  # noqa: S608  # our own names
_ADD_OVERALL = f"INSERT INTO overall VALUES (?, ?, {_MARKS}) {_ADD}"  # noqa: S608  # likewise
_DELETE_OLDEST = """
DELETE FROM hourly WHERE hour <
  (SELECT min(hour) FROM (SELECT DISTINCT hour FROM hourly ORDER BY hour DESC LIMIT ?))
"""
_LOCK_SECONDS = 2.0
# Whoever glances at it may hold up a whole process, and can look again later.
_GLANCE_SECONDS = 0.1

# Repositories by name: when there are twice as many, the least of them are folded into the rest.
_KEPT_BY_HOUR = 50
_KEPT_OVERALL = 500


class TrafficStore:
    """What was counted. Synchronous; for one thread of each process."""

    def __init__(self, path: Path) -> None:
        """Open or make it.

        Raises:
            sqlite3.Error: it cannot be used, or a later version has written it.
            OSError: likewise.
        """
        self._db = make_database(path, _LOCK_SECONDS, _make_tables)

    def close(self) -> None:
        """Close it."""
        self._db.close()

    def add(self, counted: Hours, keep: int) -> None:
        """Add what was counted, all or nothing, and delete the oldest hours.

        Hours are kept by their number and not by their age: a clock that is set forward by a
        year must not make all of them old. The sums of all time are never deleted.

        Args:
            counted: by hour, upstream and repository.
            keep: number of hours with traffic that are kept.
        """
        hours = {hour for hour, _, _ in counted}
        with transaction(self._db):
            is_new = not all(map(self._has_hour, hours))
            for (hour, registry, repository), traffic in counted.items():
                numbers = traffic.numbers
                self._db.execute(_ADD_HOUR, (hour, registry, repository, *numbers))
                self._db.execute(_ADD_OVERALL, (registry, repository, *numbers))
            for hour in hours:
                self._fold_hour(hour)
            self._fold_overall()
            if is_new:
                self._db.execute(_DELETE_OLDEST, (keep,))

    def since(self, hour: int) -> Hours:
        """All from an hour on."""
        rows = self._db.execute("SELECT * FROM hourly WHERE hour >= ?", (hour,))
        return {(row[0], row[1], row[2]): Traffic(*row[3:]) for row in rows}

    def overall(self) -> Totals:
        """Of all time."""
        rows = self._db.execute("SELECT * FROM overall")
        return {(row[0], row[1]): Traffic(*row[2:]) for row in rows}

    def replica(self) -> str:
        """A name of this directory's own, made when it was first asked for."""
        with transaction(self._db):
            row = self._db.execute("SELECT name FROM replica").fetchone()
            name = secrets.token_hex(8) if row is None else str(row[0])
            if row is None:
                self._db.execute("INSERT INTO replica VALUES (?)", (name,))
        return name

    def _has_hour(self, hour: int) -> bool:
        found = self._db.execute("SELECT 1 FROM hourly WHERE hour = ? LIMIT 1", (hour,))
        return found.fetchone() is not None

    def _fold_hour(self, hour: int) -> None:
        rows = self._db.execute("SELECT * FROM hourly WHERE hour = ?", (hour,)).fetchall()
        if len(rows) <= 2 * _KEPT_BY_HOUR:
            return
        kept = folded({(row[1], row[2]): Traffic(*row[3:]) for row in rows}, _KEPT_BY_HOUR)
        self._db.execute("DELETE FROM hourly WHERE hour = ?", (hour,))
        values = ((hour, *key, *traffic.numbers) for key, traffic in kept.items())
        self._db.executemany(_ADD_HOUR, values)

    def _fold_overall(self) -> None:
        (count,) = self._db.execute("SELECT count(*) FROM overall").fetchone()
        if count <= 2 * _KEPT_OVERALL:
            return
        kept = folded(self.overall(), _KEPT_OVERALL)
        self._db.execute("DELETE FROM overall")
        values = ((*key, *traffic.numbers) for key, traffic in kept.items())
        self._db.executemany(_ADD_OVERALL, values)


def overall_in(path: Path) -> Totals:
    """What a directory's store has of all time, for a process that does not count into it.

    It is opened anew each time, read-only, and left as it is.

    Raises:
        sqlite3.Error: it cannot be read, or has not been made yet.
    """
    with closing(open_database(path, _GLANCE_SECONDS, "ro")) as db:
        rows = db.execute(f"SELECT registry, repository, {', '.join(FIELDS)} FROM overall")  # noqa: S608  # our own names
        return {(row[0], row[1]): Traffic(*row[2:]) for row in rows}


def _make_tables(database: sqlite3.Connection) -> None:
    """Make the tables, or bring those of an earlier version up to date."""
    with transaction(database):
        (version,) = database.execute("PRAGMA user_version").fetchone()
        if version > _VERSION:
            raise sqlite3.DatabaseError("a later version of cacheproxy has written it")
        for statement in _SCHEMA.split(";"):
            database.execute(statement)
        if version < _VERSION:
            (old,) = database.execute(
                "SELECT count(*) FROM sqlite_master WHERE name = 'traffic'"
            ).fetchone()
            for statement in _MIGRATE.split(";") if old else ():
                database.execute(statement)
            database.execute(f"PRAGMA user_version = {_VERSION}")
