"""Several workers: started, watched, replaced when they die, and drained together.

The supervisor serves no pulls. It holds the port, so that nobody else takes it, and serves
the admin port, where the workers' metrics are added up.
"""

import asyncio
import os
import tempfile
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

import structlog

from cacheproxy.bootstrap.listening import bind
from cacheproxy.bootstrap.notifying import ServiceManager
from cacheproxy.bootstrap.operating import make_operating
from cacheproxy.bootstrap.page_numbers import PageNumbers
from cacheproxy.bootstrap.reloading import Reloading, Source
from cacheproxy.bootstrap.serving import listen_for_operators, page_of
from cacheproxy.bootstrap.signals import stop_on_signals
from cacheproxy.bootstrap.worker_process import WorkerDied, WorkerProcess
from cacheproxy.domain.errors import StartError
from cacheproxy.domain.events import TaskFailed, Unexpected
from cacheproxy.inprocess.clock import SystemClock
from cacheproxy.inprocess.tasks import Tasks
from cacheproxy.ops.admin import Readiness
from cacheproxy.ops.api.workers import Workers
from cacheproxy.ops.logging import EventLog
from cacheproxy.ops.metrics import Page
from cacheproxy.settings.addresses import Address
from cacheproxy.settings.model import Settings


async def supervise(settings: Settings, source: Source, manager: ServiceManager) -> None:
    """Run the workers until a signal, then drain them; tell them of changes.

    Raises:
        StartError: they cannot serve as configured.
    """
    log = structlog.get_logger("cacheproxy")
    stop = asyncio.Event()
    stop_on_signals(stop)
    async with AsyncExitStack() as stack:
        directory = stack.enter_context(
            tempfile.TemporaryDirectory(prefix="cacheproxy-", ignore_cleanup_errors=True)
        )
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
        workers = [WorkerProcess(shared, at) for at in sockets]
        stack.push_async_callback(_drain, workers)
        # Ended before the drain: nobody replaces what is being stopped.
        tasks = Tasks(_log_failure)
        stack.push_async_callback(tasks.close)
        await asyncio.gather(*(tasks.start(worker.start(), "start") for worker in workers))
        for worker in workers:
            tasks.keep_running(worker.keep_alive, "worker")
        readiness.begin()

        def apply(changed: Settings) -> None:
            numbers.apply(changed)
            operating.apply(changed)
            for worker in workers:
                worker.apply(changed)

        Reloading(shared, source, apply, numbers.reloads, EventLog()).begin(stack)
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


async def _drain(workers: list[WorkerProcess]) -> None:
    """Stop all workers, whatever becomes of one of them."""
    outcomes = await asyncio.gather(*(worker.stop() for worker in workers), return_exceptions=True)
    for error in filter(None, outcomes):
        EventLog().observe(Unexpected(error))


def _log_failure(failure: TaskFailed) -> None:
    log = structlog.get_logger("cacheproxy")
    match failure.error:
        case WorkerDied(seconds=seconds):
            after = round(seconds, 1)
            log.warning("a worker died and is replaced", after=after, pause=failure.pause)
        case StartError() as error:
            log.error("a worker did not start", error=str(error), pause=failure.pause)
        case _:
            EventLog().observe(failure)
