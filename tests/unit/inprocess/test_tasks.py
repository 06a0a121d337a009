import asyncio
import gc
from typing import Any, NoReturn

import pytest

from cacheproxy.domain.events import TaskFailed
from cacheproxy.inprocess.tasks import Tasks
from tests.support.clock import FakeClock, time_the_loop
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


class _Failing:
    """A service that fails as often as it is told to, then runs."""

    def __init__(self, *errors: BaseException) -> None:
        self.errors = list(errors)
        self.starts = 0
        self.is_healthy = asyncio.Event()

    async def run(self) -> NoReturn:
        self.starts += 1
        if self.errors:
            raise self.errors.pop(0)
        self.is_healthy.set()
        while True:
            await asyncio.get_running_loop().create_future()


async def _run(service: _Failing) -> list[TaskFailed]:
    """Keep a service running until it fails no more; return the reports of its failures."""
    failures = list[TaskFailed]()
    tasks = Tasks(failures.append, FakeClock().sleep)
    task = tasks.keep_running(service.run, "service")
    await service.is_healthy.wait()
    assert not task.done()
    await tasks.close()
    assert task.cancelled()
    return failures


async def test_a_service_that_fails_is_reported_and_starts_again() -> None:
    """A service runs again after each error, and each error is reported under its name."""
    errors = [OSError("disk"), ZeroDivisionError(), StopAsyncIteration()]
    failures = await _run(_Failing(*errors))
    assert [(failure.task, failure.error) for failure in failures] == [
        ("service", error) for error in errors
    ]


async def test_the_pause_of_a_failing_service_grows_to_a_bound() -> None:
    """The pause doubles with each failure in a row, up to 10 seconds."""
    failures = await _run(_Failing(*[OSError() for _ in range(9)]))
    assert [failure.pause for failure in failures] == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10, 10]


async def test_a_service_that_was_healthy_starts_again_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A failure after more than a minute of work counts as the first one."""
    clock, failures = FakeClock(), list[TaskFailed]()
    time_the_loop(clock, monkeypatch)
    service = _Failing(*[OSError() for _ in range(5)])

    async def work_for_a_while() -> NoReturn:
        clock.advance(61.0 if service.starts == 3 else 1.0)
        await service.run()

    tasks = Tasks(failures.append, clock.sleep)
    tasks.keep_running(work_for_a_while, "service")
    await service.is_healthy.wait()
    await tasks.close()
    assert [failure.pause for failure in failures] == [0.1, 0.2, 0.4, 0.1, 0.2]


async def test_a_service_survives_the_cancellation_of_another_task() -> None:
    """A CancelledError that was not meant for the service is a failure like any other."""
    failures = await _run(_Failing(asyncio.CancelledError()))
    assert [type(failure.error) for failure in failures] == [asyncio.CancelledError]


async def test_an_unobserved_failure_of_a_service_reaches_the_loop() -> None:
    """Without an observer, the event loop's exception handler is told of the failure."""
    reports = list[dict[str, Any]]()
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reports.append(context))
    tasks, error = Tasks(sleep=FakeClock().sleep), OSError()
    service = _Failing(error)
    tasks.keep_running(service.run, "scrub")
    await service.is_healthy.wait()
    await tasks.close()
    assert [(report["message"], report["exception"]) for report in reports] == [
        ("background task 'scrub' failed", error)
    ]


async def test_a_task_that_swallows_its_cancellation_ends_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Closing cancels again what goes on, as libraries do that lose a cancellation."""
    monkeypatch.setattr("cacheproxy.inprocess.tasks._CANCEL_AGAIN_SECONDS", 0.01)
    swallowed = 0

    async def stubborn() -> None:
        nonlocal swallowed
        while True:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                if swallowed == 2:
                    raise
                swallowed += 1

    tasks = Tasks()
    tasks.start(stubborn(), "stubborn")
    await asyncio.sleep(0)
    await tasks.close()
    assert (swallowed, len(tasks)) == (2, 0)
