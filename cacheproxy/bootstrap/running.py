"""`cacheproxy serve`: one process, or a supervisor with workers, until a signal."""

import asyncio
from contextlib import AsyncExitStack

import structlog

from cacheproxy.bootstrap.notifying import ServiceManager
from cacheproxy.bootstrap.reloading import Reloading, Source
from cacheproxy.bootstrap.serving import page_of, serving
from cacheproxy.bootstrap.signals import stop_on_signals
from cacheproxy.bootstrap.supervisor import supervise
from cacheproxy.ops import logging
from cacheproxy.settings.model import Settings


def serve(settings: Settings, source: Source, manager: ServiceManager) -> None:
    """Serve until SIGTERM or SIGINT, then drain; take over a changed configuration.

    Args:
        settings: to begin with.
        source: where they come from.
        manager: is told how far it is.

    Raises:
        StartError: it cannot serve as configured.
    """
    logging.to_stdout(settings.logging.level, settings.logging.format)
    if settings.server.workers > 1:
        asyncio.run(supervise(settings, source, manager))
    else:
        asyncio.run(_serve_alone(settings, source, manager))


async def _serve_alone(settings: Settings, source: Source, manager: ServiceManager) -> None:
    log = structlog.get_logger("cacheproxy")
    stop = asyncio.Event()
    stop_on_signals(stop)
    async with serving(settings) as served, AsyncExitStack() as stack:
        observer = served.core.around.observer
        Reloading(settings, source, served.apply, served.reloads, observer).begin(stack)
        log.info(
            "serving",
            pull=f"{served.pull[0]}:{served.pull[1]}",
            admin=f"{served.admin[0]}:{served.admin[1]}",
            page=page_of(served.admin),
            upstreams=sorted(settings.upstreams),
            directory=str(settings.cache.directory),
        )
        manager.ready()
        await stop.wait()
        manager.stopping()
        log.info("draining", seconds=settings.server.drain_timeout)
    log.info("stopped")
