"""The rows of the ledger: read and written, within whatever transaction there is."""

import sqlite3
from collections.abc import Iterable

from cacheproxy.domain.budget import Entry
from cacheproxy.domain.digest import Digest
from cacheproxy.domain.patterns import Patterns
from cacheproxy.domain.relations import Relations
from cacheproxy.storage.claims import Claim, Usage

_ALL = "SELECT digest, size, kind, registry, since, last_used, heat FROM blob"
_USED = "SELECT COALESCE(SUM(stored), 0), COALESCE(SUM(reserved), 0) FROM used"
_LEADING = """
WITH RECURSIVE up (digest, level) AS (
  VALUES (?, 0) UNION SELECT parent, level + 1 FROM child JOIN up USING (digest) WHERE level < 4
)
SELECT DISTINCT reference FROM name JOIN up USING (digest) ORDER BY level, reference LIMIT ?
"""
_PARTIAL = "SELECT digest, size, registry FROM reservation"


class Rows:
    """One connection's view of the tables."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def usage(self, registry: str | None = None) -> Usage:
        """How much there is, of one upstream or of all."""
        row = self._db.execute(*_of(_USED, registry)).fetchone()
        return Usage(*row)

    def entries(self, registry: str | None = None) -> list[Entry]:
        """All blobs, of one upstream or of all."""
        rows = self._db.execute(*_of(_ALL, registry))
        return [Entry(Digest(digest), *rest) for digest, *rest in rows]

    def count(self) -> int:
        """How many blobs there are, manifests included."""
        (count,) = self._db.execute("SELECT count(*) FROM blob").fetchone()
        return int(count)

    def reservations(self) -> dict[Digest, str]:
        """What room is reserved for, and for which upstream."""
        rows = self._db.execute("SELECT digest, registry FROM reservation")
        return {Digest(digest): str(registry) for digest, registry in rows}

    def entry(self, digest: Digest) -> Entry | None:
        """One blob."""
        row = self._db.execute(_ALL + " WHERE digest = ?", (digest,)).fetchone()
        return None if row is None else Entry(Digest(row[0]), *row[1:])

    def pinned(self, pins: tuple[str, ...]) -> frozenset[Digest]:
        """What never goes: what the pinned tags name, with all its parts."""
        if not pins:
            return frozenset()
        chosen = Patterns(pins)
        rows = self._db.execute("SELECT reference, digest FROM name").fetchall()
        return frozenset(
            self._with_parts(digest for reference, digest in rows if chosen.accept(reference))
        )

    def relations(self) -> Relations:
        """Which tag names what, and which manifest refers to what."""
        children: dict[Digest, set[Digest]] = {}
        for parent, child in self._db.execute("SELECT parent, digest FROM child"):
            children.setdefault(Digest(parent), set()).add(Digest(child))
        names = self._db.execute("SELECT reference, digest FROM name").fetchall()
        return Relations({name: Digest(digest) for name, digest in names}, children)

    def tags_leading_to(self, digest: Digest, limit: int) -> list[str]:
        """Some of the tags that name it, or an image or index that it is a part of."""
        rows = self._db.execute(_LEADING, (digest, limit))
        return [str(reference) for (reference,) in rows]

    # -- within a transaction -------------------------------------------------------------

    def _reserved(self, digest: Digest) -> int:
        row = self._db.execute(
            "SELECT size FROM reservation WHERE digest = ?", (digest,)
        ).fetchone()
        return int(row[0]) if row else 0

    def _reserved_for(self, digest: Digest) -> str:
        """Return for which upstream a download counts; empty if for none."""
        row = self._db.execute(
            "SELECT registry FROM reservation WHERE digest = ?", (digest,)
        ).fetchone()
        return str(row[0]) if row else ""

    def _partial(self, registry: str | None) -> list[tuple[Digest, int, str]]:
        """Reservations of one upstream or of all, the largest first."""
        rows = self._db.execute(*_of(_PARTIAL, registry)).fetchall()
        return sorted(((Digest(row[0]), row[1], row[2]) for row in rows), key=lambda row: -row[1])

    def _reserve(self, claim: Claim) -> None:
        self._db.execute(
            "INSERT INTO reservation VALUES (?, ?, ?)"
            " ON CONFLICT (digest) DO UPDATE SET size = excluded.size",
            (claim.digest, claim.size, claim.registry),
        )

    def _keep(self, digest: Digest, size: int) -> None:
        """Count the room of a partial download, for whichever upstream it counted."""
        self._db.execute(
            "INSERT INTO reservation VALUES (?, ?, '')"
            " ON CONFLICT (digest) DO UPDATE SET size = excluded.size",
            (digest, size),
        )

    def _unreserve(self, digests: Iterable[Digest]) -> None:
        self._db.executemany(
            "DELETE FROM reservation WHERE digest = ?", [(digest,) for digest in digests]
        )

    def _assign(self, digest: Digest, registry: str) -> str:
        """Count a reservation for another upstream; for which it counted before."""
        row = self._db.execute(
            "SELECT registry FROM reservation WHERE digest = ?", (digest,)
        ).fetchone()
        self._db.execute("UPDATE reservation SET registry = ? WHERE digest = ?", (registry, digest))
        return registry if row is None else str(row[0])

    def _insert(self, entries: Iterable[Entry]) -> None:
        self._db.executemany(
            "INSERT INTO blob VALUES (?, ?, ?, ?, ?, ?, ?)"
            " ON CONFLICT (digest) DO UPDATE SET size = excluded.size,"
            " kind = MAX(kind, excluded.kind)",  # 'manifest' is later in the alphabet
            [(e.digest, e.size, e.kind, e.registry, e.since, e.last_used, e.heat) for e in entries],
        )

    def _relate(self, parent: Digest, children: Iterable[Digest]) -> None:
        self._db.executemany(
            "INSERT OR IGNORE INTO child VALUES (?, ?)", [(parent, child) for child in children]
        )

    def _delete(self, digests: Iterable[Digest]) -> None:
        gone = [(digest,) for digest in digests]
        self._db.executemany("DELETE FROM blob WHERE digest = ?", gone)
        self._db.executemany("DELETE FROM child WHERE parent = ?", gone)

    def _delete_unowned(self, digest: Digest) -> None:
        """Delete a blob's row, but not its relations, if it counts for no upstream."""
        self._db.execute("DELETE FROM blob WHERE digest = ? AND registry = ''", (digest,))

    def _with_parts(self, digests: Iterable[str]) -> list[Digest]:
        """These, and all that they refer to: an index to images, those to their layers."""
        found: dict[str, None] = {}
        for digest in digests:
            rows = self._db.execute(
                "WITH RECURSIVE part (digest) AS (SELECT ?1 UNION"
                " SELECT child.digest FROM child JOIN part ON child.parent = part.digest)"
                " SELECT digest FROM part",
                (digest,),
            )
            found.update(dict.fromkeys(row[0] for row in rows))
        return [Digest(digest) for digest in found]


def _of(query: str, registry: str | None) -> tuple[str, tuple[str, ...]]:
    """A query of one upstream, or of all."""
    return (query, ()) if registry is None else (query + " WHERE registry = ?", (registry,))
