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


async def _says(app: web.Application, path: str) -> tuple[int, bytes]:
    response = await _get(app, path)
    assert response.content_type == "application/json"
    assert isinstance(response.body, bytes)
    return response.status, response.body


async def test_readiness_says_where_a_process_is_in_its_life() -> None:
    """A process starts, is ready, and drains; it says so each time that it is asked."""
    readiness = Readiness()
    app = make_admin_app(Page(Metrics().registry), readiness)
    for _ in range(2):
        assert await _says(app, "/readyz") == (503, b'{"status": "starting"}')
    readiness.begin()
    assert await _says(app, "/readyz") == (200, b'{"status": "ready"}')
    readiness.end()
    assert await _says(app, "/readyz") == (503, b'{"status": "draining"}')


async def test_a_process_that_stores_nothing_is_ready_and_says_so() -> None:
    """Cached pulls go on while the ledger cannot be written, so only the body tells of it."""
    readiness, problems = Readiness(), ["the ledger cannot be written: disk I/O error", None]

    async def problem() -> str | None:
        return problems.pop(0)

    app = make_admin_app(Page(Metrics().registry), readiness, problem)
    readiness.begin()
    said = (
        b'{"status": "ready", '
        b'"problem": "nothing is stored: the ledger cannot be written: disk I/O error"}'
    )
    assert await _says(app, "/readyz") == (200, said)
    assert await _says(app, "/readyz") == (200, b'{"status": "ready"}')


async def test_a_process_is_healthy_while_it_answers() -> None:
    """Health has nothing to do with readiness: who starts or drains is not to be killed."""
    readiness = Readiness()
    app = make_admin_app(Page(Metrics().registry), readiness)
    for change in (readiness.begin, readiness.end, readiness.end):
        assert await _says(app, "/healthz") == (200, b'{"status": "ok"}')
        change()
    assert await _says(app, "/healthz") == (200, b'{"status": "ok"}')


async def test_the_admin_port_does_not_say_what_it_is_made_of() -> None:
    """Responses name this program, and neither aiohttp nor Python with their versions."""
    app = make_admin_app(Page(Metrics().registry), Readiness())
    app.freeze()
    for path in ("/healthz", "/readyz", "/metrics"):
        response = await _get(app, path)
        response.headers["Server"] = "Python/3.11 aiohttp/3.14"
        await app.on_response_prepare.send(make_mocked_request("GET", path, app=app), response)
        assert response.headers.getall("Server") == ["cacheproxy"]


async def test_metrics_are_in_the_text_format() -> None:
    """The page of metrics is what the metrics are, and says in which format."""
    page = Page(Metrics(("docker.io",)).registry)
    response = await _get(make_admin_app(page, Readiness()), "/metrics")
    assert response.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert response.body == page.render()
    assert b'cacheproxy_upstream_bytes_total{upstream="docker.io"} 0.0' in page.render()
