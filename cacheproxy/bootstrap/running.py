"""`cacheproxy serve`: one process, or a supervisor with workers, until a signal."""

import asyncio

import structlog

from cacheproxy.bootstrap.serving import serving
from cacheproxy.bootstrap.signals import stop_on_signals
from cacheproxy.bootstrap.supervisor import supervise
from cacheproxy.ops import logging
from cacheproxy.settings.model import Settings


def serve(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT, then drain.

    Raises:
        StartError: it cannot serve as configured.
    """
    logging.to_stdout(settings.logging.level, settings.logging.format)
    if settings.server.workers > 1:
        asyncio.run(supervise(settings))
    else:
        asyncio.run(_serve_alone(settings))


async def _serve_alone(settings: Settings) -> None:
    log = structlog.get_logger("cacheproxy")
    stop = asyncio.Event()
    stop_on_signals(stop)
    async with serving(settings) as served:
        log.info(
            "serving",
            pull=f"{served.pull[0]}:{served.pull[1]}",
            admin=f"{served.admin[0]}:{served.admin[1]}",
            upstreams=sorted(settings.upstreams),
            directory=str(settings.cache.directory),
        )
        await stop.wait()
        log.info("draining", seconds=settings.server.drain_timeout)
    log.info("stopped")
