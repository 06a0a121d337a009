"""Two replicas that share a Redis, and what becomes of their pulls when it fails."""

import asyncio
import json
import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from cacheproxy.domain.events import (
    SharedStoreCalled,
    SharedStoreFound,
    SharedStoreLost,
    SharedStoreUnreadable,
    Unexpected,
)
from tests.integration.fills import until
from tests.integration.on_redis import (
    COLD,
    COLDER,
    NEW,
    OLD,
    REPOSITORY,
    asked_for,
    digest_of,
    pull,
    purged,
    records_in,
    replica,
    replicas,
    wait_for_image,
)
from tests.support.parts.redis import (
    Engine,
    RedisServer,
    on_each_engine,
    on_each_engine_and_model,
    redis_cluster,
    redis_sentinel,
)
from tests.support.scripted_registry import ScriptedRegistry

# -- while all is well -------------------------------------------------------------------


@on_each_engine_and_model
async def test_what_one_replica_learns_the_other_knows(
    hub: ScriptedRegistry, tmp_path: Path, redis: RedisServer
) -> None:
    """A tag that one replica has asked for is not asked for again by the other."""
    hub.add_image(REPOSITORY, "1", OLD)
    async with replicas(hub, tmp_path, redis.url) as pair:
        await pull(pair.one, "1", OLD)
        before = len(hub.requests())
        await pull(pair.other, "1", OLD)
        assert asked_for(hub.requests()[before:], "1") == []
        assert digest_of(pair.other, "1") == OLD.digest


@on_each_engine_and_model
async def test_a_new_tag_is_soon_seen_by_all(
    hub: ScriptedRegistry, tmp_path: Path, redis: RedisServer
) -> None:
    """What one replica learns anew of a tag, the other one serves at once, though it was hot."""
    hub.add_image(REPOSITORY, "1", OLD)
    async with (
        # For one of them alone the tag is always old.
        replica(hub, tmp_path / "one", redis.url, fresh_for=0.0) as one,
        replica(hub, tmp_path / "other", redis.url) as other,
    ):
        await pull(one, "1", OLD)
        await pull(other, "1", OLD)
        hub.add_image(REPOSITORY, "1", NEW)
        await pull(one, "1", NEW)
        before = len(hub.requests())
        await wait_for_image(other, "1", NEW)
        assert asked_for(hub.requests()[before:], "1") == []


async def test_warm_hits_ask_nobody(
    hub: ScriptedRegistry, tmp_path: Path, redis: RedisServer
) -> None:
    """A thousand warm pulls send Redis nothing but what is sent while nobody pulls, too."""
    hub.add_image(REPOSITORY, "1", OLD)
    async with replica(hub, tmp_path, redis.url) as proxy:
        await pull(proxy, "1", OLD)
        blob = f"/v2/{REPOSITORY}/blobs/{next(iter(OLD.all_blobs))}"
        with redis.client() as client:
            client.config_resetstat()
        before = time.monotonic()
        calls = len(proxy.events.of(SharedStoreCalled))
        for _ in range(500):
            await proxy.body(f"/v2/{REPOSITORY}/manifests/1")
            await proxy.body(blob)
        # Every five seconds a tag is read again, behind whoever asks for it.
        rereads = int((time.monotonic() - before) / 5) + 1
        assert len(proxy.events.of(SharedStoreCalled)) - calls <= rereads
        asked = redis.commands()
        background = {"ping", "time", "info", "hello", "config|resetstat", "client|setinfo"}
        assert sum(count for name, count in asked.items() if name not in background) <= 3 * rereads


@pytest.mark.parametrize("ahead", [-60.0, 60.0])
async def test_clocks_may_differ(
    hub: ScriptedRegistry, tmp_path: Path, redis: RedisServer, ahead: float
) -> None:
    """A minute between two clocks costs no request to upstream, and makes no tag fresh longer."""
    hub.add_image(REPOSITORY, "1", OLD)
    async with (
        replica(hub, tmp_path / "one", redis.url, fresh_for=30.0) as one,
        replica(hub, tmp_path / "other", redis.url, ahead, fresh_for=30.0) as other,
    ):
        await pull(one, "1", OLD)
        before = len(hub.requests())
        for _ in range(10):
            await other.body(f"/v2/{REPOSITORY}/manifests/1")
        assert asked_for(hub.requests()[before:], "1") == []
        other.clock.advance(31)
        for _ in range(10):
            await other.body(f"/v2/{REPOSITORY}/manifests/1")
        assert asked_for(hub.requests()[before:], "1") == ["HEAD"]


