"""The ledger: reservations, evictions, uses and pins, in one process and in several."""

import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing
from dataclasses import replace
from pathlib import Path

import pytest

import cacheproxy
from cacheproxy.domain.budget import HALF_LIFE, Budget
from cacheproxy.domain.digest import Digest
from cacheproxy.storage.claims import Claim, Usage, Use
from cacheproxy.storage.ledger import Ledger
from cacheproxy.storage.removal import open_blob
from tests.support.ledgers import AMPLE, DAY, NOW, Books, books, digest_of, entry, left

A, B, C, D = (digest_of(name) for name in "abcd")


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Books]:
    """Ledgers of an empty store."""
    with books(tmp_path / "store") as opened:
        yield opened


def _reading(made: Books, digest: Digest) -> AbstractContextManager[object]:
    """A client that reads a blob."""
    blob = open_blob(made.layout.blob(digest), made.executor)
    assert blob is not None
    return closing(blob)


def _heat(ledger: Ledger, digest: Digest) -> float:
    found = ledger.entry(digest)
    assert found is not None
    return found.heat


# -- the account -------------------------------------------------------------------------


def test_nothing_is_there_at_first(made: Books) -> None:
    """A new ledger holds nothing, reserves nothing and knows nobody."""
    assert made.ledger.usage() == made.ledger.usage("docker.io") == Usage(0, 0)
    assert made.ledger.entries() == []
    assert list(made.ledger.reservations()) == []
    assert made.ledger.entry(A) is None


def test_a_reservation_counts_as_if_it_were_stored(made: Books) -> None:
    """What is reserved is taken, of the whole and of its upstream."""
    budget = Budget(100)
    assert made.reserve("a", 60, budget)
    assert made.ledger.usage() == made.ledger.usage("docker.io") == Usage(0, 60)
    assert made.ledger.usage().total == 60
    assert made.ledger.usage("quay.io") == Usage(0, 0)
    assert not made.reserve("b", 41, budget)
    assert made.reserve("b", 40, budget)
    assert set(made.ledger.reservations()) == {A, B}


def test_a_reservation_grows_and_never_shrinks_by_itself(made: Books) -> None:
    """Sizes are of the whole blob: the same again costs nothing, more costs the difference."""
    budget = Budget(100)
    for size, reserved in ((30, 30), (30, 30), (20, 30), (100, 100)):
        assert made.reserve("a", size, budget)
        assert made.ledger.usage().reserved == reserved
    assert not made.reserve("a", 101, budget)
    assert made.ledger.usage().reserved == 100


def test_a_commit_replaces_the_reservation(made: Books) -> None:
    """A blob counts once: as it is, in place of what was reserved for it."""
    assert made.reserve("a", 60, AMPLE)
    made.blob("a", 25)
    assert made.ledger.usage() == made.ledger.usage("docker.io") == Usage(25, 0)
    assert made.ledger.entry(A) == entry("a", 25)
    assert list(made.ledger.reservations()) == []


def test_a_release_gives_the_room_back(made: Books) -> None:
    """A download that ends without a blob takes no room, but for the bytes that it leaves."""
    assert made.reserve("a", 60, AMPLE)
    made.ledger.settle_one(A, left(25))
    assert made.ledger.usage() == made.ledger.usage("docker.io") == Usage(0, 25)
    made.ledger.settle_one(A, left(0))
    assert made.ledger.usage() == made.ledger.usage("docker.io") == Usage(0, 0)
    made.ledger.settle_one(B, left(0))
    assert made.ledger.usage() == Usage(0, 0)


def test_a_leftover_that_is_found_counts(made: Books) -> None:
    """A partial download that nobody had reserved for takes room like any other."""
    made.ledger.settle_one(A, left(30))
    assert made.ledger.usage() == Usage(0, 30)
    assert not made.reserve("b", 71, Budget(100))


def test_committing_again_changes_the_size_alone(made: Books) -> None:
    """A blob that comes once more keeps its history, and counts once."""
    made.blob("a", 25, heat=5.0)
    made.blob("a", 30, since=NOW + DAY, last_used=NOW + DAY)
    assert made.ledger.entry(A) == entry("a", 30, heat=5.0)
    assert made.ledger.usage() == Usage(30, 0)


