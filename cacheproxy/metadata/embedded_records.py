"""The embedded metadata, for commands: what is recorded of a repository, and forgetting it.

diskcache cannot list keys by how they begin, so this reads its database (version 5's, as
pinned) by itself. A record that it deletes is gone for running servers too, but for what they
have in memory.
"""

import sqlite3
from collections.abc import Iterable
from pathlib import Path

from cacheproxy.domain.digest import Digest
from cacheproxy.domain.freshness import TagRecord
from cacheproxy.domain.reference import Repository, Tag
from cacheproxy.inprocess.databases import open_database, transaction
from cacheproxy.metadata.embedded import read_tag, tag_key

_LOCK_SECONDS = 10.0
_KINDS = ("tag ", "link ", "listing tags ", "listing referrers ")
# Behind every key that begins like another one.
_LAST = "\U0010ffff"


class EmbeddedRecords:
    """The records in one directory. Synchronous, and no cache of its own."""

    def __init__(self, directory: Path) -> None:
        """Open what is there; never make it.

        Raises:
            sqlite3.Error: it cannot be used.
        """
        self._db = open_database(directory / "cache.db", _LOCK_SECONDS)
        try:
            self._keys("tag ")
        except sqlite3.Error:
            self._db.close()
            raise

    def close(self) -> None:
        """Close the database."""
        self._db.close()

    def tag(self, repository: Repository, tag: Tag) -> TagRecord | None:
        """What upstream last said of a tag."""
        row = self._db.execute(
            "SELECT value FROM Cache WHERE key = ? AND raw = 1", (tag_key(repository, tag),)
        ).fetchone()
        return None if row is None else read_tag(row[0])

    def holders(self, digest: Digest) -> list[str]:
        """The repositories that are known to hold a digest; a pass over the index of keys."""
        rows = self._db.execute(
            "SELECT key FROM Cache WHERE raw = 1 AND key GLOB ?", (f"link * {digest}",)
        )
        return sorted(row[0].split(" ")[1] for row in rows)

    def links(self) -> dict[Digest, set[str]]:
        """All repositories that are known to hold something, by what."""
        found: dict[Digest, set[str]] = {}
        for key in self._keys("link "):
            _, repository, digest = key.split(" ")
            found.setdefault(Digest(digest), set()).add(repository)
        return found

    def below(self, scope: str) -> list[str]:
        """The keys of what is recorded of a repository or of an upstream.

        Args:
            scope: `docker.io/library/nginx `, with the space that ends a name; or `docker.io/`.
        """
        return [key for kind in _KINDS for key in self._keys(kind + scope)]

    def forget(self, keys: Iterable[str]) -> int:
        """Delete records; returns how many there were."""
        with transaction(self._db):
            done = self._db.executemany(
                "DELETE FROM Cache WHERE key = ? AND raw = 1", [(key,) for key in keys]
            )
        return max(0, done.rowcount)

    def _keys(self, begin: str) -> list[str]:
        rows = self._db.execute(
            "SELECT key FROM Cache WHERE raw = 1 AND key >= ? AND key < ?", (begin, begin + _LAST)
        )
        return [row[0] for row in rows]
