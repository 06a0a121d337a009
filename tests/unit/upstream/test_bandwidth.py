"""How blobs share a link, by a clock of the test's own."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cacheproxy.upstream.bandwidth import Bandwidth
from tests.support.clock import FakeClock

_RATE = 1_000_000
_BURST = _RATE // 10


@given(st.lists(st.tuples(st.integers(1, 600_000), st.floats(0, 3)), min_size=1, max_size=60))
async def test_the_rate_is_never_exceeded(steps: list[tuple[int, float]]) -> None:
    """Whatever comes in whichever pieces and pauses, it takes as long as the bound says."""
    clock = FakeClock()
    bandwidth, begun, total = Bandwidth(_RATE, clock), clock.monotonic(), 0
    for count, pause in steps:
        clock.advance(pause)
        bandwidth.spend(count)
        total += count
        await bandwidth.wait()
        assert total <= _RATE * (clock.monotonic() - begun) + _BURST + 1


@given(st.lists(st.integers(1, 600_000), min_size=20, max_size=60))
async def test_the_rate_is_reached(pieces: list[int]) -> None:
    """Who always has more gets all of it."""
    clock = FakeClock()
    bandwidth, begun = Bandwidth(_RATE, clock), clock.monotonic()
    for count in pieces:
        bandwidth.spend(count)
        await bandwidth.wait()
    assert clock.monotonic() - begun <= sum(pieces) / _RATE + 1e-6


async def test_two_downloads_share_it() -> None:
    """Of two downloads that always have more each gets half."""
    clock = FakeClock()
    bandwidth, begun = Bandwidth(_RATE, clock), clock.monotonic()
    # By hand, as two tasks would: whoever waits shortest goes on next.
    ready, got = {"a": begun, "b": begun}, {"a": 0, "b": 0}
    for _ in range(200):
        name = min(ready, key=lambda each: ready[each])
        clock.advance(max(0.0, ready[name] - clock.monotonic()))
        bandwidth.spend(50_000)
        got[name] += 50_000
        ready[name] = bandwidth.due
    assert got["a"] == got["b"] == 5_000_000
    assert clock.monotonic() - begun == pytest.approx(10.0, rel=0.02)


async def test_what_was_not_used_is_not_made_up_for() -> None:
    """After an hour of nothing a tenth of a second's worth comes at once, and no more."""
    clock = FakeClock()
    bandwidth = Bandwidth(_RATE, clock)
    clock.advance(3600)
    begun = clock.monotonic()
    for _ in range(10):
        bandwidth.spend(_BURST)
        await bandwidth.wait()
    assert clock.monotonic() - begun == pytest.approx(0.9)


async def test_without_a_bound_nobody_waits() -> None:
    """Where nothing is set, nothing is slowed."""
    clock = FakeClock()
    bandwidth, begun = Bandwidth(None, clock), clock.monotonic()
    bandwidth.spend(10**12)
    await bandwidth.wait()
    assert clock.monotonic() == begun