def test_what_is_forgotten_counts_no_more(made: Books) -> None:
    """What is struck out leaves neither bytes nor parts behind; unknown ones are no error."""
    made.blob("m", 5, "manifest")
    made.commit(entry("m", 5, kind="manifest"), [A])
    made.blob("a", 25)
    made.ledger.strike([digest_of("m"), B], lambda _: False)
    assert made.ledger.usage() == Usage(25, 0)
    made.ledger.use({digest_of("m"): Use(NOW, 5)})
    assert _heat(made.ledger, A) == 1.0


def test_entries_are_those_of_an_upstream_or_of_all(made: Books) -> None:
    """Blobs can be listed whole, or for one upstream."""
    made.blob("a", registry="docker.io")
    made.blob("b", registry="quay.io")
    assert made.ledger.entries("quay.io") == [entry("b", registry="quay.io")]
    assert {found.digest for found in made.ledger.entries()} == {A, B}


def test_a_blob_that_was_found_while_it_came_counts_for_its_upstream(made: Books) -> None:
    """A worker that takes stock may find a file before the one that wrote it can commit it."""
    made.put(A)
    made.another().add_found([(entry("a", registry="", kind="manifest"), (B,))])
    made.ledger.commit(entry("a", kind="manifest"), (B, C))
    assert made.ledger.usage("docker.io") == Usage(10, 0)
    assert made.ledger.usage("") == Usage(0, 0)
    assert made.ledger.usage() == Usage(10, 0)
    assert made.ledger.relations().children[A] == {B, C}
    made.another().add_found([(entry("a", registry=""), ())])
    assert made.ledger.usage("docker.io") == Usage(10, 0)


def test_what_is_found_is_taken_in(made: Books) -> None:
    """What only the directory had counts from then on; what is known keeps its history."""
    made.blob("a", heat=7.0)
    found = [(entry("a", 12), ()), (entry("m", 5, kind="manifest", registry=""), (A,))]
    made.ledger.add_found(found)
    assert made.ledger.usage() == Usage(17, 0)
    assert _heat(made.ledger, A) == 7.0
    made.ledger.use({digest_of("m"): Use(NOW, 1)})
    assert _heat(made.ledger, A) == 8.0


def test_an_account_survives_its_process(made: Books, tmp_path: Path) -> None:
    """Blobs, reservations, parts, names and sums are there again when it is reopened."""
    made.commit(entry("m", 5, kind="manifest"), [A])
    made.blob("a", 25, heat=3.0)
    made.ledger.name("docker.io/library/app:1", digest_of("m"))
    assert made.reserve("b", 40, AMPLE)
    made.ledger.close()
    with books(tmp_path / "store") as again:
        assert again.ledger.entry(A) == entry("a", 25, heat=3.0)
        assert again.ledger.usage() == Usage(30, 40)
        assert list(again.ledger.reservations()) == [B]
        assert again.ledger.pinned(("docker.io/library/app:*",)) == {digest_of("m"), A}


def test_names_of_what_is_gone_are_forgotten(made: Books) -> None:
    """A tag that leads to nothing stored takes no room; one that does may be pinned as before."""
    made.blob("a", 10)
    for reference, digest in (("app:1", A), ("app:2", B), ("app:3", C)):
        made.ledger.name(f"docker.io/library/{reference}", digest)
    assert made.ledger.forget_lost_names() == 2
    assert made.ledger.forget_lost_names() == 0
    assert made.ledger.pinned(("docker.io/library/app:*",)) == {A}


def test_a_file_that_is_no_database_is_an_error(tmp_path: Path) -> None:
    """A damaged ledger is said to be one, rather than being written over."""
    path = tmp_path / "ledger.db"
    path.write_bytes(b"this is no database, whatever else it is" * 100)
    with pytest.raises(sqlite3.Error):
        Ledger(path, lambda _: True, lambda: 0)
    assert path.read_bytes().startswith(b"this is no database")


def test_a_step_that_fails_changes_nothing(made: Books) -> None:
    """Half a step is none: what was done before the error is undone, and work goes on."""

    def broken() -> Iterator[Digest]:
        yield A
        raise ZeroDivisionError

    assert made.reserve("m", 5, AMPLE)
    with pytest.raises(ZeroDivisionError):
        made.ledger.commit(entry("m", 5, kind="manifest"), broken())
    assert made.ledger.usage() == Usage(0, 5)
    assert made.ledger.entry(digest_of("m")) is None
    made.blob("m", 5)
    assert made.ledger.usage() == Usage(5, 0)


