"""Time that passes only when a test says so."""

import asyncio

import pytest

# Sun 2023-01-01 00:00:00 UTC
_SOME_TIME = 1_672_531_200.0


class FakeClock:
    """A clock (`Clock`) whose two times are moved by hand."""

    def __init__(self) -> None:
        self._now = _SOME_TIME
        self._monotonic = 1000.0

    def now(self) -> float:
        """Seconds since the epoch."""
        return self._now

    def monotonic(self) -> float:
        """Seconds since some moment."""
        return self._monotonic

    async def sleep(self, seconds: float) -> None:
        """Take no time, but let it pass."""
        self.advance(seconds)
        await asyncio.sleep(0)

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self._now += seconds
        self._monotonic += seconds

    def step(self, seconds: float) -> None:
        """Set the time of day, forward or back; no time passes by that."""
        self._now += seconds

    def suspend(self, seconds: float) -> None:
        """Let time pass that the monotonic clock does not count, as while a machine sleeps."""
        self._now += seconds

    def set_back(self, seconds: float) -> None:
        """Correct the time of day; no time passes by that."""
        self.step(-seconds)


def time_the_loop(clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the timers of the running event loop go by `clock`.

    Whatever then waits for real time waits for ever.
    """
    monkeypatch.setattr(asyncio.get_running_loop(), "time", clock.monotonic)
