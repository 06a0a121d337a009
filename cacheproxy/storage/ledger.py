"""The store's account: what is there, what is on its way, and what may still come.

It is kept in SQLite beside the blobs, so that all processes of a volume have the same one: a
reservation is a transaction, and the bound holds for all of them together. What it says of
uses is worth keeping over restarts; what it says of bytes is checked against the directory.
"""

import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path

from cacheproxy.domain.budget import Budget, Entry, evictable, excess, heated, is_idle
from cacheproxy.domain.digest import Digest
from cacheproxy.inprocess.databases import identity_of, make_database, make_file, transaction
from cacheproxy.storage.claims import Claim, Left, Use
from cacheproxy.storage.ledger_rows import Rows
from cacheproxy.storage.ledger_schema import make_tables, set_version

_LOCK_SECONDS = 10.0


class Ledger(Rows):
    """The account of one store. Synchronous; for one thread of each process."""

    def __init__(
        self,
        path: Path,
        remove: Callable[[Digest], bool],
        free: Callable[[], int],
        drop: Callable[[Digest], bool] = lambda _: False,
    ) -> None:
        """Open or make it.

        Args:
            path: of the database.
            remove: unlinks a blob unless somebody reads it; says whether it is gone.
            free: tells the bytes of the volume that are free, or taken by downloads so far.
            drop: unlinks a partial download unless somebody writes it; says whether it is gone.

        Raises:
            sqlite3.Error, OSError: it cannot be used.
        """
        self._remove = remove
        self._free = free
        self._drop = drop
        make_file(path)
        # Before the connection: if the file is replaced in between, it is not `is_current`.
        self.path, self.identity = path, identity_of(path)
        super().__init__(make_database(path, _LOCK_SECONDS, make_tables))

    def close(self) -> None:
        """Close the database."""
        self._db.close()

    def is_current(self) -> bool:
        """Return whether the path still leads to the file that this ledger has open."""
        return identity_of(self.path) == self.identity

    def probe(self) -> None:
        """Write something that changes nothing.

        Raises:
            sqlite3.Error: the ledger cannot be written.
        """
        with self._transaction():
            set_version(self._db)

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
            self._forgo_partial(wanted, claim, budget, now, evicted)
            if not self._make_room(wanted, claim.registry, budget, now, evicted):
                self._assign(claim.digest, left_by)
                return False, evicted
            if wanted:
                self._reserve(claim)
        return True, evicted

    def restore(self, claims: Iterable[Claim]) -> None:
        """Reserve again, in a new ledger, what downloads under way had reserved in the old one."""
        with self._transaction():
            for claim in claims:
                self._reserve(claim)

    def evict(self, needed: int, budget: Budget, now: float) -> list[Entry]:
        """Evict at least so many bytes, if that many may go: the disk is fuller than we knew."""
        evicted: list[Entry] = []
        with self._transaction():
            freed = self._drop_partial(needed, None, now, evicted)
            self._evict(self.entries(), needed - freed, budget, now, evicted)
        return evicted

    def keep_within(
        self, budget: Budget, now: float, known_since: float = 0.0
    ) -> tuple[list[Entry], list[Entry]]:
        """Evict what is idle, and what today's budget has no room for; both lists."""
        went_idle: list[Entry] = []
        too_much: list[Entry] = []
        with self._transaction():
            old = [e for e in self.entries() if is_idle(e, budget, now, known_since)]
            self._evict(old, sum(entry.size for entry in old) + 1, budget, now, went_idle)
            for registry, _ in budget.shares:
                self._make_room(0, registry, budget, now, too_much)
            self._make_room(0, "", budget, now, too_much)
        return went_idle, too_much

    # -- blobs ---------------------------------------------------------------------------

    def commit(self, entry: Entry, children: Iterable[Digest] = ()) -> None:
        """What was reserved is a blob now."""
        with self._transaction():
            self._unreserve([entry.digest])
            # Whoever took stock may have found the file first, and cannot tell whose it is.
            self._delete_unowned(entry.digest)
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

    def relate(self, manifest: Digest, children: Iterable[Digest]) -> None:
        """Remember that a blob is a manifest, and what it refers to."""
        with self._transaction():
            self._db.execute("UPDATE blob SET kind = 'manifest' WHERE digest = ?", (manifest,))
            self._relate(manifest, children)

    def settle(self, found: Iterable[Digest], look: Callable[[Digest], Left]) -> bool:
        """Have what is reserved be what is there.

        A process that died has left reservations without a download, downloads without a
        reservation, or a blob that is counted as one on its way. Looked at within the
        transaction: who begins one meanwhile, or commits it, waits for it.

        Args:
            found: downloads that are there, of which there may be no reservation.
            look: tells what there is of one now, and how much room that takes.

        Returns:
            Whether something is being written for which nothing was reserved: its writer has
            not noticed yet that the ledger was made anew.
        """
        is_behind = False
        with self._transaction():
            reserved = self.reservations()
            for digest in {**reserved, **dict.fromkeys(found, "")}:
                what, size = look(digest)
                if what == "written" and size and digest not in reserved:
                    is_behind, what = True, "partial"  # what there is of it counts from now on
                self._settle(digest, reserved.get(digest, ""), what, size)
        return is_behind

    def settle_one(self, digest: Digest, look: Callable[[Digest], Left]) -> str:
        """Have the reservation of one download be what is there, as `settle` does for all.

        Returns what that is.
        """
        with self._transaction():
            what, size = look(digest)
            self._settle(digest, self._reserved_for(digest), what, size)
        return what

    def _settle(self, digest: Digest, registry: str, what: str, size: int) -> None:
        match what:
            case "written":
                pass
            case "partial" if size:
                self._keep(digest, size)
            case _:
                self._unreserve([digest])
                if what == "stored" and self.entry(digest) is None:
                    now = time.time()
                    self._insert([Entry(digest, size, "blob", registry, now, now, 1.0)])

    def drop_partial(self, digests: Iterable[Digest]) -> list[Digest]:
        """Remove partial downloads that nobody writes; which are gone."""
        with self._transaction():
            gone = [digest for digest in digests if self._drop(digest)]
            self._unreserve(gone)
        return gone

    def add_found(self, found: Iterable[tuple[Entry, tuple[Digest, ...]]]) -> None:
        """Take in what the directory has, with its parts, and the account did not know of."""
        with self._transaction():
            for entry, children in found:
                self._insert([entry])
                self._relate(entry.digest, children)

    def use(self, uses: Mapping[Digest, Use]) -> list[Digest]:
        """Write down what was asked for; what a manifest refers to was, too, in its way.

        Returns what is on its way, of which nothing can be written down yet.
        """
        coming = []
        with self._transaction():
            for digest, use in uses.items():
                if self._reserved(digest):
                    coming.append(digest)
                    continue
                # Rows first: an update while they are read would change what is read.
                for entry in [self.entry(part) for part in self._with_parts([digest])]:
                    if entry is not None:
                        heat = heated(entry.heat, entry.last_used, use.at, use.count)
                        self._db.execute(
                            "UPDATE blob SET last_used = MAX(last_used, ?), heat = ?"
                            " WHERE digest = ?",
                            (use.at, heat, entry.digest),
                        )
        return coming

    def forget_lost_names(self) -> int:
        """Forget what tags name that is not stored any more; how many those were."""
        with self._transaction():
            gone = self._db.execute(
                "DELETE FROM name WHERE digest NOT IN (SELECT digest FROM blob)"
            )
        return gone.rowcount

    # -- for commands that look after the store ---------------------------------------------

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

    def _transaction(self) -> AbstractContextManager[None]:
        return transaction(self._db)

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

    def _forgo_partial(
        self, wanted: int, claim: Claim, budget: Budget, now: float, evicted: list[Entry]
    ) -> None:
        """Partial downloads go before blobs: nobody has asked for them since they broke off."""
        bounds = self._bounds(claim.registry, budget)
        if wanted and all(wanted <= allowed for _, allowed in bounds):
            for of, allowed in bounds:
                self._drop_partial(self.usage(of).total + wanted - allowed, of, now, evicted)

    def _drop_partial(
        self, needed: int, registry: str | None, now: float, evicted: list[Entry]
    ) -> int:
        """Remove as many as that takes, the largest first; bytes that have become free."""
        freed = 0
        if needed <= 0:
            return freed
        for digest, size, of in self._partial(registry):
            if freed < needed and self._drop(digest):
                self._unreserve([digest])
                evicted.append(Entry(digest, size, "blob", of, now, now, 0.0))
                freed += size
        return freed

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