# -- room --------------------------------------------------------------------------------


def test_what_is_worth_least_makes_room(made: Books) -> None:
    """Blobs go in the order of the policy, until there is room, and no more than for that."""
    for name, ago in (("a", 3), ("b", 2), ("c", 1)):
        made.blob(name, 30, last_used=NOW - ago)
    claim = Claim(D, "docker.io", 40)
    fits, evicted = made.ledger.reserve(claim, Budget(100, policy="lru", low_water=1.0), NOW)
    assert fits
    assert evicted == [entry("a", 30, last_used=NOW - 3)]
    assert made.stored() == {B, C}
    assert not made.path(A).exists()
    assert made.ledger.usage() == Usage(60, 40)


def test_eviction_goes_on_to_the_low_water_mark(made: Books) -> None:
    """Once something must go, so much goes that the next ones have room too."""
    for name in "abcdefghij":
        made.blob(name, 10)
    budget = Budget(100, low_water=0.7)
    assert made.reserve("new", 10, budget)
    assert made.ledger.usage().total == 70
    assert made.reserve("newer", 30, budget)
    assert made.ledger.usage() == Usage(60, 40)


def test_manifests_go_after_all_blobs(made: Books) -> None:
    """A manifest goes when there is no blob left to go."""
    made.blob("m", 40, "manifest", last_used=NOW - DAY, heat=0.1)
    made.blob("a", 40, heat=100.0)
    budget = Budget(100, low_water=1.0)
    assert made.reserve("c", 50, budget)
    assert made.stored() == {digest_of("m")}
    assert made.reserve("d", 40, budget)
    assert made.stored() == set()


def test_nothing_goes_for_what_is_larger_than_the_budget(made: Books) -> None:
    """What can never fit costs nobody his blobs."""
    made.blob("a", 50)
    assert not made.reserve("b", 101, Budget(100))
    assert made.stored() == {A}
    assert made.ledger.usage() == Usage(50, 0)


def test_nothing_goes_where_it_would_not_help_for_pins(made: Books) -> None:
    """What does not fit beside what is pinned costs nobody his blobs."""
    made.blob("a", 60)
    made.ledger.name("docker.io/library/pause:3", A)
    made.blob("b", 30)
    assert not made.reserve("c", 41, Budget(100, pins=("docker.io/**",)))
    assert made.stored() == {A, B}
    assert made.reserve("c", 40, Budget(100, pins=("docker.io/**",)))
    assert made.stored() == {A}


def test_nothing_goes_where_it_would_not_help_for_downloads(made: Books) -> None:
    """What does not fit beside what other downloads have reserved costs nobody his blobs."""
    made.blob("a", 30)
    assert made.reserve("b", 60, Budget(100))
    assert not made.reserve("c", 41, Budget(100))
    assert made.stored() == {A}


def test_nothing_of_a_share_goes_where_the_whole_has_no_room(made: Books) -> None:
    """An upstream's blobs do not go for one that would then not fit into the whole."""
    budget = Budget(100, shares=(("quay.io", 40),))
    made.blob("a", 30, registry="quay.io")
    assert made.reserve("b", 65, budget)
    assert not made.reserve("c", 36, budget, registry="quay.io")
    assert made.stored() == {A}


def test_a_blob_that_is_read_stays(made: Books) -> None:
    """What somebody reads is passed over, and something else goes; or there is no room."""
    made.blob("a", 40, last_used=NOW - DAY)
    made.blob("b", 40)
    budget = Budget(100, policy="lru", low_water=1.0)
    with _reading(made, A):
        assert made.reserve("c", 60, budget)
        assert made.stored() == {A}
        assert not made.reserve("d", 1, budget)
    assert made.reserve("d", 40, budget)
    assert made.stored() == set()


def test_what_is_gone_already_makes_room(made: Books) -> None:
    """A blob that somebody removed by hand is struck out when its turn comes."""
    made.path(made.blob("a", 80)).unlink()
    assert made.reserve("b", 60, Budget(100))
    assert made.ledger.entries() == []


