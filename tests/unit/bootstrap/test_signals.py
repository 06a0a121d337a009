import asyncio
import os
import signal
from collections.abc import AsyncIterator

import pytest

from cacheproxy.bootstrap.signals import stop_on_signals, stop_when_told
from tests.support.leaks import settle

_BOTH = (signal.SIGTERM, signal.SIGINT)


@pytest.fixture(autouse=True)
async def _signals_as_before() -> AsyncIterator[None]:
    """Whatever a test has done, a signal does afterwards what it did before."""
    handlers = {number: signal.getsignal(number) for number in _BOTH}
    yield
    for number, handler in handlers.items():
        asyncio.get_running_loop().remove_signal_handler(number)
        signal.signal(number, handler)


async def _send(number: signal.Signals) -> None:
    os.kill(os.getpid(), number)
    await settle()


@pytest.mark.parametrize("number", _BOTH)
async def test_a_worker_survives_being_told_twice(number: signal.Signals) -> None:
    """A worker that the whole group and its supervisor tell to stop begins to stop, once."""
    stop = asyncio.Event()
    stop_when_told(stop)
    assert not stop.is_set()
    for _ in range(3):
        await _send(number)
        assert stop.is_set()


@pytest.mark.parametrize("number", _BOTH)
async def test_a_second_signal_is_left_to_the_system(number: signal.Signals) -> None:
    """Of one process alone the first signal is a request, and the next one of its kind an order."""
    stop = asyncio.Event()
    stop_on_signals(stop)
    await _send(number)
    assert stop.is_set()
    expected = signal.SIG_DFL if number == signal.SIGTERM else signal.default_int_handler
    assert signal.getsignal(number) == expected


async def test_a_signal_of_the_other_kind_ends_nothing() -> None:
    """Control-C after SIGTERM is the first of its kind."""
    stop = asyncio.Event()
    stop_on_signals(stop)
    await _send(signal.SIGTERM)
    await _send(signal.SIGINT)
    assert stop.is_set()
