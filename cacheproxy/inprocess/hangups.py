"""SIGHUP, which by default would end the process: it is heard from the first moment to the last."""

import signal
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop


class Hangups:
    """Takes note of them until somebody heeds them.

    Create it first: a SIGHUP that comes while the process starts must not end it, and may
    tell of a change that the process has just missed. So this module imports nothing slow.
    """

    def __init__(self) -> None:
        self._has_come = False
        self._note()

    def heed(
        self, loop: "AbstractEventLoop", stack: AsyncExitStack, reload: Callable[[], None]
    ) -> None:
        """Call `reload` for each, until the stack is left, and now if one has come before."""
        loop.add_signal_handler(signal.SIGHUP, reload)
        # The loop goes back to what the system does; a drain is to go on.
        stack.callback(self._note)
        stack.callback(loop.remove_signal_handler, signal.SIGHUP)
        if self._has_come:
            reload()

    def _note(self) -> None:
        def note(*_: object) -> None:
            self._has_come = True

        signal.signal(signal.SIGHUP, note)


@contextmanager
def hangups_blocked() -> Iterator[None]:
    """Block SIGHUP within the context.

    A process that is started there inherits this, and so never receives the signal. One that
    comes to this process meanwhile takes effect afterwards.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
