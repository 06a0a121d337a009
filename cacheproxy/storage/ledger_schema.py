"""The tables of the ledger."""

import sqlite3

VERSION = 1
"""Written into the database; a later version migrates from it."""

SCHEMA = """
CREATE TABLE IF NOT EXISTS blob (
  digest TEXT PRIMARY KEY, size INTEGER NOT NULL, kind TEXT NOT NULL, registry TEXT NOT NULL,
  since REAL NOT NULL, last_used REAL NOT NULL, heat REAL NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS reservation (
  digest TEXT PRIMARY KEY, size INTEGER NOT NULL, registry TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS child (
  parent TEXT NOT NULL, digest TEXT NOT NULL, PRIMARY KEY (parent, digest)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS child_of ON child (digest);
CREATE TABLE IF NOT EXISTS name (
  reference TEXT PRIMARY KEY, digest TEXT NOT NULL
) WITHOUT ROWID;

-- The sums, by upstream: kept by triggers, since adding up 100,000 rows for each reservation
-- takes longer than the reservation.
CREATE TABLE IF NOT EXISTS used (
  registry TEXT PRIMARY KEY, stored INTEGER NOT NULL DEFAULT 0, reserved INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;

-- Of an earlier draft; beside its successor it would count twice.
DROP TRIGGER IF EXISTS reservation_resized;
CREATE TRIGGER IF NOT EXISTS blob_in AFTER INSERT ON blob BEGIN
  INSERT INTO used (registry, stored) VALUES (new.registry, new.size)
    ON CONFLICT (registry) DO UPDATE SET stored = stored + new.size;
END;
CREATE TRIGGER IF NOT EXISTS blob_out AFTER DELETE ON blob BEGIN
  UPDATE used SET stored = stored - old.size WHERE registry = old.registry;
END;
CREATE TRIGGER IF NOT EXISTS blob_resized AFTER UPDATE OF size ON blob BEGIN
  UPDATE used SET stored = stored + new.size - old.size WHERE registry = old.registry;
END;
CREATE TRIGGER IF NOT EXISTS reservation_in AFTER INSERT ON reservation BEGIN
  INSERT INTO used (registry, reserved) VALUES (new.registry, new.size)
    ON CONFLICT (registry) DO UPDATE SET reserved = reserved + new.size;
END;
CREATE TRIGGER IF NOT EXISTS reservation_out AFTER DELETE ON reservation BEGIN
  UPDATE used SET reserved = reserved - old.size WHERE registry = old.registry;
END;
CREATE TRIGGER IF NOT EXISTS reservation_changed AFTER UPDATE ON reservation BEGIN
  UPDATE used SET reserved = reserved - old.size WHERE registry = old.registry;
  INSERT INTO used (registry, reserved) VALUES (new.registry, new.size)
    ON CONFLICT (registry) DO UPDATE SET reserved = reserved + new.size;
END;
"""


def make_tables(database: sqlite3.Connection) -> None:
    """Make what is not there yet.

    Raises:
        sqlite3.Error: the database cannot be written, or a later version has written it.
    """
    (found,) = database.execute("PRAGMA user_version").fetchone()
    if found > VERSION:
        raise sqlite3.DatabaseError("a later version of cacheproxy has written it")
    database.executescript(SCHEMA)  # of tables that exist it writes nothing, and waits for no lock
    if found != VERSION:
        set_version(database)


def set_version(database: sqlite3.Connection) -> None:
    """Write the version; also when it is there already."""
    database.execute(f"PRAGMA user_version={VERSION}")
