from collections.abc import AsyncIterator

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from cacheproxy.ops.api.access import Access
from cacheproxy.ops.page.handlers import Place
from tests.support.clock import FakeClock
from tests.support.dashboard import dashboard_app
from tests.support.figures import FakeSource, busy_source

Client = TestClient[web.Request, web.Application]

_TOKEN = "s3cret"
_POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
_PARTS = ("/api/v1/status", "/api/v1/figures")
_HTML = {"Accept": "text/html"}
_FILES = ("dashboard.css", "dashboard.js", "icon.svg")


@pytest.fixture
def clock() -> FakeClock:
    """The server's."""
    return FakeClock()


@pytest.fixture
def source() -> FakeSource:
    """What is shown."""
    return busy_source()


async def _serve(source: FakeSource, clock: FakeClock, access: Access) -> Client:
    app = dashboard_app(source, access, clock, Place(5000, "/var/cache/admin.token"))
    client = TestClient(TestServer(app), cookie_jar=aiohttp.CookieJar(unsafe=True))
    await client.start_server()
    return client


@pytest.fixture
async def client(source: FakeSource, clock: FakeClock) -> AsyncIterator[Client]:
    """A browser before a page that asks for the token."""
    client = await _serve(source, clock, Access(_TOKEN))
    yield client
    await client.close()


@pytest.fixture
async def public(source: FakeSource, clock: FakeClock) -> AsyncIterator[Client]:
    """A browser before a page that everybody may read."""
    client = await _serve(source, clock, Access(_TOKEN, is_public=True))
    yield client
    await client.close()


async def _sign_in(client: Client, token: str) -> aiohttp.ClientResponse:
    return await client.post("/dashboard/session", data={"token": token}, allow_redirects=False)


async def test_who_has_not_signed_in_is_asked_to(client: Client, source: FakeSource) -> None:
    """The page leads to the form, its newer parts are refused, and no figure is asked for."""
    async with client.get("/dashboard", allow_redirects=False) as response:
        assert (response.status, response.headers["Location"]) == (303, "dashboard/session")
    for path in _PARTS:
        assert (await client.get(path, headers=_HTML)).status == 401
    form = await client.get("/dashboard")
    assert form.url.path == "/dashboard/session"
    assert "/var/cache/admin.token" in await form.text()
    assert source.asked == []


async def test_the_token_opens_the_page_until_signing_out(client: Client) -> None:
    """Who shows the token gets a cookie that no script can read, and is done with it at the end."""
    response = await _sign_in(client, f" {_TOKEN}\n")
    assert (response.status, response.headers["Location"]) == (303, "../dashboard")
    cookie = response.headers["Set-Cookie"]
    assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= set(cookie.split("; "))
    page = await client.get("/dashboard")
    assert page.url.path == "/dashboard"
    assert "Sign out" in await page.text()
    left = await client.post("/dashboard/session/end")
    assert left.url.path == "/dashboard/session"
    assert (await client.get("/dashboard")).url.path == "/dashboard/session"


async def test_a_session_ends(client: Client, clock: FakeClock) -> None:
    """A session is good for a month, and not for ever."""
    await _sign_in(client, _TOKEN)
    clock.advance(29 * 86_400)
    assert (await client.get("/api/v1/status", headers=_HTML)).status == 200
    clock.advance(2 * 86_400)
    assert (await client.get("/api/v1/status", headers=_HTML)).status == 401


@pytest.mark.parametrize("token", ["", "s3cre", "s3cret2", "S3CRET", "\N{SNOWMAN}"])
async def test_a_wrong_token_is_refused(client: Client, token: str) -> None:
    """Another token gets the form again, with a word on why, and no cookie."""
    response = await _sign_in(client, token)
    assert response.status == 403
    assert "Set-Cookie" not in response.headers
    assert "That is not the admin token." in await response.text()


async def test_a_form_that_is_none_is_refused(client: Client) -> None:
    """A request without the field, or with a file in its place, is refused as a wrong token is."""
    assert (await client.post("/dashboard/session", data=b"\xff")).status == 403
    form = aiohttp.FormData()
    form.add_field("token", b"s3cret", filename="token")
    assert (await client.post("/dashboard/session", data=form)).status == 403


async def test_every_answer_has_the_strict_policy(public: Client) -> None:
    """Whatever is answered forbids scripts and styles of others, sniffing, frames and referrers."""
    paths = ["/dashboard", "/dashboard/session", *_PARTS]
    for path in paths + [f"/dashboard/static/{name}" for name in _FILES]:
        response = await public.get(path, headers=_HTML)
        assert response.status == 200
        assert response.headers["Content-Security-Policy"] == _POLICY
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert response.headers["Referrer-Policy"] == "no-referrer"
        is_file = "static" in path
        assert response.headers["Cache-Control"] == ("no-cache" if is_file else "no-store")


