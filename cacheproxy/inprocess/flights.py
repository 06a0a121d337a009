"""Join or start: at most one piece of work under way for a key."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Hashable
from typing import Any, Generic, TypeVar

from cacheproxy.inprocess.tasks import Tasks

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Flights(Generic[K, V]):
    """Work that is shared by all who ask for its key while it is under way.

    The work belongs to nobody who waits for it: one who is cancelled leaves, and the rest
    get the outcome. All of them get the same one; an error is an error for each.
    """

    def __init__(self, tasks: Tasks, name: str) -> None:
        self._tasks = tasks
        self._name = name
        self._flying: dict[K, asyncio.Task[V]] = {}

    async def join(self, key: K, work: Callable[[], Coroutine[Any, Any, V]]) -> tuple[V, bool]:
        """The outcome of the work for `key`, and whether it was under way already."""
        flying = self._flying.get(key)
        task = flying or self._start(key, work)
        # The shield: a waiter's cancellation must not become the work's.
        return await _outcome(task), flying is not None

    def launch(self, key: K, work: Callable[[], Coroutine[Any, Any, V]]) -> None:
        """Have the work done, unless it is under way already; nobody waits for it."""
        if key not in self._flying:
            self._start(key, work)

    def _start(self, key: K, work: Callable[[], Coroutine[Any, Any, V]]) -> asyncio.Task[V]:
        task = self._tasks.start(work(), f"{self._name} {key}")
        self._flying[key] = task
        task.add_done_callback(lambda done: self._landed(key, done))
        return task

    def _landed(self, key: K, task: asyncio.Task[V]) -> None:
        del self._flying[key]
        if not task.cancelled():
            task.exception()  # seen: where nobody waits any more, it is not an accident


async def _outcome(task: Awaitable[V]) -> V:
    try:
        return await asyncio.shield(task)
    except Exception as error:  # noqa: BLE001  # passed on, whatever it is
        # Raised in many tasks, one exception would gather the tracebacks of all.
        raise error.with_traceback(None) from error.__cause__
