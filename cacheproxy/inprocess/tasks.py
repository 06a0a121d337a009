"""The one place that starts tasks: named, strongly held, and ended before the process is."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class Tasks:
    """The tasks that outlive the request that started them.

    The event loop itself holds tasks weakly, so one that nobody holds can vanish in flight.
    """

    def __init__(self) -> None:
        self._running: set[asyncio.Task[Any]] = set()

    def start(self, work: Coroutine[Any, Any, T], name: str) -> asyncio.Task[T]:
        """Run `work` to its end, whoever waits for it or does not."""
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return task

    def __len__(self) -> int:
        return len(self._running)

    async def close(self) -> None:
        """Cancel what still runs, and wait until it has ended."""
        while self._running:
            running = list(self._running)
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)
            # By hand: from Python 3.12 on, what has ended already is gathered at once, and those
            # who would strike it out have no turn before this loop has its next one.
            self._running.difference_update(running)
