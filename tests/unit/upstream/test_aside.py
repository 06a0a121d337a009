import asyncio
import threading

import pytest

from cacheproxy.upstream.credentials.aside import Aside
from cacheproxy.upstream.credentials.login import NoLoginError
from tests.support.leaks import other_tasks


async def test_what_a_call_comes_to() -> None:
    """A call's value or error comes back; it runs in a thread, of which none is kept."""
    aside: Aside[str] = Aside("x", 5)
    assert await aside.run(lambda: threading.current_thread().name) != "MainThread"
    with pytest.raises(ZeroDivisionError):
        await aside.run(lambda: str(1 // 0))
    assert not other_tasks()


async def test_a_call_that_hangs_is_left_behind() -> None:
    """A call that hangs is given up at its deadline, and none is begun until it has ended."""
    aside: Aside[bool] = Aside("AWS", 0.05)
    going, begun = threading.Event(), list[int]()

    def hang() -> bool:
        begun.append(1)
        return going.wait(30)

    with pytest.raises(NoLoginError, match=r"AWS did not answer within 0\.05 s"):
        await aside.run(hang)
    for _ in range(3):
        with pytest.raises(NoLoginError, match="AWS still does not answer"):
            await aside.run(hang)
    assert len(begun) == 1
    going.set()
    async with asyncio.timeout(60):
        while len(begun) == 1:
            try:
                assert await aside.run(hang)
            except NoLoginError:
                await asyncio.sleep(0.01)
    assert len(begun) == 2


async def test_who_is_cancelled_does_not_break_the_call() -> None:
    """A call whose caller has left ends in peace."""
    aside: Aside[bool] = Aside("x", 30)
    going, ended = threading.Event(), threading.Event()

    def work() -> bool:
        going.wait(30)
        ended.set()
        return True

    async with asyncio.TaskGroup() as group:
        task = group.create_task(aside.run(work))
        await asyncio.sleep(0)
        task.cancel()
    going.set()
    assert await asyncio.to_thread(ended.wait, 10)
