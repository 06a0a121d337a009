"""What operators see and do: the admin port, and what answers behind it."""

import asyncio
import errno
import secrets
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from aiohttp import web

from cacheproxy import __version__
from cacheproxy.bootstrap.aside import Aside
from cacheproxy.bootstrap.inspection import Inspection
from cacheproxy.domain.errors import StartError
from cacheproxy.domain.savings import Prices
from cacheproxy.ops.admin import Readiness, make_admin_app
from cacheproxy.ops.api.access import Access
from cacheproxy.ops.api.counts import Counts
from cacheproxy.ops.api.figures import Source
from cacheproxy.ops.api.gathering import Gathering
from cacheproxy.ops.api.guard import Guard
from cacheproxy.ops.api.pulling import Pulling
from cacheproxy.ops.api.reading import Reading
from cacheproxy.ops.api.routes import AdminApi, Directory
from cacheproxy.ops.api.state import Server, ServerState
from cacheproxy.ops.metrics import Page
from cacheproxy.ops.page.handlers import Dashboard, Place
from cacheproxy.ports import Clock
from cacheproxy.settings.model import Settings
from cacheproxy.storage.layout import Layout
from cacheproxy.storage.open_file import OpenFile

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
        with OpenFile.read_write(path) as file:
            file.truncate()
            file.write(0, f"{made}\n".encode())
    except (OSError, ValueError) as error:
        if isinstance(error, OSError) and error.errno in _FULL:
            path.unlink(missing_ok=True)
            return made  # good until the next start, which may find room; pulls are what matters
        raise StartError(
            f"the token of the admin port cannot be kept in {path}: {error}; set admin.token or "
            "admin.token_file"
        ) from error
    return made
