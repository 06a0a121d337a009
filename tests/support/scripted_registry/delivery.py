"""Puts an answer on the wire, with everything that is scripted to go wrong."""

from collections.abc import Awaitable, Callable
from email.utils import formatdate
from http import HTTPStatus
from typing import assert_never

from tests.support.scripted_registry.answer import (
    Answer,
    Asked,
    Close,
    Framing,
    Hold,
    Reset,
    Say,
    Step,
    Wait,
)
from tests.support.scripted_registry.journal import Exchange
from tests.support.scripted_registry.wire import PIECE, Wire

Sleep = Callable[[float], Awaitable[None]]


class _EndedError(Exception):
    """The script has ended the connection."""


class Delivery:
    """The way of one answer to its client."""

    def __init__(self, answer: Answer, asked: Asked, sleep: Sleep) -> None:
        self._answer = answer
        self._sleep = sleep
        self._bodiless = asked.method == "HEAD" or answer.status in (204, 304)
        honest = answer.claimed in (None, len(answer.body)) or self._bodiless
        self._keep_alive = asked.keep_alive and honest and answer.framing != Framing.UNTIL_CLOSE
        self._announced = asked.keep_alive and answer.framing != Framing.UNTIL_CLOSE

    async def over(self, wire: Wire, exchange: Exchange) -> bool:
        """Sends the answer; returns whether the connection is good for another one.

        Raises:
            ConnectionResetError: the client left.
        """
        try:
            await self._send(wire, exchange)
        except _EndedError:
            exchange.end("cut")
            return False
        exchange.end("sent")
        if not self._keep_alive:
            wire.close()
        return self._keep_alive

    async def _send(self, wire: Wire, exchange: Exchange) -> None:
        for step in self._answer.before_head:
            await self._perform(step, wire)
        # Counted before it is written: whoever has the head must find it in the journal.
        exchange.answered(self._answer.status)
        await wire.write(self._head())
        if not self._bodiless:
            await self._send_body(wire, exchange)

    async def _send_body(self, wire: Wire, exchange: Exchange) -> None:
        body, at = self._answer.body, 0
        for broken in sorted(self._answer.breaks, key=lambda each: each.at):
            await self._send_part(body, (at, broken.at), wire, exchange)
            await self._perform(broken.step, wire)
            at = broken.at
        await self._send_part(body, (at, len(body)), wire, exchange)
        if self._answer.framing == Framing.CHUNKED:
            await wire.write(b"0\r\n\r\n")

    async def _send_part(
        self, body: bytes, window: tuple[int, int], wire: Wire, exchange: Exchange
    ) -> None:
        chunked = self._answer.framing == Framing.CHUNKED
        first, end = window
        for start in range(first, end, PIECE):
            piece = body[start : min(start + PIECE, end)]
            frame = (b"%x\r\n" % len(piece), b"\r\n") if chunked else (b"", b"")
            await wire.write_counted(piece, exchange.count, frame=frame)

    async def _perform(self, step: Step, wire: Wire) -> None:
        match step:
            case Wait(seconds):
                await self._sleep(seconds)
            case Hold(latch):
                await latch.passed()
            case Say(data):
                await wire.write(data)
            case Close():
                wire.close()
                raise _EndedError
            case Reset():
                await wire.reset()
                raise _EndedError
            case _:
                assert_never(step)

    def _head(self) -> bytes:
        answer = self._answer
        headers = [*answer.headers, ("Date", formatdate(usegmt=True)), *self._length()]
        if not self._announced:
            headers.append(("Connection", "close"))
        lines = [f"HTTP/1.1 {answer.status} {_phrase(answer.status)}"]
        lines += [f"{name}: {value}" for name, value in headers]
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")

    def _length(self) -> list[tuple[str, str]]:
        answer = self._answer
        if answer.status in (204, 304) or answer.framing == Framing.UNTIL_CLOSE:
            return []
        if answer.framing == Framing.CHUNKED:
            return [] if self._bodiless else [("Transfer-Encoding", "chunked")]
        claimed = len(answer.body) if answer.claimed is None else answer.claimed
        return [("Content-Length", str(claimed))]


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Scripted"
