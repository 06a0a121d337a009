"""A bound on how fast something is done."""

from collections.abc import Callable

# What was not used of the rate is not made up for, but for so many seconds of it.
_CREDIT_SECONDS = 0.1


class Pace:
    """Lets so many bytes pass in a second, and no burst after a pause."""

    def __init__(
        self, rate: int, monotonic: Callable[[], float], sleep: Callable[[float], None]
    ) -> None:
        """Begin now.

        Args:
            rate: in bytes per second.
            monotonic: tells seconds since some moment.
            sleep: waits so many.
        """
        self.rate = rate
        self._monotonic = monotonic
        self._sleep = sleep
        self._due = monotonic()

    def spend(self, count: int) -> None:
        """Wait until so many bytes more were in order."""
        now = self._monotonic()
        self._due = max(self._due, now - _CREDIT_SECONDS) + count / self.rate
        self.wait(self._due - now)

    def wait(self, seconds: float) -> None:
        """Wait, if there is something to wait for."""
        if seconds > 0:
            self._sleep(seconds)
