"""Whose turn it is to use a connection."""

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest
from yarl import URL

from cacheproxy.domain.errors import ConnectionsBusy
from cacheproxy.edge.errors import headers_of, rule_of
from cacheproxy.inprocess.tasks import Tasks
from cacheproxy.upstream.config import UpstreamConfig
from cacheproxy.upstream.pool import ConnectionPool

_CONFIG = UpstreamConfig("r.test", URL("https://r.test"), max_connections=1)
_FOREVER = 1e6


@pytest.fixture
async def pool_of() -> AsyncIterator[Callable[[float], ConnectionPool]]:
    """Makes pools of one connection, by the seconds that a request waits for it."""
    pools = []

    def make(patience: float) -> ConnectionPool:
        pools.append(ConnectionPool(_CONFIG, total=None, patience=patience))
        return pools[-1]

    yield make
    for pool in pools:
        await pool.close()


async def test_a_wait_that_is_too_long_is_our_own_503(
    pool_of: Callable[[float], ConnectionPool],
) -> None:
    """Who gets no connection in time is told that ours are in use, and when to come back."""
    pool = pool_of(0.0)
    async with pool.connection():
        with pytest.raises(ConnectionsBusy, match="all 1 connections to") as raised:
            async with pool.connection():
                pass
    assert rule_of(raised.value).status == 503
    assert int(headers_of(raised.value)["Retry-After"]) > 0
    async with pool.connection():
        pass


async def test_connections_are_had_in_order(pool_of: Callable[[float], ConnectionPool]) -> None:
    """Who has waited longest is next, and who leaves the queue keeps nobody waiting."""
    pool, order, tasks = pool_of(_FOREVER), list[str](), Tasks()

    async def use(name: str) -> None:
        async with pool.connection():
            order.append(name)
            await asyncio.sleep(0)

    async with pool.connection():
        first, second, third = [tasks.start(use(name), name) for name in "abc"]
        await asyncio.sleep(0)
        second.cancel()
        await asyncio.sleep(0)
        assert order == []
    await asyncio.gather(first, third)
    assert order == ["a", "c"]
