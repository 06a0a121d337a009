"""What a check found, and what it may take."""

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Literal, TypeVar

T = TypeVar("T")

State = Literal["ok", "warning", "failed", "skipped"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at. Nothing in it is a secret.

    Attributes:
        name: what was looked at, such as `docker.io: login`.
        state: how it is.
        said: what was found, as a sentence without an end.
        advice: what to do; empty where there is nothing to be done.
    """

    name: str
    state: State
    said: str
    advice: str = ""

    @property
    def as_warning(self) -> "Finding":
        """The same where others stand in for what failed."""
        return replace(self, state="warning") if self.state == "failed" else self


async def in_thread(work: Callable[[], T], seconds: float) -> T:
    """What `work` returns, in a thread that nobody waits for longer.

    asyncio's own threads are waited for when the loop ends: a name server that does not answer,
    or a file server that is gone, would hold up the end of the command.

    Raises:
        TimeoutError: it takes longer.
    """
    loop = asyncio.get_running_loop()
    found: asyncio.Future[T] = loop.create_future()

    def settle(result: T | None, error: Exception | None) -> None:
        if found.done():
            return
        if error is not None:
            found.set_exception(error)
        else:
            found.set_result(result)  # type: ignore[arg-type]  # None is of T then

    def run() -> None:
        result, failed = None, None
        try:
            result = work()
        except Exception as error:  # noqa: BLE001 - raised again by who waits
            failed = error
        with suppress(RuntimeError):  # the loop has ended meanwhile
            loop.call_soon_threadsafe(settle, result, failed)

    threading.Thread(target=run, daemon=True, name="doctor").start()
    async with asyncio.timeout(seconds):
        return await found
