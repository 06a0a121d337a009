"""One process that serves: made, run until it is told to stop, drained, and taken apart."""

import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from aiohttp import web

from cacheproxy.bootstrap.core import Core
from cacheproxy.bootstrap.listening import Listening, bind, listen
from cacheproxy.bootstrap.operating import make_operating
from cacheproxy.bootstrap.page_numbers import PageNumbers
from cacheproxy.bootstrap.pulls import pulling
from cacheproxy.edge.guard import GuardedAppRunner
from cacheproxy.inprocess.clock import SystemClock
from cacheproxy.ops.admin import Readiness
from cacheproxy.ops.api.pulling import PullingSoon
from cacheproxy.ops.metrics import Metrics, Page, Reloads
from cacheproxy.ports import Clock, Observer
from cacheproxy.settings.model import Settings


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


def page_of(admin: tuple[str, int]) -> str:
    """Where the page is, for somebody on this host."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(admin[0], admin[0])  # noqa: S104  # compared
    return f"http://{f'[{host}]' if ':' in host else host}:{admin[1]}/dashboard"


async def listen_for_operators(
    stack: AsyncExitStack, app: web.Application, on: socket.socket
) -> tuple[str, int]:
    """Serve the admin port on a bound socket."""
    how = Listening(on)
    runner = GuardedAppRunner(app, shutdown_timeout=how.shutdown_timeout, **how.options())
    return await listen(stack, runner, how)
