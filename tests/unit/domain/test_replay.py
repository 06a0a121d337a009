from array import array

import pytest

from cacheproxy.domain.accesses import child_keys, key_of
from cacheproxy.domain.budget import Budget
from cacheproxy.domain.digest import Digest
from cacheproxy.domain.foresight import Foresight
from cacheproxy.domain.model_store import ModelStore
from cacheproxy.domain.replay import Tally, everything_kept, run
from cacheproxy.domain.trace import Trace
from tests.support.accesses import BLOCK, access, key, trace
from tests.support.ledgers import digest_of

HOUR = 3600.0


def _lru(made: Trace, blocks: int) -> Tally:
    return run(made, ModelStore(Budget(blocks * BLOCK, policy="lru", low_water=1.0)).ask)


def test_what_is_counted() -> None:
    """Of a, b, a, c, b in room for two: a is a hit, c evicts b, and b is fetched again."""
    assert _lru(trace("abacb"), 2) == Tally(uses=5, hits=1, served=5 * BLOCK, fetched=4 * BLOCK)


def test_ratios() -> None:
    """Hits are of uses; byte hits of what was served, and below 0 where more was fetched."""
    tally = Tally(uses=4, hits=1, served=400, fetched=100)
    assert (tally.hit_ratio, tally.byte_hit_ratio) == (0.25, 0.75)
    assert Tally(uses=1, hits=0, served=10, fetched=100).byte_hit_ratio == -9
    nothing = Tally(0, 0, 0, 0)
    assert (nothing.hit_ratio, nothing.byte_hit_ratio) == (0, 0)


def test_foresight_keeps_what_is_needed_first() -> None:
    """It lets b go for nobody, since b is asked for again and c is not."""
    made = trace("abacb")
    assert run(made, Foresight(made, 2 * BLOCK).ask).fetched == 3 * BLOCK


def test_foresight_passes_what_is_too_large() -> None:
    """What no cache of that size can hold is fetched each time."""
    made = trace("aa", size=3 * BLOCK)
    assert run(made, Foresight(made, 2 * BLOCK).ask).fetched == 6 * BLOCK


def test_what_cannot_be_kept_costs_what_was_served() -> None:
    """A blob larger than the cache goes past it: each client costs the bytes that it took."""
    made = Trace([access("a", 0, 10 * BLOCK), access("a", 1, 10 * BLOCK, served=5)])
    assert _lru(made, 2).fetched == 10 * BLOCK + 5
    assert _lru(made, 10).fetched == 10 * BLOCK


def test_a_part_fetches_the_whole() -> None:
    """A download is of the whole blob, whoever began it and however little it wanted."""
    made = Trace([access("a", 0, 10 * BLOCK, served=1)])
    assert _lru(made, 10) == Tally(uses=1, hits=0, served=1, fetched=10 * BLOCK)


def test_parts_are_one_use() -> None:
    """Parts that make up a blob are one use, a miss if the blob was not here as it began."""
    parts = [access("a", number, 4 * BLOCK, served=BLOCK) for number in range(4)]
    again = [access("a", 10 + number, 4 * BLOCK, served=BLOCK) for number in range(4)]
    assert list(Trace([*parts, *again]).begins) == [1, 0, 0, 0, 1, 0, 0, 0]
    assert _lru(Trace([*parts, *again]), 4) == Tally(2, 1, 8 * BLOCK, 4 * BLOCK)


def test_a_use_does_not_go_on_for_ever() -> None:
    """A part that comes more than an hour after the first one is of another use."""
    times = (0.0, HOUR, HOUR + 1, HOUR + 2)
    made = Trace(access("a", at, 100 * BLOCK, served=1) for at in times)
    assert list(made.begins) == [1, 0, 1, 0]


def test_a_whole_among_parts_is_a_use_of_its_own() -> None:
    """Another client that takes the whole blob meanwhile does not end the first one's use."""
    served = (BLOCK, 2 * BLOCK, BLOCK, BLOCK)
    made = Trace(access("a", at, 2 * BLOCK, served=part) for at, part in enumerate(served))
    assert list(made.begins) == [1, 1, 0, 1]


