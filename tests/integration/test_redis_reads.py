"""What reading and writing metadata in Redis does to lifetimes, and costs."""

from collections.abc import AsyncIterator, Callable, Iterator

import pytest

from cacheproxy.domain.digest import Digest
from cacheproxy.domain.freshness import TagRecord
from cacheproxy.domain.records import Link
from cacheproxy.domain.reference import Name, Repository, Tag
from tests.support.parts.redis import RedisServer, redis_server
from tests.support.redis_stores import OwnRedis

REPOSITORY, TAG = Repository("docker.io", Name("library/app")), Tag("1")
RECORD = TagRecord(Digest.of(b"manifest"), 1.0)
READ, UNREAD = Digest.of(b"read"), Digest.of(b"unread")
# What it takes to look at what was asked.
_LOOK = {"hello": 1, "info": 1}
LINKS = {READ: Link(7, "application/example", is_read=True), UNREAD: Link(9)}


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    """A server that a test may spoil."""
    with redis_server() as server:
        yield server


@pytest.fixture
async def store(redis: RedisServer) -> AsyncIterator[OwnRedis]:
    """With a tag and two links."""
    made = OwnRedis(redis.url)
    await made.put_tag(REPOSITORY, TAG, RECORD)
    await made.add_links(REPOSITORY, LINKS)
    yield made
    await made.close()


def _near_their_end(redis: RedisServer) -> None:
    with redis.client() as client:
        for key in client.scan_iter("*{*"):
            client.expire(key, 60)


def _lifetimes(redis: RedisServer) -> list[int]:
    with redis.client() as client:
        return sorted(client.ttl(key) for key in client.scan_iter("*{*"))


def _may_not_write(redis: RedisServer) -> None:
    with redis.client() as client:
        client.replicaof("127.0.0.1", "1")


def _has_no_room(redis: RedisServer) -> None:
    with redis.client() as client:
        client.config_set("maxmemory-policy", "noeviction")
        client.config_set("maxmemory", "1mb")


async def test_what_is_read_lives_on(redis: RedisServer, store: OwnRedis) -> None:
    """Each key that is read has all of its lifetime again, in one command."""
    _near_their_end(redis)
    before = redis.commands()
    assert await store.tag(REPOSITORY, TAG) == RECORD
    assert [await store.link(REPOSITORY, digest) for digest in LINKS] == [*LINKS.values()]
    asked = {name: count - before.get(name, 0) for name, count in redis.commands().items()}
    # Later versions count also what a client says of itself.
    counted = {name: asked[name] for name in asked if asked[name] and "setinfo" not in name}
    assert counted == {"getex": 3, **_LOOK}
    assert min(_lifetimes(redis)) > 60


async def test_what_is_known_is_not_written_again(redis: RedisServer, store: OwnRedis) -> None:
    """Links that say nothing new live on all the same, and lose nothing that they knew."""
    _near_their_end(redis)
    before = redis.commands()
    await store.add_links(REPOSITORY, {READ: Link(), UNREAD: Link(9)})
    assert redis.commands()["set"] == before["set"]
    assert [seconds > 60 for seconds in _lifetimes(redis)] == [False, True, True]
    assert [await store.link(REPOSITORY, digest) for digest in LINKS] == [*LINKS.values()]


@pytest.mark.parametrize("spoil", [_may_not_write, _has_no_room])
async def test_a_server_that_cannot_be_written_to_is_read(
    redis: RedisServer, store: OwnRedis, spoil: Callable[[RedisServer], None]
) -> None:
    """What it has is read, though no lifetime may begin anew."""
    spoil(redis)
    assert await store.tag(REPOSITORY, TAG) == RECORD
    assert [await store.link(REPOSITORY, digest) for digest in LINKS] == [*LINKS.values()]
