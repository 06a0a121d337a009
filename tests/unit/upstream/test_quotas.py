"""Which pulls are granted, and as whom, by a clock of the test's own."""

from typing import NoReturn

import pytest
from yarl import URL

from cacheproxy.cluster_ports import Note
from cacheproxy.domain.errors import UpstreamLimited
from cacheproxy.domain.rate_limit import RateLimit
from cacheproxy.ports import Clock
from cacheproxy.upstream.config import CredentialsConfig, UpstreamConfig
from cacheproxy.upstream.quotas import Quotas
from tests.support.clock import FakeClock


def _no_source(_: Clock) -> NoReturn:
    raise AssertionError("no login is asked for")


_LOGIN = CredentialsConfig("a login", _no_source)


class _Counted:
    """Quotas with their clock."""

    def __init__(self, logins: int = 0, clock: FakeClock | None = None) -> None:
        self.clock = clock or FakeClock()
        config = UpstreamConfig("r.test", URL("https://r.test"), (_LOGIN,) * logins)
        self.quotas = Quotas(config, self.clock)

    def hear(self, other: "_Counted") -> None:
        """Take over all that another replica notes."""
        for name, note in other.quotas.notes().items():
            self.quotas.hear(name, note)


def _pair(logins: int = 0) -> tuple[_Counted, _Counted]:
    clock = FakeClock()
    return _Counted(logins, clock), _Counted(logins, clock)


def test_accounts_are_used_in_their_order() -> None:
    """The first account that grants a pull is used, and a 429 of one says nothing of the next."""
    counted = _Counted(logins=3)
    quotas = counted.quotas
    assert quotas.account("fetch") == quotas.any_account == 0
    quotas.refuse(0, 100.0)
    quotas.report(1, RateLimit(0, window=21600.0))
    assert quotas.account("fetch") == quotas.any_account == 2
    quotas.refuse(2, 50.0)
    with pytest.raises(UpstreamLimited) as raised:
        quotas.account("fetch")
    assert raised.value.retry_after == 50.0
    assert quotas.any_account == 0
    counted.clock.advance(60)
    assert quotas.account("fetch") == 1
    counted.clock.advance(40)
    assert quotas.account("fetch") == 0


def test_the_reserve_of_each_account() -> None:
    """What one account keeps, another may still spend; at last only what is not here is fetched."""
    quotas = _Counted(logins=2).quotas
    quotas.report(0, RateLimit(10, window=21600.0))
    assert (quotas.account("refresh"), quotas.account("fetch")) == (1, 0)
    quotas.report(1, RateLimit(9, window=21600.0))
    assert not quotas.grants("refresh")
    with pytest.raises(UpstreamLimited):
        quotas.account("refresh")
    assert quotas.account("fetch") == 0


@pytest.mark.parametrize(("said", "held"), [(None, 30.0), (0.0, 1.0), (12.0, 12.0)])
def test_a_429_to_what_costs_nothing_holds_its_like(said: float | None, held: float) -> None:
    """After a 429 requests of that kind are not sent for a while, and no others are held."""
    counted = _Counted()
    counted.quotas.limit("head", said)
    counted.quotas.check("blob", None)
    counted.clock.advance(held - 0.1)
    with pytest.raises(UpstreamLimited):
        counted.quotas.check("head", None)
    counted.clock.advance(0.1)
    counted.quotas.check("head", None)


def test_another_address_has_its_own_pulls() -> None:
    """Without a login the 429 of one address holds no replica that has another."""
    one, other = _pair()
    one.quotas.report(0, RateLimit(0, 100, 21600.0, "203.0.113.1"))
    one.quotas.refuse(0, 300.0, "203.0.113.1")
    other.quotas.report(0, RateLimit(90, 100, 21600.0, "198.51.100.2"))
    one.clock.advance(1)
    one.quotas.refuse(0, 300.0)
    other.hear(one)
    assert other.quotas.account("fetch") == 0
    assert set(one.quotas.notes()) == {"source 203.0.113.1"}


def test_one_address_shares_its_pulls() -> None:
    """Replicas behind one address share what upstream reports for it."""
    one, other = _pair()
    other.quotas.report(0, RateLimit(90, source="203.0.113.1"))
    one.clock.advance(1)
    one.quotas.refuse(0, 300.0, "203.0.113.1")
    other.hear(one)
    with pytest.raises(UpstreamLimited) as raised:
        other.quotas.account("fetch")
    assert raised.value.retry_after == pytest.approx(300.0)


def test_an_address_that_upstream_does_not_tell_is_shared_with_nobody() -> None:
    """Without a login and a reported source nothing says that two replicas share a quota."""
    one, other = _pair()
    one.quotas.refuse(0, 300.0)
    other.hear(one)
    assert other.quotas.grants("fetch")
    assert not one.quotas.notes()


@pytest.mark.parametrize("source", [None, "3f0c9a52-account"])
def test_a_login_is_one_account_for_all(source: str | None) -> None:
    """All replicas share a login's pulls, also those that have asked nothing yet."""
    one, other = _pair(logins=1)
    one.quotas.report(0, RateLimit(0, None, 21600.0, source))
    other.hear(one)
    assert not other.quotas.grants("fetch")


def test_a_login_that_upstream_counts_by_address_is_not_shared() -> None:
    """Upstream may count the address in spite of a login; then other addresses go on."""
    one, other = _pair(logins=1)
    one.quotas.refuse(0, 300.0, "2001:db8::1")
    other.hear(one)
    assert other.quotas.grants("fetch")


def test_an_address_of_the_past_is_not_noted() -> None:
    """After a change of address only the current one is noted."""
    (one, _) = _pair()
    one.quotas.report(0, RateLimit(5, source="203.0.113.1"))
    one.quotas.report(0, RateLimit(7, source="203.0.113.2"))
    assert set(one.quotas.notes()) == {"source 203.0.113.2"}


@pytest.mark.parametrize("ahead", [0.0, 1e6])
def test_no_note_holds_pulls_for_longer_than_a_429_may(ahead: float) -> None:
    """Whatever a note says, and whenever it says that it was written, pulls go on in minutes."""
    (one, other) = _pair(logins=1)
    note = Note(one.clock.now() + ahead, {"refused_for": 1e9})
    other.quotas.hear("account 0", note)
    assert not other.quotas.grants("fetch")
    other.clock.advance(300)
    assert other.quotas.grants("fetch")
