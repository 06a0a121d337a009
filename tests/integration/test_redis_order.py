"""Which record of a tag counts in a real Redis, whatever clocks do."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from cacheproxy.domain.digest import Digest
from cacheproxy.domain.freshness import Freshness, TagPolicy, TagRecord, judge
from cacheproxy.domain.reference import Name, Repository, Tag
from cacheproxy.metadata.cluster_clock import ClusterClock
from cacheproxy.metadata.embedded import EmbeddedMetadata
from cacheproxy.metadata.shared import SharedMetadata
from tests.support.hasty import Events, HastyClock
from tests.support.parts.redis import RedisServer, on_each_engine_and_model
from tests.support.redis_stores import OwnRedis

_APP, _TAG = Repository("docker.io", Name("library/app")), Tag("1")
_OLD, _NEW = Digest.of(b"old"), Digest.of(b"new")
_KEY = "cacheproxy:1:{docker.io/library/app}:tag:1"
_CLOCK = "cacheproxy:1:clock"
_HOUR = 3600.0
_POLICY = TagPolicy(fresh_for=60.0)


class Replica:
    """The metadata of one, with a wall clock that a test sets."""

    def __init__(self, url: str, directory: Path, ahead: float = 0.0) -> None:
        self.wall = HastyClock()
        self.wall.jump(ahead)
        self.redis = OwnRedis(url, clock=self.wall)
        self.clock: ClusterClock = self.redis.connection.clock
        self.own = EmbeddedMetadata(directory)
        self.shared = SharedMetadata(self.redis, self.own, Events(), self.clock)

    async def learn(self, digest: Digest | None) -> TagRecord:
        """Have upstream say now what the tag names."""
        record = TagRecord(digest, self.clock.now())
        await self.shared.put_tag(_APP, _TAG, record)
        return record

    async def knows(self) -> TagRecord:
        """What it would answer by."""
        record = await self.shared.tag(_APP, _TAG)
        assert record is not None
        return record


@asynccontextmanager
async def replicas(redis: RedisServer, directory: Path) -> AsyncIterator[tuple[Replica, Replica]]:
    """Two, which have met Redis already."""
    async with AsyncExitStack() as stack:
        pair = Replica(redis.url, directory / "one"), Replica(redis.url, directory / "other")
        for each in pair:
            stack.push_async_callback(each.shared.close)
            await each.redis.connection.measure()
        yield pair


@pytest.mark.parametrize("seconds", [-_HOUR, _HOUR])
async def test_a_step_of_a_clock_makes_nothing_fresh_for_longer(
    redis: RedisServer, tmp_path: Path, seconds: float
) -> None:
    """What is written right after a wall clock has stepped is as old for all replicas as it is."""
    async with replicas(redis, tmp_path) as (one, other):
        one.wall.jump(seconds)
        await one.learn(_OLD)
        assert not one.clock.must_be_measured
        for each in (one, other):
            record = await each.knows()
            assert abs(each.clock.now() - record.checked_at) < 30
        other.wall.advance(70)
        assert judge(await other.knows(), _POLICY, other.clock.now()) is not Freshness.FRESH


@on_each_engine_and_model
async def test_what_a_wrong_clock_left_is_never_fresh(redis: RedisServer, tmp_path: Path) -> None:
    """A record from the future has upstream asked, and what that says replaces it."""
    async with replicas(redis, tmp_path) as (one, other):
        wrong = b'{"record":{"digest":"%s","checked_at":%f},"ahead":0.0}'
        with redis.client() as client:
            client.set(_KEY, wrong % (_OLD.encode(), one.clock.now() + _HOUR))
        record = await one.knows()
        assert judge(record, _POLICY, one.clock.now()) is Freshness.REVALIDATE
        await one.learn(_NEW)
        assert (await other.knows()).digest == _NEW


async def test_what_was_written_an_hour_ahead_overwrites_nothing(
    redis: RedisServer, tmp_path: Path
) -> None:
    """A record that our own store has from a wrong clock does not replace a newer digest."""
    async with replicas(redis, tmp_path) as (one, other):
        await one.own.put_tag(_APP, _TAG, TagRecord(_OLD, one.clock.now() + _HOUR))
        await other.learn(_NEW)
        assert (await one.knows()).digest == _NEW
        await one.shared.pending.deliver(one.redis)
        assert (await other.knows()).digest == _NEW
        one.wall.advance(2 * _HOUR)
        assert (await one.knows()).digest == _NEW


@on_each_engine_and_model
async def test_a_slow_404_replaces_no_newer_answer(redis: RedisServer, tmp_path: Path) -> None:
    """An answer counts by when it was asked for: what another replica asked later stays."""
    async with replicas(redis, tmp_path) as (one, other):
        slow = TagRecord(None, one.clock.now())
        one.wall.advance(0.5)
        other.wall.advance(0.5)
        await other.learn(_NEW)
        assert not await one.shared.put_tag(_APP, _TAG, slow)
        assert [(await each.knows()).digest for each in (one, other)] == [_NEW, _NEW]


async def test_a_server_that_is_put_right_takes_no_tag_back(
    redis: RedisServer, tmp_path: Path
) -> None:
    """After the server's clock went back all replicas count from a new epoch, for good."""
    async with replicas(redis, tmp_path) as (one, other):
        now = one.clock.monotonic()
        one.clock.measure(one.clock.now() + _HOUR, now, now)
        await one.own.put_tag(_APP, _TAG, one.clock.sign(TagRecord(_OLD, one.clock.now())))
        await one.redis.connection.measure()
        await other.redis.connection.measure()
        assert one.clock.epoch == other.clock.epoch
        await other.learn(_NEW)
        for each in (one, other):
            each.wall.advance(2 * _HOUR)
        assert (await one.knows()).digest == _NEW
    with redis.client() as client:
        assert int(client.get(_CLOCK)) == one.clock.epoch


@pytest.mark.parametrize("spoilt", [b"spoilt", None])
async def test_a_spoilt_epoch_heals(
    redis: RedisServer, tmp_path: Path, spoilt: bytes | None
) -> None:
    """A key that is no number, or of another type, is written over by the next measurement."""
    async with replicas(redis, tmp_path) as (one, other):
        with redis.client() as client:
            client.delete(_CLOCK)
            client.lpush(_CLOCK, "x") if spoilt is None else client.set(_CLOCK, spoilt)
        await one.redis.connection.measure()
        await other.redis.connection.measure()
        assert one.clock.epoch == other.clock.epoch > 0


async def test_what_is_missing_is_kept_for_a_day(redis: RedisServer, tmp_path: Path) -> None:
    """All replicas know that upstream has no such tag, and Redis forgets it sooner than tags."""
    async with replicas(redis, tmp_path) as (one, other):
        await one.learn(None)
        assert (await other.knows()).digest is None
        with redis.client() as client:
            assert client.ttl(_KEY) <= 86_400


@on_each_engine_and_model
async def test_an_earlier_version_is_compared_by_time(redis: RedisServer, tmp_path: Path) -> None:
    """During an upgrade the later record counts, whichever version has written it."""
    async with replicas(redis, tmp_path) as (one, other):
        await one.learn(_OLD)
        old = b'{"record":{"digest":"%s","checked_at":%f},"ahead":60.0}'
        with redis.client() as client:
            client.set(_KEY, old % (_NEW.encode(), one.clock.now() + 60.1))
        assert (await one.knows()).digest == _NEW
        one.wall.advance(0.9)
        other.wall.advance(0.9)
        await other.learn(_OLD)
        assert (await one.knows()).digest == _OLD
