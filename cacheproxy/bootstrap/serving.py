"""One process that serves: made, run until it is told to stop, drained, and taken apart."""

import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from aiohttp import web

from cacheproxy.bootstrap.accesses import recorded_accesses
from cacheproxy.bootstrap.certificates import renew_certificates
from cacheproxy.bootstrap.clustering import listen_for_replicas
from cacheproxy.bootstrap.core import Core, make_core
from cacheproxy.bootstrap.listening import Listening, bind, listen, server_tls
from cacheproxy.bootstrap.operating import make_operating, pulling_here
from cacheproxy.bootstrap.page_numbers import PageNumbers
from cacheproxy.bootstrap.traffic import CountedTraffic, counting_traffic, keep_traffic
from cacheproxy.bootstrap.upstreams import make_routes
from cacheproxy.edge.api import Api, EdgeConfig
from cacheproxy.edge.app import PullServer
from cacheproxy.inprocess.clock import SystemClock
from cacheproxy.ops.admin import Readiness
from cacheproxy.ops.api.pulling import PullingHere, PullingSoon
from cacheproxy.ops.api.upstream_board import UpstreamBoard
from cacheproxy.ops.logging import EventLog
from cacheproxy.ops.metrics import Metrics, Page, Reloads
from cacheproxy.ops.observers import Observers
from cacheproxy.ports import Clock, Observer
from cacheproxy.settings.model import ServerSettings, Settings


@dataclass(frozen=True, slots=True)
class Serving:
    """Where a process serves.

    Attributes:
        pull: where clients pull: host and port as bound.
        admin: where operators look, likewise.
        apply: has it go by other settings, as far as it can.
        core: answers the pulls.
        reloads: is to be told how that went.
    """

    pull: tuple[str, int]
    admin: tuple[str, int]
    apply: Callable[[Settings], None]
    core: Core
    reloads: Reloads


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
    clock = clock or SystemClock()
    readiness, metrics = Readiness(), Metrics(tuple(settings.upstreams))
    told = [metrics, *([observer] if observer is not None else [])]
    async with AsyncExitStack() as stack:
        admin_socket = stack.enter_context(bind(settings.admin.listen))
        pull_socket = stack.enter_context(bind(settings.server.listen))
        numbers = PageNumbers(settings, clock)
        page = Page.of(metrics.registry, *numbers.sources)
        soon = PullingSoon()
        port = pull_socket.getsockname()[1]
        operating = make_operating(settings, page, readiness, soon, clock, port)
        admin = await listen_for_operators(stack, operating.app, admin_socket)
        pulls = await pulling(stack, settings, pull_socket, told, clock)
        soon.ready = pulls.here
        readiness.begin()
        # The first to be left: who deals connections out must see it before the port closes.
        stack.push_async_callback(clock.sleep, settings.server.drain_delay)
        stack.callback(pulls.core.leave)
        stack.callback(readiness.end)

        def apply(changed: Settings) -> None:
            numbers.apply(changed)
            operating.apply(changed)
            pulls.apply(changed)

        yield Serving(pulls.at, admin, apply, pulls.core, numbers.reloads)


@dataclass(frozen=True, slots=True)
class Pulls:
    """A port where pulls are served.

    Attributes:
        at: host and port as bound.
        core: answers them.
        api: understands them.
        here: for the admin API to ask.
        traffic: counts what it serves.
    """

    at: tuple[str, int]
    core: Core
    api: Api
    here: PullingHere
    traffic: CountedTraffic

    def apply(self, settings: Settings) -> None:
        """Go by other settings, as far as a process that serves can."""
        self.core.apply(settings)
        self.api.route(make_routes(settings))


async def pulling(
    stack: AsyncExitStack,
    settings: Settings,
    on: socket.socket,
    observers: list[Observer],
    clock: Clock,
) -> Pulls:
    """Serve pulls on a bound socket; leaving the stack drains.

    It is left in the reverse order: the port first, the store last, so that whatever is
    still under way has what it needs until it has ended.

    Raises:
        StartError: a directory or a certificate cannot be used.
    """
    reports = Observers([*observers, EventLog()])
    accesses = recorded_accesses(stack, settings, clock, reports)
    log = counting_traffic(stack, settings, clock)
    board = UpstreamBoard(tuple(settings.upstreams), clock)
    observer = Observers([reports, *accesses, log, board])
    core = await make_core(stack, settings, observer, clock)
    traffic = await keep_traffic(stack, log, core)
    api = Api(
        core.pull_through,
        make_routes(settings),
        observer=observer,
        clock=clock,
        config=_edge(settings.server),
    )
    if core.cluster is not None:
        shared = settings.server.workers > 1
        peers = stack.enter_context(bind(core.cluster.settings.listen, shared=shared))
        sharing = core.pull_through.sharing
        await listen_for_replicas(stack, core.cluster, sharing, core.around, peers)
    how = _listening(settings.server, on)
    runner = web.ServerRunner(
        PullServer(api, **how.options()), shutdown_timeout=how.shutdown_timeout
    )
    if how.tls is not None and settings.server.tls is not None:
        renew_certificates(stack, how.tls, settings.server.tls, observer)
    here = pulling_here(core, board, traffic)
    return Pulls(await listen(stack, runner, how), core, api, here, traffic)


def page_of(admin: tuple[str, int]) -> str:
    """Where the page is, for somebody on this host."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(admin[0], admin[0])  # noqa: S104  # compared
    return f"http://{f'[{host}]' if ':' in host else host}:{admin[1]}/dashboard"


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
