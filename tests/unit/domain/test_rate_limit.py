"""Which pulls may be spent, by what upstream said of them."""

import pytest

from cacheproxy.domain.rate_limit import Quota, RateLimit, Spend, counted_by

_NOW = 1000.0
_RESERVE = 10
_WINDOW = 21600.0


def _told(remaining: int, window: float | None = _WINDOW) -> Quota:
    return Quota().report(RateLimit(remaining, 100, window), _NOW)


@pytest.mark.parametrize("spend", ["refresh", "fetch"])
def test_what_nothing_is_known_of_is_granted(spend: Spend) -> None:
    """An upstream that never spoke of a limit has none."""
    assert Quota().wait(spend, _RESERVE, _NOW) == 0


@pytest.mark.parametrize(
    ("remaining", "refresh", "fetch"),
    [(100, True, True), (11, True, True), (10, False, True), (1, False, True), (0, False, False)],
)
def test_the_reserve_is_for_what_is_not_here(remaining: int, refresh: bool, fetch: bool) -> None:
    """At the reserve nothing that is here is renewed; the last pull still fetches."""
    quota = _told(remaining)
    assert (quota.wait("refresh", _RESERVE, _NOW) == 0) is refresh
    assert (quota.wait("fetch", _RESERVE, _NOW) == 0) is fetch


def test_without_a_reserve_all_are_spent_alike() -> None:
    """With a reserve of 0 the last pull may renew what is here."""
    assert _told(1).wait("refresh", 0, _NOW) == 0
    assert _told(0).wait("refresh", 0, _NOW) > 0


def test_the_reserve_is_kept_for_a_window() -> None:
    """A report that is older than its window counts no more."""
    quota = _told(3, 600.0)
    assert quota.wait("refresh", _RESERVE, _NOW) == 600
    assert quota.wait("refresh", _RESERVE, _NOW + 599) == 1
    assert quota.wait("refresh", _RESERVE, _NOW + 600) == 0


@pytest.mark.parametrize("spend", ["refresh", "fetch"])
def test_a_quota_without_a_time_holds_nothing(spend: Spend) -> None:
    """An empty quota that does not say for how long refuses no pull: it would be for too long."""
    assert _told(0, None).wait(spend, _RESERVE, _NOW) == 0


@pytest.mark.parametrize(("window", "believed"), [(_WINDOW, 60), (5.0, 5)])
def test_that_nothing_is_left_is_believed_for_a_moment(window: float, believed: float) -> None:
    """Windows move: what is not here is asked for again soon, not after hours."""
    quota = _told(0, window)
    assert quota.wait("fetch", _RESERVE, _NOW) == believed
    assert quota.wait("fetch", _RESERVE, _NOW + believed) == 0


@pytest.mark.parametrize("spend", ["refresh", "fetch"])
def test_a_refusal_holds_whatever_is_left(spend: Spend) -> None:
    """After a 429 no pull is spent until its time, whatever upstream says beside it."""
    quota = _told(50).refuse(40.0, _NOW).report(RateLimit(50), _NOW + 1)
    assert quota.wait(spend, _RESERVE, _NOW + 1) == 39
    assert quota.wait(spend, _RESERVE, _NOW + 40) == 0


def test_upstreams_last_word_counts() -> None:
    """More pulls than before are spent as soon as they are granted."""
    quota = _told(0).report(RateLimit(99), _NOW + 1)
    assert quota.wait("refresh", _RESERVE, _NOW + 1) == 0


@pytest.mark.parametrize(
    ("source", "login", "name"),
    [
        (None, None, None),
        ("203.0.113.1", None, "source 203.0.113.1"),
        ("2001:db8::1", 1, "source 2001:db8::1"),
        ("3f0c9a52-account", 1, "account 1"),
        (None, 0, "account 0"),
    ],
)
def test_upstream_says_what_it_counts(
    source: str | None, login: int | None, name: str | None
) -> None:
    """An address counts wherever upstream reports one; else a login is one account for all."""
    assert counted_by(source, login) == name
