"""The breaker against a simpler model of it, with requests that end long after it opened."""

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from cacheproxy.domain.breaker import Breaker, BreakerPolicy, Failure, Permit

_POLICY = BreakerPolicy(failures=3, pause=2.0, longest_pause=20.0)
_LONGEST = _POLICY.longest_pause * 1.25
_jitter = st.floats(0, 1)
_retry_after = st.none() | st.floats(0, 1000)
_which = st.integers(0, 1_000_000)


@dataclass(slots=True, eq=False)
class _Request:
    """One that was let pass; `changes` is how often things had changed by then."""

    permit: Permit
    is_probe: bool
    changes: int


class Upstream(RuleBasedStateMachine):
    """Requests that begin and end in any order, as the clock goes on."""

    def __init__(self) -> None:
        super().__init__()
        self.breaker = Breaker()
        self.now = 1000.0
        self.flying: list[_Request] = []
        self.probe: _Request | None = None
        self.failures = 0
        self.changes = 0

    def take(self, which: int) -> _Request:
        return self.flying.pop(which % len(self.flying))

    @rule(seconds=st.floats(0, 30))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def a_request_comes(self) -> None:
        wait = self.breaker.wait(self.now)
        if wait is not None:
            assert self.breaker.is_open
            assert 0 < wait <= _LONGEST
            return
        was_open = self.breaker.is_open
        assert not was_open or self.probe is None, "two probes at once"
        self.breaker, permit = self.breaker.admit()
        self.changes += was_open
        request = _Request(permit, was_open, self.changes)
        self.flying.append(request)
        if was_open:
            self.probe = request

    @precondition(lambda self: self.flying)
    @rule(which=_which)
    def one_is_answered(self, which: int) -> None:
        self.take(which)
        self.changes += self.breaker.is_open
        self.breaker = self.breaker.close()
        self.probe, self.failures = None, 0
        assert not self.breaker.is_open
        assert self.breaker.wait(self.now) is None

    @precondition(lambda self: self.flying)
    @rule(which=_which)
    def one_is_given_up(self, which: int) -> None:
        request, before = self.take(which), self.breaker
        self.breaker = before.give_up(request.permit)
        if request is self.probe:
            self.probe = None
            assert self.breaker.wait(self.now) is None, "the next one may probe at once"
        else:
            assert self.breaker == before

    @precondition(lambda self: self.flying)
    @rule(which=_which, jitter=_jitter, retry_after=_retry_after)
    def one_fails(self, which: int, jitter: float, retry_after: float | None) -> None:
        request, before = self.take(which), self.breaker
        failure = Failure("down", retry_after)
        self.breaker = after = before.fail(request.permit, failure, self.now, _POLICY, jitter)
        if request is self.probe:
            self.probe = None
            assert after.opens_at is not None
            assert after.opens_at > self.now
        elif request.changes != self.changes:
            assert after == before, "what is late is no news"
            return
        self.failures += 1
        self.changes += after.is_open
        assert after.is_open == (self.failures >= _POLICY.failures)
        if after.opens_at is not None:
            pause = after.opens_at - self.now
            assert pause <= _LONGEST
            least = min(retry_after or 0.0, _POLICY.longest_pause) * 0.75
            assert pause >= max(least, _POLICY.pause * 0.75) - 1e-6

    @invariant()
    def it_is_never_open_for_longer_than_it_may(self) -> None:
        if self.breaker.opens_at is not None:
            assert self.breaker.opens_at - self.now <= _LONGEST

    @invariant()
    def it_is_open_after_so_many_failures_and_not_before(self) -> None:
        assert self.breaker.is_open == (self.failures >= _POLICY.failures)

    @invariant()
    def after_the_pause_one_may_ask_unless_one_does(self) -> None:
        opens_at = self.breaker.opens_at
        if opens_at is not None and self.now >= opens_at:
            assert (self.breaker.wait(self.now) is None) == (self.probe is None)


TestUpstream = Upstream.TestCase


def _fail(breaker: Breaker, count: int, now: float = 0.0) -> Breaker:
    for _ in range(count):
        breaker, permit = breaker.admit()
        breaker = breaker.fail(permit, Failure("down"), now, _POLICY, 0.5)
    return breaker


@pytest.mark.parametrize("failures", [3, 4, 5, 6, 7, 50])
def test_each_probe_that_fails_doubles_the_pause(failures: int) -> None:
    """The pause doubles up to the longest, however often it fails."""
    expected = min(2.0 * 2 ** (failures - 3), 20.0)
    assert _fail(Breaker(), failures).opens_at == pytest.approx(expected)


@given(
    before=st.integers(0, 6),
    flying=st.integers(1, 100),
    seconds=st.floats(0, 1000),
    retry_after=_retry_after,
)
def test_requests_that_fail_together_cost_one_pause(
    before: int, flying: int, seconds: float, retry_after: float | None
) -> None:
    """Of requests in flight when the breaker opens, those that fail later change nothing."""
    breaker = _fail(Breaker(), before)
    permits = []
    for _ in range(flying):
        if breaker.wait(1e6) is None:
            breaker, permit = breaker.admit()
            permits.append(permit)
    opened = _fail(breaker, 1) if not breaker.is_open else breaker
    while not opened.is_open:
        opened = _fail(opened, 1)
    if opened is breaker:  # the one in flight is the probe
        opened = breaker.fail(permits.pop(), Failure("down"), 0.0, _POLICY, 0.5)
    late = opened
    for permit in permits:
        late = late.fail(permit, Failure("down", retry_after), seconds, _POLICY, 0.5)
    assert late == opened


def test_many_that_fail_together_are_one_reason() -> None:
    """A hundred requests that were in flight when it opened do not make the pause longer."""
    closed, permit = Breaker().admit()
    breaker = opened = _fail(closed, 3)
    for _ in range(100):
        breaker = breaker.fail(permit, Failure("down"), 0.5, _POLICY, 0.5)
    assert breaker == opened


def test_a_late_failure_does_not_free_the_probe() -> None:
    """While the probe is in flight nobody else asks, whatever becomes of older requests."""
    closed, permit = Breaker().admit()
    probing, _ = _fail(closed, 3).admit()
    late = probing.fail(permit, Failure("down"), 5.0, _POLICY, 0.5)
    assert late.wait(1e9) is not None
    assert probing.give_up(permit).wait(1e9) is not None


def test_a_probe_of_an_earlier_outage_says_nothing_of_this_one() -> None:
    """A probe that outlives its outage neither ends nor prolongs the next one's cool-down."""
    probing, permit = _fail(Breaker(), 3).admit()
    closed = probing.close()
    assert closed.fail(permit, Failure("down"), 9.0, _POLICY, 0.5) == closed
    again = _fail(closed, 3, now=10.0)
    assert again.is_open
    assert again.fail(permit, Failure("down"), 11.0, _POLICY, 0.5) == again
    assert again.admit()[0].give_up(permit).is_probing
