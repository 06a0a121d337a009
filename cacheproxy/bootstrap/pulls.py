"""The port where clients pull, and what answers there."""

import socket
from contextlib import AsyncExitStack
from dataclasses import dataclass

from aiohttp import web

from cacheproxy.bootstrap.accesses import recorded_accesses
from cacheproxy.bootstrap.certificates import renew_certificates
from cacheproxy.bootstrap.clustering import listen_for_replicas
from cacheproxy.bootstrap.core import Core, make_core
from cacheproxy.bootstrap.listening import Listening, bind, listen, server_tls
from cacheproxy.bootstrap.traffic import CountedTraffic, counting_traffic, keep_traffic
from cacheproxy.bootstrap.upstreams import make_routes
from cacheproxy.bootstrap.worker_api import pulling_here
from cacheproxy.edge.api import Api, EdgeConfig
from cacheproxy.edge.app import PullServer
from cacheproxy.ops.api.pulling import PullingHere
from cacheproxy.ops.api.upstream_board import UpstreamBoard
from cacheproxy.ops.logging import EventLog
from cacheproxy.ops.observers import Observers
from cacheproxy.ports import Clock, Observer
from cacheproxy.settings.model import ServerSettings, Settings


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


def _edge(server: ServerSettings) -> EdgeConfig:
    return EdgeConfig(
        response_timeout=server.response_timeout,
        silence_timeout=server.silence_timeout,
    )


def _listening(server: ServerSettings, on: socket.socket) -> Listening:
    return Listening(
        on,
        tls=server_tls(server.tls) if server.tls else None,
        drain_timeout=server.drain_timeout,
        idle_timeout=server.header_timeout,
        write_timeout=server.write_timeout,
        header_size=server.max_header_size,
    )