def test_the_volume_bounds_it_too(made: Books) -> None:
    """What would leave less free than must be does not come, and blobs go for what may."""
    made.blob("a", 30)
    made.free = 50
    budget = Budget(1000, min_free=20, low_water=1.0)
    assert made.reserve("b", 30, budget)
    assert made.stored() == {A}
    assert made.reserve("c", 30, budget)
    assert made.stored() == set()
    assert not made.reserve("d", 1, budget)


def test_a_volume_that_others_have_filled_takes_nothing(made: Books) -> None:
    """Where less is free than must be, and nothing of ours to go, there is no room."""
    made.free = 10
    assert not made.reserve("a", 1, Budget(1000, min_free=20))
    made.free = 21
    assert made.reserve("a", 1, Budget(1000, min_free=20))


def test_an_explicit_eviction_frees_what_it_can(made: Books) -> None:
    """As much as is asked for goes if it may; and what there is, if that is less."""
    for name, ago in (("a", 3), ("b", 2), ("c", 1)):
        made.blob(name, 30, last_used=NOW - ago)
    gone = made.ledger.evict(31, Budget(100, policy="lru"), NOW)
    assert [evicted.digest for evicted in gone] == [A, B]
    assert made.ledger.evict(0, Budget(100), NOW) == []
    assert [evicted.digest for evicted in made.ledger.evict(10**9, Budget(100), NOW)] == [C]
    assert made.ledger.usage() == Usage(0, 0)


# -- shares ------------------------------------------------------------------------------


def test_an_upstream_stays_within_its_share(made: Books) -> None:
    """For what does not fit into the share, blobs of that upstream go and no others."""
    budget = Budget(1000, shares=(("quay.io", 50),), low_water=1.0)
    made.blob("a", 40, registry="docker.io", last_used=NOW - DAY)
    made.blob("b", 40, registry="quay.io")
    assert made.reserve("c", 30, budget, registry="quay.io")
    assert made.stored() == {A}
    assert not made.reserve("d", 51, budget, registry="quay.io")
    assert made.reserve("d", 500, budget, registry="docker.io")


def test_a_download_counts_for_the_upstream_that_goes_on_with_it(made: Books) -> None:
    """Bytes that another upstream has left, or nobody knows, are of the share they end up in."""
    budget = Budget(1000, shares=(("quay.io", 50),))
    made.ledger.settle_one(A, left(10))
    assert made.reserve("b", 40, budget, registry="docker.io")
    assert made.reserve("a", 40, budget, registry="quay.io")
    assert made.ledger.usage("quay.io").total == 40
    assert not made.reserve("b", 40, budget, registry="quay.io")
    assert made.ledger.usage("quay.io").total <= 50


# -- keeping within ----------------------------------------------------------------------


def test_a_budget_that_shrank_is_kept(made: Books) -> None:
    """What today's budget has no room for goes, of the shares and of the whole."""
    for name in "abcd":
        made.blob(name, 30, registry="quay.io" if name in "ab" else "docker.io")
    assert made.ledger.keep_within(Budget(120), NOW) == ([], [])
    shares = Budget(120, shares=(("quay.io", 30),), low_water=1.0)
    idle, gone = made.ledger.keep_within(shares, NOW)
    assert idle == []
    assert [evicted.registry for evicted in gone] == ["quay.io"]
    made.ledger.keep_within(Budget(40, low_water=1.0), NOW)
    assert made.ledger.usage().total == 30


def test_a_volume_that_fills_is_made_room_on(made: Books) -> None:
    """When others fill the volume, blobs go until as much is free as must be."""
    for name in "abcd":
        made.blob(name, 30)
    made.free = 5
    budget = Budget(1000, min_free=30, low_water=1.0)
    _, gone = made.ledger.keep_within(budget, NOW)
    assert sum(evicted.size for evicted in gone) == 30


