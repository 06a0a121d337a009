"""The admin port: health and metrics."""

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from aiohttp import web

from cacheproxy.ops.metrics import CONTENT_TYPE, Page


@dataclass(slots=True)
class Readiness:
    """Whether to send pulls here: from when the port is open until shutdown begins.

    Upstreams and shared services do not count: without them what is cached is still served,
    and a mirror that is taken out of service serves nothing.
    """

    ready: bool = False
    word: str = "starting"

    def begin(self) -> None:
        """Pulls may come."""
        self.ready, self.word = True, "ready"

    def end(self) -> None:
        """No more pulls, please: shutdown has begun."""
        self.ready, self.word = False, "draining"


async def _no_problem() -> str | None:
    return None


def make_admin_app(
    page: Page,
    readiness: Readiness,
    store_problem: Callable[[], Awaitable[str | None]] = _no_problem,
) -> web.Application:
    """Make the application of the admin port.

    Args:
        page: of metrics.
        readiness: whether pulls may come.
        store_problem: tells why nothing is stored. Such a process stays ready: what is cached
            is served, and the rest streams from upstream.
    """

    async def healthz(_: web.Request) -> web.Response:
        return _status(200, "ok")

    async def readyz(_: web.Request) -> web.Response:
        problem = await store_problem()
        details = {} if problem is None else {"problem": f"nothing is stored: {problem}"}
        return _status(200 if readiness.ready else 503, readiness.word, **details)

    async def show(_: web.Request) -> web.Response:
        return web.Response(body=page.render(), headers={"Content-Type": CONTENT_TYPE})

    async def sign(_: web.Request, response: web.StreamResponse) -> None:
        response.headers["Server"] = "cacheproxy"  # and not of which versions it is made

    app = web.Application()
    app.on_response_prepare.append(sign)
    app.router.add_get("/healthz", healthz)
    app.router.add_get("/readyz", readyz)
    app.router.add_get("/metrics", show)
    return app


def _status(status: int, word: str, **details: str) -> web.Response:
    body = json.dumps({"status": word, **details}).encode()
    return web.Response(status=status, body=body, content_type="application/json")
