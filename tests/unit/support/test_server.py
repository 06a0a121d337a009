"""The server itself: up and down, what it records, and what it counts."""

import socket
import ssl

import aiohttp
import pytest
import trustme

from tests.support.scripted_registry import (
    Gate,
    Match,
    Redirect,
    ResetAfter,
    ScriptedRegistry,
    Well,
)
from tests.support.scripted_registry.wire import PIECE
from tests.unit.support.conftest import Upstream
from tests.unit.support.raw_client import connected, fetched


async def test_down_and_back(upstream: Upstream) -> None:
    """A registry that is down refuses connections, and comes back on its port with its content."""
    port = upstream.registry.port
    await upstream.registry.stop()
    assert upstream.registry.port == port
    with pytest.raises(ConnectionRefusedError):
        await fetched(upstream.url)
    with socket.socket() as other, pytest.raises(OSError, match="in use"):
        other.bind(("127.0.0.1", port))
    await upstream.registry.start()
    assert (await fetched(upstream.url)).body == upstream.body
    assert len(upstream.registry.requests()) == 1


async def test_down_more_than_once(upstream: Upstream) -> None:
    """A registry can go down at any time, when it is down too, and as often as need be."""
    for _ in range(3):
        await upstream.registry.stop()
        await upstream.registry.stop()
        await upstream.registry.start()
    assert (await fetched(upstream.url)).status == 200


async def test_going_down_cuts_bodies(upstream: Upstream) -> None:
    """A registry that goes down cuts what it is sending, and the bytes sent by then are counted."""
    gate = Gate(at=500)
    upstream.registry.script(Match(), gate)
    async with connected(upstream.url) as client:
        await client.ask(upstream.blob)
        await gate.reached()
        await upstream.registry.stop()
        heard = await client.rest()
    assert (heard.body, heard.end) == (upstream.body[:500], "fin")
    (recorded,) = upstream.registry.requests()
    assert (recorded.body_bytes_sent, recorded.state) == (500, "cut")


async def test_going_down_cuts_idle_connections(upstream: Upstream) -> None:
    """A registry that goes down closes connections that are kept alive."""
    async with connected(upstream.url) as client:
        await client.ask("/v2/")
        await client.head()
        await client.exactly(2)
        await upstream.registry.stop()
        assert (await client.rest()).end == "fin"


async def test_recorded(upstream: Upstream) -> None:
    """A request is on record as it came: path, query, headers, host, and what was answered."""
    path = "/v2/team/app/tags/list?n=5&ns=docker.io&n=6"
    await fetched(upstream.registry.url + path, "X-Test: 1")
    (recorded,) = upstream.registry.requests("GET", "/tags/list")
    assert (recorded.method, recorded.path) == ("GET", "/v2/team/app/tags/list")
    assert list(recorded.query.items()) == [("n", "5"), ("ns", "docker.io"), ("n", "6")]
    assert recorded.headers["x-test"] == "1"
    assert recorded.host == f"127.0.0.1:{upstream.registry.port}"
    assert (recorded.status, recorded.state, recorded.server) == (200, "sent", "registry")


async def test_encoded_path(upstream: Upstream) -> None:
    """A path is on record as it was encoded."""
    await fetched(upstream.registry.url + "/v2/a%2Fb/tags/list")
    assert upstream.registry.requests()[0].path == "/v2/a%2Fb/tags/list"


async def test_requests_by_kind(upstream: Upstream) -> None:
    """Requests are found by method and by the end of their path, and blobs by their digest."""
    await fetched(upstream.url, method="HEAD")
    await fetched(upstream.url)
    await fetched(upstream.registry.url + "/v2/")
    registry = upstream.registry
    assert [entry.method for entry in registry.requests()] == ["HEAD", "GET", "GET"]
    assert len(registry.requests("GET")) == 2
    assert len(registry.requests(path_suffix=upstream.digest)) == 2
    assert [entry.status for entry in registry.blob_gets(upstream.digest)] == [200]


