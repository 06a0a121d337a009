"""What operators see and do: the admin port, and what answers behind it."""

import asyncio
import errno
import os
import secrets
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, aclosing, suppress
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from aiohttp import web

from cacheproxy import __version__
from cacheproxy.bootstrap.aside import Aside
from cacheproxy.bootstrap.core import Core
from cacheproxy.bootstrap.inspection import Inspection
from cacheproxy.bootstrap.traffic import CountedTraffic
from cacheproxy.domain.errors import RequestError, StartError
from cacheproxy.domain.pushes import parse_push
from cacheproxy.domain.savings import Prices
from cacheproxy.domain.warming import line, read_request
from cacheproxy.ops.admin import Readiness, make_admin_app
from cacheproxy.ops.api.access import Access
from cacheproxy.ops.api.counts import Counts
from cacheproxy.ops.api.encoding import encode
from cacheproxy.ops.api.figures import Source
from cacheproxy.ops.api.gathering import Gathering
from cacheproxy.ops.api.guard import Guard
from cacheproxy.ops.api.model import FillStatus, PushAccepted, ReplicaStatus, WarmRequest
from cacheproxy.ops.api.pulling import Pulling, PullingHere
from cacheproxy.ops.api.reading import Reading
from cacheproxy.ops.api.routes import AdminApi, Directory
from cacheproxy.ops.api.state import Server, ServerState
from cacheproxy.ops.api.upstream_board import UpstreamBoard
from cacheproxy.ops.api.workers import make_worker_app
from cacheproxy.ops.metrics import Page
from cacheproxy.ops.page.handlers import Dashboard, Place
from cacheproxy.ports import Clock
from cacheproxy.settings.model import Settings
from cacheproxy.storage.layout import Layout

_FULL = (errno.ENOSPC, errno.EDQUOT)
# A probe of readiness has a second, by Kubernetes' default.
_PROBLEM_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Operating:
    """The admin port's application, and how it goes by other settings."""

    app: web.Application
    _counts: Counts
    _inspection: Inspection
    _aside: Aside

    def apply(self, settings: Settings) -> None:
        """Go by other settings."""
        self._counts.prices = _prices(settings)
        self._inspection.settings = self._aside.settings = settings


def make_operating(
    settings: Settings,
    page: Page,
    readiness: Readiness,
    pulling: Pulling,
    clock: Clock,
    pull_port: int,
) -> Operating:
    """What answers on the admin port.

    Args:
        settings: of the server.
        page: of its metrics.
        readiness: whether it serves.
        pulling: who serves pulls.
        clock: tells the time.
        pull_port: where clients pull, as bound.

    Raises:
        StartError: the token cannot be kept.
    """
    inspection, aside = Inspection(settings), Aside(settings)
    counts = Counts(pulling, _prices(settings), clock)
    server = Server(__version__, clock.now(), settings.server.workers)
    source = Source(ServerState(server, pulling, inspection, clock), counts)
    gathering, access = Gathering(source, clock), _access(settings)
    kept = settings.admin.token is None
    token_file = str(Layout(settings.cache.directory).admin_token) if kept else None
    dashboard = Dashboard(gathering, access, clock, Place(pull_port, token_file))
    reading = Reading(source, gathering, dashboard)
    api = AdminApi(__version__, reading, pulling, Directory(inspection, aside))
    app = make_admin_app(page, readiness, partial(_store_problem, pulling))
    api.add_to(app, Guard(access, clock))
    dashboard.add_to(app)
    return Operating(app, counts, inspection, aside)


async def _store_problem(pulling: Pulling) -> str | None:
    """Return why nothing is stored; None also while who pulls does not say so in time."""
    with suppress(TimeoutError):
        async with asyncio.timeout(_PROBLEM_SECONDS):
            return (await pulling.live()).store_problem
    return None


