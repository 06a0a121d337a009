"""One of several processes that share the port and the volume.

A worker says to its supervisor, through a pipe, that it serves, or why it cannot; the
supervisor says through it when settings have changed, or that all of them are about to end, and
asks at a socket what goes on. A worker drains when the pipe ends, so that none outlives its
supervisor.
"""

import asyncio
import os
from contextlib import AsyncExitStack
from multiprocessing.connection import Connection
from pathlib import Path

from cacheproxy.bootstrap.listening import bind
from cacheproxy.bootstrap.operating import answer_supervisor
from cacheproxy.bootstrap.serving import pulling
from cacheproxy.bootstrap.signals import stop_when_told
from cacheproxy.domain.errors import StartError
from cacheproxy.inprocess.clock import SystemClock
from cacheproxy.ops import logging
from cacheproxy.ops.metrics import Metrics
from cacheproxy.settings.model import Settings

SERVES = ""
"""What a worker says when it serves; anything else is why it cannot."""

LEAVE = "leave"
"""What it is told when no other worker stays: the replica ends, and not this process alone."""


def work(settings: Settings, supervisor: Connection, answers_at: Path) -> None:
    """Serve pulls until a signal, or until the supervisor is gone. Runs in its own process."""
    logging.to_stdout(settings.logging.level, settings.logging.format, worker=os.getpid())
    try:
        asyncio.run(_work(settings, supervisor, answers_at))
    except StartError as error:
        supervisor.send(str(error))


async def _work(settings: Settings, supervisor: Connection, answers_at: Path) -> None:
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    stop_when_told(stop)
    async with AsyncExitStack() as stack:
        # Left last: while it drains it may hear that all others do.
        stack.callback(loop.remove_reader, supervisor.fileno())
        on = stack.enter_context(bind(settings.server.listen, shared=True))
        metrics = Metrics(tuple(settings.upstreams))
        pulls = await pulling(stack, settings, on, [metrics], SystemClock())
        await answer_supervisor(stack, pulls.here, pulls.traffic, answers_at)
        supervisor.send(SERVES)

        def hear() -> None:
            match _said(supervisor):
                case Settings() as changed if not stop.is_set():
                    pulls.apply(changed)
                case None:
                    loop.remove_reader(supervisor.fileno())
                    pulls.core.leave()
                    stop.set()
                case said if said == LEAVE:
                    pulls.core.leave()
                case _:
                    pass

        loop.add_reader(supervisor.fileno(), hear)
        await stop.wait()


def _said(supervisor: Connection) -> Settings | str | None:
    """What the supervisor says; None where it is gone."""
    try:
        said: Settings | str = supervisor.recv()
    except (EOFError, OSError):
        return None
    return said
