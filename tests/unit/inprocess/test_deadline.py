import asyncio
from collections.abc import Awaitable, Callable

import pytest

from cacheproxy.inprocess.deadline import within
from cacheproxy.inprocess.tasks import Tasks

_LONG, _SHORT = 60.0, 0.01


async def _first(step: Awaitable[object]) -> str:
    await step
    await asyncio.sleep(0)
    return "done"


async def test_what_is_there_sets_no_timer(monkeypatch: pytest.MonkeyPatch) -> None:
    """A result that is there at once, and an error likewise, need no deadline."""

    async def here() -> int:
        return 7

    async def broken() -> int:
        raise LookupError("it is not")

    monkeypatch.setattr(asyncio, "timeout", None)  # to call it would fail
    assert await within(_SHORT, here()) == 7
    with pytest.raises(LookupError, match="it is not"):
        await within(_SHORT, broken())


@pytest.mark.parametrize(
    "wait",
    [lambda: asyncio.sleep(0), lambda: asyncio.sleep(0.001), lambda: asyncio.wait_for(_ok(), 5)],
    ids=["a turn", "a timer", "a task"],
)
async def test_what_waits_goes_on(wait: Callable[[], Awaitable[object]]) -> None:
    """Whatever it waits for, several times, it comes to its end."""
    assert await within(_LONG, _first(wait())) == "done"


async def _ok() -> None:
    await asyncio.sleep(0)


async def test_what_waits_too_long_is_cut() -> None:
    """It is told by a cancellation, and whoever asked by a TimeoutError."""
    ends: list[str] = []

    async def hanging() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ends.append("cut")

    with pytest.raises(TimeoutError):
        await within(_SHORT, hanging())
    assert ends == ["cut"]
    assert asyncio.current_task().cancelling() == 0  # type: ignore[union-attr]  # there is one


async def test_errors_later_on_are_the_askers() -> None:
    """What is raised after waiting arrives, whether it was waited for or its own."""
    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_soon(future.set_exception, LookupError("late"))
    with pytest.raises(LookupError, match="late"):
        await within(_LONG, _first(future))


async def test_a_deadline_within_is_its_own() -> None:
    """A shorter deadline that was set before the first wait ends there, and there only."""

    async def patient() -> str:
        try:
            async with asyncio.timeout(_SHORT):
                await asyncio.Event().wait()
        except TimeoutError:
            await asyncio.sleep(0)
        return "fell back"

    assert await within(_LONG, patient()) == "fell back"


async def test_cancelling_who_asks_cancels_it() -> None:
    """A cancellation of the task reaches the coroutine, and is not taken for the deadline."""
    begun, ends = asyncio.Event(), []

    async def hanging() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            ends.append("cancelled")
            raise

    task = Tasks().start(within(_LONG, hanging()), "asks")
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ends == ["cancelled"]
