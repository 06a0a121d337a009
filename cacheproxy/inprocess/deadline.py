"""A deadline that costs nothing where nothing is waited for."""

import asyncio
from collections.abc import Coroutine, Generator
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, TypeVar, cast

T = TypeVar("T")


async def within(seconds: float, work: Coroutine[Any, Any, T]) -> T:
    """What a coroutine returns; the time begins when it first waits.

    Most of what is asked for is in memory. To set a timer for that, and to take it back, costs
    half as much as to find it.

    Raises:
        TimeoutError: it waited for longer.
    """
    try:
        awaited = work.send(None)
    except StopIteration as done:
        return cast("T", done.value)
    async with asyncio.timeout(seconds):
        return await _Begun(work, awaited)


@dataclass(frozen=True, slots=True)
class _Begun(Generic[T]):
    """A coroutine that waits already, which `await` would refuse.

    Attributes:
        work: the coroutine.
        awaited: what it waits for, as it told the event loop.
    """

    work: Coroutine[Any, Any, T]
    awaited: Any

    def __await__(self) -> Generator[Any, Any, T]:
        awaited = self.awaited
        while True:
            try:
                heard = yield awaited
            except BaseException as error:  # noqa: BLE001  # all of it is the coroutine's
                go_on = partial(self.work.throw, error)
            else:
                go_on = partial(self.work.send, heard)
            try:
                awaited = go_on()
            except StopIteration as done:
                return cast("T", done.value)
