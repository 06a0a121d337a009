"""Forgetting what is recorded of what is gone, so that records do not grow for ever.

What is stored keeps its links, however old they are and whatever the clock says: they are who
may read it. The rest is what upstream says again when it is asked.
"""

import asyncio
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from cacheproxy.domain.digest import Digest
from cacheproxy.domain.errors import DigestInvalid, StorageError
from cacheproxy.inprocess.databases import open_database, transaction
from cacheproxy.metadata.embedded import read_tag
from cacheproxy.ports import Clock

_DAY = 86400.0
# As long as Redis keeps them, which goes by their last use.
_RECORD_SECONDS = 90 * _DAY
_LISTING_SECONDS = 7 * _DAY
# Looked at in one go: some milliseconds of a thread. Then whoever waits has its turn.
_STEP = 500
_PAUSE_SECONDS = 0.05
_LOCK_SECONDS = 10.0

_LOOK = "SELECT rowid, key, value, store_time FROM Cache WHERE rowid > ? ORDER BY rowid LIMIT ?"
# Not if it has been written again since it was looked at.
_DELETE = "DELETE FROM Cache WHERE rowid = ? AND store_time = ?"

_Row = tuple[int, object, object, float]


class Forgetting:
    """Looks through the records of one directory, a few at a time."""

    def __init__(self, directory: Path, is_stored: Callable[[Digest], bool], clock: Clock) -> None:
        """Know where they are.

        Args:
            directory: of the embedded metadata.
            is_stored: whether there is a file for a digest; it is called in a thread.
            clock: tells the time.
        """
        self._path = directory / "cache.db"
        self._is_stored = is_stored
        self._clock = clock

    async def run(self) -> int:
        """Look through all of them once; how many are forgotten.

        Raises:
            StorageError: they cannot be read, or written.
        """
        forgotten, last = 0, 0
        while True:
            count, last = await asyncio.to_thread(self._step, last, self._clock.now())
            forgotten += count
            if not last:
                return forgotten
            await self._clock.sleep(_PAUSE_SECONDS)

    def _step(self, after: int, now: float) -> tuple[int, int]:
        """Look at the next few; how many of them went, and the last one, 0 where none is left."""
        try:
            with closing(open_database(self._path, _LOCK_SECONDS)) as db:
                rows: list[_Row] = db.execute(_LOOK, (after, _STEP)).fetchall()
                gone = [(row[0], row[3]) for row in rows if self._is_gone(row, now)]
                if gone:
                    with transaction(db):
                        db.executemany(_DELETE, gone)
        except sqlite3.Error as error:
            raise StorageError(f"the metadata store failed: {error}") from error
        return len(gone), rows[-1][0] if len(rows) == _STEP else 0

    def _is_gone(self, row: _Row, now: float) -> bool:
        _, key, value, stored_at = row
        age = now - stored_at
        if not isinstance(key, str):
            return False  # none of ours
        kind, _, rest = key.partition(" ")
        match kind:
            case "listing":
                return age > _LISTING_SECONDS
            case "link":
                return age > _RECORD_SECONDS and not self._has(_linked(rest))
            case "tag":
                record = read_tag(value)
                named = None if record is None else record.digest
                return age > _RECORD_SECONDS and not self._has(named)
            case _:
                return False

    def _has(self, digest: Digest | None) -> bool:
        return digest is not None and self._is_stored(digest)


def _linked(rest: str) -> Digest | None:
    try:
        return Digest.parse(rest.rpartition(" ")[2])
    except DigestInvalid:
        return None
