"""Cancelling a coroutine at each place where it waits."""

import asyncio
from collections.abc import Coroutine, Generator
from typing import Any, TypeVar

T = TypeVar("T")


class CancelledAt(Coroutine[Any, Any, T]):
    """Runs `inner` in a task, and has that task cancelled when it waits for the nth time.

    Attributes:
        waited: how often it has waited so far.
    """

    def __init__(self, inner: Coroutine[Any, Any, T], nth: int) -> None:
        self._inner = inner
        self._nth = nth
        self.waited = 0

    def send(self, value: Any) -> Any:
        """Run to where it waits next."""
        awaited = self._inner.send(value)
        self.waited += 1
        task = asyncio.current_task()
        if self.waited == self._nth and task is not None:
            asyncio.get_running_loop().call_soon(task.cancel)
        return awaited

    def throw(self, *arguments: Any) -> Any:
        """Pass an exception in."""
        return self._inner.throw(*arguments)

    def close(self) -> None:
        """Give it up."""
        self._inner.close()

    def __await__(self) -> Generator[Any, Any, T]:
        """Not awaited: it is for a task."""
        raise NotImplementedError
