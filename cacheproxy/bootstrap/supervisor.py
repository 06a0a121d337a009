"""Several workers: started, watched, replaced when they die, and drained together.

The supervisor serves no pulls. It holds the port, so that nobody else takes it, and serves
the admin port, where the workers' metrics are added up.
"""

import asyncio
import contextlib
import multiprocessing
import os
import tempfile
from contextlib import AsyncExitStack
from dataclasses import replace
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import NoReturn

import structlog
from prometheus_client import multiprocess

from cacheproxy.bootstrap.listening import bind
from cacheproxy.bootstrap.notifying import ServiceManager
from cacheproxy.bootstrap.operating import make_operating
from cacheproxy.bootstrap.page_numbers import PageNumbers
from cacheproxy.bootstrap.reloading import Reloading, Source
from cacheproxy.bootstrap.serving import listen_for_operators, page_of
from cacheproxy.bootstrap.signals import stop_on_signals
from cacheproxy.bootstrap.worker import LEAVE, SERVES, work
from cacheproxy.domain.errors import StartError
from cacheproxy.inprocess.clock import SystemClock
from cacheproxy.inprocess.tasks import Tasks
from cacheproxy.ops.admin import Readiness
from cacheproxy.ops.api.workers import Workers
from cacheproxy.ops.metrics import Page
from cacheproxy.settings.addresses import Address
from cacheproxy.settings.model import Settings

_SPAWN = multiprocessing.get_context("spawn")
# A worker that dies at once must not be restarted in a loop that eats a core.
_LONGEST_PAUSE = 10.0
_HEALTHY_SECONDS = 60.0
# Beyond the drain: for closing files and connections.
_GRACE = 5.0


async def supervise(settings: Settings, source: Source, manager: ServiceManager) -> None:
    """Run the workers until a signal, then drain them; tell them of changes.

    Raises:
        StartError: they cannot serve as configured.
    """
    log = structlog.get_logger("cacheproxy")
    stop = asyncio.Event()
    stop_on_signals(stop)
    async with AsyncExitStack() as stack:
        directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="cacheproxy-"))
        # Where prometheus_client looks, in the workers, when it is imported there.
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = directory
        # Sharing is for our own workers: a port of somebody else's is an error all the same.
        bind(settings.server.listen).close()
        held = stack.enter_context(bind(settings.server.listen, shared=True))
        host, port = held.getsockname()[:2]
        shared = replace(settings, server=replace(settings.server, listen=Address(host, port)))
        readiness = Readiness()
        admin_socket = stack.enter_context(bind(settings.admin.listen))
        numbers = PageNumbers(settings, SystemClock())
        count = settings.server.workers
        sockets = [Path(directory) / f"worker-{number}.sock" for number in range(count)]
        asking = Workers(sockets)
        stack.push_async_callback(asking.close)
        page = Page.of_workers(directory, *numbers.sources)
        operating = make_operating(settings, page, readiness, asking, SystemClock(), port)
        admin = await listen_for_operators(stack, operating.app, admin_socket)
        workers = [_Worker(shared, at) for at in sockets]
        stack.push_async_callback(_drain, workers)
        # Ended before the drain: nobody replaces what is being stopped.
        tasks = Tasks()
        stack.push_async_callback(tasks.close)
        await asyncio.gather(*(worker.start() for worker in workers))
        for worker in workers:
            tasks.start(worker.keep_up(), "worker")
        readiness.begin()

        def apply(changed: Settings) -> None:
            numbers.apply(changed)
            operating.apply(changed)
            for worker in workers:
                worker.apply(changed)

        Reloading(shared, source, apply, numbers.reloads).begin(stack)
        log.info(
            "serving",
            pull=f"{host}:{port}",
            admin=f"{admin[0]}:{admin[1]}",
            page=page_of(admin),
            workers=len(workers),
            upstreams=sorted(settings.upstreams),
            directory=str(settings.cache.directory),
        )
        manager.ready()
        await stop.wait()
        manager.stopping()
        readiness.end()
        log.info("draining", seconds=settings.server.drain_timeout)
        for worker in workers:
            worker.leave()
        # Before the workers are told: whoever deals connections out must have seen it.
        await asyncio.sleep(settings.server.drain_delay)
    log.info("stopped")


async def _drain(workers: list["_Worker"]) -> None:
    await asyncio.gather(*(worker.stop() for worker in workers))


class _Worker:
    """One worker, and its successors."""

    def __init__(self, settings: Settings, answers_at: Path) -> None:
        self._settings = settings
        self._answers_at = answers_at
        self._process: SpawnProcess | None = None
        self._pipe: Connection | None = None
        self._is_leaving = False
        self._log = structlog.get_logger("cacheproxy")

    async def start(self) -> None:
        """Start it, and wait until it serves.

        Raises:
            StartError: it cannot.
        """
        ours, theirs = _SPAWN.Pipe()
        # Held until the next one: its end tells the worker that the supervisor is gone.
        self._pipe = ours
        arguments = (self._settings, theirs, self._answers_at)
        self._process = _SPAWN.Process(target=work, args=arguments, daemon=True)
        self._process.start()
        theirs.close()
        await _readable(ours.fileno())
        try:
            said = ours.recv()
        except EOFError:
            said = "a worker died before it served; its output says why"
        if said != SERVES:
            raise StartError(said)
        if self._is_leaving:
            self._tell(LEAVE)

    def apply(self, settings: Settings) -> None:
        """Have it, and its successors, go by other settings."""
        self._settings = settings
        self._tell(settings)

    def leave(self) -> None:
        """Have it, and its successors, leave the other replicas: no worker stays."""
        self._is_leaving = True
        self._tell(LEAVE)

    def _tell(self, what: Settings | str) -> None:
        if self._pipe is not None:
            with contextlib.suppress(OSError):  # it has died: its successor is told
                self._pipe.send(what)

    async def keep_up(self) -> NoReturn:
        """Replace it whenever it dies. For ever, but for cancellation."""
        pause, loop = 0.0, asyncio.get_running_loop()
        while True:
            begun = loop.time()
            await self._ended()
            lived = loop.time() - begun
            pause = 0.1 if lived > _HEALTHY_SECONDS else min(pause * 2 + 0.1, _LONGEST_PAUSE)
            self._log.warning("a worker died and is replaced", after=round(lived, 1), pause=pause)
            await asyncio.sleep(pause)
            try:
                await self.start()
            except StartError as error:
                self._log.error("a worker did not start", error=str(error))

    async def stop(self) -> None:
        """Have it drain; end it when it takes longer than it may."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            async with asyncio.timeout(self._settings.server.drain_timeout + _GRACE):
                await self._ended()
        except TimeoutError:
            self._log.warning("a worker did not drain in time", pid=self._process.pid)
            self._process.kill()
            await self._ended()
        self._process.close()

    async def _ended(self) -> None:
        """Wait until the process has ended, and clear up after it."""
        process = self._process
        if process is not None:
            await _readable(process.sentinel)
            process.join()
            multiprocess.mark_process_dead(process.pid)  # type: ignore[no-untyped-call]  # not annotated


async def _readable(descriptor: int) -> None:
    """Wait until a descriptor is readable."""
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_reader(descriptor, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_reader(descriptor)
