"""What a blob is worth, what goes first, and how much of it."""

import itertools

import pytest

from cacheproxy.domain.budget import (
    HALF_LIFE,
    Budget,
    Entry,
    PolicyName,
    evictable,
    excess,
    heated,
    is_idle,
    on_disk,
    worth,
)
from tests.support.ledgers import DAY, NOW, digest_of, entry

POLICIES: tuple[PolicyName, ...] = ("lru", "lfu-decay", "gdsf-decay")


def _order(policy: PolicyName, *entries: Entry, now: float = NOW) -> list[Entry]:
    """What goes, the first first; however the entries come."""
    orders = [evictable(some, policy, frozenset(), now) for some in itertools.permutations(entries)]
    assert all(order == orders[0] for order in orders)
    return orders[0]


@pytest.mark.parametrize(
    ("size", "room"), [(0, 0), (1, 4096), (4095, 4096), (4096, 4096), (4097, 8192)]
)
def test_files_take_whole_blocks(size: int, room: int) -> None:
    """What counts is the room that a file system gives out, not the bytes in it."""
    assert on_disk(size) == room


def test_an_upstream_has_a_share_only_if_it_was_given_one() -> None:
    """A share is an upstream's own; others are bounded by the whole alone."""
    budget = Budget(100, shares=(("quay.io", 30),))
    assert budget.share_of("quay.io") == 30
    assert budget.share_of("docker.io") is None


# -- heat --------------------------------------------------------------------------------


def test_heat_halves_with_time() -> None:
    """A use counts half after one half-life, a quarter after two."""
    used = entry("a", heat=8.0)
    assert used.heat_at(NOW) == 8.0
    assert used.heat_at(NOW + HALF_LIFE) == 4.0
    assert used.heat_at(NOW + 2 * HALF_LIFE) == 2.0


def test_a_clock_that_was_set_back_heats_nothing() -> None:
    """Before its last use a blob is as hot as it was then, and no hotter."""
    used = entry("a", heat=8.0)
    assert used.heat_at(NOW - 10 * HALF_LIFE) == 8.0
    assert heated(8.0, NOW, NOW - 10 * HALF_LIFE, 1) == 9.0


def test_uses_add_up_as_they_fade() -> None:
    """To write three uses down at once or one by one makes no difference."""
    assert heated(0.0, NOW, NOW, 3) == 3.0
    assert heated(heated(0.0, NOW, NOW, 1), NOW, NOW, 2) == 3.0
    assert heated(4.0, NOW, NOW + HALF_LIFE, 1) == 3.0


def test_heat_never_overflows() -> None:
    """A blob that nobody has touched since the epoch is cold, and no error."""
    assert entry("a", heat=1e300).heat_at(NOW + 1e9 * DAY) == 0.0


# -- what goes first ---------------------------------------------------------------------


def test_lru_goes_by_the_last_use() -> None:
    """What was used longest ago goes first, however often it was used before."""
    old = entry("old", last_used=NOW - 2, heat=1000.0)
    new = entry("new", last_used=NOW - 1)
    assert _order("lru", old, new) == [old, new]


def test_lru_believes_no_use_of_the_future() -> None:
    """After the clock was set back, what was used "later" is worth what is used now."""
    later = entry("later", last_used=NOW + DAY)
    now = entry("now", last_used=NOW)
    assert worth(later, "lru", NOW) == worth(now, "lru", NOW)
    assert worth(later, "lru", NOW) > worth(entry("before", last_used=NOW - 1), "lru", NOW)


@pytest.mark.parametrize("policy", ["lfu-decay", "gdsf-decay"])
def test_lfu_goes_by_uses_that_fade(policy: PolicyName) -> None:
    """What is used often outlives what was used since; but not for ever."""
    often = entry("often", last_used=NOW - DAY, heat=10.0)
    lately = entry("lately", last_used=NOW)
    assert _order(policy, often, lately) == [lately, often]
    forgotten = entry("often", last_used=NOW - 4 * HALF_LIFE, heat=10.0)
    assert _order(policy, forgotten, lately) == [forgotten, lately]


def test_lfu_does_not_look_at_sizes() -> None:
    """A large blob that is a little hotter outlives a small one."""
    large, small = entry("large", 10**9, heat=1.1), entry("small", 10)
    assert _order("lfu-decay", large, small) == [small, large]


def test_gdsf_weighs_uses_against_room() -> None:
    """Of equal heat the largest goes first; four times the room wants 4^0.1 of the heat."""
    large, middle, small = (entry(size, size) for size in (400, 100, 25))
    assert _order("gdsf-decay", large, middle, small) == [large, middle, small]
    assert _order("gdsf-decay", entry("l", 400, heat=1.2), middle)[0] == middle
    assert _order("gdsf-decay", entry("l", 400, heat=1.1), middle)[0] != middle


def test_an_empty_blob_has_a_worth() -> None:
    """A blob of no bytes divides by nothing."""
    assert worth(entry("empty", 0), "gdsf-decay", NOW) == 1.0


@pytest.mark.parametrize("policy", POLICIES)
def test_manifests_go_last(policy: PolicyName) -> None:
    """The hottest, smallest, newest blob goes before the coldest manifest."""
    manifest = entry("m", 10**6, kind="manifest", last_used=NOW - 100 * DAY, heat=0.01)
    blob = entry("b", 1, heat=1000.0)
    assert _order(policy, manifest, blob) == [blob, manifest]


@pytest.mark.parametrize("policy", POLICIES)
def test_what_is_pinned_may_not_go(policy: PolicyName) -> None:
    """A pinned blob is not among what may go, manifests included."""
    entries = [entry("a"), entry("b"), entry("m", kind="manifest")]
    pinned = frozenset({digest_of("a"), digest_of("m")})
    assert evictable(entries, policy, pinned, NOW) == [entry("b")]
    assert evictable([], policy, pinned, NOW) == []


# -- idle --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("idle_for", "ago", "expected"),
    [
        pytest.param(None, 1e9, False, id="no limit"),
        pytest.param(DAY, DAY + 1, True, id="longer"),
        pytest.param(DAY, DAY, False, id="just as long"),
        pytest.param(DAY, 0.0, False, id="just used"),
        pytest.param(DAY, -10 * DAY, False, id="used in the future"),
    ],
)
def test_what_nobody_asks_for_is_idle(idle_for: float | None, ago: float, expected: bool) -> None:
    """What was not asked for in longer than the limit is idle, if there is one."""
    assert is_idle(entry("a", last_used=NOW - ago), Budget(1, idle_for=idle_for), NOW) is expected


# -- how much ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("used", "wanted", "needed"),
    [
        pytest.param(0, 100, 0, id="all of it is free"),
        pytest.param(60, 40, 0, id="fits exactly"),
        pytest.param(61, 40, 11, id="down to the low water mark"),
        pytest.param(100, 0, 0, id="full, and nothing wanted"),
        pytest.param(110, 0, 20, id="too full"),
    ],
)
def test_eviction_goes_down_to_the_low_water_mark(used: int, wanted: int, needed: int) -> None:
    """Nothing goes while it fits; once something must, what is wanted fits below the mark."""
    assert excess(used, wanted, 100, 0.9) == needed


@pytest.mark.parametrize("low_water", [0.0, 0.5, 0.95, 1.0])
def test_what_goes_is_enough_and_is_there(low_water: float) -> None:
    """What is evicted makes what is wanted fit, and is never more than there is."""
    for used, wanted in itertools.product(range(0, 41, 2), range(21)):
        needed = excess(used, wanted, 20, low_water)
        assert used - needed + wanted <= 20
        assert 0 <= needed <= used
