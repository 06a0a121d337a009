"""Work in threads, and what that means for cancellation."""

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from typing import TypeVar

T = TypeVar("T")


async def finished(executor: Executor, work: Callable[[], T]) -> T:
    """Run `work` in a thread and wait until it has ended, also when cancelled meanwhile.

    A thread cannot be stopped. Were its caller to go on, it could close the descriptor under
    the thread, and the thread would write into whatever file is given that number next. So
    a cancellation that comes meanwhile arrives at the caller's next `await` instead: what
    the thread has done is done, and its outcome is not lost.
    """
    future = asyncio.get_running_loop().run_in_executor(executor, work)
    cancelled = False
    while not future.done():
        try:
            await asyncio.wait([future])
        except asyncio.CancelledError:
            cancelled = True
    task = asyncio.current_task()
    if cancelled and task is not None:
        # Taken back and made again, so that whoever counts them (asyncio.timeout) counts one.
        task.uncancel()
        task.cancel()
    return future.result()
