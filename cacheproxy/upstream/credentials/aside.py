"""Calls that may block or hang, in threads of their own."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Generic, TypeVar

from cacheproxy.upstream.credentials.login import NoLoginError

T = TypeVar("T")


class Aside(Generic[T]):
    """Runs one call at a time, in a thread that nobody waits for beyond a deadline.

    Not in an executor: the loop's own resolves names, and any executor's threads are waited
    for when the process ends. A thread that hangs is left alone, and none is put beside it.
    """

    def __init__(self, what: str, seconds: float) -> None:
        self._what = what
        self._seconds = seconds
        self._hanging: Future[T] | None = None

    async def run(self, work: Callable[[], T]) -> T:
        """What the call returns, or raises.

        Raises:
            NoLoginError: it did not end in time, or has not yet since the last time.
        """
        if self._hanging is not None and not self._hanging.done():
            raise NoLoginError(f"{self._what} still does not answer")
        outcome: Future[T] = Future()
        # Running from here on: who gives up waiting must not take the place of an outcome.
        outcome.set_running_or_notify_cancel()
        self._hanging = outcome
        threading.Thread(target=_run, args=(work, outcome), daemon=True).start()
        try:
            async with asyncio.timeout(self._seconds):
                return await asyncio.wrap_future(outcome)
        except TimeoutError:
            raise NoLoginError(f"{self._what} did not answer within {self._seconds:g} s") from None


def _run(work: Callable[[], T], outcome: Future[T]) -> None:
    try:
        outcome.set_result(work())
    except Exception as error:  # noqa: BLE001  # the caller's, whatever it is
        outcome.set_exception(error)
