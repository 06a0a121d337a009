import asyncio
import socket
import struct
from typing import cast

import pytest
from aiohttp import web

from cacheproxy.edge.guard import StallGuard
from tests.support.clock import FakeClock, time_the_loop
from tests.support.leaks import settle

_SECONDS = 60.0
# The guard looks every 15 seconds, so it is late by less than one look.
_LATE = 15.0


class Connection:
    """A connection: its transport and its socket, as far as the guard looks at them."""

    def __init__(self) -> None:
        self.acknowledged = 0
        self.unsent = 0
        self.in_flight = 0
        self.is_reset = False
        self.aborted = False
        self.error: OSError | None = None

    def get_extra_info(self, name: str) -> "Connection":
        """Return itself."""
        assert name == "socket"
        return self

    def getsockopt(self, level: int, option: int, size: int) -> bytes:
        """Return what Linux says of a TCP connection."""
        assert (level, option) == (socket.IPPROTO_TCP, socket.TCP_INFO)
        if self.error is not None:
            raise self.error
        made = struct.pack("=24xI92xQ16xI", self.in_flight, self.acknowledged, self.unsent)
        return made[:size]

    def setsockopt(self, level: int, option: int, value: bytes) -> None:
        """Note that the end of the connection will be a reset."""
        assert (level, option) == (socket.SOL_SOCKET, socket.SO_LINGER)
        self.is_reset = value == struct.pack("ii", 1, 0)

    def abort(self) -> None:
        """Cut it."""
        self.aborted = True


@pytest.fixture
async def clock(monkeypatch: pytest.MonkeyPatch) -> FakeClock:
    """Return the clock that the timers of the event loop go by."""
    made = FakeClock()
    time_the_loop(made, monkeypatch)
    return made


def _watched(guard: StallGuard | None = None) -> Connection:
    """A connection that a guard watches."""
    connection = Connection()
    guard = guard or StallGuard(_SECONDS)
    guard.watch(_handler(connection), cast("asyncio.Transport", connection))
    return connection


def _handler(connection: Connection) -> web.RequestHandler:
    return cast("web.RequestHandler", connection)


async def _pass(clock: FakeClock, seconds: float) -> None:
    """Let time pass, a second at a time: the guard looks several times a minute."""
    while seconds > 0:
        clock.advance(min(1.0, seconds))
        seconds -= 1.0
        await settle(2)


@pytest.mark.parametrize("field", ["unsent", "in_flight"])
async def test_a_client_that_takes_nothing_is_reset(clock: FakeClock, field: str) -> None:
    """A client that acknowledges no byte in the time that it has is reset, and not before."""
    connection = _watched()
    connection.acknowledged = 600
    setattr(connection, field, 400)
    await _pass(clock, _SECONDS - 1)
    assert not connection.aborted
    await _pass(clock, 2 * _LATE + 2)
    # Reset, so that the kernel drops the bytes that it holds for the client.
    assert (connection.aborted, connection.is_reset) == (True, True)


async def test_a_slow_client_is_not(clock: FakeClock) -> None:
    """A client that takes a byte now and then is served for as long as that goes on."""
    connection = _watched()
    connection.unsent = 1000
    for _ in range(20):
        await _pass(clock, _SECONDS - 2 * _LATE)
        connection.acknowledged += 1
    assert not connection.aborted


async def test_a_steady_stream_is_not(clock: FakeClock) -> None:
    """A client whose queue is always as full as before is not cut while it takes bytes."""
    connection = _watched()
    for _ in range(100):
        connection.acknowledged += 1_000_000
        connection.unsent = 2_500_000
        await _pass(clock, _LATE)
    assert not connection.aborted


async def test_waiting_is_no_stall(clock: FakeClock) -> None:
    """A client that has taken everything is not cut: it waits for upstream, or is idle."""
    connection = _watched()
    connection.acknowledged = 1000
    await _pass(clock, 20 * _SECONDS)
    assert not connection.aborted


@pytest.mark.parametrize("silence", [0.5, 14.5, 30.0, 59.0])
async def test_a_client_is_not_cut_just_after_a_silence(clock: FakeClock, silence: float) -> None:
    """Bytes that come after a silence may be waited for as long as any others."""
    connection = _watched()
    connection.acknowledged = 1000
    await _pass(clock, _SECONDS + silence)
    connection.unsent = 500
    await _pass(clock, _SECONDS - 1)
    assert not connection.aborted
    await _pass(clock, 2 * _LATE + 2)
    assert connection.aborted


async def test_a_connection_that_has_ended_is_forgotten(clock: FakeClock) -> None:
    """Nothing is looked at any more once the last connection has ended."""
    guard = StallGuard(_SECONDS)
    connection = _watched(guard)
    connection.unsent = 1000
    guard.forget(_handler(connection))
    guard.forget(_handler(connection))  # whose loss may be told twice
    await _pass(clock, 10 * _SECONDS)
    assert not connection.aborted
    late = _watched(guard)
    late.unsent = 1000
    await _pass(clock, _SECONDS + 2 * _LATE + 2)
    assert late.aborted, "the guard looks again for the next one"


async def test_each_connection_has_its_own_time(clock: FakeClock) -> None:
    """A client that stalls is cut; the one beside it that reads is not."""
    guard = StallGuard(_SECONDS)
    stalled, reading = _watched(guard), _watched(guard)
    stalled.unsent = reading.unsent = 1000
    for _ in range(12):
        reading.acknowledged += 10
        await _pass(clock, _LATE)
    assert stalled.aborted
    assert not reading.aborted


async def test_a_connection_that_is_no_tcp_is_left_alone(clock: FakeClock) -> None:
    """A connection of which the system keeps no account is never cut."""
    connection = _watched()
    connection.unsent = 1000
    connection.error = OSError("not supported")
    await _pass(clock, 10 * _SECONDS)
    assert not connection.aborted
