"""A connection to Redis that is watched, and what is said of it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

from cacheproxy.domain.events import SharedStoreFound, SharedStoreLost
from cacheproxy.domain.redis_url import parse_redis_url
from cacheproxy.inprocess.clock import SystemClock
from cacheproxy.inprocess.tasks import Tasks
from cacheproxy.metadata.cluster_clock import ClusterClock
from cacheproxy.metadata.redis_clients import Client, RedisLogin
from cacheproxy.metadata.redis_connection import RedisConnection, RedisFailed
from tests.integration.fills import until
from tests.support.hasty import Events


class Watched:
    """A connection that is watched, and what it says."""

    def __init__(self, connection: RedisConnection, events: Events, tasks: Tasks) -> None:
        self.connection = connection
        self.events = events
        self.tasks = tasks

    def lost(self) -> list[str]:
        """Why it was lost, each time."""
        return [each.error for each in self.events.of(SharedStoreLost)]

    async def found(self, times: int = 1) -> None:
        """Wait until it is found."""
        await until(lambda: len(self.events.of(SharedStoreFound)) == times)


@asynccontextmanager
async def watched(
    url: str, login: RedisLogin | None = None, seconds: float = 1.0
) -> AsyncIterator[Watched]:
    """A connection and its watcher."""
    events, tasks = Events(), Tasks()
    clock = ClusterClock(SystemClock())
    connection = RedisConnection(parse_redis_url(url), events, clock, seconds, login)
    tasks.keep_running(connection.watch, "watch")
    try:
        yield Watched(connection, events, tasks)
    finally:
        await tasks.close()
        await connection.close()


async def get(client: Client) -> object:
    """A call."""
    return await client.get("cacheproxy:x")


async def soon(work: Any, within: float = 60.0) -> Any:
    """What `work` returns once it does not fail any more."""
    async with asyncio.timeout(within):
        while True:
            with suppress(RedisFailed):
                return await work()
            await asyncio.sleep(0.02)
