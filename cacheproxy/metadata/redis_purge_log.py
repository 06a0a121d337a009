"""What was purged lately, kept in Redis: for replicas that were not listening then.

A message on the channel reaches only who listens. One that was down, or cut off, has its own
records of what was purged, and would tell Redis of them again as of something that Redis lost.
"""

from typing import Any

from cacheproxy.metadata.redis_clients import Client
from cacheproxy.metadata.redis_connection import RedisConnection
from cacheproxy.metadata.redis_keys import PURGE_SECONDS
from cacheproxy.metadata.redis_messages import Message, read_message, write_message
from cacheproxy.metadata.redis_scripts import READ_PURGES, RECORD_PURGE

# So many are kept; then the oldest goes.
_LIMIT = 1000


async def record_purge(of: RedisConnection, message: Message, limit: int = _LIMIT) -> None:
    """Keep a purge, and tell all who listen.

    Raises:
        RedisFailed: it cannot be reached, or refused.
    """
    values: list[str | bytes | int] = [
        write_message(message),
        of.keys.changes,
        PURGE_SECONDS,
        limit,
    ]
    await of.call(lambda client: RECORD_PURGE.run(client, [of.keys.purges], values))


async def read_purges(of: RedisConnection, since: float) -> list[tuple[float, Message]]:
    """What was purged after some moment, the oldest first, and each with when that was.

    Args:
        of: the connection.
        since: seconds of Unix time by the server's clock, as it was told before; 0 for all.

    Raises:
        RedisFailed: it cannot be reached, or refused.
    """

    async def read(client: Client) -> Any:  # noqa: ANN401  # what a script gives back
        return await READ_PURGES.run(client, [of.keys.purges], [f"{since:.6f}"])

    answer: list[bytes] = await of.call(read)
    found = []
    for member, at in zip(answer[::2], answer[1::2], strict=True):
        message = read_message(member)
        if message is not None:  # else somebody else has put it there
            found.append((float(at), message))
    return found
