from collections.abc import AsyncIterator

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from cacheproxy.ops.api.access import Access
from cacheproxy.ops.page.figures import Source
from cacheproxy.ops.page.handlers import Place, add_page
from tests.support.clock import FakeClock
from tests.support.figures import FakeSource, busy_source

Client = TestClient[web.Request, web.Application]

_TOKEN = "s3cret"
_POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
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
    app = web.Application()
    place = Place(5000, "/var/cache/admin.token")
    add_page(app, Source(source, source), access, clock, place)
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
    for path in ("/dashboard/now", "/dashboard/figures"):
        assert (await client.get(path)).status == 401
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
    assert (await client.get("/dashboard/now")).status == 200
    clock.advance(2 * 86_400)
    assert (await client.get("/dashboard/now")).status == 401


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
    paths = ["/dashboard", "/dashboard/session", "/dashboard/now", "/dashboard/figures"]
    for path in paths + [f"/dashboard/static/{name}" for name in _FILES]:
        response = await public.get(path)
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
    await public.get("/dashboard/figures")
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
    for path in ("/dashboard", "/dashboard/now", "/dashboard/figures"):
        response = await public.get(path)
        assert response.status == 200
        assert "This cannot be told now: the disk is gone" in await response.text()
