"""What was purged while a replica was down, or did not listen."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from cacheproxy.domain.digest import Digest
from cacheproxy.domain.errors import StorageError
from cacheproxy.domain.freshness import TagRecord
from cacheproxy.domain.records import Link
from cacheproxy.domain.reference import Name, Repository, Tag
from cacheproxy.inprocess.databases import open_database, transaction
from cacheproxy.metadata import embedded_records, redis_purge
from cacheproxy.metadata.embedded import EmbeddedMetadata
from cacheproxy.metadata.hearing import Hearing
from cacheproxy.metadata.hot import HotMetadata
from cacheproxy.metadata.redis_clients import RedisLogin
from cacheproxy.metadata.redis_connection import RedisConnection
from cacheproxy.metadata.redis_keys import PURGE_SECONDS
from cacheproxy.metadata.redis_messages import Message, write_message
from cacheproxy.metadata.redis_metadata import RedisMetadata
from cacheproxy.metadata.redis_purge import RedisRecords
from cacheproxy.metadata.redis_purge_log import read_purges, record_purge
from cacheproxy.metadata.shared import SharedMetadata
from tests.integration.on_redis import NEW, OLD, asked_for, pull, purged, replica, wait_for_image
from tests.integration.watched import Watched, watched
from tests.support.parts.redis import RedisServer, on_each_engine, on_each_engine_and_model
from tests.support.scripted_registry import ScriptedRegistry

_KEY = "cacheproxy:1:purges"
_TAG_KEY = "cacheproxy:1:{docker.io/team/app}:tag:1"
_APP, _OTHER = (Repository("docker.io", Name(name)) for name in ("team/app", "team/other"))
_TAG, _DIGEST = Tag("1"), Digest.of(b"one")
_RECORD = TagRecord(_DIGEST, 2_000_000_000.0)  # newer than whatever Redis has


@on_each_engine_and_model
@pytest.mark.parametrize("target", ["docker.io/team/app", "docker.io", "team/app:1"])
async def test_who_was_down_forgets_what_was_purged_meanwhile(
    hub: ScriptedRegistry, tmp_path: Path, redis: RedisServer, target: str
) -> None:
    """A replica that is back serves nothing by what was purged, and does not tell Redis of it."""
    hub.add_image("team/app", "1", OLD)
    async with replica(hub, tmp_path / "one", redis.url) as one:
        async with replica(hub, tmp_path / "other", redis.url) as other:
            await pull(other, "1", OLD)
        said = await asyncio.to_thread(purged, one.directory, redis.url, target)
        assert said.exit_code == 0
        hub.add_image("team/app", "1", NEW)
        async with replica(hub, tmp_path / "other", redis.url) as other:
            await wait_for_image(other, "1", NEW)
            await pull(one, "1", NEW)
            with redis.client() as client:
                assert NEW.digest.encode() in client.get(_TAG_KEY)


async def test_a_purge_is_carried_out_once(
    hub: ScriptedRegistry, tmp_path: Path, redis: RedisServer
) -> None:
    """What was learnt anew after a purge outlives further starts, and Redis as well."""
    hub.add_image("team/app", "1", OLD)
    async with replica(hub, tmp_path / "one", redis.url) as one:
        await pull(one, "1", OLD)
        await asyncio.to_thread(purged, one.directory, redis.url, "team/app")
        hub.add_image("team/app", "1", NEW)
        await wait_for_image(one, "1", NEW)
        await pull(one, "1", NEW)
    with redis.client() as client:
        (entry,) = client.zrange(_KEY, 0, -1, withscores=True)
        client.flushall()
        client.zadd(_KEY, dict([entry]))
    before = len(hub.requests())
    async with replica(hub, tmp_path / "one", redis.url) as one:
        await pull(one, "1", NEW)
    assert asked_for(hub.requests()[before:], "1") == []


@dataclass(frozen=True, slots=True)
class Scene:
    """What a replica has that hears nothing by itself."""

    it: Watched
    hot: HotMetadata
    shared: SharedMetadata
    hearing: Hearing
    own: EmbeddedMetadata

    async def until_purge_waits(self) -> None:
        """Wait until a purge waits for its turn, or is over."""
        for _ in range(1000):
            await asyncio.sleep(0.001)
            if self.shared.pending.purges or self.shared.pending.lock._waiters:
                return

    async def learn(self, *repositories: Repository) -> None:
        """Have records in memory, on disk and in Redis."""
        for repository in repositories:
            await self.hot.put_tag(repository, _TAG, _RECORD)
            await self.hot.add_links(repository, {_DIGEST: Link(5, None)})

    async def knows(self, repository: Repository) -> tuple[bool, bool]:
        """Whether it knows the tag, and the link."""
        tag = await self.hot.tag(repository, _TAG)
        link = await self.hot.link(repository, _DIGEST)
        return tag is not None, link is not None

    async def purge(self, *scopes: str, tag: str | None = None) -> None:
        """Purge elsewhere: Redis forgets all."""
        for number, scope in enumerate(scopes):
            message = Message(f"other {number}", scope, tag, is_purge=True)
            await record_purge(self.it.connection, message)

    def redis_forgets(self, redis: RedisServer) -> None:
        """All but what was purged."""
        with redis.client() as client:
            for key in client.scan_iter("*"):
                if key != _KEY.encode():
                    client.delete(key)


@asynccontextmanager
async def listener(redis: RedisServer, directory: Path) -> AsyncIterator[Scene]:
    """The metadata of a replica that hears nothing by itself."""
    async with watched(redis.url) as it:
        own = EmbeddedMetadata(directory)
        redis_metadata = RedisMetadata(it.connection, it.events)
        shared = SharedMetadata(redis_metadata, own, it.events, it.connection.clock)
        hot = HotMetadata(shared, it.events, tasks=it.tasks)
        hearing = Hearing(it.connection, hot, shared.pending, own, directory)
        await it.found()
        try:
            yield Scene(it, hot, shared, hearing, own)
        finally:
            await it.tasks.close()
            await hot.close()


@pytest.mark.parametrize("count", [1, 30])
async def test_what_was_not_heard_is_caught_up_with(
    tmp_path: Path, redis: RedisServer, count: int
) -> None:
    """After a gap whatever was purged in it goes, from memory too; however much that was."""
    async with listener(redis, tmp_path) as scene:
        await scene.learn(_APP, _OTHER)
        more = [f"docker.io/team/more{number} " for number in range(count - 1)]
        await scene.purge("docker.io/team/app ", *more)
        scene.redis_forgets(redis)
        await scene.hearing.missed()
        assert await scene.knows(_APP) == (False, False)
        assert await scene.knows(_OTHER) == (True, True)
        # And Redis is told of what it lost again, but not of what was purged.
        await scene.shared.pending.deliver(RedisMetadata(scene.it.connection, scene.it.events))
        with redis.client() as client:
            assert {key for key in client.scan_iter("*") if b"team/app}" in key} == set()
            assert {key for key in client.scan_iter("*") if b"team/other}" in key}


async def test_a_purged_tag_keeps_links(tmp_path: Path, redis: RedisServer) -> None:
    """A purge of one tag leaves the others, and what the repository holds."""
    async with listener(redis, tmp_path) as scene:
        await scene.learn(_APP)
        await scene.hot.put_tag(_APP, Tag("2"), _RECORD)
        await scene.purge("docker.io/team/app ", tag="1")
        scene.redis_forgets(redis)
        await scene.hearing.missed()
        assert await scene.knows(_APP) == (False, True)
        assert await scene.hot.tag(_APP, Tag("2")) is not None


async def test_a_purge_that_is_not_kept_is_heard(tmp_path: Path, redis: RedisServer) -> None:
    """One of an older version, or one that Redis does not repeat, is carried out by the message."""
    async with listener(redis, tmp_path) as scene:
        await scene.learn(_APP)
        scene.redis_forgets(redis)
        await scene.hearing.heard(Message("old", "docker.io/team/app ", is_purge=True))
        assert await scene.knows(_APP) == (False, False)
        await scene.learn(_APP)
        redis.kill()
        await scene.hearing.heard(Message("old", "docker.io/team/app ", is_purge=True))
        assert await scene.knows(_APP) == (False, False)


async def test_another_process_goes_on_from_what_is_noted(
    tmp_path: Path, redis: RedisServer
) -> None:
    """What one process has carried out, the next in its directory does not do again."""
    async with listener(redis, tmp_path) as scene:
        await scene.purge("docker.io/team/app ")
        assert len(await scene.hearing.catch_up()) == 1
        assert await scene.hearing.catch_up() == ()
    async with listener(redis, tmp_path) as scene:
        assert await scene.hearing.catch_up() == ()
    async with listener(redis, tmp_path / "another") as scene:
        assert len(await scene.hearing.catch_up()) == 1


async def test_two_processes_that_started_without_redis_carry_a_purge_out(
    tmp_path: Path, redis: RedisServer
) -> None:
    """Each worker of one directory drops what it has in memory, whichever comes first."""
    async with listener(redis, tmp_path) as one, listener(redis, tmp_path) as other:
        for each in (one, other):
            await each.hearing.begin()
        await one.learn(_APP)
        assert await other.knows(_APP) == (True, True)
        await one.purge("docker.io/team/app ")
        one.redis_forgets(redis)
        for each in (one, other):
            await each.hearing.catch_up()
            assert await each.knows(_APP) == (False, False)


async def test_what_comes_back_during_a_purge_is_removed(
    tmp_path: Path, redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A purge is kept before anything is deleted; what is written meanwhile goes in the end."""
    removed, kept = redis_purge._remove, list[str]()

    async def remove_late(of: RedisConnection, keys: list[bytes]) -> None:
        """Delete them; and have a replica write them again that has not heard of it."""
        with redis.client() as client:
            values = {key: client.get(key) for key in keys}
            await removed(of, keys)
            if keys and not kept:
                kept.extend(_scopes(await read_purges(of, 0.0)))
                client.mset(values)

    monkeypatch.setattr(redis_purge, "_remove", remove_late)
    async with listener(redis, tmp_path) as scene:
        await scene.learn(_APP)
        records = RedisRecords(scene.it.connection.url, scene.it.events, 60.0, RedisLogin())
        assert await asyncio.to_thread(records.forget, "docker.io/team/app ", None) == 4
        assert kept == ["docker.io/team/app "]
        with redis.client() as client:
            assert [key for key in client.scan_iter("*") if b"team/app}" in key] == []
        await scene.hearing.catch_up()
        assert await scene.knows(_APP) == (False, False)


