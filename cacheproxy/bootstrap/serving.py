"""One process that serves: made, run until it is told to stop, drained, and taken apart."""

import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from aiohttp import web

from cacheproxy.bootstrap.budget import store_bytes
from cacheproxy.bootstrap.core import make_core
from cacheproxy.bootstrap.listening import Listening, bind, listen, server_tls
from cacheproxy.bootstrap.upstreams import make_routes
from cacheproxy.edge.api import Api, EdgeConfig
from cacheproxy.edge.app import PullServer
from cacheproxy.inprocess.clock import SystemClock
from cacheproxy.ops.admin import Readiness, make_admin_app
from cacheproxy.ops.logging import EventLog
from cacheproxy.ops.metrics import Metrics, Page
from cacheproxy.ops.observers import Observers
from cacheproxy.ports import Clock, Observer
from cacheproxy.settings.model import ServerSettings, Settings


@dataclass(frozen=True, slots=True)
class Serving:
    """Where a process serves.

    Attributes:
        pull: where clients pull: host and port as bound.
        admin: where operators look, likewise.
    """

    pull: tuple[str, int]
    admin: tuple[str, int]


@asynccontextmanager
async def serving(
    settings: Settings, observer: Observer | None = None, clock: Clock | None = None
) -> AsyncIterator[Serving]:
    """Serve within this context, pulls and the admin port; leaving it drains.

    Args:
        settings: of the process.
        observer: is told every event too, as tests want to be.
        clock: another than the system's.

    Raises:
        StartError: the process cannot serve as configured.
    """
    readiness, metrics = Readiness(), Metrics(tuple(settings.upstreams))
    told = [metrics, *([observer] if observer is not None else [])]
    async with AsyncExitStack() as stack:
        admin_socket = stack.enter_context(bind(settings.admin.listen))
        pull_socket = stack.enter_context(bind(settings.server.listen))
        page = Page.of(metrics.registry, store_bytes(settings))
        admin = await listen_for_operators(stack, make_admin_app(page, readiness), admin_socket)
        pull = await pulling(stack, settings, pull_socket, told, clock or SystemClock())
        readiness.begin()
        stack.callback(readiness.end)
        yield Serving(pull, admin)


async def pulling(
    stack: AsyncExitStack,
    settings: Settings,
    on: socket.socket,
    observers: list[Observer],
    clock: Clock,
) -> tuple[str, int]:
    """Serve pulls on a bound socket; leaving the stack drains.

    It is left in the reverse order: the port first, the store last, so that whatever is
    still under way has what it needs until it has ended.

    Raises:
        StartError: a directory or a certificate cannot be used.
    """
    observer = Observers([*observers, EventLog()])
    core = await make_core(stack, settings, observer, clock)
    api = Api(
        core,
        make_routes(settings),
        observer=observer,
        clock=clock,
        config=_edge(settings.server),
    )
    how = _listening(settings.server, on)
    runner = web.ServerRunner(
        PullServer(api, **how.options()), shutdown_timeout=how.shutdown_timeout
    )
    return await listen(stack, runner, how)


async def listen_for_operators(
    stack: AsyncExitStack, app: web.Application, on: socket.socket
) -> tuple[str, int]:
    """Serve the admin port on a bound socket."""
    how = Listening(on)
    runner = web.AppRunner(app, shutdown_timeout=how.shutdown_timeout, **how.options())
    return await listen(stack, runner, how)


def _edge(server: ServerSettings) -> EdgeConfig:
    return EdgeConfig(
        write_timeout=server.write_timeout,
        response_timeout=server.response_timeout,
        silence_timeout=server.silence_timeout,
    )


def _listening(server: ServerSettings, on: socket.socket) -> Listening:
    return Listening(
        on,
        tls=server_tls(server.tls) if server.tls else None,
        drain_timeout=server.drain_timeout,
        idle_timeout=server.header_timeout,
        header_size=server.max_header_size,
    )
