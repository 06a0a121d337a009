"""The model of Redis behind its wire protocol (RESP2), on any event loop.

Within a world it listens on the simulated network; `python -m tests.simulation.redis_server PORT`
serves it on loopback, so that tests of real servers run against it too.
"""

import asyncio
import contextlib
import sys
import time
from typing import Any

from typing_extensions import override

from tests.simulation.redis_model import RedisModel, ReplyError


class RedisProtocol(asyncio.Protocol):
    """One connection of a client."""

    def __init__(self, model: RedisModel) -> None:
        self._model = model
        self._received = bytearray()
        self._transport: asyncio.Transport | None = None

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        for listening in self._model.subscribers.values():
            listening.discard(self)

    @override
    def data_received(self, data: bytes) -> None:
        self._received += data
        while (arguments := self._next_command()) is not None:
            self._reply(arguments)

    def push(self, channel: bytes, message: bytes) -> None:
        """Send a message to a subscriber."""
        self._write([b"message", channel, message])

    def _next_command(self) -> list[bytes] | None:
        """Take a whole command from what was received; None if there is none yet."""
        head = self._received.find(b"\r\n")
        if head < 0:
            return None
        arguments, at = [], head + 2
        for _ in range(int(self._received[1:head])):
            end = self._received.find(b"\r\n", at)
            if end < 0:
                return None
            start = end + 2
            stop = start + int(self._received[at + 1 : end])
            if len(self._received) < stop + 2:
                return None
            arguments.append(bytes(self._received[start:stop]))
            at = stop + 2
        del self._received[:at]
        return arguments

    def _reply(self, arguments: list[bytes]) -> None:
        match arguments[0].upper():
            case b"SUBSCRIBE":
                for channel in arguments[1:]:
                    self._model.subscribers.setdefault(channel, set()).add(self)
                    self._write([b"subscribe", channel, 1])
            case b"PING" if self._is_subscriber:
                self._write([b"pong", b""])
            case _:
                try:
                    reply = self._model.execute(arguments)
                except ReplyError as error:
                    reply = error
                self._write(reply)

    @property
    def _is_subscriber(self) -> bool:
        return any(self in listening for listening in self._model.subscribers.values())

    def _write(self, reply: Any) -> None:
        if self._transport is not None:
            self._transport.write(encode(reply))


def encode(reply: Any) -> bytes:
    """Encode a reply of the model."""
    match reply:
        case ReplyError():
            return b"-%s\r\n" % str(reply).replace("\n", " ").encode()
        case None:
            return b"$-1\r\n"
        case int():
            return b":%d\r\n" % reply
        case str():
            return b"+%s\r\n" % reply.encode()
        case bytes():
            return b"$%d\r\n%s\r\n" % (len(reply), reply)
        case _:
            return b"*%d\r\n%s" % (len(reply), b"".join(encode(one) for one in reply))


async def _serve(port: int) -> None:
    model = RedisModel(time.time)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: RedisProtocol(model), "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_serve(int(sys.argv[1])))
