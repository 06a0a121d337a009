"""What clients are served, written down for `cacheproxy plan`.

On the way of a request there is an append to a list. A thread makes records of it every few
seconds. What cannot be written is lost, and costs nobody a pull.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import NoReturn

import structlog

from cacheproxy.domain.accesses import Access, prefix_of
from cacheproxy.domain.budget import Kind
from cacheproxy.domain.digest import Digest
from cacheproxy.domain.events import Event, Responded
from cacheproxy.ops.access_records import encoded
from cacheproxy.ports import Clock

# So many responses may wait to be written: some ten seconds of a busy process, and 12 MiB.
_PENDING = 50_000
_FLUSH_SECONDS = 5.0

_Served = tuple[float, Digest, int | None, int, str, str]


class AccessLog:
    """Writes accesses down (`Observer`)."""

    def __init__(
        self, append: Callable[[bytes], None], clock: Clock, *, pending: int = _PENDING
    ) -> None:
        """Begin with none.

        Args:
            append: keeps records; may raise OSError, and BlockingIOError for not now. It is
                called in a thread.
            clock: says when responses ended.
            pending: how many responses may wait to be written.
        """
        self._append = append
        self._clock = clock
        self._most = pending
        self._pending: list[_Served] = []
        self._lost = 0
        self._is_refused = False
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="accesses")
        self._log = structlog.get_logger("cacheproxy")

    def observe(self, event: Event) -> None:
        """Take note of a response that had content."""
        if isinstance(event, Responded) and event.digest is not None and event.body_bytes:
            if len(self._pending) >= self._most:
                self._lost += 1
                return
            asked = event.asked
            self._pending.append(
                (
                    self._clock.now() - event.duration,
                    event.digest,
                    event.size,
                    event.body_bytes,
                    asked.operation,
                    asked.registry,
                )
            )

    async def run(self) -> NoReturn:
        """Write every few seconds, until cancelled."""
        while True:
            await self._clock.sleep(_FLUSH_SECONDS)
            await self.flush()

    async def flush(self) -> None:
        """Write what waits."""
        served, self._pending = self._pending, []
        if not served:
            return
        loop = asyncio.get_running_loop()
        error = await loop.run_in_executor(self._executor, self._written, served)
        if isinstance(error, BlockingIOError):
            # Others were writing: this waits for the next time, as far as it may.
            waiting = served + self._pending
            self._pending = waiting[: self._most]
            self._lost += len(waiting) - len(self._pending)
            error = None
        self._report(error)

    def close(self) -> None:
        """Write what still waits, and end the thread."""
        if self._pending:
            self._report(self._executor.submit(self._written, self._pending).result())
            self._pending = []
        self._executor.shutdown()

    def _written(self, served: list[_Served]) -> OSError | None:
        try:
            self._append(b"".join(map(_record, served)))
        except OSError as error:
            return error
        return None

    def _report(self, error: OSError | None) -> None:
        """Say that accesses are lost, when that begins; not each time."""
        problem = None
        if error is not None:
            problem = error.strerror or str(error)
        elif self._lost:
            problem = "they come faster than they are written"
        if problem is not None and not self._is_refused:
            self._log.warning("accesses not recorded", error=problem)
        self._is_refused, self._lost = problem is not None, 0


def _record(served: _Served) -> bytes:
    at, digest, size, count, operation, registry = served
    kind: Kind = "manifest" if operation == "manifest" else "blob"
    # A blob of which nobody said how long it is, and that was cut, is at least that long.
    whole = max(size or 0, count)
    return encoded(Access(at, digest, whole, count, kind, registry), prefix_of(digest))
