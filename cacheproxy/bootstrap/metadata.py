"""The metadata as it is configured: in the process, in the cache directory, or in Redis too."""

from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial

from cacheproxy.domain.redis_url import RedisUrl
from cacheproxy.inprocess.tasks import Tasks
from cacheproxy.metadata.cluster_clock import ClusterClock
from cacheproxy.metadata.embedded import EmbeddedMetadata
from cacheproxy.metadata.hearing import Hearing
from cacheproxy.metadata.hot import HotMetadata
from cacheproxy.metadata.memory import MemoryMetadata
from cacheproxy.metadata.redis_clients import RedisLogin, SentinelLogin
from cacheproxy.metadata.redis_connection import RedisConnection
from cacheproxy.metadata.redis_messages import listen
from cacheproxy.metadata.redis_metadata import RedisMetadata
from cacheproxy.metadata.redis_purge import RedisRecords
from cacheproxy.metadata.shared import SharedMetadata
from cacheproxy.ops.observers import Observers
from cacheproxy.ports import Clock, Metadata, Observer
from cacheproxy.settings.model import MetadataSettings, Settings
from cacheproxy.storage.layout import Layout


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What every part of a process has in common.

    Attributes:
        observer: is told what happens.
        clock: of the process.
        tasks: end before what they use.
        cluster_clock: agrees with those of other replicas.
    """

    observer: Observer
    clock: Clock
    tasks: Tasks
    cluster_clock: ClusterClock


async def make_metadata(
    stack: AsyncExitStack, settings: Settings, layout: Layout, around: Surroundings
) -> Metadata:
    """The metadata; leaving the stack gives back what it holds.

    A Redis that cannot be reached is no reason not to start.

    Raises:
        StartError: the directory cannot be used.
    """
    connection = make_redis(settings.metadata, around)
    if connection is not None:
        stack.push_async_callback(connection.close)
        metadata: Metadata = await _shared(connection, layout, around)
    elif settings.metadata.url == "memory:":
        metadata = HotMetadata(MemoryMetadata(), around.observer)
    else:
        metadata = HotMetadata(EmbeddedMetadata(layout.metadata), around.observer)
    stack.push_async_callback(metadata.close)
    # Also where the rest of the core cannot be made.
    stack.push_async_callback(around.tasks.close)
    return metadata


def make_redis(settings: MetadataSettings, around: Surroundings) -> RedisConnection | None:
    """The connection to Redis, not yet made; None where none is configured."""
    if not isinstance(settings.url, RedisUrl):
        return None
    return RedisConnection(
        settings.url, around.observer, around.cluster_clock, settings.timeout, redis_login(settings)
    )


def make_redis_records(settings: MetadataSettings) -> RedisRecords | None:
    """What commands can do with Redis; None where none is configured."""
    if not isinstance(settings.url, RedisUrl):
        return None
    return RedisRecords(settings.url, Observers(()), settings.timeout, redis_login(settings))


def redis_login(settings: MetadataSettings) -> RedisLogin:
    """Who we are to that Redis, where its URL does not say so, and to its Sentinels."""
    secret, sentinels = settings.password, None
    if (theirs := settings.sentinel_password) is not None:
        sentinels = SentinelLogin(theirs.reveal(), theirs.file, settings.sentinel_username)
    if secret is None:
        return RedisLogin(sentinels=sentinels)
    return RedisLogin(secret.reveal(), secret.file, sentinels)


async def _shared(connection: RedisConnection, layout: Layout, around: Surroundings) -> HotMetadata:
    redis = RedisMetadata(connection, around.observer)
    own = EmbeddedMetadata(layout.metadata)
    shared = SharedMetadata(redis, own, around.observer, around.cluster_clock)
    hot = HotMetadata(shared, around.observer, tasks=around.tasks)
    hearing = Hearing(connection, hot, shared.pending, own, layout.metadata)
    await hearing.begin()
    connection.on_found.append(shared.found)
    around.tasks.keep_running(connection.watch, "redis")
    around.tasks.keep_running(partial(shared.deliver, hearing.catch_up), "deliver")
    around.tasks.keep_running(partial(listen, connection, hearing), "listen")
    return hot
