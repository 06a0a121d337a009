import asyncio
import sys
from typing import cast

import pytest
from aiohttp import web
from typing_extensions import override

from cacheproxy.domain.errors import StorageError, UpstreamTimeout
from cacheproxy.edge.body import CHUNK, BodyWriter, Patient
from tests.support.clock import FakeClock, time_the_loop
from tests.support.leaks import open_files, opened_since, settle

_BODY = bytes(number % 251 for number in range(3 * CHUNK + 10))


class Connection:
    """A plain connection (`asyncio.Transport`), as far as a body is written to it."""

    def __init__(self) -> None:
        self.waiting = 0
        self.closing = False

    def get_extra_info(self, name: str) -> "Connection | None":
        """Itself for its socket; it has no TLS."""
        return self if name == "socket" else None

    def fileno(self) -> int:
        """A number that no test may use once the connection is closing."""
        assert not self.closing
        return 1_000_000

    def set_write_buffer_limits(self, high: int) -> None:
        """Nothing: `Sent` waits until all has left."""

    def get_write_buffer_size(self) -> int:
        """Bytes that the client has not taken yet."""
        return self.waiting

    def is_closing(self) -> bool:
        """Whether it ends already."""
        return self.closing


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


class Cached(Content):
    """Bytes that are all in the page cache; the socket takes so many, and then is full."""

    def __init__(self, body: bytes, takes: int) -> None:
        super().__init__(body, at_hand=len(body))
        self.takes = takes
        self.sent: list[bytes] = []

    @override
    def try_send(self, to: int, offset: int, length: int) -> int:
        if self.takes == 0:
            raise BlockingIOError
        count = min(self.takes, length)
        self.takes -= count
        self.sent.append(self.body[offset : offset + count])
        return count


def _writer(content: Content, connection: Connection | None, response: "Sent") -> BodyWriter:
    transport = cast("asyncio.Transport | None", connection)
    return BodyWriter(cast("web.StreamResponse", response), transport, Patient(content, 60.0))


async def _sent(content: Content, start: int, stop: int | None) -> list[bytes]:
    response = Sent()
    writer = _writer(content, None, response)
    await writer.write(start, stop)
    assert writer.written == sum(map(len, response.chunks))
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


async def test_a_socket_that_is_full_is_waited_for_by_writing() -> None:
    """A piece written through the transport waits for a full socket, and nothing is lost."""
    content, response = Cached(_BODY, takes=2_000_000), Sent()
    writer = _writer(content, Connection(), response)
    await writer.write(0, len(_BODY))
    assert len(content.sent) == 2
    assert writer.written == len(_BODY)
    assert response.chunks[0] + b"".join(content.sent + response.chunks[1:]) == _BODY


async def test_a_socket_that_is_full_again_and_again_costs_no_stack() -> None:
    """However often a socket is full, the body goes on, and each wait is one written piece."""
    body = bytes(sys.getrecursionlimit() * 2 * 65_536)
    content, response = Cached(body, takes=0), Sent()
    await _writer(content, Connection(), response).write(0, len(body))
    assert sum(map(len, response.chunks)) == len(body)


async def test_a_connection_lost_while_it_is_waited_for_is_left_alone() -> None:
    """A lost connection ends the wait with a ConnectionError, and its descriptor is not used."""
    connection, before = Connection(), open_files()

    class Lost(Sent):
        @override
        async def write(self, chunk: bytes) -> None:
            if self.chunks:
                connection.closing = True
                raise ConnectionResetError
            await super().write(chunk)

    writer = _writer(Cached(_BODY, takes=100), connection, Lost())
    with pytest.raises(ConnectionResetError):
        await writer.write(0, len(_BODY))
    assert not opened_since(before)


async def test_nothing_is_sent_past_what_was_written_before() -> None:
    """While the transport still has bytes, or is closing, all goes through its buffer."""
    for waiting, closing in ((1, False), (0, True)):
        connection = Connection()
        connection.waiting, connection.closing = waiting, closing
        content, response = Cached(_BODY, takes=len(_BODY)), Sent()
        await _writer(content, connection, response).write(0, len(_BODY))
        assert not content.sent
        assert b"".join(response.chunks) == _BODY
