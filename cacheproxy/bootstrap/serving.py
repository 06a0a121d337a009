"""One process that serves: made, run until a signal, drained, and taken apart in order."""

import asyncio
import signal
import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import structlog

from cacheproxy.bootstrap.listening import listen, server_tls
from cacheproxy.bootstrap.upstreams import (
    make_clients,
    make_config,
    make_registries,
    make_routes,
)
from cacheproxy.edge.api import Api, EdgeConfig
from cacheproxy.edge.app import make_app
from cacheproxy.inprocess.clock import SystemClock
from cacheproxy.inprocess.tasks import Tasks
from cacheproxy.metadata.embedded import EmbeddedMetadata
from cacheproxy.metadata.hot import HotMetadata
from cacheproxy.metadata.memory import MemoryMetadata
from cacheproxy.ops import logging
from cacheproxy.ops.admin import Readiness, make_admin_app
from cacheproxy.ops.metrics import Metrics
from cacheproxy.ops.observers import Observers
from cacheproxy.ports import Metadata, Observer
from cacheproxy.pullthrough.fill import FillContext
from cacheproxy.pullthrough.pull_through import PullThrough
from cacheproxy.settings.model import Settings
from cacheproxy.storage.filesystem import FilesystemStore
from cacheproxy.storage.layout import Layout


@dataclass(frozen=True, slots=True)
class Serving:
    """A process that serves.

    Attributes:
        pull: where clients pull: host and port as bound.
        admin: where operators look, likewise.
    """

    pull: tuple[str, int]
    admin: tuple[str, int]


def serve(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT, then drain.

    Raises:
        StartError: the process cannot serve as configured.
    """
    logging.to_stdout(settings.logging.level, settings.logging.format)
    asyncio.run(_serve(settings))


async def _serve(settings: Settings) -> None:
    log = structlog.get_logger("cacheproxy")
    stop = asyncio.Event()
    _on_signals(stop)
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


def _on_signals(stop: asyncio.Event) -> None:
    """The first signal drains; a second one of the same kind ends at once, as by default."""
    loop = asyncio.get_running_loop()

    def first(number: signal.Signals) -> None:
        loop.remove_signal_handler(number)
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, first, number)


@asynccontextmanager
async def serving(settings: Settings, observer: Observer | None = None) -> AsyncIterator[Serving]:
    """Serve within this context; leaving it drains.

    Args:
        settings: of the process.
        observer: is told every event too, as tests want to be.

    Raises:
        StartError: the process cannot serve as configured.
    """
    readiness = Readiness()
    metrics = Metrics(tuple(settings.upstreams))
    told: list[Observer] = [metrics, logging.EventLog()]
    if observer is not None:
        told.append(observer)
    # Left in the reverse order: the port first, the store last, so that whatever is still
    # under way has what it needs until it has ended.
    async with AsyncExitStack() as stack:
        core = await _core(stack, settings, Observers(told))
        api = Api(
            core,
            make_routes(settings),
            observer=Observers(told),
            clock=SystemClock(),
            config=EdgeConfig(settings.server.write_timeout),
        )
        admin = await listen(stack, make_admin_app(metrics, readiness), settings.admin.listen)
        pull = await _listen_for_pulls(stack, settings, api)
        readiness.ready = True
        stack.callback(setattr, readiness, "ready", False)
        yield Serving(pull, admin)


async def _listen_for_pulls(stack: AsyncExitStack, settings: Settings, api: Api) -> tuple[str, int]:
    server = settings.server
    tls: ssl.SSLContext | None = server_tls(server.tls) if server.tls else None
    return await listen(
        stack,
        make_app(api),
        server.listen,
        tls=tls,
        shutdown_timeout=server.drain_timeout,
        keepalive_timeout=server.header_timeout,
        max_line_size=server.max_header_size,
        max_field_size=server.max_header_size,
    )


async def _core(stack: AsyncExitStack, settings: Settings, observer: Observer) -> PullThrough:
    clock = SystemClock()
    configs = {name: make_config(upstream) for name, upstream in settings.upstreams.items()}
    layout = Layout(settings.cache.directory)
    layout.prepare()
    store = FilesystemStore(layout)
    stack.callback(store.close)
    metadata = HotMetadata(_metadata(settings, layout))
    stack.push_async_callback(metadata.close)
    tasks = Tasks()
    clients = make_clients(configs, observer, clock, tasks)
    for client in clients.values():
        stack.push_async_callback(client.close)
    stack.push_async_callback(tasks.close)
    return PullThrough(
        make_registries(settings, clients), FillContext(store, observer, clock), metadata, tasks
    )


def _metadata(settings: Settings, layout: Layout) -> Metadata:
    if settings.metadata.url == "memory:":
        return MemoryMetadata()
    return EmbeddedMetadata(layout.metadata)
