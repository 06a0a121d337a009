"""Whether a server is asked, by a clock of the test's own."""

import asyncio

import pytest
from yarl import URL

from cacheproxy.domain.breaker import BreakerPolicy
from cacheproxy.domain.errors import (
    CacheproxyError,
    Denied,
    ManifestUnknown,
    UpstreamOffline,
    UpstreamResting,
    UpstreamTimeout,
    UpstreamUnavailable,
)
from cacheproxy.domain.events import UpstreamPaused, UpstreamResumed
from cacheproxy.upstream.config import UpstreamConfig
from cacheproxy.upstream.health import Health
from tests.support.clock import FakeClock
from tests.support.hasty import Events

_DOWN = UpstreamUnavailable("no connection")
_SILENT = UpstreamTimeout("no answer")
_PATIENCE = 3.0


class _Watched:
    """A health with its clock and its events."""

    def __init__(self, **config: object) -> None:
        self.clock, self.events = FakeClock(), Events()
        breaker = BreakerPolicy(failures=3, pause=4.0, longest_pause=16.0)
        settings = {"breaker": breaker, "patience": _PATIENCE, **config}
        made = UpstreamConfig("r.test", URL("https://r.test"), **settings)  # type: ignore[arg-type]
        self.health = Health("r.test", made, self.events, self.clock)

    def fail(self, count: int = 1, error: CacheproxyError = _DOWN) -> None:
        for _ in range(count):
            with self.health.asking() as turn:
                self.health.fail(turn, error)

    def is_silent(self) -> bool:
        return self.health.is_silent

    def answer(self) -> None:
        with self.health.asking() as turn:
            self.health.succeed(turn)


@pytest.fixture
def watched() -> _Watched:
    """One that nothing is known of."""
    return _Watched()


def test_it_rests_after_failures_in_a_row(watched: _Watched) -> None:
    """After the third failure in a row nobody asks, and whoever would is told for how long."""
    watched.fail(2)
    watched.answer()
    watched.fail(3)
    with pytest.raises(UpstreamResting, match="no connection") as raised, watched.health.asking():
        pass
    assert raised.value.retry_after is not None
    assert 3.0 <= raised.value.retry_after <= 5.0
    (paused,) = watched.events.of(UpstreamPaused)
    assert (paused.registry, paused.error) == ("r.test", "no connection")
    assert paused.seconds == pytest.approx(raised.value.retry_after)


def test_one_probes_and_the_rest_wait(watched: _Watched) -> None:
    """After the pause one asks; the others do when that has been answered."""
    watched.fail(3)
    watched.clock.advance(5.01)
    with watched.health.asking() as probe:
        with pytest.raises(UpstreamResting), watched.health.asking():
            pass
        watched.health.succeed(probe)
        watched.answer()
    assert watched.events.of(UpstreamResumed) == [UpstreamResumed("r.test")]


async def test_a_probe_that_is_cancelled_leaves_its_place(watched: _Watched) -> None:
    """If whoever probes leaves, the next one probes at once."""
    watched.fail(3)
    watched.clock.advance(5.01)

    async def probe() -> None:
        with watched.health.asking():
            await asyncio.Event().wait()

    with pytest.raises(TimeoutError):
        await asyncio.wait_for(probe(), 0.01)
    watched.answer()
    assert not watched.health.is_down


def test_those_who_asked_before_it_opened_count_once(watched: _Watched) -> None:
    """Twenty requests that fail together open it once, for the first pause."""
    asked = [watched.health.asking() for _ in range(20)]
    turns = [each.__enter__() for each in asked]
    for turn, each in zip(turns, asked, strict=True):
        watched.health.fail(turn, _DOWN)
        each.__exit__(None, None, None)
    assert len(watched.events.of(UpstreamPaused)) == 1
    watched.clock.advance(5.01)
    watched.answer()


def test_it_may_ask_for_a_longer_rest(watched: _Watched) -> None:
    """A 503 that says when to come back is heeded, within the longest pause."""
    watched.fail(2)
    with watched.health.asking() as turn:
        watched.health.fail(turn, _DOWN, retry_after=3600.0)
    (paused,) = watched.events.of(UpstreamPaused)
    assert 12.0 <= paused.seconds <= 20.0


@pytest.mark.parametrize(
    ("error", "seconds", "silent"),
    [(_SILENT, 0.1, True), (_DOWN, 0.1, False), (_DOWN, 3.0, True)],
)
def test_who_lets_one_wait_in_vain_is_silent(
    watched: _Watched, error: CacheproxyError, seconds: float, silent: bool
) -> None:
    """A timeout is silence, and so is any failure that takes long; a refusal is not."""
    with watched.health.asking() as turn:
        watched.clock.advance(seconds)
        watched.health.fail(turn, error)
    assert watched.is_silent() is silent
    watched.answer()
    assert not watched.is_silent()


def test_it_is_silent_while_one_waits_for_long(watched: _Watched) -> None:
    """The deadline of the first who waits need not be over for others to know."""
    with watched.health.asking() as turn:
        watched.clock.advance(_PATIENCE - 0.1)
        assert not watched.is_silent()
        watched.clock.advance(0.2)
        assert watched.is_silent()
        watched.answer()
        assert not watched.is_silent(), "it is only slow, to one"
        watched.health.succeed(turn)


def test_who_leaves_says_nothing(watched: _Watched) -> None:
    """A cancelled request neither keeps upstream silent nor closes the breaker."""
    watched.fail(3)
    watched.clock.advance(5.01)
    request = watched.health.asking()
    request.__enter__()
    watched.clock.advance(100)
    assert not request.__exit__(asyncio.CancelledError, asyncio.CancelledError(), None)
    assert not watched.is_silent()
    assert watched.health.is_down
    watched.answer()


@pytest.mark.parametrize(
    ("error", "is_failure"),
    [(_DOWN, True), (_SILENT, True), (Denied("no"), False), (ManifestUnknown("none"), False)],
)
def test_an_error_is_its_own_outcome(
    watched: _Watched, error: CacheproxyError, is_failure: bool
) -> None:
    """An error that leaves the context counts as a failure, unless the server gave it."""
    for _ in range(3):
        with pytest.raises(type(error)), watched.health.asking():
            raise error
    assert watched.health.is_down is is_failure


def test_offline(watched: _Watched) -> None:
    """What is set to be offline is never asked."""
    offline = _Watched(offline=True)
    with pytest.raises(UpstreamOffline), offline.health.asking():
        pass
    watched.answer()
