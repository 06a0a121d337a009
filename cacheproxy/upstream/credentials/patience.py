"""Asking again what is not there yet, in the first seconds of a pod."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

from cacheproxy.ports import Clock
from cacheproxy.upstream.credentials.login import NoLoginError

T = TypeVar("T")

# Where a cloud's metadata service comes up beside us, it does so within so many seconds.
_FIRST = 20.0
_PAUSES = (0.25, 0.5, 1.0, 2.0, 2.0, 2.0, 2.0)


class NotYetError(NoLoginError):
    """There is no login, but there may be one soon."""


class Patience:
    """Has something repeated when it fails, but only just after the start."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._until = clock.monotonic() + _FIRST

    async def with_(self, work: Callable[[], Awaitable[T]]) -> T:
        """What the work comes to; later on, at the first go.

        Raises:
            NoLoginError: it failed each time, or in a way that time does not mend.
        """
        for pause in _PAUSES:
            try:
                return await work()
            except NotYetError:
                if self._clock.monotonic() + pause > self._until:
                    raise
            await self._clock.sleep(pause)
        return await work()