async def test_counts(upstream: Upstream) -> None:
    """Bytes of bodies are counted to the byte: none for a HEAD, and of a range only its own."""
    await fetched(upstream.url, method="HEAD")
    await fetched(upstream.url, "Range: bytes=1-9")
    await fetched(upstream.url)
    sent = [entry.body_bytes_sent for entry in upstream.registry.requests()]
    assert sent == [0, 9, 1000]
    assert upstream.registry.body_bytes == 1009


async def test_counts_of_a_client_that_leaves(upstream: Upstream) -> None:
    """What a client left unread and the kernel did not take is not counted as sent."""
    digest = upstream.registry.add_blob("team/app", bytes(64_000_000))
    async with connected(upstream.url) as client:
        await client.ask(f"/v2/team/app/blobs/{digest}")
        await client.head()
        await client.exactly(1_000_000)
    await upstream.registry.quiet()
    (recorded,) = upstream.registry.requests()
    assert recorded.state == "cut"
    assert 900_000 < recorded.body_bytes_sent < 60_000_000


async def test_counts_of_a_body_that_is_stuck(upstream: Upstream) -> None:
    """What a server that goes down had not given to the kernel yet is not counted as sent."""
    digest = upstream.registry.add_blob("team/app", bytes(64_000_000))
    async with connected(upstream.url) as client:
        await client.ask(f"/v2/team/app/blobs/{digest}")
        await client.head()
        await upstream.registry.stop()
        received = len((await client.rest()).data)
    assert 0 <= received - upstream.registry.body_bytes < PIECE


async def test_keep_alive(upstream: Upstream) -> None:
    """A connection serves one request after another, until it is told to close."""
    async with connected(upstream.url) as client:
        for _ in range(3):
            await client.ask(upstream.blob)
            assert (await client.head()).header("Connection") is None
            assert await client.exactly(1000) == upstream.body
        await client.ask(upstream.blob, "Connection: close")
        heard = await client.rest()
    assert (heard.header("Connection"), heard.body) == ("close", upstream.body)


async def test_until(upstream: Upstream) -> None:
    """A test can wait for requests that do not come only so long."""
    await fetched(upstream.url)
    await upstream.registry.until(1, method="GET", path_suffix=upstream.digest)
    with pytest.raises(TimeoutError):
        await upstream.registry.until(2, within=0.001)


async def test_quiet(upstream: Upstream) -> None:
    """A registry is not quiet while an answer is held."""
    gate = Gate()
    upstream.registry.script(Match(), gate)
    async with connected(upstream.url) as client:
        await client.ask(upstream.blob)
        await gate.reached()
        with pytest.raises(TimeoutError):
            await upstream.registry.quiet(within=0.001)
        gate.release()
        await upstream.registry.quiet()
    assert upstream.registry.body_bytes == 1000


async def test_tls() -> None:
    """With a certificate, registry and CDN host speak TLS, faults and counts included."""
    authority = trustme.CA()
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(server)
    client = ssl.create_default_context()
    authority.configure_trust(client)
    connector = aiohttp.TCPConnector(ssl=client)
    body = bytes(300_000)
    async with ScriptedRegistry(tls=server) as registry:
        digest = registry.add_blob("a", body)
        registry.script(Match.blob(), Redirect(), Well(), ResetAfter(100_000))
        async with aiohttp.ClientSession(
            registry.url, connector=connector, requote_redirect_url=False
        ) as session:
            for _ in range(2):
                async with session.get(f"/v2/a/blobs/{digest}") as answer:
                    assert await answer.read() == body
            with pytest.raises(aiohttp.ClientError):
                async with session.get(f"/v2/a/blobs/{digest}") as answer:
                    await answer.read()
        assert [entry.server for entry in registry.journal] == [
            "registry",
            "cdn",
            *["registry"] * 2,
        ]
        assert registry.body_bytes == 700_000