# -- when something is purged ------------------------------------------------------------


@on_each_engine_and_model
@pytest.mark.parametrize(
    ("target", "is_all"),
    [(f"docker.io/{REPOSITORY}", True), ("docker.io", True), ("team/app:1", False)],
)
async def test_a_purge_is_seen_by_all(
    hub: ScriptedRegistry, tmp_path: Path, redis: RedisServer, target: str, is_all: bool
) -> None:
    """What is purged beside one replica is forgotten in Redis, and by the other one at once."""
    hub.add_image(REPOSITORY, "1", OLD)
    async with replicas(hub, tmp_path, redis.url) as pair:
        await pull(pair.one, "1", OLD)
        await pull(pair.other, "1", OLD)
        with redis.client() as client:
            known = len(records_in(client))
            assert known == 2 + len(OLD.all_blobs)
            said = await asyncio.to_thread(purged, pair.one.directory, redis.url, target)
            assert said.exit_code == 0
            gone = known if is_all else 1
            assert re.search(rf"^  {gone} records? in Redis forgotten$", said.stdout, re.MULTILINE)
            assert len(records_in(client)) == known - gone
        hub.add_image(REPOSITORY, "1", NEW)
        await wait_for_image(pair.other, "1", NEW)
        await pull(pair.other, "1", NEW)
        await pull(pair.one, "1", NEW)


async def test_a_rehearsed_purge_forgets_nothing(
    hub: ScriptedRegistry, tmp_path: Path, redis: RedisServer
) -> None:
    """With --dry-run the records in Redis are counted, and are all still there."""
    hub.add_image(REPOSITORY, "1", OLD)
    async with replica(hub, tmp_path / "one", redis.url) as proxy:
        await pull(proxy, "1", OLD)
    said = await asyncio.to_thread(
        purged, tmp_path / "one", redis.url, "--dry-run", "--json", "team/app"
    )
    with redis.client() as client:
        assert (
            json.loads(said.stdout)["targets"][0]["shared_records"] == len(records_in(client)) > 0
        )


async def test_a_purge_without_redis_says_so(
    hub: ScriptedRegistry, tmp_path: Path, redis: RedisServer
) -> None:
    """A purge that cannot reach Redis ends with code 1, and says that it could not."""
    hub.add_image(REPOSITORY, "1", OLD)
    async with replica(hub, tmp_path / "one", redis.url) as proxy:
        await pull(proxy, "1", OLD)
    redis.kill()
    said = await asyncio.to_thread(purged, tmp_path / "one", redis.url, "team/app")
    assert said.exit_code == 1
    assert "redis://127.0.0.1" in said.stderr


# -- when it fails -----------------------------------------------------------------------


def _kill(server: RedisServer) -> None:
    server.kill()


def _pause(server: RedisServer) -> None:
    server.pause()


def _command(*words: str) -> Callable[[RedisServer], None]:
    def run(server: RedisServer) -> None:
        with server.client() as client:
            client.execute_command(*words)

    return run


def _doze(server: RedisServer) -> None:
    """Have it sleep for some seconds, and do not wait for that."""
    with server.client(socket_timeout=0.2) as client, pytest.raises(Exception, match="Timeout"):
        client.execute_command("DEBUG", "SLEEP", "4")


def _limit(policy: str) -> Callable[[RedisServer], None]:
    def run(server: RedisServer) -> None:
        with server.client() as client:
            client.config_set("maxmemory-policy", policy)
            client.config_set("maxmemory", "1mb")

    return run


def _make_read_only(server: RedisServer) -> None:
    with server.client() as client:
        client.replicaof("127.0.0.1", "1")


def _lock(server: RedisServer) -> None:
    with server.client() as client:
        client.config_set("requirepass", "hunter2")
    with server.client(password="hunter2") as client:
        client.client_kill_filter(_type="normal", skipme=True)


def _spoil(server: RedisServer) -> None:
    """Put values of another type, and others that nobody can read, under all keys."""
    with server.client() as client:
        keys = sorted(client.scan_iter(count=1000))
        assert keys
        for number, key in enumerate(keys):
            client.delete(key)
            if number % 2:
                client.lpush(key, "x")
            else:
                client.set(key, b"\xff{")