def test_what_is_idle_goes(made: Books) -> None:
    """What nobody asked for goes, manifests too; what is pinned or read stays for now."""
    made.blob("a", last_used=NOW - 2 * DAY)
    made.blob("b", last_used=NOW)
    made.blob("m", kind="manifest", last_used=NOW - 2 * DAY)
    made.blob("pin", last_used=NOW - 2 * DAY)
    made.blob("read", last_used=NOW - 2 * DAY)
    made.ledger.name("docker.io/library/pause:3", digest_of("pin"))
    budget = Budget(1000, idle_for=DAY, pins=("docker.io/library/pause:*",))
    with _reading(made, digest_of("read")):
        idle, too_much = made.ledger.keep_within(budget, NOW)
    assert {gone.digest for gone in idle} == {A, digest_of("m")}
    assert too_much == []
    assert made.stored() == {B, digest_of("pin"), digest_of("read")}
    idle, _ = made.ledger.keep_within(budget, NOW)
    assert {gone.digest for gone in idle} == {digest_of("read")}


def test_nothing_is_idle_without_a_limit(made: Books) -> None:
    """As long as there is room, what nobody asks for stays."""
    made.blob("a", last_used=0.0)
    assert made.ledger.keep_within(Budget(100), NOW) == ([], [])


# -- uses --------------------------------------------------------------------------------


def test_uses_are_written_down(made: Books) -> None:
    """A use moves the last one, and heats; what is not there is no error."""
    made.blob("a", heat=4.0)
    made.ledger.use({A: Use(NOW + HALF_LIFE, 3), B: Use(NOW, 1)})
    assert made.ledger.entry(A) == entry("a", last_used=NOW + HALF_LIFE, heat=5.0)
    assert made.ledger.entry(B) is None


def test_a_use_of_before_moves_nothing_back(made: Books) -> None:
    """Another worker may write down later what was used earlier."""
    made.blob("a")
    made.ledger.use({A: Use(NOW - DAY, 2)})
    assert made.ledger.entry(A) == entry("a", heat=3.0)


def test_an_index_keeps_all_its_parts_warm(made: Books) -> None:
    """Who asks for an index alone, as clients that have the layers do, uses the layers too."""
    made.commit(entry("index", kind="manifest"), [digest_of("one"), digest_of("two")])
    made.commit(entry("one", kind="manifest"), [A, B])
    made.commit(entry("two", kind="manifest"), [B, C])
    for name in "abcd":
        made.blob(name)
    made.ledger.use({digest_of("index"): Use(NOW, 5)})
    # A part of both is used once by each use of the whole.
    assert [_heat(made.ledger, digest) for digest in (A, B, C, D)] == [6.0, 6.0, 6.0, 1.0]
    made.ledger.use({digest_of("one"): Use(NOW, 1)})
    assert [_heat(made.ledger, digest) for digest in (A, B, C)] == [7.0, 7.0, 6.0]
    assert _heat(made.ledger, digest_of("index")) == 6.0


def test_parts_that_lead_in_a_circle_are_walked_once(made: Books) -> None:
    """No digest can be made that way, but a ledger that says so must not hang the store."""
    made.commit(entry("m", kind="manifest"), [digest_of("m"), A])
    made.commit(entry("a", kind="manifest"), [digest_of("m")])
    made.ledger.use({digest_of("m"): Use(NOW, 1)})
    assert [_heat(made.ledger, digest) for digest in (digest_of("m"), A)] == [2.0, 2.0]


# -- pins --------------------------------------------------------------------------------


def test_a_pin_holds_all_parts_of_what_its_tag_names(made: Books) -> None:
    """What a pinned tag names stays with all that it refers to, and nothing else does."""
    made.commit(entry("index", kind="manifest"), [digest_of("one")])
    made.commit(entry("one", kind="manifest"), [A])
    made.ledger.name("docker.io/library/app:1", digest_of("index"))
    made.ledger.name("docker.io/library/app:2", B)
    pinned = made.ledger.pinned(("docker.io/library/app:1",))
    assert pinned == {digest_of("index"), digest_of("one"), A}
    assert made.ledger.pinned(("docker.io/library/*:2",)) == {B}
    assert made.ledger.pinned(("quay.io/**",)) == frozenset()
    assert made.ledger.pinned(()) == frozenset()


def test_a_tag_that_moves_takes_its_pin_along(made: Books) -> None:
    """What a tag named before is no longer held by it."""
    made.ledger.name("docker.io/library/app:1", A)
    made.ledger.name("docker.io/library/app:1", B)
    assert made.ledger.pinned(("docker.io/**",)) == {B}


# -- several workers ---------------------------------------------------------------------


