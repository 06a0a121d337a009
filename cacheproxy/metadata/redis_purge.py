"""Forgetting what is in Redis, for commands: of one tag, of a repository, of an upstream.

Whatever is forgotten is said on the channel, so that replicas drop their copies, in memory and
on disk; and kept, so that one that does not hear it now drops its own once it is back.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable
from typing import Any

from redis.asyncio.cluster import RedisCluster

from cacheproxy.domain.redis_url import RedisUrl
from cacheproxy.inprocess.clock import SystemClock
from cacheproxy.metadata.cluster_clock import ClusterClock
from cacheproxy.metadata.redis_clients import Client, RedisLogin
from cacheproxy.metadata.redis_connection import RedisConnection
from cacheproxy.metadata.redis_messages import Message
from cacheproxy.metadata.redis_purge_log import record_purge
from cacheproxy.ports import Observer

# Looked at, or removed, in one call.
_BATCH = 500


class RedisRecords:
    """What is in Redis. Synchronous; each call makes a connection of its own."""

    def __init__(
        self, url: RedisUrl, observer: Observer, timeout: float, login: RedisLogin
    ) -> None:
        self._url = url
        self._observer = observer
        self._timeout = timeout
        self._login = login

    def forget(self, scope: str, tag: str | None, *, is_rehearsal: bool = False) -> int:
        """Delete records; returns how many there were.

        Args:
            scope: `docker.io/library/nginx `, with the space that ends a name; or `docker.io/`.
            tag: only this one.
            is_rehearsal: only count them.

        Raises:
            RedisFailed: it cannot be reached, or refused.
        """
        return asyncio.run(self._forget(scope, tag, is_rehearsal=is_rehearsal))

    def _connect(self) -> RedisConnection:
        clock = ClusterClock(SystemClock())
        return RedisConnection(self._url, self._observer, clock, self._timeout, self._login)

    async def _forget(self, scope: str, tag: str | None, *, is_rehearsal: bool) -> int:
        of = self._connect()
        message = Message(of.replica, scope, tag, is_purge=True)
        try:
            if is_rehearsal:
                return await _count(of, scope, tag)
            # Before, lest replicas write again what they have; and after, for what they have
            # read in between. Then none has anything of before, and the rest can be removed.
            await record_purge(of, message)
            count = await _remove_all(of, scope, tag)
            await record_purge(of, message)
            return count + await _remove_all(of, scope, tag)
        finally:
            await of.close()


async def _count(of: RedisConnection, scope: str, tag: str | None) -> int:
    return sum([len(keys) async for keys in _found(of, scope, tag)])


async def _remove_all(of: RedisConnection, scope: str, tag: str | None) -> int:
    """Delete the records of a scope; returns how many there were."""
    count = 0
    async for keys in _found(of, scope, tag):
        count += len(keys)
        await _remove(of, keys)
    return count


async def _found(of: RedisConnection, scope: str, tag: str | None) -> AsyncIterator[list[bytes]]:
    if tag is not None:
        key = of.keys.tag_within(scope, tag)
        if await of.call(lambda client: client.exists(key)):
            yield [key.encode()]
        return
    for options in await of.call(_servers):
        cursor: Any = 0
        while True:
            cursor, keys = await of.call(_look(of, cursor, options))
            yield [key for key in keys if of.keys.is_below(_text(key), scope)]
            if not cursor:
                break


async def _servers(client: Client) -> Iterable[dict[str, Any]]:
    """How each of the servers is addressed that have keys."""
    if isinstance(client, RedisCluster):
        return [{"target_nodes": node} for node in client.get_primaries()]
    return [{}]


def _look(of: RedisConnection, cursor: int, options: dict[str, Any]) -> Any:  # noqa: ANN401  # a function
    async def look(client: Client) -> tuple[int, list[bytes]]:
        answer: Any = await client.scan(cursor, match=of.keys.all, count=_BATCH, **options)
        following, keys = answer
        if isinstance(following, dict):  # by server, of which there is one
            (following,) = following.values()
        return int(following), keys

    return look


async def _remove(of: RedisConnection, keys: list[bytes]) -> None:
    if not keys:
        return
    if of.url.kind == "cluster":  # where one command is for keys of one server
        for key in keys:
            await of.call(lambda client, key=key: client.unlink(key))  # type: ignore[misc]  # bound
    else:
        await of.call(lambda client: client.unlink(*keys))


def _text(key: bytes) -> str:
    return key.decode("utf-8", "surrogatepass")
