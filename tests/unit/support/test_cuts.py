"""Connections that end too soon end at the scripted byte, in the scripted way."""

import asyncio

import pytest

from tests.support.scripted_registry import (
    CloseAfter,
    Garbage,
    HangUp,
    Match,
    NoContentLength,
    ResetAfter,
    Together,
)
from tests.unit.support.conftest import Upstream
from tests.unit.support.raw_client import connected, fetched


@pytest.mark.parametrize("at", [0, 1, 999, 1000])
async def test_reset_after(upstream: Upstream, at: int) -> None:
    """An RST comes after exactly the scripted number of bytes, which are counted."""
    upstream.registry.script(Match(), ResetAfter(at))
    heard = await fetched(upstream.url)
    assert (heard.body, heard.end) == (upstream.body[:at], "rst")
    assert heard.header("Content-Length") == "1000"
    (recorded,) = upstream.registry.requests()
    assert (recorded.status, recorded.body_bytes_sent, recorded.state) == (200, at, "cut")


async def test_reset_waits_for_a_slow_reader(upstream: Upstream) -> None:
    """An RST does not overtake bytes that a slow client has no room for yet."""
    body = bytes(32_000_000)
    digest = upstream.registry.add_blob("team/app", body)
    upstream.registry.script(Match(), ResetAfter(31_234_567))
    async with connected(upstream.registry.url) as client:
        await client.ask(f"/v2/team/app/blobs/{digest}")
        await client.head()
        for _ in range(20):
            await asyncio.sleep(0)
        heard = await client.rest()
    assert (len(heard.data), heard.end) == (31_234_567, "rst")
    assert upstream.registry.body_bytes == 31_234_567


async def test_close_after(upstream: Upstream) -> None:
    """A clean FIN comes after exactly the scripted number of bytes."""
    upstream.registry.script(Match(), CloseAfter(400))
    heard = await fetched(upstream.url)
    assert (heard.body, heard.end) == (upstream.body[:400], "fin")
    assert heard.header("Content-Length") == "1000"
    assert upstream.registry.body_bytes == 400


async def test_close_within_chunks(upstream: Upstream) -> None:
    """A chunked body that is cut has no last chunk."""
    upstream.registry.script(Match(), Together(NoContentLength(), CloseAfter(400)))
    heard = await fetched(upstream.url)
    assert heard.body == b"190\r\n" + upstream.body[:400] + b"\r\n"
    assert upstream.registry.body_bytes == 400


@pytest.mark.parametrize(("reset", "end"), [(False, "fin"), (True, "rst")])
async def test_hang_up(upstream: Upstream, reset: bool, end: str) -> None:
    """A server that hangs up sends no byte, and the request is on record without a status."""
    upstream.registry.script(Match(), HangUp(reset=reset))
    heard = await fetched(upstream.url)
    assert (heard.data, heard.end) == (b"", end)
    (recorded,) = upstream.registry.requests()
    assert (recorded.status, recorded.state) == (None, "cut")


async def test_garbage(upstream: Upstream) -> None:
    """Raw bytes are sent as they are, with nothing before or behind them."""
    upstream.registry.script(Match(), Garbage(b"HTTP/1.1 200 OK\r\nContent-Le"))
    heard = await fetched(upstream.url)
    assert (heard.data, heard.end) == (b"HTTP/1.1 200 OK\r\nContent-Le", "fin")


async def test_a_head_without_body_is_not_cut(upstream: Upstream) -> None:
    """A fault within the body leaves the answer to a HEAD as it is."""
    upstream.registry.script(Match(), ResetAfter(10))
    heard = await fetched(upstream.url, method="HEAD")
    assert (heard.status, heard.body, heard.end) == (200, b"", "fin")
    assert upstream.registry.body_bytes == 0
