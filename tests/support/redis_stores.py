"""Metadata in a real Redis, opened as the bootstrap does it, and closed with its connection."""

from pathlib import Path
from uuid import uuid4

from typing_extensions import override

from cacheproxy.domain.redis_url import parse_redis_url
from cacheproxy.inprocess.clock import SystemClock
from cacheproxy.metadata.cluster_clock import ClusterClock
from cacheproxy.metadata.embedded import EmbeddedMetadata
from cacheproxy.metadata.redis_connection import RedisConnection
from cacheproxy.metadata.redis_metadata import RedisMetadata
from cacheproxy.metadata.shared import SharedMetadata
from cacheproxy.ports import Clock, Observer
from tests.support.hasty import Events

# Seconds that a call has: what is tested is what is kept, on a machine that stalls, too.
_PATIENCE = 60.0


class OwnRedis(RedisMetadata):
    """Metadata that closes its connection with itself."""

    def __init__(
        self, url: str, observer: Observer | None = None, clock: Clock | None = None
    ) -> None:
        told, timed = observer or Events(), ClusterClock(clock or SystemClock())
        self.connection = RedisConnection(parse_redis_url(url), told, timed, _PATIENCE)
        super().__init__(self.connection, told)

    @override
    async def close(self) -> None:
        await super().close()
        await self.connection.close()


def shared(url: str, path: Path, observer: Observer | None = None) -> SharedMetadata:
    """Metadata in Redis and in a directory."""
    told = observer or Events()
    redis = OwnRedis(url, told)
    return SharedMetadata(redis, EmbeddedMetadata(path), told, redis.connection.clock)


def own_namespace(url: str) -> str:
    """The URL with a namespace that no other test has."""
    return f"{url}?namespace={uuid4().hex}"