def test_workers_have_one_account(made: Books) -> None:
    """What one worker reserves, commits or evicts, all others know at once."""
    other, budget = made.another(), Budget(100)
    assert made.reserve("a", 60, budget)
    claim = Claim(B, "docker.io", 50)
    assert other.reserve(claim, budget, NOW) == (False, [])
    made.blob("a", 40)
    assert other.reserve(claim, budget, NOW) == (True, [])
    assert made.ledger.usage() == other.usage() == Usage(40, 50)
    assert [gone.digest for gone in other.evict(1, budget, NOW)] == [A]
    assert made.ledger.entries() == []


_WORKER = """
import sys
from pathlib import Path
from cacheproxy.domain.budget import Budget
from cacheproxy.domain.digest import Digest
from cacheproxy.storage.claims import Claim
from cacheproxy.storage.ledger import Ledger

path, name = Path(sys.argv[1]), sys.argv[2]
print("ready", flush=True)
sys.stdin.readline()
ledger = Ledger(path, lambda digest: False, lambda: 2**50)
got = 0
for number in range(100):
    digest = Digest.of(f"{name} {number}".encode())
    fits, _ = ledger.reserve(Claim(digest, "docker.io", 7), Budget(500), 0.0)
    got += fits
    if fits and number % 3 == 0:
        ledger.settle_one(digest, lambda _: ("none", 0))
        got -= 1
ledger.close()
print(got)
"""


def _workers(path: Path, count: int) -> list[int]:
    """What so many processes got that open a ledger and reserve at the same moment."""
    running = [
        subprocess.Popen(
            [sys.executable, "-c", _WORKER, str(path), str(number)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={"PYTHONPATH": str(Path(cacheproxy.__file__).parents[1])},
        )
        for number in range(count)
    ]
    for worker in running:
        assert worker.stdout is not None
        assert worker.stdout.readline() == "ready\n"
    for worker in running:
        assert worker.stdin is not None
        worker.stdin.write("go\n")
        worker.stdin.flush()
    outputs = [worker.communicate(timeout=60)[0] for worker in running]
    assert [worker.returncode for worker in running] == [0] * count
    return [int(output) for output in outputs]


@pytest.mark.parametrize("turn", range(3))
def test_processes_that_reserve_at_once_stay_within(tmp_path: Path, turn: int) -> None:
    """Processes that open a new ledger and reserve at the same moment never take too much."""
    path = tmp_path / "ledger.db"
    got = _workers(path, 4)
    with closing(Ledger(path, lambda _: False, lambda: 2**50)) as ledger:
        assert ledger.usage() == Usage(0, 7 * sum(got))
        assert len(ledger.reservations()) == sum(got)
    # Together they wanted more than there is: all of it was given, and nothing beyond.
    assert sum(got) == 500 // 7


def test_a_worker_waits_for_the_other(made: Books, monkeypatch: pytest.MonkeyPatch) -> None:
    """While one writes, another waits; and says so if that takes too long."""
    monkeypatch.setattr("cacheproxy.storage.ledger._LOCK_SECONDS", 0.05)
    other = made.another()
    with closing(sqlite3.connect(made.layout.ledger, isolation_level=None)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            other.settle_one(A, left(1))
        assert other.usage() == Usage(0, 0)
        writer.execute("COMMIT")
    other.settle_one(A, left(1))
    assert other.usage() == Usage(0, 1)


def test_an_entry_says_how_hot_it_is_now(made: Books) -> None:
    """What comes back out of the ledger is what went in, to the last bit."""
    stored = replace(entry("a"), heat=1 / 3, last_used=NOW + 1 / 7)
    made.commit(stored)
    assert made.ledger.entries() == [stored]


def test_what_a_later_version_wrote_is_left_alone(tmp_path: Path) -> None:
    """An older program, after a rollback, does not touch the account."""
    path = tmp_path / "ledger.db"
    with closing(sqlite3.connect(path)) as later:
        later.execute("PRAGMA user_version = 99")
    with pytest.raises(sqlite3.DatabaseError, match="later version"):
        Ledger(path, lambda _: True, lambda: 0, lambda _: True)
    with closing(sqlite3.connect(path)) as later:
        assert later.execute("SELECT count(*) FROM sqlite_master").fetchone() == (0,)