FAULTS: dict[str, Callable[[RedisServer], None]] = {
    "killed": _kill,
    "silent": _pause,
    "asleep": _doze,
    "flushed": _command("FLUSHALL"),
    "scripts flushed": _command("SCRIPT", "FLUSH"),
    "read-only": _make_read_only,
    "full": _limit("noeviction"),
    "evicting": _limit("volatile-lru"),
    "locked": _lock,
    "spoilt": _spoil,
}


# Where nothing is answered it is the same, whoever is silent.
_OF_EACH_ENGINE = FAULTS.keys() - {"killed", "silent", "asleep"}
_CASES: list[tuple[Engine, str]] = [
    *(("redis", fault) for fault in FAULTS),
    *(("valkey", fault) for fault in FAULTS if fault in _OF_EACH_ENGINE),
]


@pytest.mark.parametrize(("engine", "fault"), _CASES)
async def test_no_pull_fails(
    hub: ScriptedRegistry, tmp_path: Path, redis: RedisServer, fault: str
) -> None:
    """Cached and uncached images come whole from both, while it fails, and after a start then."""
    for tag, image in {"1": OLD, "2": COLD, "3": COLDER}.items():
        hub.add_image(REPOSITORY, tag, image)
    async with replicas(hub, tmp_path, redis.url) as pair:
        await pull(pair.one, "1", OLD)
        await pull(pair.other, "1", OLD)
        FAULTS[fault](redis)
        for proxy in (pair.one, pair.other):
            await pull(proxy, "1", OLD)
            await pull(proxy, "2", COLD)
        mistakes = [*pair.one.events.of(Unexpected), *pair.other.events.of(Unexpected)]
        assert mistakes == []
    async with replicas(hub, tmp_path, redis.url) as pair:
        for proxy in (pair.one, pair.other):
            before = len(hub.requests())
            await pull(proxy, "1", OLD)
            await pull(proxy, "2", COLD)
            assert len(hub.requests()) == before
            await pull(proxy, "3", COLDER)


async def test_what_was_learnt_without_it_is_told_later(
    hub: ScriptedRegistry, tmp_path: Path, redis: RedisServer
) -> None:
    """What one replica learns while Redis is down, the other one knows once it is back."""
    hub.add_image(REPOSITORY, "1", OLD)
    async with replicas(hub, tmp_path, redis.url) as pair:
        redis.kill()
        await pull(pair.one, "1", OLD)
        assert pair.one.events.of(SharedStoreLost)
        redis.start()
        await until(lambda: len(pair.one.events.of(SharedStoreFound)) == 2)

        def is_told() -> bool:
            with redis.client() as client:
                return len(records_in(client)) == 2 + len(OLD.all_blobs)

        await until(is_told)
        # Should it have noticed.
        known = pair.other.events
        await until(lambda: len(known.of(SharedStoreFound)) > len(known.of(SharedStoreLost)))
        before = len(hub.requests())
        await pull(pair.other, "1", OLD)
        assert asked_for(hub.requests()[before:], "1") == []


async def test_what_was_flushed_is_put_there_again(
    hub: ScriptedRegistry, tmp_path: Path, redis: RedisServer
) -> None:
    """What a replica reads that Redis has lost is there again."""
    hub.add_image(REPOSITORY, "1", OLD)
    async with replica(hub, tmp_path, redis.url) as proxy:
        await pull(proxy, "1", OLD)
    with redis.client() as client:
        keys = set(client.scan_iter(count=1000))
        client.flushall()
        async with replica(hub, tmp_path, redis.url) as proxy:
            await pull(proxy, "1", OLD)
            await until(lambda: set(client.scan_iter(count=1000)) == keys)


@on_each_engine
async def test_what_others_spoilt_is_written_over(
    hub: ScriptedRegistry, tmp_path: Path, redis: RedisServer
) -> None:
    """Each key that others have spoilt is told of once, and right after it was read."""
    hub.add_image(REPOSITORY, "1", OLD)
    async with replica(hub, tmp_path, redis.url) as proxy:
        await pull(proxy, "1", OLD)
    _spoil(redis)
    with redis.client() as client:
        keys = {key.decode() for key in records_in(client)}
    async with replica(hub, tmp_path, redis.url) as proxy:
        await pull(proxy, "1", OLD)
        told = [each.key for each in proxy.events.of(SharedStoreUnreadable)]
        assert sorted(told) == sorted(keys)
    async with replica(hub, tmp_path, redis.url) as proxy:
        await pull(proxy, "1", OLD)
        assert proxy.events.of(SharedStoreUnreadable) == []


