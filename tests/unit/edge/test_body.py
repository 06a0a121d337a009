import asyncio
from typing import cast

import pytest
from aiohttp import web

from cacheproxy.domain.errors import StorageError, UpstreamTimeout
from cacheproxy.edge.body import CHUNK, Patient, StallGuard, send
from tests.support.clock import FakeClock, time_the_loop
from tests.support.leaks import settle

_BODY = bytes(number % 251 for number in range(3 * CHUNK + 10))


class Connection:
    """A connection (`asyncio.Transport`), as far as the guard looks at it."""

    def __init__(self) -> None:
        self.waiting = 0
        self.closing = False
        self.aborted = False

    def get_write_buffer_size(self) -> int:
        """Bytes that the client has not taken yet."""
        return self.waiting

    def is_closing(self) -> bool:
        """Whether it ends already."""
        return self.closing

    def abort(self) -> None:
        """Cut it."""
        self.aborted = True


class Content:
    """Bytes (`Readable`), of which some are at hand and some are not."""

    def __init__(self, body: bytes, at_hand: int = 0, at_once: int = CHUNK) -> None:
        self.body, self.at_hand, self.at_once = body, at_hand, at_once

    def close(self) -> None:
        """Nothing is held."""

    def try_read(self, offset: int, length: int) -> bytes | None:
        """What is at hand."""
        return self.body[offset : min(offset + min(length, self.at_once), self.at_hand)] or None

    def try_send(self, to: int, offset: int, length: int) -> int:
        """Nothing: it is in no file."""
        return 0

    async def read(self, offset: int, length: int) -> bytes:
        """What is there."""
        return self.body[offset : offset + min(length, self.at_once)]


class Sent:
    """A response (`web.StreamResponse`) that keeps what is written."""

    def __init__(self) -> None:
        self.chunks: list[bytes] = []

    async def write(self, chunk: bytes) -> None:
        """Keep a chunk."""
        self.chunks.append(chunk)


async def _sent(content: Content, start: int, stop: int | None) -> list[bytes]:
    response = Sent()
    with StallGuard(None, 60.0) as guard:
        stream = cast("web.StreamResponse", response)
        await send(stream, guard, Patient(content, 60.0), start, stop)
        assert guard.written == sum(map(len, response.chunks))
    return response.chunks


@pytest.mark.parametrize("at_hand", [0, 5, CHUNK, len(_BODY)])
@pytest.mark.parametrize(
    ("start", "stop"),
    [
        (0, None),
        (0, len(_BODY)),
        (7, 8),
        (CHUNK - 1, CHUNK + 1),
        (5, None),
        (9, 9),
        (len(_BODY), None),
    ],
)
async def test_what_is_asked_for_is_sent(at_hand: int, start: int, stop: int | None) -> None:
    """The bytes from `start` up to `stop` or the end are sent, in chunks of bounded size."""
    chunks = await _sent(Content(_BODY, at_hand), start, stop)
    assert b"".join(chunks) == _BODY[start:stop]
    assert all(0 < len(chunk) <= CHUNK for chunk in chunks)


async def test_short_reads_are_gone_on_from() -> None:
    """Content that comes a few bytes at a time is sent as it comes."""
    chunks = await _sent(Content(_BODY[:100], at_hand=50, at_once=7), 3, 100)
    assert b"".join(chunks) == _BODY[3:100]
    assert len(chunks) > 10


async def test_a_body_that_ends_early_is_an_error() -> None:
    """Content that ends before it should must not pass for whole."""
    with pytest.raises(StorageError, match="ended at 100, before 101"):
        await _sent(Content(_BODY[:100]), 0, 101)


@pytest.fixture
async def clock(monkeypatch: pytest.MonkeyPatch) -> FakeClock:
    """What the timers of the event loop go by."""
    made = FakeClock()
    time_the_loop(made, monkeypatch)
    return made


async def test_content_is_waited_for_but_not_for_ever(clock: FakeClock) -> None:
    """A read that brings nothing in its time is upstream's failure."""

    class Silent(Content):
        async def read(self, offset: int, length: int) -> bytes:
            await asyncio.get_running_loop().create_future()
            return b"never"

    reading = asyncio.gather(Patient(Silent(b""), 30.0).read(0, 1), return_exceptions=True)
    await settle()
    clock.advance(29.0)
    await settle()
    assert not reading.done()
    clock.advance(1.5)
    (outcome,) = await reading
    assert isinstance(outcome, UpstreamTimeout)
    assert str(outcome) == "no byte came for 30 seconds"


def _guard(connection: Connection, seconds: float = 60.0) -> StallGuard:
    return StallGuard(cast("asyncio.Transport", connection), seconds)


async def _pass(clock: FakeClock, seconds: float) -> None:
    clock.advance(seconds)
    await settle()


async def test_a_client_that_takes_nothing_is_cut(clock: FakeClock) -> None:
    """A client that takes no byte in the time that it has is cut, and not before."""
    connection = Connection()
    with _guard(connection) as guard:
        guard.writes(1000)
        connection.waiting = 400
        await _pass(clock, 60.5)
        assert not connection.aborted  # it took 600 since the beginning
        await _pass(clock, 59.0)
        assert not connection.aborted
        await _pass(clock, 2.0)
        assert connection.aborted


async def test_a_slow_client_is_not(clock: FakeClock) -> None:
    """A client that takes a byte now and then is served for as long as that goes on."""
    connection = Connection()
    with _guard(connection) as guard:
        guard.writes(1000)
        for waiting in range(999, 900, -1):
            connection.waiting = waiting
            await _pass(clock, 60.5)
        assert not connection.aborted


async def test_waiting_for_upstream_is_no_stall(clock: FakeClock) -> None:
    """A client that has taken everything is not cut, however long nothing more comes."""
    connection = Connection()
    with _guard(connection) as guard:
        guard.writes(1000)
        for _ in range(20):
            await _pass(clock, 60.5)
        assert not connection.aborted
        guard.writes(10)
        connection.waiting = 10
        await _pass(clock, 60.5)
    assert connection.aborted


@pytest.mark.parametrize("after", [0.5, 30.0, 59.0])
async def test_a_client_is_not_cut_just_after_a_silence(clock: FakeClock, after: float) -> None:
    """Bytes that come after a long silence may be waited for as long as any others."""
    connection = Connection()
    with _guard(connection) as guard:
        guard.writes(1000)
        await _pass(clock, 60.5)  # it took all of them
        await _pass(clock, 60.0 - after)
        guard.writes(500)
        connection.waiting = 500
        await _pass(clock, after + 0.5)
        assert not connection.aborted  # it has had them only for so long
        await _pass(clock, 60.5)
        assert connection.aborted


async def test_a_response_that_has_ended_is_left_alone(clock: FakeClock) -> None:
    """After the response nothing is looked at any more, nor is a connection that ends."""
    connection = Connection()
    with _guard(connection) as guard:
        guard.writes(1000)
        connection.waiting = 1000
    await _pass(clock, 1000.0)
    assert not connection.aborted
    closing = Connection()
    closing.closing = True
    with _guard(closing) as guard:
        guard.writes(1000)
        closing.waiting = 1000
        await _pass(clock, 60.5)
        await _pass(clock, 60.5)
    assert not closing.aborted


async def test_without_a_connection_there_is_nothing_to_guard() -> None:
    """A request whose connection is gone already has no timer."""
    with StallGuard(None, 60.0) as guard:
        guard.writes(5)
    assert guard.written == 5
