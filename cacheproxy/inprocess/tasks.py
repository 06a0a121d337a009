"""The one place that starts tasks: named, strongly held, and ended before the process is."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, NoReturn, TypeVar, overload

from typing_extensions import deprecated

from cacheproxy.domain.events import TaskFailed

T = TypeVar("T")

_FIRST_PAUSE = 0.1
_LONGEST_PAUSE = 10.0
# A service that ran for so long was healthy: its next failure is the first of a new row.
_HEALTHY_SECONDS = 5.0
_CANCEL_AGAIN_SECONDS = 1.0

Service = Callable[[], Coroutine[Any, Any, NoReturn]]
"""Makes a coroutine that runs until it is cancelled, or fails."""


def _report_to_loop(failure: TaskFailed) -> None:
    """Report a failure to the event loop's exception handler, which logs it as an error."""
    asyncio.get_running_loop().call_exception_handler(
        {"message": f"background task {failure.task!r} failed", "exception": failure.error}
    )


class Tasks:
    """The tasks that outlive the request that started them.

    The event loop itself holds tasks weakly, so one that nobody holds can vanish in flight.
    """

    def __init__(
        self,
        on_failure: Callable[[TaskFailed], None] = _report_to_loop,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """Begin with none.

        Args:
            on_failure: is called with each failure of a service; must not raise.
            sleep: waits for the given number of seconds before a service starts again.
        """
        self._on_failure = on_failure
        self._sleep = sleep
        self._running: set[asyncio.Task[Any]] = set()

    @overload
    @deprecated("A coroutine that never returns is a service: use keep_running.")
    def start(self, work: Coroutine[Any, Any, NoReturn], name: str) -> asyncio.Task[NoReturn]: ...

    @overload
    def start(self, work: Coroutine[Any, Any, T], name: str) -> asyncio.Task[T]: ...

    def start(self, work: Coroutine[Any, Any, T], name: str) -> asyncio.Task[T]:
        """Run `work` to its end, whoever waits for it or does not."""
        return self._start(work, name)

    def _start(self, work: Coroutine[Any, Any, T], name: str) -> asyncio.Task[T]:
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return task

    def keep_running(self, service: Service, name: str) -> asyncio.Task[NoReturn]:
        """Run a service until its task is cancelled.

        A service that fails is reported, and started again after a pause that grows from one
        failure to the next.

        Args:
            service: makes the coroutine; is called for each start.
            name: labels logs and metrics, so it must be one of a fixed set.
        """
        return self._start(self._keep_running(service, name), name)

    async def _keep_running(self, service: Service, name: str) -> NoReturn:
        pause, loop = 0.0, asyncio.get_running_loop()
        while True:
            started = loop.time()
            error = await _failure_of(service)
            is_first = pause == 0.0 or loop.time() - started > _HEALTHY_SECONDS
            pause = _FIRST_PAUSE if is_first else min(pause * 2, _LONGEST_PAUSE)
            self._on_failure(TaskFailed(name, error, pause))
            await self._sleep(pause)

    def __len__(self) -> int:
        return len(self._running)

    async def close(self) -> None:
        """Cancel what still runs, and wait until it has ended."""
        while self._running:
            running = list(self._running)
            for task in running:
                task.cancel()
            # Again for those that go on: a library may swallow a cancellation, as
            # `asyncio.wait_for` of Python 3.11 does when its work ends in the same moment.
            ended, _ = await asyncio.wait(running, timeout=_CANCEL_AGAIN_SECONDS)
            for task in ended:
                if not task.cancelled():
                    task.exception()  # seen: at the end it is no accident any more
            # By hand: those who would strike it out may have had no turn yet.
            self._running.difference_update(ended)


async def _failure_of(service: Service) -> BaseException:
    """Run a service until it fails; return its error.

    Raises:
        asyncio.CancelledError: the task itself was cancelled.
    """
    try:
        await service()
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        return error  # of another task, which the service waited for
    except Exception as error:  # noqa: BLE001  # a service ends by cancellation, and by no error
        return error