async def test_files_are_sent_once(public: Client) -> None:
    """A browser that has a file as it is gets no second copy."""
    for name in _FILES:
        first = await public.get(f"/dashboard/static/{name}")
        assert await first.read()
        headers = {"If-None-Match": first.headers["ETag"]}
        again = await public.get(f"/dashboard/static/{name}", headers=headers)
        assert (again.status, await again.read()) == (304, b"")
    assert (await public.get("/dashboard/static/handlers.py")).status == 404


@pytest.mark.parametrize("query", ["?period=x&theme=<b>", "?period=&theme=", "?theme=dark"])
async def test_a_view_that_is_none_is_the_usual_one(public: Client, query: str) -> None:
    """What stands in the address and is no period or theme is as if it was not there."""
    text = await (await public.get(f"/dashboard{query}")).text()
    assert 'aria-current="page">7 days<' in text
    assert "<b>" not in text


async def test_many_readers_cost_one_reading(
    public: Client, source: FakeSource, clock: FakeClock
) -> None:
    """What is counted is asked for once in some seconds, and what goes on each time."""
    for _ in range(3):
        await public.get("/dashboard")
    assert source.asked.count("savings week") == 1
    assert source.asked.count("status") == 3
    clock.advance(4)
    await public.get("/api/v1/figures", headers=_HTML)
    assert source.asked.count("savings week") == 2
    assert source.asked.count("status") == 3


async def test_what_takes_long_is_asked_less_often(
    public: Client, source: FakeSource, clock: FakeClock
) -> None:
    """What took two seconds is good for a hundred; the rest is as new as ever."""
    source.takes = lambda: clock.advance(2)
    await public.get("/dashboard")
    clock.advance(99)
    await public.get("/dashboard")
    assert source.asked.count("eviction") == 1
    assert source.asked.count("savings week") == 2
    clock.advance(2)
    await public.get("/dashboard")
    assert source.asked.count("eviction") == 2


async def test_periods_are_asked_for_as_they_are_chosen(public: Client, source: FakeSource) -> None:
    """Repositories are those of the period that the reader has chosen."""
    await public.get("/dashboard?period=today")
    assert "repositories today saved" in source.asked
    assert "repositories today fetched" in source.asked


async def test_a_failure_is_shown_and_is_no_error(public: Client, source: FakeSource) -> None:
    """The page is there also when nothing that it shows can be read; it says why."""
    source.trouble = "the disk is gone"
    for path in ("/dashboard", *_PARTS):
        response = await public.get(path, headers=_HTML)
        assert response.status == 200
        assert "This cannot be told now: the disk is gone" in await response.text()


async def test_parts_are_drawn_for_who_accepts_nothing_else(public: Client) -> None:
    """A program, and a person who looks at the address, get the values; caches keep them apart."""
    for accept in ("*/*", "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8"):
        for path in _PARTS:
            response = await public.get(path, headers={"Accept": accept})
            assert response.content_type == "application/json"
            assert response.headers["Vary"] == "Accept"
    for path in _PARTS:
        response = await public.get(path, headers=_HTML)
        assert response.content_type == "text/html"
        assert response.headers["Vary"] == "Accept"


async def test_the_figures_are_those_of_their_parts(public: Client) -> None:
    """What the page is drawn from is to be had as values too, the same as one by one."""
    figures = await (await public.get("/api/v1/figures?period=today")).json()
    assert set(figures["savings"]) == {"today", "week", "month", "all"}
    for period, savings in figures["savings"].items():
        assert savings == await (await public.get(f"/api/v1/savings?period={period}")).json()
    for order in ("saved", "fetched"):
        query = f"period=today&order={order}&limit=10"
        repositories = await (await public.get(f"/api/v1/repositories?{query}")).json()
        assert figures[f"by_{order}"] == repositories
    eviction = await (await public.get("/api/v1/eviction?limit=8")).json()
    assert figures["eviction"] == eviction


async def test_figures_that_cannot_be_told_are_an_error(public: Client, source: FakeSource) -> None:
    """To a program that is a 503 with the reason; and a period that is none is a 400 to all."""
    source.trouble = "the disk is gone"
    response = await public.get("/api/v1/figures")
    assert response.status == 503
    assert (await response.json())["error"]["message"] == "the disk is gone"
    for headers in ({}, _HTML):
        assert (await public.get("/api/v1/figures?period=x", headers=headers)).status == 400
