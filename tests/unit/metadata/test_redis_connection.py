"""What a connection to Redis makes of failures, without any server."""

import asyncio

import pytest
from redis.exceptions import ConnectionError as NotConnectedError

from cacheproxy.domain.redis_url import parse_redis_url
from cacheproxy.metadata.cluster_clock import ClusterClock
from cacheproxy.metadata.redis_clients import Client
from cacheproxy.metadata.redis_connection import RedisConnection, RedisFailed
from tests.support.clock import FakeClock
from tests.support.hasty import Events

_NOWHERE = parse_redis_url("redis://127.0.0.1:1")


@pytest.mark.parametrize("count", [1, 32])
async def test_calls_that_fail_together_are_one_failure(count: int) -> None:
    """However many calls an outage cuts, Redis is left alone for the first pause."""
    connection, cut = (
        RedisConnection(_NOWHERE, Events(), ClusterClock(FakeClock())),
        asyncio.Event(),
    )

    async def work(_: Client) -> None:
        await cut.wait()
        raise NotConnectedError("gone")

    async def call() -> None:
        with pytest.raises(RedisFailed, match="gone"):
            await connection.call(work)

    async def cut_all() -> None:
        await asyncio.sleep(0)
        cut.set()

    await asyncio.gather(*(call() for _ in range(count)), cut_all())
    pause = connection._breaker.wait(asyncio.get_running_loop().time())
    assert pause is not None
    assert pause <= 1.25
    await connection.close()
