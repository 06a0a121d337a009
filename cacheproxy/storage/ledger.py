"""The store's account: what is there, what is on its way, and what may still come.

It is kept in SQLite beside the blobs, so that all processes of a volume have the same one: a
reservation is a transaction, and the bound holds for all of them together. What it says of
uses is worth keeping over restarts; what it says of bytes is checked against the directory.
"""

import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from cacheproxy.domain.budget import Budget, Entry, evictable, excess, heated, is_idle
from cacheproxy.domain.digest import Digest
from cacheproxy.domain.patterns import Patterns
from cacheproxy.domain.relations import Relations
from cacheproxy.storage.claims import Claim, Usage, Use
from cacheproxy.storage.ledger_schema import SCHEMA, VERSION

_ALL = "SELECT digest, size, kind, registry, since, last_used, heat FROM blob"
_USED = "SELECT COALESCE(SUM(stored), 0), COALESCE(SUM(reserved), 0) FROM used"
_LOCK_SECONDS = 10.0


class Ledger:
    """The account of one store. Synchronous; for one thread of each process."""

    def __init__(
        self, path: Path, remove: Callable[[Digest], bool], free: Callable[[], int]
    ) -> None:
        """Open or make it.

        Args:
            path: of the database.
            remove: unlinks a blob unless somebody reads it; says whether it is gone.
            free: tells the bytes of the volume that are free, or taken by downloads so far.

        Raises:
            sqlite3.Error: it cannot be used.
        """
        self._remove = remove
        self._free = free
        # isolation_level=None: transactions begin and end where it is written below.
        self._db = sqlite3.connect(
            path, timeout=_LOCK_SECONDS, isolation_level=None, check_same_thread=False
        )
        self._db.execute("PRAGMA synchronous=NORMAL")
        self._prepare()

    def _prepare(self) -> None:
        """Make the tables. Workers open it at once, and this does not wait for a lock."""
        deadline = time.monotonic() + _LOCK_SECONDS
        while True:
            try:
                self._db.execute("PRAGMA journal_mode=WAL")
                self._db.executescript(SCHEMA)
                self._db.execute(f"PRAGMA user_version={VERSION}")
            except sqlite3.OperationalError:
                if time.monotonic() > deadline:
                    self._db.close()
                    raise
                time.sleep(0.02)
            else:
                return

    def close(self) -> None:
        """Close the database."""
        self._db.close()

    def usage(self, registry: str | None = None) -> Usage:
        """How much there is, of one upstream or of all."""
        row = self._db.execute(*_of(_USED, registry)).fetchone()
        return Usage(*row)

    def entries(self, registry: str | None = None) -> list[Entry]:
        """All blobs, of one upstream or of all."""
        rows = self._db.execute(*_of(_ALL, registry))
        return [Entry(Digest(digest), *rest) for digest, *rest in rows]

    def reservations(self) -> list[Digest]:
        """What room is reserved for."""
        return [Digest(row[0]) for row in self._db.execute("SELECT digest FROM reservation")]

    def entry(self, digest: Digest) -> Entry | None:
        """One blob."""
        row = self._db.execute(_ALL + " WHERE digest = ?", (digest,)).fetchone()
        return None if row is None else Entry(Digest(row[0]), *row[1:])

    # -- room ----------------------------------------------------------------------------

    def reserve(self, claim: Claim, budget: Budget, now: float) -> tuple[bool, list[Entry]]:
        """Reserve so many bytes in all for a digest, evicting what must go for them.

        Returns whether they are reserved, and what was evicted.
        """
        evicted: list[Entry] = []
        with self._transaction():
            # What another upstream's download has left counts for the one that goes on.
            left_by = self._assign(claim.digest, claim.registry)
            wanted = max(0, claim.size - self._reserved(claim.digest))
            if not wanted and left_by == claim.registry:
                return True, evicted
            if not self._make_room(wanted, claim.registry, budget, now, evicted):
                self._assign(claim.digest, left_by)
                return False, evicted
            if wanted:
                self._db.execute(
                    "INSERT INTO reservation VALUES (?, ?, ?)"
                    " ON CONFLICT (digest) DO UPDATE SET size = excluded.size",
                    (claim.digest, claim.size, claim.registry),
                )
        return True, evicted

    def release(self, digest: Digest, kept: int) -> None:
        """Give a reservation back, but for the bytes of a partial download that is kept."""
        with self._transaction():
            if kept:
                self._db.execute(
                    "INSERT INTO reservation VALUES (?, ?, '')"
                    " ON CONFLICT (digest) DO UPDATE SET size = excluded.size",
                    (digest, kept),
                )
            else:
                self._db.execute("DELETE FROM reservation WHERE digest = ?", (digest,))

    def evict(self, needed: int, budget: Budget, now: float) -> list[Entry]:
        """Evict at least so many bytes, if that many may go: the disk is fuller than we knew."""
        evicted: list[Entry] = []
        with self._transaction():
            self._evict(self.entries(), needed, budget, now, evicted)
        return evicted

    def keep_within(self, budget: Budget, now: float) -> tuple[list[Entry], list[Entry]]:
        """Evict what is idle, and what today's budget has no room for; both lists."""
        went_idle: list[Entry] = []
        too_much: list[Entry] = []
        with self._transaction():
            old = [entry for entry in self.entries() if is_idle(entry, budget, now)]
            self._evict(old, sum(entry.size for entry in old) + 1, budget, now, went_idle)
            for registry, _ in budget.shares:
                self._make_room(0, registry, budget, now, too_much)
            self._make_room(0, "", budget, now, too_much)
        return went_idle, too_much

    # -- blobs ---------------------------------------------------------------------------

    def commit(self, entry: Entry, children: Iterable[Digest] = ()) -> None:
        """What was reserved is a blob now."""
        with self._transaction():
            self._db.execute("DELETE FROM reservation WHERE digest = ?", (entry.digest,))
            self._insert([entry])
            self._relate(entry.digest, children)

    def name(self, reference: str, digest: Digest) -> None:
        """Remember what a tag names: pins are of tags."""
        with self._transaction():
            self._db.execute(
                "INSERT INTO name VALUES (?, ?)"
                " ON CONFLICT (reference) DO UPDATE SET digest = excluded.digest",
                (reference, digest),
            )

    def forget(self, digests: Iterable[Digest]) -> None:
        """Strike out what is not there any more."""
        with self._transaction():
            self._delete(digests)

    def add_found(self, found: Iterable[tuple[Entry, tuple[Digest, ...]]]) -> None:
        """Take in what the directory has, with its parts, and the account did not know of."""
        with self._transaction():
            for entry, children in found:
                self._insert([entry])
                self._relate(entry.digest, children)

    def use(self, uses: Mapping[Digest, Use]) -> None:
        """Write down what was asked for; what a manifest refers to was, too, in its way."""
        with self._transaction():
            for digest, use in uses.items():
                # Rows first: an update while they are read would change what is read.
                for entry in [self.entry(part) for part in self._with_parts([digest])]:
                    if entry is not None:
                        heat = heated(entry.heat, entry.last_used, use.at, use.count)
                        self._db.execute(
                            "UPDATE blob SET last_used = MAX(last_used, ?), heat = ?"
                            " WHERE digest = ?",
                            (use.at, heat, entry.digest),
                        )

    def pinned(self, pins: tuple[str, ...]) -> frozenset[Digest]:
        """What never goes: what the pinned tags name, with all its parts."""
        if not pins:
            return frozenset()
        chosen = Patterns(pins)
        rows = self._db.execute("SELECT reference, digest FROM name").fetchall()
        return frozenset(
            self._with_parts(digest for reference, digest in rows if chosen.accept(reference))
        )

    # -- for commands that look after the store ---------------------------------------------

    def relations(self) -> Relations:
        """Which tag names what, and which manifest refers to what."""
        children: dict[Digest, set[Digest]] = {}
        for parent, child in self._db.execute("SELECT parent, digest FROM child"):
            children.setdefault(Digest(parent), set()).add(Digest(child))
        names = self._db.execute("SELECT reference, digest FROM name").fetchall()
        return Relations({name: Digest(digest) for name, digest in names}, children)

    def forget_names(self, references: Iterable[str]) -> None:
        """Forget what tags name."""
        with self._transaction():
            self._db.executemany(
                "DELETE FROM name WHERE reference = ?", [(name,) for name in references]
            )

    def purge(self, digests: Iterable[Digest]) -> list[Digest]:
        """Remove blobs, whatever they are worth; returns those that are gone.

        Those that are not are being read.
        """
        with self._transaction():
            gone = [digest for digest in digests if self._remove(digest)]
            self._delete(gone)
        return gone

    def strike(self, digests: Iterable[Digest], holds: Callable[[Digest], bool]) -> list[Digest]:
        """Strike out those of which there is no file; returns which were in the account.

        Looked at within the transaction: who commits one of them meanwhile waits for it, and
        is not struck out.
        """
        struck = []
        with self._transaction():
            for digest in digests:
                if not holds(digest):
                    if self.entry(digest) is not None:
                        struck.append(digest)
                    self._delete([digest])
        return struck

    # -- within a transaction -------------------------------------------------------------

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        # IMMEDIATE: the right to write from the start, or two processes could both read that
        # there is room, and both take it.
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    def _reserved(self, digest: Digest) -> int:
        row = self._db.execute(
            "SELECT size FROM reservation WHERE digest = ?", (digest,)
        ).fetchone()
        return int(row[0]) if row else 0

    def _assign(self, digest: Digest, registry: str) -> str:
        """Count a reservation for another upstream; for which it counted before."""
        row = self._db.execute(
            "SELECT registry FROM reservation WHERE digest = ?", (digest,)
        ).fetchone()
        self._db.execute("UPDATE reservation SET registry = ? WHERE digest = ?", (registry, digest))
        return registry if row is None else str(row[0])

    def _make_room(
        self, wanted: int, registry: str, budget: Budget, now: float, evicted: list[Entry]
    ) -> bool:
        """Evict until so many bytes fit into the upstream's share and into the whole.

        Nothing goes for what would not fit even so.
        """
        bounds = self._bounds(registry, budget)
        if wanted and not self._may_fit(wanted, bounds, budget):
            return False
        for of, allowed in bounds:
            needed = excess(self.usage(of).total, wanted, allowed, budget.low_water)
            self._evict(self.entries(of) if needed else [], needed, budget, now, evicted)
        return all(self.usage(of).total + wanted <= allowed for of, allowed in bounds)

    def _bounds(self, registry: str, budget: Budget) -> list[tuple[str | None, int]]:
        """What bounds an upstream's blobs: its share if it has one, and the whole."""
        share = budget.share_of(registry)
        whole: tuple[str | None, int] = (None, self._allowed(budget))
        return [whole] if share is None else [(registry, share), whole]

    def _may_fit(self, wanted: int, bounds: list[tuple[str | None, int]], budget: Budget) -> bool:
        """Whether so many bytes fit, now or once all has gone that may."""
        for of, allowed in bounds:
            used = self.usage(of).total
            if used + wanted > allowed:
                pinned = self.pinned(budget.pins)
                may_go = sum(e.size for e in self.entries(of) if e.digest not in pinned)
                if used - may_go + wanted > allowed:
                    return False
        return True

    def _allowed(self, budget: Budget) -> int:
        """Bytes that may be taken in all, by the budget and by what the volume has left.

        What is reserved is still free there, or written by now: either way it is taken.
        """
        usage = self.usage()
        spare = self._free() - budget.min_free - usage.reserved
        return max(0, min(budget.max_size, usage.total + spare))

    def _evict(
        self,
        entries: Iterable[Entry],
        needed: int,
        budget: Budget,
        now: float,
        evicted: list[Entry],
    ) -> None:
        """Evict until `needed` bytes have become free."""
        if needed <= 0:
            return
        freed = 0
        gone: list[Entry] = []
        for entry in evictable(entries, budget.policy, self.pinned(budget.pins), now):
            if freed >= needed:
                break
            if self._remove(entry.digest):
                gone.append(entry)
                freed += entry.size
        self._delete(entry.digest for entry in gone)
        evicted.extend(gone)

    def _insert(self, entries: Iterable[Entry]) -> None:
        self._db.executemany(
            "INSERT INTO blob VALUES (?, ?, ?, ?, ?, ?, ?)"
            " ON CONFLICT (digest) DO UPDATE SET size = excluded.size",
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
