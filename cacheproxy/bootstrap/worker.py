"""One of several processes that share the port and the volume.

A worker says to its supervisor, through a pipe, that it serves, or why it cannot; and it
drains when the pipe ends, so that none outlives its supervisor.
"""

import asyncio
import os
from contextlib import AsyncExitStack
from multiprocessing.connection import Connection

from cacheproxy.bootstrap.listening import bind
from cacheproxy.bootstrap.serving import pulling
from cacheproxy.bootstrap.signals import stop_when_told
from cacheproxy.domain.errors import StartError
from cacheproxy.inprocess.clock import SystemClock
from cacheproxy.ops import logging
from cacheproxy.ops.metrics import Metrics
from cacheproxy.settings.model import Settings

SERVES = ""
"""What a worker says when it serves; anything else is why it cannot."""


def work(settings: Settings, supervisor: Connection) -> None:
    """Serve pulls until a signal, or until the supervisor is gone. Runs in its own process."""
    logging.to_stdout(settings.logging.level, settings.logging.format, worker=os.getpid())
    try:
        asyncio.run(_work(settings, supervisor))
    except StartError as error:
        supervisor.send(str(error))


async def _work(settings: Settings, supervisor: Connection) -> None:
    stop = asyncio.Event()
    stop_when_told(stop)
    async with AsyncExitStack() as stack:
        on = stack.enter_context(bind(settings.server.listen, shared=True))
        metrics = Metrics(tuple(settings.upstreams))
        await pulling(stack, settings, on, [metrics], SystemClock())
        supervisor.send(SERVES)
        # The supervisor never sends: what becomes readable is the pipe's end.
        loop = asyncio.get_running_loop()
        loop.add_reader(supervisor.fileno(), stop.set)
        stack.callback(loop.remove_reader, supervisor.fileno())
        await stop.wait()
        loop.remove_reader(supervisor.fileno())
