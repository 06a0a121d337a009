"""SIGTERM and SIGINT."""

import asyncio
import signal


def stop_on_signals(stop: asyncio.Event) -> None:
    """Set `stop` at the first signal; a second one of its kind ends at once, as by default."""
    loop = asyncio.get_running_loop()

    def first(number: signal.Signals) -> None:
        loop.remove_signal_handler(number)
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, first, number)


def stop_when_told(stop: asyncio.Event) -> None:
    """Set `stop` at any signal, however often it comes.

    For workers: a signal to the whole group, as a terminal or systemd sends it, reaches them
    twice, once through their supervisor; and it is the supervisor who loses patience.
    """
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
