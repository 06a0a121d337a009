"""The admin port: health and metrics."""

import json
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


def make_admin_app(page: Page, readiness: Readiness) -> web.Application:
    """The application of the admin port."""

    async def healthz(_: web.Request) -> web.Response:
        return _status(200, "ok")

    async def readyz(_: web.Request) -> web.Response:
        return _status(200, "ready") if readiness.ready else _status(503, "draining")

    async def show(_: web.Request) -> web.Response:
        return web.Response(body=page.render(), headers={"Content-Type": CONTENT_TYPE})

    app = web.Application()
    app.router.add_get("/healthz", healthz)
    app.router.add_get("/readyz", readyz)
    app.router.add_get("/metrics", show)
    return app


def _status(status: int, word: str) -> web.Response:
    body = json.dumps({"status": word}).encode()
    return web.Response(status=status, body=body, content_type="application/json")
