import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from cacheproxy.inprocess.hangups import Hangups
from tests.support.leaks import settle


@pytest.fixture(autouse=True)
async def _as_before() -> AsyncIterator[None]:
    """Whatever a test has done, SIGHUP does afterwards what it did before."""
    handler = signal.getsignal(signal.SIGHUP)
    yield
    asyncio.get_running_loop().remove_signal_handler(signal.SIGHUP)
    signal.signal(signal.SIGHUP, handler)


async def _hang_up() -> None:
    os.kill(os.getpid(), signal.SIGHUP)
    await settle()


async def test_each_is_heeded() -> None:
    """Each has the configuration read again, once; without any it is not."""
    reloads = list[None]()
    async with AsyncExitStack() as stack:
        Hangups().heed(asyncio.get_running_loop(), stack, lambda: reloads.append(None))
        await settle()
        assert reloads == []
        await _hang_up()
        await _hang_up()
        assert len(reloads) == 2


async def test_those_of_the_start_are_made_up_for() -> None:
    """However many came while nobody heeded them, it is read once, and the process lives."""
    hangups, reloads = Hangups(), list[None]()
    await _hang_up()
    await _hang_up()
    async with AsyncExitStack() as stack:
        hangups.heed(asyncio.get_running_loop(), stack, lambda: reloads.append(None))
        assert len(reloads) == 1


async def test_those_of_the_end_end_nothing() -> None:
    """A drain goes on, and nothing is read any more."""
    reloads = list[None]()
    async with AsyncExitStack() as stack:
        Hangups().heed(asyncio.get_running_loop(), stack, lambda: reloads.append(None))
    await _hang_up()
    assert reloads == []