def pulling_here(core: Core, board: UpstreamBoard, traffic: CountedTraffic) -> PullingHere:
    """This process, for the admin API to ask."""

    def fills() -> list[FillStatus]:
        found = [
            FillStatus(
                digest=fill.origin.digest,
                upstream=fill.origin.repository.registry,
                repository=fill.origin.repository.name,
                received_bytes=fill.state.received,
                size_bytes=fill.state.size,
                seconds=seconds,
                followers=fill.followers,
            )
            for fill in core.pull_through.fills
            if (seconds := fill.seconds) is not None  # those of other workers they tell of
        ]
        return sorted(found, key=lambda fill: -fill.seconds)

    def replicas() -> list[ReplicaStatus]:
        if core.cluster is None:
            return []
        me = str(core.cluster.settings.advertise)
        return [ReplicaStatus(one, one == me) for one in sorted({me, *core.cluster.index.live})]

    return PullingHere(
        board,
        fills,
        replicas,
        traffic.count,
        _Warming(core),
        core.observer,
        core.store_problem,
    )


async def answer_supervisor(
    stack: AsyncExitStack, pulling: Pulling, traffic: CountedTraffic, path: Path
) -> None:
    """Answer the supervisor at a socket, until the stack is left."""
    path.unlink(missing_ok=True)  # noqa: ASYNC240  # of a worker that died; nobody waits yet
    app = make_worker_app(pulling, traffic.flush)
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    await web.UnixSite(runner, str(path)).start()


@dataclass(frozen=True, slots=True)
class _Warming:
    """The core's warmer, as the API asks it (`Warming`)."""

    core: Core

    async def warm(self, asked: WarmRequest) -> AsyncGenerator[bytes, None]:
        """Have images here; a line of JSON for each step."""
        if not asked.images:
            raise RequestError("images names none")
        how = asdict(asked) | {"platforms": asked.platforms or None}
        try:
            images, terms = read_request(how, self.core.warm_terms())
        except ValueError as error:
            raise RequestError(str(error)) from None
        async with aclosing(self.core.warmer.warm(images, terms)) as steps:
            async for step in steps:
                yield encode(line(step))

    def pushed(self, body: bytes, upstream: str | None) -> PushAccepted:
        """Have images here that were pushed, soon."""
        try:
            found = parse_push(body, self.core.warmer.routes, upstream)
        except ValueError as error:
            raise RequestError(str(error)) from None
        images = [str(image) for image in found.images]
        if images and not self.core.warmer.begin(images, self.core.warm_terms()):
            raise RequestError("too much is waiting to be warmed; tell again later")
        return PushAccepted(images, list(found.ignored))


def _prices(settings: Settings) -> Prices:
    per_gigabyte = {
        name: upstream.price_per_gb
        for name, upstream in settings.upstreams.items()
        if upstream.price_per_gb is not None
    }
    return Prices(per_gigabyte, settings.admin.currency)


def _access(settings: Settings) -> Access:
    admin = settings.admin
    token = _kept_token(settings) if admin.token is None else admin.token.reveal()
    hook = None if admin.webhook_token is None else admin.webhook_token.reveal()
    return Access(token, admin.public, hook)


def _kept_token(settings: Settings) -> str:
    """The one in the cache directory, which is made when there is none.

    Raises:
        StartError: it cannot be read, or made.
    """
    layout = Layout(settings.cache.directory)
    layout.prepare()
    path = layout.admin_token
    made = secrets.token_urlsafe(24)
    try:
        found = path.read_text(encoding="ascii").strip() if path.exists() else ""
        if found:
            return found
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:  # noqa: PTH123  # with a mode
            file.write(made + "\n")
    except (OSError, ValueError) as error:
        if isinstance(error, OSError) and error.errno in _FULL:
            path.unlink(missing_ok=True)
            return made  # good until the next start, which may find room; pulls are what matters
        raise StartError(
            f"the token of the admin port cannot be kept in {path}: {error}; set admin.token or "
            "admin.token_file"
        ) from error
    return made
