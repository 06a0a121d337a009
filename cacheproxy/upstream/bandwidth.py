"""A bound on the bytes per second that an upstream's blobs take of the link."""

from cacheproxy.ports import Clock

# What was not used is not made up for, but for so many seconds of it.
_CREDIT_SECONDS = 0.1


class Bandwidth:
    """Shared by all that comes from one upstream: blobs wait, everything else goes first."""

    def __init__(self, rate: int | None, clock: Clock) -> None:
        """Bound it to so many bytes per second; None does not bound it."""
        self._rate = rate
        self._clock = clock
        self.due = clock.monotonic()

    def spend(self, count: int) -> None:
        """So many bytes have come; whoever waits next, waits for them too."""
        if self._rate is not None:
            now = self._clock.monotonic()
            self.due = max(self.due, now - _CREDIT_SECONDS) + count / self._rate

    async def wait(self) -> None:
        """Wait until all that has come is in order."""
        seconds = self.due - self._clock.monotonic()
        if self._rate is not None and seconds > 0:
            await self._clock.sleep(seconds)