def test_accesses_are_put_in_order() -> None:
    """Responses are recorded as they end; what counts is when they were asked for."""
    made = Trace([access("b", 2), access("a", 1), access("c", 3)])
    assert [made.contents[which].key for which in made.which] == [key("a"), key("b"), key("c")]


def test_the_largest_size_is_the_size() -> None:
    """Who was cut before anyone knew how long a blob is has recorded less than it is."""
    (content,) = Trace([access("a", 0, 10), access("a", 1, 5000)]).contents
    assert (content.size, content.room) == (5000, 8192)


def test_next_uses() -> None:
    """For each access the number of the next of the same blob, or that of the end."""
    assert trace("abab").next_uses() == array("Q", [2, 3, 4, 4])


def test_only_what_is_counted_counts() -> None:
    """What came before fills the cache, and is neither served nor fetched."""
    made = trace("aab")
    counted = run(made, ModelStore(Budget(9 * BLOCK)).ask, counted_from=1)
    assert counted == Tally(uses=2, hits=1, served=2 * BLOCK, fetched=BLOCK)
    assert everything_kept(made, counted_from=1) == counted


@pytest.mark.parametrize(
    ("seconds", "number"), [(-1.0, 0), (0.0, 0), (0.5, 1), (60.0, 1), (61.0, 2)]
)
def test_where_a_time_begins(seconds: float, number: int) -> None:
    """The first access at that time or later; the end where there is none."""
    made = trace("ab")
    assert made.since(made.times[0] + seconds) == number


def test_progress_comes_to_all_accesses() -> None:
    """What is told adds up to the number of accesses."""
    told: list[int] = []
    run(trace("abc" * 8000), lambda _, __: "hit", advance=told.append)
    assert told == [10_000, 10_000, 4_000]


def test_what_is_idle_is_gone() -> None:
    """What nobody asked for in `idle_for` is fetched again, however much room there is."""
    budget = Budget(9 * BLOCK, idle_for=HOUR)
    made = Trace([access("a", 0), access("a", HOUR), access("a", 2 * HOUR + 1)])
    assert run(made, ModelStore(budget).ask).hits == 1
    assert run(made, ModelStore(budget, pinned=frozenset({key("a")})).ask).hits == 2


def test_what_is_pinned_stays() -> None:
    """A pinned blob never goes; what then has no room goes past the disk, each time."""
    store = ModelStore(Budget(BLOCK), pinned=frozenset({key("a")}))
    assert run(trace("abba"), store.ask).fetched == 3 * BLOCK
    assert set(store.entries) == {key("a")}


def test_a_share_bounds_its_upstream_alone() -> None:
    """An upstream beyond its share evicts its own blobs, though there is room."""
    budget = Budget(9 * BLOCK, policy="lru", shares=(("quay.io", 1 * BLOCK),))
    names = [("a", "docker.io"), ("b", "quay.io"), ("c", "quay.io"), ("a", "docker.io")]
    store = ModelStore(budget)
    made = Trace(access(name, at, registry=of) for at, (name, of) in enumerate(names))
    assert run(made, store.ask).hits == 1
    assert set(store.entries) == {key("a"), key("c")}


def test_a_manifest_keeps_its_parts_warm() -> None:
    """To ask for an index uses its images and their layers, as far as they are here."""
    children: dict[Digest, list[Digest]] = {
        digest_of("index"): [digest_of("image")],
        digest_of("image"): [digest_of("layer")],
    }
    store = ModelStore(Budget(9 * BLOCK), children=child_keys(children))
    run(trace(["layer", "index", "index"]), store.ask)
    assert store.entries[key("layer")].heat == 1.0  # its image is not here, and says nothing
    run(trace(["image", "index"]), store.ask)
    assert store.entries[key("layer")].heat > 1.9


def test_of_two_that_are_worth_the_same_the_first_digest_goes() -> None:
    """As the ledger lists them, whichever came first."""
    first, second = sorted((key_of(digest_of("a")), key_of(digest_of("b"))))
    names = ["a", "b"] if key("a") == second else ["b", "a"]
    store = ModelStore(Budget(2 * BLOCK, policy="lru", low_water=1.0))
    run(Trace([*(access(name, 0) for name in names), access("c", 1)]), store.ask)
    assert set(store.entries) == {second, key("c")}
    assert first not in store.entries
