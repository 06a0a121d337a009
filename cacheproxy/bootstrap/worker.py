"""One of several processes that share the port and the volume.

A worker reports to its supervisor, over a socket, that it serves, or why it cannot. Over the same
socket it gets orders: settings to serve by, and that the replica ends. It drains when that
connection ends, so that none outlives its supervisor. At another socket it answers questions of
the supervisor about what it does.
"""

import asyncio
import os
import socket
from contextlib import AsyncExitStack, closing
from pathlib import Path

from cacheproxy.bootstrap.listening import bind
from cacheproxy.bootstrap.orders import SERVES, Orders, read_orders, write_report
from cacheproxy.bootstrap.pulls import Pulls, pulling
from cacheproxy.bootstrap.signals import stop_when_told
from cacheproxy.bootstrap.worker_api import answer_supervisor
from cacheproxy.domain.errors import StartError
from cacheproxy.domain.events import Unexpected
from cacheproxy.inprocess.clock import SystemClock
from cacheproxy.inprocess.tasks import Tasks
from cacheproxy.ops import logging
from cacheproxy.ops.metrics import Metrics
from cacheproxy.settings.model import Settings


def work(supervisor: socket.socket, answers_at: Path) -> None:
    """Serve pulls until a signal, or until the supervisor is gone. Runs in its own process."""
    asyncio.run(_work(supervisor, answers_at))


async def _work(supervisor: socket.socket, answers_at: Path) -> None:
    stop = asyncio.Event()
    stop_when_told(stop)
    reader, writer = await asyncio.open_connection(sock=supervisor)
    with closing(writer):
        orders = await read_orders(reader)
        if orders is None:
            return
        logs = orders.settings.logging
        logging.to_stdout(logs.level, logs.format, worker=os.getpid())
        try:
            async with AsyncExitStack() as stack:
                # Ended last: while this worker drains it may learn that the replica ends.
                tasks = Tasks()
                stack.push_async_callback(tasks.close)
                pulls = await _begin(stack, orders.settings, answers_at)
                tasks.start(_obey(reader, orders, pulls, stop), "orders")
                write_report(writer, SERVES)
                await stop.wait()
        except StartError as error:
            write_report(writer, str(error))


async def _begin(stack: AsyncExitStack, settings: Settings, answers_at: Path) -> Pulls:
    on = stack.enter_context(bind(settings.server.listen, shared=True))
    metrics = Metrics(tuple(settings.upstreams))
    pulls = await pulling(stack, settings, on, [metrics], SystemClock())
    await answer_supervisor(stack, pulls.here, pulls.traffic, answers_at)
    return pulls


async def _obey(
    reader: asyncio.StreamReader, orders: Orders, pulls: Pulls, stop: asyncio.Event
) -> None:
    """Follow orders until the supervisor is gone; then leave the other replicas, and stop."""
    while (newer := await read_orders(reader)) is not None:
        if newer.is_leaving:
            pulls.core.leave()
        if newer.settings != orders.settings and not stop.is_set():
            _apply(pulls, newer.settings)
        orders = newer
    pulls.core.leave()
    stop.set()


def _apply(pulls: Pulls, settings: Settings) -> None:
    """Serve by other settings; an error must not keep the worker from later orders."""
    try:
        pulls.apply(settings)
    except Exception as error:  # noqa: BLE001  # see above
        pulls.core.observer.observe(Unexpected(error))
