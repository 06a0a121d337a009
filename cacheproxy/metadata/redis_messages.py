"""What replicas tell each other through Redis: that a tag has changed, or was purged."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, NoReturn, Protocol

import msgspec

from cacheproxy.metadata.redis_clients import close_client, make_listener, within
from cacheproxy.metadata.redis_connection import RedisConnection

# A connection on which nothing comes is tried; two in a row without an answer, and it is dead.
_SILENCE_SECONDS = 5.0
_PAUSE, _LONGEST_PAUSE = 0.2, 5.0


@dataclass(frozen=True, slots=True)
class Message:
    """One word of a replica to all others.

    Attributes:
        sender: a replica; it does not listen to itself.
        scope: `docker.io/library/nginx `, with the space that ends a name; or `docker.io/`, for
            all of an upstream.
        tag: in that repository; None: everything in the scope.
        is_purge: it is to be forgotten everywhere; else it has changed, and can be read anew.
    """

    sender: str
    scope: str
    tag: str | None = None
    is_purge: bool = False


class Listener(Protocol):
    """Who wants to know."""

    async def heard(self, message: Message) -> None:
        """Another replica said this."""
        ...

    async def missed(self) -> None:
        """From now on all is heard, but something may have been said before."""
        ...

    def deaf(self) -> None:
        """From now on nothing is heard."""
        ...


def write_message(message: Message) -> bytes:
    """A message as it is sent."""
    return msgspec.json.encode(message, enc_hook=str)


def read_message(sent: object) -> Message | None:
    """A message from what was sent; None where that is none."""
    if not isinstance(sent, bytes):
        return None
    try:
        return msgspec.json.decode(sent, type=Message)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None


async def listen(connection: RedisConnection, listener: Listener) -> NoReturn:
    """Pass on what other replicas say, for ever; messages are lost while there is no connection."""
    turn, pause = 0, _PAUSE
    while True:
        hearing = _Hearing(connection, listener)
        try:
            await hearing.run(turn)
        except Exception as error:  # noqa: BLE001  # whatever it is, it is tried again
            connection.surprised_by(error)
            pause = _PAUSE if hearing.has_begun else min(pause * 2, _LONGEST_PAUSE)
        if hearing.has_begun:
            listener.deaf()
        turn += 1
        await asyncio.sleep(pause)


class _Hearing:
    """One connection's worth of listening."""

    def __init__(self, connection: RedisConnection, listener: Listener) -> None:
        self._connection = connection
        self._listener = listener
        self.has_begun = False

    async def run(self, turn: int) -> None:
        """Until it breaks."""
        of = self._connection
        client = make_listener(of.client, of.url, of.login, of.timeout, turn)
        try:
            async with client.pubsub() as channel:
                await self._within(lambda: channel.subscribe(of.keys.changes))
                await self._hear(channel)
        finally:
            await close_client(client)

    async def _hear(self, channel: Any) -> None:  # noqa: ANN401  # untyped in redis-py
        is_asked = False
        while True:
            message = await channel.get_message(timeout=_SILENCE_SECONDS)
            if message is not None:
                is_asked = False
                await self._take(message)
                continue
            if is_asked:
                raise TimeoutError("nothing comes")
            is_asked = True
            await self._within(channel.ping)

    async def _take(self, message: dict[str, Any]) -> None:
        match message["type"]:
            case "subscribe":
                self.has_begun = True
                await self._listener.missed()
            case "message":
                said = read_message(message["data"])
                if said is not None and said.sender != self._connection.replica:
                    await self._listener.heard(said)
            case _:
                pass

    async def _within(self, work: Callable[[], Awaitable[object]]) -> None:
        await within(self._connection.timeout, work)