async def test_an_outage_is_paid_for_once(
    hub: ScriptedRegistry, tmp_path: Path, redis: RedisServer
) -> None:
    """While Redis is silent, one call waits, and the rest are skipped."""
    hub.add_image(REPOSITORY, "1", OLD)
    async with replica(hub, tmp_path, redis.url) as proxy:
        redis.pause()
        await pull(proxy, "1", OLD)
        outcomes = [each.outcome for each in proxy.events.of(SharedStoreCalled)]
        assert outcomes.count("failed") == 1
        assert outcomes.count("skipped") > 1
        redis.go_on()
        await until(lambda: len(proxy.events.of(SharedStoreFound)) == 2)


async def test_two_namespaces_are_two_stores(
    hub: ScriptedRegistry, tmp_path: Path, redis: RedisServer
) -> None:
    """Who shares a Redis under another namespace knows nothing of what is under the first."""
    hub.add_image(REPOSITORY, "1", OLD)
    async with (
        replica(hub, tmp_path / "one", redis.url) as one,
        replica(hub, tmp_path / "other", f"{redis.url}?namespace=staging") as other,
    ):
        await pull(one, "1", OLD)
        before = len(hub.requests())
        await pull(other, "1", OLD)
        assert asked_for(hub.requests()[before:], "1") == ["GET"]
    with redis.client() as client:
        names = sorted(key.decode().partition(":")[0] for key in client.scan_iter(count=1000))
    assert names == ["cacheproxy"] * (len(names) // 2) + ["staging"] * (len(names) // 2)


# -- several servers ---------------------------------------------------------------------


async def test_no_pull_fails_while_a_cluster_loses_a_server(
    hub: ScriptedRegistry, tmp_path: Path
) -> None:
    """Whichever server of a Cluster dies, cached and uncached images come whole."""
    for tag, image in {"1": OLD, "2": COLD, "3": COLDER}.items():
        hub.add_image(REPOSITORY, tag, image)
    with redis_cluster() as servers:
        url = "redis+cluster://" + ",".join(server.address for server in servers)
        async with replicas(hub, tmp_path, url) as pair:
            await pull(pair.one, "1", OLD)
            before = len(hub.requests())
            await pull(pair.other, "1", OLD)
            assert asked_for(hub.requests()[before:], "1") == []
            (holder,) = [server for server in servers if _size(server)]
            holder.kill()
            for proxy in (pair.one, pair.other):
                await pull(proxy, "1", OLD)
                await pull(proxy, "2", COLD)
        async with replicas(hub, tmp_path, url) as pair:
            for proxy in (pair.one, pair.other):
                await pull(proxy, "1", OLD)
                await pull(proxy, "3", COLDER)
            assert [*pair.one.events.of(Unexpected), *pair.other.events.of(Unexpected)] == []


async def test_no_pull_fails_during_a_failover(hub: ScriptedRegistry, tmp_path: Path) -> None:
    """While another server becomes the master all pulls succeed, and then replicas share again."""
    for tag, image in {"1": OLD, "2": COLD, "3": COLDER}.items():
        hub.add_image(REPOSITORY, tag, image)
    with redis_sentinel() as (servers, sentinels, service):
        hosts = ",".join(sentinel.address for sentinel in sentinels)
        url = f"redis+sentinel://{hosts}/{service}"
        async with replicas(hub, tmp_path, url) as pair:
            await pull(pair.one, "1", OLD)
            servers[0].kill()
            deadline = time.monotonic() + 30
            while not all(len(p.events.of(SharedStoreFound)) == 2 for p in (pair.one, pair.other)):
                assert time.monotonic() < deadline
                for proxy in (pair.one, pair.other):
                    await pull(proxy, "1", OLD)
                    await pull(proxy, "2", COLD)
                    # So that it is asked, and found to be gone.
                    await proxy.body(f"/v2/{REPOSITORY}/tags/list")
                await asyncio.sleep(0.05)
            await pull(pair.one, "3", COLDER)
            before = len(hub.requests())
            await pull(pair.other, "3", COLDER)
            assert asked_for(hub.requests()[before:], "3") == []


def _size(server: RedisServer) -> int:
    with server.client() as client:
        return int(client.dbsize())
