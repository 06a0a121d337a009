"""Work in threads, and what that means for cancellation."""

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from typing import TypeVar

T = TypeVar("T")


async def run_to_end(
    executor: Executor, work: Callable[[], T], undo: Callable[[T], None] | None = None
) -> T:
    """Run `work` in a thread, and return when it has ended, also when cancelled meanwhile.

    A thread cannot be stopped, and its caller must know what it has done: so a cancellation
    is raised as soon as the work has ended, and not before.

    Args:
        executor: of the thread.
        work: what to do. Its error is raised.
        undo: is given the result that a cancelled caller never gets.

    Raises:
        asyncio.CancelledError: the caller was cancelled; the work has been done all the same.
    """
    # Not `run_in_executor`: a cancelled caller would take back work that has not begun.
    future = executor.submit(work)
    ended = asyncio.wrap_future(future)
    cancelled: asyncio.CancelledError | None = None
    while not ended.done():
        try:
            await asyncio.wait([ended])
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is None:
        return ended.result()
    if ended.exception() is None and undo is not None:
        undo(ended.result())
    raise cancelled
