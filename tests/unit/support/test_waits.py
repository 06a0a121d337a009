"""Answers that take their time do so at the scripted byte, and go on when they are told to."""

import asyncio

import pytest

from tests.support.scripted_registry import (
    Always,
    Gate,
    Match,
    NoAnswer,
    SlowHeaders,
    StallAfter,
    Trickle,
)
from tests.unit.support.conftest import Upstream
from tests.unit.support.raw_client import connected, fetched


async def test_gate_holds_the_body(upstream: Upstream) -> None:
    """A gate lets through exactly the bytes before it, and the others once it is released."""
    gate = Gate(at=600)
    upstream.registry.script(Match(), gate)
    async with connected(upstream.url) as client:
        await client.ask(upstream.blob, "Connection: close")
        await gate.reached()
        await client.head()
        assert await client.exactly(600) == upstream.body[:600]
        assert client.is_silent()
        (recorded,) = upstream.registry.requests()
        assert (recorded.body_bytes_sent, recorded.state) == (600, "open")
        gate.release()
        assert (await client.rest()).data == upstream.body[600:]
    (recorded,) = upstream.registry.requests()
    assert (recorded.body_bytes_sent, recorded.state) == (1000, "sent")


async def test_gate_holds_the_head(upstream: Upstream) -> None:
    """A gate before the head lets no byte through."""
    gate = Gate(at=None)
    upstream.registry.script(Match(), gate)
    async with connected(upstream.url) as client:
        await client.ask(upstream.blob, "Connection: close")
        await gate.reached()
        assert client.is_silent()
        assert upstream.registry.requests()[0].status is None
        gate.release()
        assert (await client.rest()).body == upstream.body


async def test_gate_for_many(upstream: Upstream) -> None:
    """A gate for all requests tells of each that arrives, and releases all at once."""
    gate = Gate(at=1)
    upstream.registry.script(Match(), Always(gate))
    async with asyncio.TaskGroup() as group:
        clients = [group.create_task(fetched(upstream.url)) for _ in range(3)]
        for _ in clients:
            await gate.reached()
        gate.release()
    assert [client.result().body for client in clients] == [upstream.body] * 3
    assert (await fetched(upstream.url)).body == upstream.body


async def test_gate_that_nobody_reaches(upstream: Upstream) -> None:
    """Waiting at a gate that no answer comes to ends with a TimeoutError."""
    with pytest.raises(TimeoutError):
        await Gate().reached(within=0.001)


async def test_client_leaves_at_a_gate(upstream: Upstream) -> None:
    """A client that leaves while its answer is held is noticed, with the gate still shut."""
    gate = Gate(at=600)
    upstream.registry.script(Match(), gate)
    async with connected(upstream.url) as client:
        await client.ask(upstream.blob)
        await gate.reached()
    await upstream.registry.quiet()
    (recorded,) = upstream.registry.requests()
    assert (recorded.body_bytes_sent, recorded.state) == (600, "cut")


async def test_stall_for_seconds(upstream: Upstream) -> None:
    """A stall of some seconds is one sleep by the injected clock, and then the body goes on."""
    upstream.registry.script(Match(), StallAfter(300, 45.0))
    assert (await fetched(upstream.url)).body == upstream.body
    assert upstream.naps == [45.0]


async def test_stall_until_an_event(upstream: Upstream) -> None:
    """A stall until an event ends with the event."""
    event = asyncio.Event()
    upstream.registry.script(Match(), StallAfter(300, event))
    async with connected(upstream.url) as client:
        await client.ask(upstream.blob, "Connection: close")
        await client.head()
        assert await client.exactly(300) == upstream.body[:300]
        assert client.is_silent()
        event.set()
        assert (await client.rest()).data == upstream.body[300:]


async def test_stall_for_good(upstream: Upstream) -> None:
    """A stall for good ends when the upstream goes down, and not with the whole body."""
    upstream.registry.script(Match(), StallAfter(300))
    async with connected(upstream.url) as client:
        await client.ask(upstream.blob)
        await client.head()
        await client.exactly(300)
        await upstream.registry.stop()
        assert (await client.rest()).data == b""


async def test_trickle(upstream: Upstream) -> None:
    """A trickle is the whole body with a sleep after each piece but the last."""
    upstream.registry.script(Match(), Trickle(300, 0.5))
    assert (await fetched(upstream.url)).body == upstream.body
    assert upstream.naps == [0.5] * 3


async def test_trickle_at_a_rate(upstream: Upstream) -> None:
    """A trickle of so many bytes a second sleeps as long as the pieces take."""
    upstream.registry.script(Match(), Trickle.rate(1000, chunk=250))
    assert (await fetched(upstream.url)).body == upstream.body
    assert upstream.naps == [0.25] * 3


async def test_slow_headers(upstream: Upstream) -> None:
    """A slow head is one sleep before an answer that is well."""
    upstream.registry.script(Match(), SlowHeaders(31.0))
    assert (await fetched(upstream.url)).body == upstream.body
    assert upstream.naps == [31.0]


async def test_no_answer(upstream: Upstream) -> None:
    """A server that does not answer keeps the connection open and silent."""
    upstream.registry.script(Match(), NoAnswer())
    async with connected(upstream.url) as client:
        await client.ask(upstream.blob)
        await upstream.registry.until(1, path_suffix=upstream.digest)
        for _ in range(10):
            await asyncio.sleep(0)
        assert client.is_silent()


async def test_no_answer_until_released(upstream: Upstream) -> None:
    """A server that is released from not answering hangs up."""
    event = asyncio.Event()
    upstream.registry.script(Match(), NoAnswer(event))
    async with connected(upstream.url) as client:
        await client.ask(upstream.blob)
        await upstream.registry.until(1)
        event.set()
        heard = await client.rest()
    assert (heard.data, heard.end) == (b"", "fin")
