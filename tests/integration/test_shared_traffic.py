"""What all replicas have counted together, in a real Redis."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from cacheproxy.cluster.traffic import SharedTraffic
from cacheproxy.domain.traffic import Hours, Totals, Traffic
from cacheproxy.inprocess.clock import SystemClock
from cacheproxy.metadata.redis_connection import RedisConnection
from cacheproxy.ops.traffic_log import TrafficLog
from tests.support.hasty import HastyClock
from tests.support.parts.redis import ENGINES, redis_server
from tests.support.replicas import connection
from tests.unit.ops.test_traffic import NGINX, SERVED


@pytest.fixture(params=ENGINES)
async def redis(request: pytest.FixtureRequest) -> AsyncIterator[RedisConnection]:
    """A connection to a server of its own."""
    with redis_server(engine=request.param) as server:
        made = connection(server.port, SystemClock(), timeout=10.0)
        yield made
        await made.close()


async def _sums(redis: RedisConnection, hours: range) -> Traffic:
    return sum((await SharedTraffic(redis, "tests").hours(hours)).values(), start=Traffic())


async def test_keys_that_others_spoilt_are_made_anew(redis: RedisConnection) -> None:
    """Sums are told although an hour, and the sums of all time, were of another type."""
    shared = SharedTraffic(redis, "tests")
    keys = ["tests:traffic:5", "tests:traffic:all"]
    for key in keys:
        await redis.call(lambda client, key=key: client.set(key, "spoilt"))  # type: ignore[misc]  # bound
    told = Traffic(1, 1000)
    assert await shared.tell("me", {(5, *NGINX): told}, {NGINX: told})
    assert await shared.overall() == {NGINX: told}
    assert await _sums(redis, range(5, 6)) == told


async def test_sums_are_exact_whatever_becomes_of_redis(
    redis: RedisConnection, tmp_path: Path
) -> None:
    """Told twice, late, or again after a flush: each byte counts once."""
    clock = HastyClock()
    hours = range(int(clock.now() // 3600), int(clock.now() // 3600) + 3)
    shared = SharedTraffic(redis, "tests")
    one, other = (TrafficLog(tmp_path / f"{name}.db", clock) for name in "ab")
    is_away = False

    async def tell(replica: str, told: Hours, overall: Totals) -> bool:
        return not is_away and await shared.tell(replica, told, overall)

    running = [asyncio.create_task(log.run(tell)) for log in (one, other)]  # noqa: TID251
    try:
        expected = 0
        for step in range(6):
            is_away = step in (2, 3)
            if step == 4:
                await redis.call(lambda client: client.flushall())
                clock.advance(3600)
            for log in (one, other, other):
                log.observe(SERVED)
                expected += 1
            async with asyncio.timeout(60):
                told = Traffic(expected, expected * 1000)
                while not is_away and await _sums(redis, hours) != told:  # noqa: ASYNC110  # in Redis
                    await asyncio.sleep(0.01)
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        one.close()
        other.close()
    assert await _sums(redis, hours) == Traffic(18, 18_000)
    assert await shared.overall() == {NGINX: Traffic(18, 18_000)}
