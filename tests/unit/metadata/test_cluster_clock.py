import pytest

from cacheproxy.domain.digest import Digest
from cacheproxy.domain.freshness import TagRecord
from cacheproxy.metadata.cluster_clock import ClusterClock
from tests.support.clock import FakeClock

_DIGEST = Digest.of(b"one")


def _measure(clock: ClusterClock, server: float, seconds: float = 0.0) -> None:
    """Have the server say its time, which takes so many seconds."""
    now = clock.monotonic()
    clock.measure(server, now - seconds / 2, now + seconds / 2)


@pytest.fixture
def wall() -> FakeClock:
    return FakeClock()


@pytest.fixture
def clock(wall: FakeClock) -> ClusterClock:
    return ClusterClock(wall)


def _stamp(clock: ClusterClock) -> TagRecord:
    return clock.sign(TagRecord(_DIGEST, clock.now()))


def test_the_time_is_the_servers(wall: FakeClock, clock: ClusterClock) -> None:
    """Once measured the time is that of the server, and goes on by the monotonic clock."""
    assert clock.must_be_measured
    _measure(clock, wall.now() - 60, 0.5)
    assert (clock.now(), clock.ahead, clock.uncertainty) == (wall.now() - 60, 60, 0.25)
    wall.advance(30)
    assert clock.now() == wall.now() - 60
    assert not clock.must_be_measured


@pytest.mark.parametrize("seconds", [-3600.0, 3600.0])
def test_a_step_of_the_wall_clock_changes_no_stamp(
    wall: FakeClock, clock: ClusterClock, seconds: float
) -> None:
    """A step changes nothing but that the clock must be measured before anything is written."""
    _measure(clock, wall.now())
    before = clock.now()
    wall.step(seconds)
    assert clock.now() == before
    assert (clock.ahead, clock.must_be_measured) == (seconds, True)
    _measure(clock, before)
    assert (clock.now(), clock.must_be_measured, clock.epoch) == (before, False, 0)


def test_a_machine_that_slept_is_measured(wall: FakeClock, clock: ClusterClock) -> None:
    """Time that the monotonic clock did not count is noticed, and begins no epoch."""
    _measure(clock, wall.now())
    wall.suspend(3600.0)
    assert clock.must_be_measured
    _measure(clock, wall.now(), 3.0)
    assert (clock.now(), clock.epoch) == (wall.now(), 0)


def test_a_server_that_goes_back_begins_an_epoch(wall: FakeClock, clock: ClusterClock) -> None:
    """After the server's clock was put right, what was stamped before is the older one."""
    _measure(clock, wall.now() + 3600)
    clock.join_epoch(5)
    before = _stamp(clock)
    _measure(clock, wall.now())
    wall.advance(10)
    after = _stamp(clock)
    assert (before.epoch, after.epoch) == (5, 6)
    assert after.checked_at < before.checked_at


def test_a_slow_answer_measures_nothing(wall: FakeClock, clock: ClusterClock) -> None:
    """A measurement that is worse than the tolerance of clocks does not replace a better one."""
    _measure(clock, wall.now())
    _measure(clock, wall.now() - 50, 4.0)
    assert clock.now() == wall.now()


def test_what_was_stamped_before_the_first_measurement_is_corrected(
    wall: FakeClock, clock: ClusterClock
) -> None:
    """A record of a process that had not met the server yet gets the server's time."""
    record = _stamp(clock)
    assert clock.settle(record).checked_at == wall.now()
    wall.advance(10)
    _measure(clock, wall.now() - 60)
    settled = clock.settle(record)
    assert settled.checked_at == clock.now() - 10
    assert clock.settle(settled).checked_at == settled.checked_at


@pytest.mark.parametrize("is_ours", [True, False])
def test_what_was_stamped_by_an_unknown_clock_is_left(
    wall: FakeClock, clock: ClusterClock, is_ours: bool
) -> None:
    """A record from before a step, or of another process, is not corrected by a measurement."""
    record = _stamp(clock if is_ours else ClusterClock(wall))
    wall.step(500.0)
    _measure(clock, wall.now() - 60)
    assert clock.settle(record).checked_at == record.checked_at


def test_an_epoch_is_joined(wall: FakeClock, clock: ClusterClock) -> None:
    """A record of a later epoch takes this clock there, and an earlier one never back."""
    clock.settle(TagRecord(_DIGEST, 1.0, 7))
    clock.settle(TagRecord(_DIGEST, 1.0, 3))
    assert (clock.epoch, _stamp(clock).epoch) == (7, 7)
