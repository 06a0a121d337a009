import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from cacheproxy.ops.admin import Readiness, make_admin_app
from cacheproxy.ops.metrics import Metrics, Page


async def _get(app: web.Application, path: str) -> web.Response:
    request = make_mocked_request("GET", path, app=app)
    found = await app.router.resolve(request)
    response = await found.handler(request)
    assert isinstance(response, web.Response)
    return response


@pytest.mark.parametrize(
    ("path", "ready", "status", "body"),
    [
        ("/healthz", False, 200, b'{"status": "ok"}'),
        ("/healthz", True, 200, b'{"status": "ok"}'),
        ("/readyz", False, 503, b'{"status": "draining"}'),
        ("/readyz", True, 200, b'{"status": "ready"}'),
    ],
)
async def test_health(path: str, ready: bool, status: int, body: bytes) -> None:
    """A process is healthy while it answers, and ready between its start and its end."""
    app = make_admin_app(Page(Metrics().registry), Readiness(ready))
    response = await _get(app, path)
    assert (response.status, response.body, response.content_type) == (
        status,
        body,
        "application/json",
    )


async def test_readiness_is_asked_each_time() -> None:
    """A process that begins to drain says so at once."""
    readiness = Readiness(ready=True)
    app = make_admin_app(Page(Metrics().registry), readiness)
    assert (await _get(app, "/readyz")).status == 200
    readiness.ready = False
    assert (await _get(app, "/readyz")).status == 503


async def test_metrics_are_in_the_text_format() -> None:
    """The page of metrics is what the metrics are, and says in which format."""
    page = Page(Metrics(("docker.io",)).registry)
    response = await _get(make_admin_app(page, Readiness()), "/metrics")
    assert response.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert response.body == page.render()
    assert b'cacheproxy_upstream_bytes_total{upstream="docker.io"} 0.0' in page.render()
