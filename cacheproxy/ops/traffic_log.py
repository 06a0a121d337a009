"""Counting traffic: in memory as it happens, and every few seconds on disk."""

import contextlib
import sqlite3
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn, TypeVar

from cacheproxy.domain.events import Event, Responded, UpstreamPulled, UpstreamReceived
from cacheproxy.domain.traffic import FIELDS, REST, Hours, Totals, Traffic, added, hour_of
from cacheproxy.ops.traffic_store import TrafficStore
from cacheproxy.ports import Clock
from cacheproxy.storage.threads import run_to_end

T = TypeVar("T")

_FLUSH_SECONDS = 5.0
_KEPT_HOURS = 35 * 24
# Told to other replicas again within so many hours: what was counted late is then known, too.
_TOLD_HOURS = 2
# What waits for a disk that refuses is bounded: then it is counted without repositories.
_MOST_PENDING = 5000

_REQUESTS, _FETCHED, _PULLS, _UPSTREAM_PULLS = (
    FIELDS.index(name) for name in ("requests", "fetched", "pulls", "upstream_pulls")
)
_SOURCES = {
    source: FIELDS.index(f"from_{source}") for source in ("store", "fill", "peer", "upstream")
}

Tell = Callable[[str, Hours, Totals], Awaitable[bool]]
"""Tells other replicas what this one has counted, under its name; whether all was told."""


@dataclass(frozen=True, slots=True)
class Counted:
    """What there is to read.

    Attributes:
        hours: from some hour on.
        overall: of all time.
    """

    hours: Hours
    overall: Totals


class TrafficLog:
    """Counts (`Observer`), and keeps what it counted."""

    def __init__(self, path: Path, clock: Clock) -> None:
        """Count in memory; the store is opened when it is first written.

        A volume without room for it is no reason not to serve, nor to serve later.
        """
        self._path = path
        self._clock = clock
        # Lists, since a value made anew for each response would cost more than the counting.
        self._counting: dict[tuple[int, str, str], list[int]] = {}
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="traffic")
        self._opened: TrafficStore | None = None

    def observe(self, event: Event) -> None:
        """Count an event, if it is traffic."""
        match event:
            case Responded() if event.source != "none" and event.asked.registry:
                self._responded(event)
            case UpstreamReceived(registry, body_bytes, repository):
                self._numbers(registry, repository)[_FETCHED] += body_bytes
            case UpstreamPulled(registry, repository):
                self._numbers(registry, repository)[_UPSTREAM_PULLS] += 1
            case _:
                pass

    def close(self) -> None:
        """Write down what is pending, and close the store."""
        with contextlib.suppress(sqlite3.Error, OSError):
            self._executor.submit(self._write, self._pending()).result()
        if self._opened is not None:
            self._executor.submit(self._opened.close).result()
        self._executor.shutdown()

    async def run(self, tell: Tell | None = None) -> NoReturn:
        """Write it down every few seconds, and tell others, for ever."""
        told = 0
        while True:
            await self._clock.sleep(_FLUSH_SECONDS)
            with contextlib.suppress(sqlite3.Error, OSError):  # it is kept, and tried again
                await self.flush()
                if tell is not None:
                    told = await self._tell(tell, told)

    async def counted(self, since: int) -> Counted:
        """All that is counted in this directory, from an hour on and overall; even just now.

        Raises:
            sqlite3.Error, OSError: it cannot be read.
        """
        await self.flush()
        return await self._do(lambda: Counted(self._store().since(since), self._store().overall()))

    async def name(self) -> str:
        """Of this directory, among those of other replicas.

        Raises:
            sqlite3.Error, OSError: it cannot be read.
        """
        return await self._do(lambda: self._store().replica())

    async def _tell(self, tell: Tell, told: int) -> int:
        """Tell what has changed since an hour; from which on it may change again.

        All of it once an hour, and after a failure: what others knew may be lost.
        """
        hour = hour_of(self._clock.now())
        since = told if told == hour - _TOLD_HOURS else 0
        counted = await self._do(
            lambda: Counted(self._store().since(since), self._store().overall())
        )
        is_told = await tell(await self.name(), counted.hours, counted.overall)
        return hour - _TOLD_HOURS if is_told else 0

    async def flush(self) -> None:
        """Write down what was counted.

        Raises:
            sqlite3.Error, OSError: it cannot be written; it is kept.
        """
        counted = self._pending()
        try:
            await self._do(lambda: self._write(counted))
        except (sqlite3.Error, OSError):
            self._keep(counted)
            raise

    def _keep(self, counted: Hours) -> None:
        """Count again what could not be written."""
        if len(counted) > _MOST_PENDING:
            parts = (((hour, registry, REST), one) for (hour, registry, _), one in counted.items())
            counted = added({}, parts)
        for (hour, registry, repository), traffic in counted.items():
            numbers = self._numbers_of((hour, registry, repository))
            for index, name in enumerate(FIELDS):
                numbers[index] += getattr(traffic, name)

    def _responded(self, event: Responded) -> None:
        asked = event.asked
        numbers = self._numbers(asked.registry, asked.repository)
        numbers[_REQUESTS] += 1
        numbers[_SOURCES[event.source]] += event.body_bytes
        if asked.operation == "manifest" and asked.method == "GET":
            numbers[_PULLS] += 1

    def _numbers(self, registry: str, repository: str) -> list[int]:
        return self._numbers_of((hour_of(self._clock.now()), registry, repository))

    def _numbers_of(self, key: tuple[int, str, str]) -> list[int]:
        numbers = self._counting.get(key)
        if numbers is None:
            numbers = self._counting[key] = [0] * len(FIELDS)
        return numbers

    def _pending(self) -> Hours:
        counting, self._counting = self._counting, {}
        return {key: Traffic(*numbers) for key, numbers in counting.items()}

    def _write(self, counted: Hours) -> None:
        if counted:
            self._store().add(counted, _KEPT_HOURS)

    def _store(self) -> TrafficStore:
        """The store; in the thread that has it."""
        if self._opened is None:
            self._opened = TrafficStore(self._path)
        return self._opened

    async def _do(self, work: Callable[[], T]) -> T:
        return await run_to_end(self._executor, work)