@pytest.mark.parametrize("kind", ["tag", "link"])
async def test_what_was_read_before_a_purge_is_not_copied_after_it(
    tmp_path: Path, redis: RedisServer, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """A copy of what others know into our own store is not overtaken by a purge of it."""
    async with listener(redis, tmp_path / "one") as one, listener(redis, tmp_path) as other:
        await other.learn(_APP)
        begun = asyncio.Event()
        name = "put_tag" if kind == "tag" else "add_links"
        write = getattr(one.own, name)

        async def write_late(*values: object) -> object:
            begun.set()
            await one.until_purge_waits()
            return await write(*values)

        monkeypatch.setattr(one.own, name, write_late)
        async with asyncio.TaskGroup() as group:
            group.create_task(one.knows(_APP))
            await begun.wait()
            await other.purge("docker.io/team/app ")
            group.create_task(one.hearing.catch_up())
        own = one.own.tag(_APP, _TAG) if kind == "tag" else one.own.link(_APP, _DIGEST)
        assert await own is None


async def test_a_purge_waits_for_a_busy_disk(
    tmp_path: Path, redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What cannot be removed from the disk is removed by the next attempt, and not forgotten."""
    monkeypatch.setattr(embedded_records, "_LOCK_SECONDS", 0.01)
    async with listener(redis, tmp_path) as scene:
        await scene.learn(_APP)
        await scene.purge("docker.io/team/app ")
        scene.redis_forgets(redis)
        with (
            closing(open_database(tmp_path / "cache.db", 1.0)) as other,
            transaction(other),
            pytest.raises(StorageError),
        ):
            await scene.hearing.catch_up()
        assert len(await scene.hearing.catch_up()) == 1
        assert await scene.knows(_APP) == (False, False)
        assert await scene.hearing.catch_up() == ()


@on_each_engine
async def test_a_full_server_keeps_the_purges(tmp_path: Path, redis: RedisServer) -> None:
    """By the recommended policy records are evicted, and never what was purged."""
    with redis.client() as client:
        client.config_set("maxmemory-policy", "volatile-lru")
    async with listener(redis, tmp_path) as scene:
        await scene.purge("docker.io/team/app ")
        with redis.client() as client:
            used = int(client.info("memory")["used_memory"])
            client.config_set("maxmemory", used + 300_000)
            for number in range(50):
                client.set(f"cacheproxy:1:listing:{number}", b"x" * 20_000, ex=1000)
            assert client.info("stats")["evicted_keys"] > 0
        assert _scopes(await read_purges(scene.it.connection, 0.0)) == ["docker.io/team/app "]


# -- what is kept --------------------------------------------------------------------------


def _scopes(found: Sequence[tuple[float, Message]]) -> list[str]:
    return [message.scope for _, message in found]


@on_each_engine_and_model
async def test_so_many_purges_are_kept(redis: RedisServer) -> None:
    """The oldest go first; what is kept is read from any moment on, in order."""
    async with watched(redis.url) as it:
        await it.found()
        for number in range(5):
            message = Message(f"{number}", f"docker.io/{number} ", is_purge=True)
            await record_purge(it.connection, message, limit=3)
        kept = await read_purges(it.connection, 0.0)
        assert _scopes(kept) == ["docker.io/2 ", "docker.io/3 ", "docker.io/4 "]
        assert _scopes(await read_purges(it.connection, kept[0][0])) == _scopes(kept[1:])
        assert await read_purges(it.connection, kept[-1][0]) == []
        with redis.client() as client:
            assert client.ttl(_KEY) == -1  # a server that is full evicts what has a lifetime


@on_each_engine_and_model
async def test_old_purges_go_and_time_goes_on(redis: RedisServer) -> None:
    """What is older than it is kept goes; a clock that is set back brings nothing out of order."""
    old, later = (
        write_message(Message(name, f"docker.io/{name} ", is_purge=True))
        for name in ("old", "later")
    )
    async with watched(redis.url) as it:
        await it.found()
        with redis.client() as client:
            now = client.time()[0]
            client.zadd(_KEY, {old: now - PURGE_SECONDS - 5000, later: now + 1000})
        await record_purge(it.connection, Message("new", "docker.io/new ", is_purge=True))
        (first, one), (second, other) = await read_purges(it.connection, 0.0)
        assert (one.sender, other.sender) == ("later", "new")
        assert first < second < first + 0.001


@on_each_engine_and_model
async def test_what_others_put_in_its_place_does_no_harm(redis: RedisServer) -> None:
    """A key of another type is none, and makes room; a member that is no message is skipped."""
    async with watched(redis.url) as it:
        await it.found()
        with redis.client() as client:
            client.set(_KEY, "spoilt")
        assert await read_purges(it.connection, 0.0) == []
        await record_purge(it.connection, Message("a", "docker.io/a ", is_purge=True))
        with redis.client() as client:
            client.zadd(_KEY, {b"\xff{": 5.0})
        assert _scopes(await read_purges(it.connection, 0.0)) == ["docker.io/a "]
