import asyncio
import gc

import pytest

from cacheproxy.inprocess.tasks import Tasks
from tests.support.leaks import other_tasks, settle


async def _for_ever(ended: list[str]) -> None:
    try:
        await asyncio.get_running_loop().create_future()
    finally:
        await asyncio.sleep(0)
        ended.append("ended")


async def test_a_task_has_a_name_and_an_outcome() -> None:
    """A task is named, runs to its end, and is forgotten then."""
    tasks = Tasks()

    async def answer() -> int:
        return 42

    task = tasks.start(answer(), "answering")
    assert (task.get_name(), len(tasks)) == ("answering", 1)
    assert await task == 42
    await settle()
    assert len(tasks) == 0


async def test_a_task_that_nobody_holds_is_not_lost() -> None:
    """A task outlives a garbage collection although its starter did not keep it."""
    tasks, ended = Tasks(), list[str]()
    tasks.start(_for_ever(ended), "forgotten")
    await settle()
    gc.collect()
    assert (len(tasks), len(other_tasks())) == (1, 1)
    await tasks.close()
    assert ended == ["ended"]


async def test_closing_cancels_and_waits() -> None:
    """After closing nothing runs any more, and what had to be tidied up is."""
    tasks, ended = Tasks(), list[str]()
    for number in range(5):
        tasks.start(_for_ever(ended), f"task {number}")
    await settle()
    await tasks.close()
    assert ended == ["ended"] * 5
    assert len(tasks) == 0
    assert not other_tasks()


async def test_closing_at_the_end_of_a_task_is_no_loop() -> None:
    """A task that has ended, and that nobody could strike out yet, does not hold it up."""
    tasks = Tasks()
    told = asyncio.get_running_loop().create_future()

    async def tell() -> None:
        told.set_result(None)

    task = tasks.start(tell(), "tells")
    await told
    assert task.done()
    assert len(tasks) == 1  # whoever was told has its turn before the task is struck out
    await tasks.close()
    assert len(tasks) == 0


async def test_closing_takes_along_what_is_started_meanwhile() -> None:
    """A task that another one starts while it ends is ended too."""
    tasks, ended = Tasks(), list[str]()

    async def leave_another() -> None:
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            tasks.start(_for_ever(ended), "late")
            await asyncio.sleep(0)

    tasks.start(leave_another(), "leaving another")
    await settle()
    await tasks.close()
    assert (ended, len(tasks)) == (["ended"], 0)


async def test_an_error_of_a_task_does_not_stop_the_closing() -> None:
    """Closing ends all tasks whatever some of them raise while they end."""
    tasks, ended = Tasks(), list[str]()

    async def fail() -> None:
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            raise ZeroDivisionError

    tasks.start(fail(), "failing")
    tasks.start(_for_ever(ended), "other")
    await settle()
    await tasks.close()
    assert (ended, len(tasks)) == (["ended"], 0)


async def test_closing_nothing_is_nothing() -> None:
    """Tasks that are none can be closed, and more than once."""
    tasks = Tasks()
    await tasks.close()
    await tasks.close()
    assert len(tasks) == 0


def test_a_task_needs_a_loop() -> None:
    """Outside of an event loop nothing is started, and the caller is told."""
    work = asyncio.sleep(0)
    with pytest.raises(RuntimeError, match="no running event loop"):
        Tasks().start(work, "nowhere")
    work.close()
