"""The ledger of several workers against a simpler model of it."""

import sqlite3
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)
from typing_extensions import override

from cacheproxy.domain.budget import Budget, Entry, PolicyName, evictable, excess, is_idle
from cacheproxy.domain.digest import Digest
from cacheproxy.storage.claims import Claim, Use
from cacheproxy.storage.reading import FileReader
from cacheproxy.storage.removal import open_blob
from tests.support.ledgers import NOW, Books, digest_of, entry, left

NAMES = "abcdefghij"
WORKERS = 3
VOLUME = 300
REGISTRIES = ("docker.io", "quay.io")
SHARED = "quay.io"

_names = st.sampled_from(NAMES)
_workers = st.integers(0, WORKERS - 1)
_sizes = st.integers(1, 60)
_registries = st.sampled_from(REGISTRIES)
_policies = st.sampled_from(("lru", "lfu-decay", "gdsf-decay"))
_seconds = st.sampled_from((0.0, 1.0, 3600.0, 86400.0, 10 * 86400.0))


@dataclass(frozen=True, slots=True)
class Room:
    """What is reserved for a download, for whom, and how much of it is written by now."""

    size: int
    registry: str
    written: int = 0


class Store(RuleBasedStateMachine):
    """Workers that reserve, commit, use and evict, in any order, on one volume."""

    def __init__(self) -> None:
        super().__init__()
        self.stack = ExitStack()
        root = Path(self.stack.enter_context(TemporaryDirectory()))
        self.books = Books(root / "store", self.stack)
        self.ledgers = [self.books.ledger, *(self.books.another() for _ in range(WORKERS - 1))]
        self.budget = Budget(200)
        self.now = NOW
        self.others = 0
        self.rooms: dict[Digest, Room] = {}
        self.blobs: dict[Digest, Entry] = {}
        self.children: dict[Digest, set[Digest]] = {}
        self.tags: dict[str, Digest] = {}
        self.readers: dict[Digest, FileReader] = {}
        # As much as there may be: more than is allowed only where that has become less.
        self.most: dict[str | None, int] = {}
        self._notice()

    @override
    def teardown(self) -> None:
        for reader in self.readers.values():
            reader.close()
        self.stack.close()

    # -- what the model knows ------------------------------------------------------------

    def taken(self, registry: str | None = None) -> int:
        """Bytes of blobs and of reservations, of one upstream or of all."""
        sizes = [blob.size for blob in self.blobs.values() if registry in (None, blob.registry)]
        sizes += [room.size for room in self.rooms.values() if registry in (None, room.registry)]
        return sum(sizes)

    def limit(self, registry: str | None) -> int:
        """Bytes that the budget allows."""
        share = None if registry is None else self.budget.share_of(registry)
        return self.budget.max_size if share is None else share

    def parts(self, digest: Digest) -> set[Digest]:
        """A blob and all that it refers to."""
        found, ahead = set[Digest](), [digest]
        while ahead:
            one = ahead.pop()
            if one not in found:
                found.add(one)
                ahead.extend(self.children.get(one, ()))
        return found

    def pinned(self) -> set[Digest]:
        """What may not go."""
        if not self.budget.pins:
            return set()
        return {part for digest in self.tags.values() for part in self.parts(digest)}

    def may_go(self, registry: str | None = None) -> list[Entry]:
        """What may go and is not being read, the first first."""
        blobs = [blob for blob in self.blobs.values() if registry in (None, blob.registry)]
        order = evictable(_as_listed(blobs), self.budget.policy, frozenset(self.pinned()), self.now)
        return [blob for blob in order if blob.digest not in self.readers]

    def written(self) -> int:
        """Bytes of downloads that are on the disk."""
        return sum(room.written for room in self.rooms.values())

    def volume_left(self) -> int:
        """Bytes that are free on the volume."""
        return VOLUME - self.others - self.written() - sum(b.size for b in self.blobs.values())

    def allowed(self) -> int:
        """Bytes that may be taken in all, as the ledger reckons."""
        reserved = sum(room.size for room in self.rooms.values())
        spare = self.volume_left() - self.budget.min_free - reserved
        return max(0, min(self.budget.max_size, self.taken() + spare))

    def _notice(self) -> None:
        """Less may be allowed now than there is, or more be there: that is not the ledger's."""
        for of in (None, SHARED):
            self.most[of] = max(self.limit(of), self.taken(of))
        self.books.free = self.volume_left()

    def gone(self, evicted: list[Entry]) -> None:
        """What was evicted was there, might go, and is gone."""
        pinned = self.pinned()
        for blob in evicted:
            assert self.blobs.pop(blob.digest) == blob
            assert blob.digest not in pinned
            assert blob.digest not in self.readers
            self.children.pop(blob.digest, None)
        self.books.free = self.volume_left()

    # -- what happens --------------------------------------------------------------------

    @initialize(
        max_size=st.integers(20, 250),
        share=st.none() | st.integers(10, 200),
        min_free=st.integers(0, 100),
        policy=_policies,
        low_water=st.sampled_from((0.0, 0.8, 0.95, 1.0)),
    )
    def configure(
        self, max_size: int, share: int | None, min_free: int, policy: PolicyName, low_water: float
    ) -> None:
        shares = () if share is None else ((SHARED, share),)
        self.budget = Budget(max_size, min_free, policy, None, low_water, shares)
        self._notice()

    @rule(name=_names, registry=_registries, size=_sizes, worker=_workers)
    def reserve(self, name: str, registry: str, size: int, worker: int) -> None:
        digest = digest_of(name)
        if digest in self.blobs:
            return  # nobody downloads what is there
        before = self.rooms.get(digest, Room(0, registry))
        wanted = max(0, size - before.size)
        expected = self._expected(registry, wanted) if wanted else []
        could = self._could(registry, wanted)
        claim = Claim(digest, registry, size)
        fits, evicted = self.ledgers[worker].reserve(claim, self.budget, self.now)
        if before.registry == registry:
            assert fits == (expected is not None)
            assert evicted == expected or expected is None
            assert could or not evicted, "it would not have helped"
        if fits:
            # What another upstream has left of it counts for the one that goes on with it.
            self.rooms[digest] = replace(before, size=before.size + wanted, registry=registry)
        self.gone(evicted)
        if fits and wanted:
            self._assert_there_is_room()

    def _assert_there_is_room(self) -> None:
        """All that is reserved can be written, and as much stays free as must."""
        to_come = sum(room.size - room.written for room in self.rooms.values())
        assert self.volume_left() - to_come >= self.budget.min_free

    def _limits(self, registry: str) -> list[tuple[str | None, int]]:
        share = self.budget.share_of(registry)
        limits: list[tuple[str | None, int]] = [(None, self.allowed())]
        return limits if share is None else [(registry, share), *limits]

    def _could(self, registry: str, wanted: int) -> bool:
        """Whether it would fit if nobody read anything."""
        pinned = self.pinned()
        for of, limit in self._limits(registry):
            blobs = [b for b in self.blobs.values() if of in (None, b.registry)]
            going = sum(blob.size for blob in blobs if blob.digest not in pinned)
            if self.taken(of) - going + wanted > limit:
                return False
        return True

    def _expected(self, registry: str, wanted: int) -> list[Entry] | None:
        """What has to go for so many bytes; None where they do not fit."""
        gone: list[Entry] = []
        for of, limit in self._limits(registry):
            left = [blob for blob in self.may_go(of) if blob not in gone]
            freed = sum(b.size for b in gone if of in (None, b.registry))
            used = self.taken(of) - freed
            needed = excess(used, wanted, limit, self.budget.low_water)
            going = _first(left, needed)
            if used - sum(blob.size for blob in going) + wanted > limit:
                return None
            gone += going
        return gone

    @precondition(lambda self: self.rooms)
    @rule(data=st.data(), part=st.floats(0, 1))
    def write(self, data: st.DataObject, part: float) -> None:
        digest = data.draw(st.sampled_from(sorted(self.rooms)))
        room = self.rooms[digest]
        written = max(room.written, int(room.size * part))
        self.rooms[digest] = replace(room, written=written)
        self.books.free = self.volume_left()

    @precondition(lambda self: self.rooms)
    @rule(data=st.data(), worker=_workers, keep=st.booleans())
    def give_up(self, data: st.DataObject, worker: int, keep: bool) -> None:
        digest = data.draw(st.sampled_from(sorted(self.rooms)))
        room = self.rooms.pop(digest)
        kept = room.written if keep else 0
        self.ledgers[worker].settle_one(digest, left(kept))
        if kept:
            self.rooms[digest] = replace(room, size=kept, written=kept)
        self.books.free = self.volume_left()

    @precondition(lambda self: self.rooms)
    @rule(data=st.data(), worker=_workers, refers=st.sets(_names, max_size=3))
    def commit(self, data: st.DataObject, worker: int, refers: set[str]) -> None:
        digest = data.draw(st.sampled_from(sorted(self.rooms)))
        room = self.rooms.pop(digest)
        size = data.draw(st.integers(1, room.size))
        blob = replace(
            entry("", size, kind="manifest" if refers else "blob", registry=room.registry),
            digest=digest,
            since=self.now,
            last_used=self.now,
        )
        children = [digest_of(name) for name in sorted(refers)]
        self.books.put(digest)
        self.ledgers[worker].commit(blob, children)
        self.blobs[digest] = blob
        if children:
            self.children[digest] = set(children)
        self.books.free = self.volume_left()

    @rule(name=_names, worker=_workers, count=st.integers(1, 5), ago=_seconds)
    def use(self, name: str, worker: int, count: int, ago: float) -> None:
        digest, at = digest_of(name), self.now - ago
        self.ledgers[worker].use({digest: Use(at, count)})
        for part in self.parts(digest) & self.blobs.keys():
            used = self.blobs[part]
            heat = used.heat_at(at) + count
            self.blobs[part] = replace(used, last_used=max(used.last_used, at), heat=heat)

    @rule(name=_names, tag=st.sampled_from("12"), worker=_workers)
    def tag(self, name: str, tag: str, worker: int) -> None:
        self.tags[tag] = digest_of(name)
        self.ledgers[worker].name(f"docker.io/library/app:{tag}", digest_of(name))

    @precondition(lambda self: self.blobs)
    @rule(data=st.data())
    def read(self, data: st.DataObject) -> None:
        digest = data.draw(st.sampled_from(sorted(self.blobs)))
        if digest not in self.readers:
            reader = open_blob(self.books.layout.blob(digest), self.books.executor)
            assert reader is not None
            self.readers[digest] = reader

    @precondition(lambda self: self.readers)
    @rule(data=st.data())
    def close_reader(self, data: st.DataObject) -> None:
        self.readers.pop(data.draw(st.sampled_from(sorted(self.readers)))).close()

    @rule(seconds=_seconds)
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule(seconds=_seconds)
    def clock_is_set_back(self, seconds: float) -> None:
        self.now -= seconds

    @rule(bytes_=st.integers(0, 150))
    def others_fill_the_volume(self, bytes_: int) -> None:
        self.others = bytes_
        self.books.free = self.volume_left()

    @rule(
        max_size=st.integers(0, 250),
        share=st.none() | st.integers(0, 200),
        pins=st.booleans(),
        idle_for=st.none() | st.just(86400.0),
        policy=_policies,
    )
    def reconfigure(
        self,
        max_size: int,
        share: int | None,
        pins: bool,
        idle_for: float | None,
        policy: PolicyName,
    ) -> None:
        self.budget = replace(
            self.budget,
            max_size=max_size,
            shares=() if share is None else ((SHARED, share),),
            pins=("docker.io/**",) if pins else (),
            idle_for=idle_for,
            policy=policy,
        )
        self._notice()

    @rule(worker=_workers)
    def keep_within(self, worker: int) -> None:
        idle, too_much = self.ledgers[worker].keep_within(self.budget, self.now)
        assert all(is_idle(blob, self.budget, self.now) for blob in idle)
        self.gone(idle)
        assert not [b for b in self.may_go() if is_idle(b, self.budget, self.now)]
        limit = self.allowed()
        self.gone(too_much)
        assert self.taken() <= limit or not self.may_go()
        if self.budget.share_of(SHARED) is not None:
            assert self.taken(SHARED) <= self.limit(SHARED) or not self.may_go(SHARED)
        self.most = {of: max(self.limit(of), self.taken(of)) for of in self.most}

    @rule(worker=_workers, needed=st.integers(0, 100))
    def disk_is_full(self, worker: int, needed: int) -> None:
        expected = _first(self.may_go(), needed)
        evicted = self.ledgers[worker].evict(needed, self.budget, self.now)
        assert evicted == expected
        self.gone(evicted)

    @precondition(lambda self: self.blobs.keys() - self.readers.keys())
    @rule(data=st.data(), worker=_workers)
    def somebody_removes_a_file(self, data: st.DataObject, worker: int) -> None:
        digest = data.draw(st.sampled_from(sorted(self.blobs.keys() - self.readers.keys())))
        self.books.path(digest).unlink()
        self.ledgers[worker].strike([digest], lambda _: False)
        del self.blobs[digest]
        self.children.pop(digest, None)
        self.books.free = self.volume_left()

    @rule(worker=_workers)
    def worker_restarts(self, worker: int) -> None:
        self.ledgers[worker].close()
        self.ledgers[worker] = self.books.another()
        self.books.ledger = self.ledgers[0]

    # -- what is always so ---------------------------------------------------------------

    @invariant()
    def all_is_as_it_should_be(self) -> None:
        self._assert_there_is_never_too_much()
        self._assert_all_workers_have_the_same_account()
        self._assert_sums_are_what_adding_up_gives()
        assert self.books.stored() == self.blobs.keys()

    def _assert_there_is_never_too_much(self) -> None:
        for of, most in self.most.items():
            assert self.taken(of) <= most
        self.most = {of: max(self.limit(of), self.taken(of)) for of in self.most}

    def _assert_all_workers_have_the_same_account(self) -> None:
        for ledger in self.ledgers:
            usage = ledger.usage()
            assert usage.stored == sum(blob.size for blob in self.blobs.values())
            assert usage.reserved == sum(room.size for room in self.rooms.values())
        assert set(self.ledgers[0].reservations()) == self.rooms.keys()
        assert {blob.digest: blob for blob in self.ledgers[0].entries()} == self.blobs

    def _assert_sums_are_what_adding_up_gives(self) -> None:
        for registry in REGISTRIES:
            assert self.ledgers[0].usage(registry).total == self.taken(registry)
        with closing(sqlite3.connect(self.books.layout.ledger)) as db:
            kept = db.execute("SELECT registry, stored, reserved FROM used").fetchall()
            for registry, stored, reserved in kept:
                assert stored == _sum(db, "blob", registry)
                assert reserved == _sum(db, "reservation", registry)


def _sum(db: sqlite3.Connection, table: str, registry: str) -> int:
    query = f"SELECT COALESCE(SUM(size), 0) FROM {table} WHERE registry = ?"
    total: int = db.execute(query, (registry,)).fetchone()[0]
    return total


def _as_listed(blobs: list[Entry]) -> list[Entry]:
    """In the order of their digests, as the ledger lists them: so ties are broken."""
    return sorted(blobs, key=lambda blob: blob.digest)


def _first(blobs: list[Entry], needed: int) -> list[Entry]:
    """As many of the first as have so many bytes, or all."""
    going: list[Entry] = []
    for blob in blobs:
        if sum(one.size for one in going) >= needed:
            break
        going.append(blob)
    return going


TestStore = Store.TestCase
TestStore.settings = settings(max_examples=100, stateful_step_count=40)
