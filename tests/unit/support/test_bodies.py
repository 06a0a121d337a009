"""Wrong bodies are wrong on the wire in the scripted way, and in no other."""

import gzip

import pytest

from tests.support.scripted_registry import (
    GzipEncoded,
    LongBody,
    Match,
    NoContentLength,
    ShortBody,
    WrongBytes,
    WrongContentLength,
)
from tests.unit.support.conftest import Upstream
from tests.unit.support.raw_client import connected, fetched


async def test_wrong_bytes(upstream: Upstream) -> None:
    """One byte differs, and the length is right."""
    upstream.registry.script(Match(), WrongBytes(at=7))
    body = (await fetched(upstream.url)).body
    differing = [at for at in range(1000) if body[at] != upstream.body[at]]
    assert (len(body), differing) == (1000, [7])


async def test_short_body(upstream: Upstream) -> None:
    """The body lacks its end, and the Content-Length agrees with that."""
    upstream.registry.script(Match(), ShortBody(missing=3))
    heard = await fetched(upstream.url)
    assert (heard.body, heard.header("Content-Length")) == (upstream.body[:-3], "997")


@pytest.mark.parametrize(("announced", "length"), [(True, "1003"), (False, "1000")])
async def test_long_body(upstream: Upstream, announced: bool, length: str) -> None:
    """The body has more at its end, and the Content-Length counts it or does not."""
    upstream.registry.script(Match(), LongBody(b"abc", announced=announced))
    heard = await fetched(upstream.url)
    assert (heard.body, heard.header("Content-Length")) == (upstream.body + b"abc", length)
    assert upstream.registry.body_bytes == 1003


@pytest.mark.parametrize("delta", [-10, 10])
async def test_wrong_content_length(upstream: Upstream, delta: int) -> None:
    """The Content-Length is off, the body is all there, and the connection ends behind it."""
    upstream.registry.script(Match(), WrongContentLength(delta))
    async with connected(upstream.url) as client:
        await client.ask(upstream.blob)
        heard = await client.rest()
    assert heard.header("Content-Length") == str(1000 + delta)
    assert heard.header("Connection") is None
    assert (heard.body, heard.end) == (upstream.body, "fin")


async def test_chunked(upstream: Upstream) -> None:
    """A chunked body has no Content-Length and ends with the last chunk; framing is not counted."""
    upstream.registry.script(Match(), NoContentLength())
    heard = await fetched(upstream.url)
    assert heard.header("Transfer-Encoding") == "chunked"
    assert heard.header("Content-Length") is None
    assert heard.body == b"3e8\r\n" + upstream.body + b"\r\n0\r\n\r\n"
    assert upstream.registry.body_bytes == 1000


async def test_head_without_length(upstream: Upstream) -> None:
    """A HEAD that is answered without a length says nothing of the body's framing either."""
    upstream.registry.script(Match(), NoContentLength())
    heard = await fetched(upstream.url, method="HEAD")
    assert (heard.status, heard.header("Docker-Content-Digest")) == (200, upstream.digest)
    assert heard.header("Content-Length") is None
    assert heard.header("Transfer-Encoding") is None


async def test_until_close(upstream: Upstream) -> None:
    """A body without any length ends with the connection, which is announced."""
    upstream.registry.script(Match(), NoContentLength(chunked=False))
    async with connected(upstream.url) as client:
        await client.ask(upstream.blob)
        heard = await client.rest()
    assert heard.header("Content-Length") is None
    assert heard.header("Transfer-Encoding") is None
    assert heard.header("Connection") == "close"
    assert (heard.body, heard.end) == (upstream.body, "fin")


async def test_gzip(upstream: Upstream) -> None:
    """The body is encoded and says so, and its length is that of what is sent."""
    upstream.registry.script(Match(), GzipEncoded())
    heard = await fetched(upstream.url)
    assert heard.header("Content-Encoding") == "gzip"
    assert heard.header("Content-Length") == str(len(heard.body))
    assert gzip.decompress(heard.body) == upstream.body
