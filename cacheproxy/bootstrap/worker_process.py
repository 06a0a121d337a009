"""A worker as its supervisor sees it: a process, and the one that replaces it when it dies."""

import asyncio
import multiprocessing
import socket
from contextlib import suppress
from dataclasses import replace
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import NoReturn

import structlog
from prometheus_client import multiprocess

from cacheproxy.bootstrap.orders import SERVES, Orders, WorkerLink
from cacheproxy.bootstrap.worker import work
from cacheproxy.domain.errors import StartError
from cacheproxy.inprocess.hangups import hangups_blocked
from cacheproxy.settings.model import Settings

_SPAWN = multiprocessing.get_context("spawn")
# Beyond the drain: for closing files and connections.
_GRACE = 5.0


class WorkerDied(Exception):
    """A worker has ended though nobody told it to.

    Attributes:
        seconds: that its supervisor has watched it for.
    """

    def __init__(self, seconds: float) -> None:
        super().__init__(f"a worker died after {seconds:.1f} seconds")
        self.seconds = seconds


class WorkerProcess:
    """One worker, and its successors.

    Its methods that wait must not run at the same time as each other.
    """

    def __init__(self, settings: Settings, answers_at: Path) -> None:
        """Start nothing yet.

        Args:
            settings: for the worker to serve by.
            answers_at: the socket at which the worker answers the supervisor's questions.
        """
        self._orders = Orders(settings)
        self._answers_at = answers_at
        self._process: SpawnProcess | None = None
        self._link: WorkerLink | None = None
        self._log = structlog.get_logger("cacheproxy")

    async def start(self) -> None:
        """Start a process, and wait until it serves.

        Raises:
            StartError: it cannot.
        """
        try:
            link = await self._spawn()
        except OSError as error:
            self._close_link()
            raise StartError(f"a worker cannot be started: {error.strerror or error}") from error
        link.send(self._orders)
        report = await link.report
        if report != SERVES:
            await self._end(_GRACE)
            raise StartError(report)

    async def keep_alive(self) -> NoReturn:
        """Watch the process until it dies; start another one if it has.

        Raises:
            WorkerDied: it has died.
            StartError: its successor cannot start.
        """
        if self._process is None:
            await self.start()
        loop = asyncio.get_running_loop()
        began = loop.time()
        await self._reap()
        raise WorkerDied(loop.time() - began)

    def apply(self, settings: Settings) -> None:
        """Have the worker, and its successors, serve by other settings."""
        self._give(replace(self._orders, settings=settings))

    def leave(self) -> None:
        """Have the worker, and its successors, tell the other replicas that this one ends."""
        self._give(replace(self._orders, is_leaving=True))

    async def stop(self) -> None:
        """Have the worker drain; kill it when it takes longer than it may."""
        if self._process is not None:
            self._process.terminate()
            await self._end(self._orders.settings.server.drain_timeout + _GRACE)

    def _give(self, orders: Orders) -> None:
        self._orders = orders
        if self._link is not None:
            self._link.send(orders)

    async def _spawn(self) -> WorkerLink:
        ours, theirs = socket.socketpair()
        with theirs:
            loop = asyncio.get_running_loop()
            # Open until the next start: its end tells the worker that the supervisor is gone.
            _, self._link = await loop.create_connection(WorkerLink, sock=ours)
            arguments = (theirs, self._answers_at)
            process = _SPAWN.Process(target=work, args=arguments, daemon=True)
            with hangups_blocked():
                process.start()
            self._process = process
        return self._link

    async def _end(self, patience: float) -> None:
        """Wait for the end of the process, and kill it after so many seconds."""
        try:
            async with asyncio.timeout(patience):
                await self._reap()
        except TimeoutError:
            if self._process is not None:
                self._log.warning("a worker did not end in time", pid=self._process.pid)
                self._process.kill()
            await self._reap()

    async def _reap(self) -> None:
        """Wait until the process has ended, and clear up after it."""
        process = self._process
        if process is None:
            return
        await _readable(process.sentinel)
        process.join()
        with suppress(OSError):  # then its gauges stay on the page until the next start
            multiprocess.mark_process_dead(process.pid)  # type: ignore[no-untyped-call]  # not annotated
        process.close()
        self._process = None
        self._close_link()

    def _close_link(self) -> None:
        if self._link is not None:
            self._link.close()
            self._link = None


async def _readable(descriptor: int) -> None:
    """Wait until a descriptor is readable."""
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_reader(descriptor, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_reader(descriptor)
