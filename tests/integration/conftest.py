"""A proxy in front of one scripted registry, which stands for Docker Hub, what it logs, a Redis."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.support.hasty import HastyProxy, hasty_proxy
from tests.support.logged import Log, logged
from tests.support.parts.redis import Engine, RedisServer, redis_server
from tests.support.scripted_registry import ScriptedRegistry


@pytest.fixture
async def hub() -> AsyncIterator[ScriptedRegistry]:
    """The upstream, named docker.io."""
    async with ScriptedRegistry() as registry:
        yield registry


@pytest.fixture
async def proxy(hub: ScriptedRegistry, tmp_path: Path) -> AsyncIterator[HastyProxy]:
    """The proxy, with its cache in an empty directory."""
    async with hasty_proxy({"docker.io": hub}, tmp_path / "cache") as running:
        yield running


@pytest.fixture
def log() -> Iterator[Log]:
    """What is logged; ask for it before the proxy that is to log."""
    with logged() as kept:
        yield kept


@pytest.fixture
def engine() -> Engine:
    """Whose Redis it is, but for tests that are `on_each_engine`."""
    return "redis"


@pytest.fixture
def redis(engine: Engine) -> Iterator[RedisServer]:
    """A server that a test may spoil."""
    with redis_server(engine=engine) as server:
        yield server
