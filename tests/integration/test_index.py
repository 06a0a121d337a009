"""What replicas tell a real Redis of themselves and their blobs, and what stays of it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import AsyncExitStack
from typing import Any, TypeVar

import pytest
from redis.asyncio import Redis

from cacheproxy.cluster.announcements import MOST_HOLDERS
from cacheproxy.cluster.index import Index
from cacheproxy.cluster.membership import HEARTBEAT_SECONDS
from cacheproxy.cluster.shared import Keys
from cacheproxy.domain.digest import Digest
from cacheproxy.domain.errors import StorageError
from cacheproxy.inprocess.tasks import Tasks
from tests.integration.fills import until
from tests.support.hasty import Events, HastyClock
from tests.support.parts.redis import ENGINES, redis_server

T = TypeVar("T")

NAMESPACE = "tests"
KEYS = Keys(NAMESPACE)
DIGEST = Digest.of(b"wanted")
BLOBS = [Digest.of(b"%d" % number) for number in range(3000)]
ME = "10.0.0.1:5002"
GONE = "10.9.9.9:5002"


class Connection:
    """A connection to Redis (`Shared`) that fails while a test says so.

    Attributes:
        client: of the server that answers.
        fails: calls fail.
    """

    ahead = 0.0

    def __init__(self, client: "Redis") -> None:
        self.client = client
        self.fails = False

    async def call(self, work: Callable[[Any], Awaitable[T]]) -> T:
        """Do something, unless the connection fails before the answer comes."""
        answer = await work(self.client)
        if self.fails:
            raise StorageError("no answer in time")
        return answer


class Stored:
    """The blobs of a replica, and the number of times that they were listed."""

    def __init__(self, digests: Sequence[Digest]) -> None:
        self.digests = digests
        self.listed = 0

    async def list(self) -> Iterable[Digest]:
        """List them."""
        self.listed += 1
        return self.digests


class World:
    """One server, and replicas that tell it what they have."""

    def __init__(self, client: "Redis", stack: AsyncExitStack) -> None:
        self.client = client
        self._stack = stack

    def replica(
        self, address: str = ME, digests: Sequence[Digest] = ()
    ) -> tuple[Index, Connection, Stored]:
        """Start one."""
        connection, stored, tasks = Connection(self.client), Stored(digests), Tasks()
        index = Index(connection, NAMESPACE, address, tasks, HastyClock())
        index.start(stored.list, Events())
        self._stack.push_async_callback(tasks.close)
        return index, connection, stored

    async def holders(self, digest: Digest) -> set[str]:
        """Return the entries of a blob."""
        found: Any = await self.client.smembers(KEYS.holders(digest))
        return {address.decode() for address in found}

    async def beat(self, *addresses: str) -> None:
        """Have replicas be members that were heard of just now."""
        seconds, _ = await self.client.time()
        await self.client.zadd(KEYS.members, dict.fromkeys(addresses, seconds))


@pytest.fixture(params=ENGINES)
async def world(request: pytest.FixtureRequest) -> AsyncIterator[World]:
    """A server of its own."""
    async with AsyncExitStack() as stack:
        server = stack.enter_context(redis_server(engine=request.param))
        client = await stack.enter_async_context(Redis(port=server.port))
        yield World(client, stack)


async def wait_until(is_so: Callable[[], Awaitable[bool]]) -> None:
    """Wait for something in Redis, which tells nobody."""
    async with asyncio.timeout(60):
        while not await is_so():  # noqa: ASYNC110  # nobody tells
            await asyncio.sleep(0.01)


async def test_a_score_in_the_future_is_as_old_as_now(world: World) -> None:
    """A replica that died before the server's clock was set back is live for seconds, not hours."""
    seconds, _ = await world.client.time()
    await world.client.zadd(KEYS.members, {GONE: seconds + 1800})
    index, *_ = world.replica()
    await until(lambda: bool(index.live))
    score = await world.client.zscore(KEYS.members, GONE)
    assert score is not None
    assert score < seconds + 60


async def test_heartbeats_go_on_during_an_announcement(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A replica beats in time, however long it takes to announce its blobs."""
    index, *_ = world.replica(digests=BLOBS)
    hangs = asyncio.Event()
    monkeypatch.setattr(index._announcements, "_renew", lambda _: hangs.wait())
    await until(lambda: len(index._announcements) > 0)
    beats = 0

    async def beat(by: Callable[[], Awaitable[None]] = index._members.beat) -> None:
        nonlocal beats
        beats += 1
        await by()

    monkeypatch.setattr(index._members, "beat", beat)
    await until(lambda: beats >= 3)
    assert not hangs.is_set()


async def test_a_hiccup_begins_nothing_anew(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """An announcement that Redis interrupts goes on with the batch that has failed."""
    index, connection, stored = world.replica(digests=BLOBS)
    announcements, batches = index._announcements, list[int]()

    async def write(
        batch: Any, by: Callable[[Any], Awaitable[None]] = announcements._write
    ) -> None:
        batches.append(len(batch))
        connection.fails = len(batches) in (2, 4)
        try:
            await by(batch)
        finally:
            if connection.fails:
                await index._members.beat()
            connection.fails = False

    monkeypatch.setattr(announcements, "_write", write)
    await until(lambda: len(batches) > 0 and not len(announcements))
    assert await world.client.dbsize() == len(BLOBS) + 1
    assert stored.listed == 1
    assert sum(batches) == len(BLOBS) + 2 * 500


async def test_a_stand_in_is_told_everything(world: World) -> None:
    """Another run of a server, which may know less than the last, hears of all blobs again."""
    index, connection, stored = world.replica(digests=BLOBS[:10])
    await wait_until(lambda: _is_known(world.client, BLOBS[0]))
    with redis_server() as other:
        async with Redis(port=other.port) as client:
            await client.zadd(KEYS.members, {ME: (await client.time())[0]})
            connection.client = client
            await wait_until(lambda: _is_known(client, BLOBS[0]))
            connection.client = world.client
    assert stored.listed >= 2
    assert index._members.losses >= 2


async def _is_known(client: "Redis", digest: Digest) -> bool:
    return bool(await client.exists(KEYS.holders(digest)))


async def test_entries_of_the_gone_are_removed_when_seen(world: World) -> None:
    """A lookup finds the one live holder among many that are gone, and removes those it saw."""
    index, *_ = world.replica()
    world.replica("10.0.0.2:5002")
    gone = [f"10.9.{number}.9:5002" for number in range(100)]
    await world.client.sadd(KEYS.holders(DIGEST), "10.0.0.2:5002", *gone)
    await until(lambda: index.live == {"10.0.0.2:5002"})
    assert await index.holders(DIGEST) == ["10.0.0.2:5002"]

    async def is_clean() -> bool:
        assert await index.holders(DIGEST) == ["10.0.0.2:5002"]
        return await world.holders(DIGEST) == {"10.0.0.2:5002"}

    await wait_until(is_clean)


async def test_a_replica_that_was_silent_for_a_moment_keeps_its_entries(world: World) -> None:
    """A member without a heartbeat for some seconds is not asked, and stays in the index."""
    seconds, _ = await world.client.time()
    await world.client.zadd(KEYS.members, {GONE: seconds - 20})
    await world.beat("10.0.0.2:5002")
    await world.client.sadd(KEYS.holders(DIGEST), GONE)
    index, *_ = world.replica()
    await until(lambda: bool(index.live))
    assert await index.holders(DIGEST) == []
    index.has(DIGEST)
    await wait_until(lambda: _holds(world, ME))
    assert await world.holders(DIGEST) == {ME, GONE}


async def _holds(world: World, address: str) -> bool:
    return address in await world.holders(DIGEST)


async def test_rollouts_leave_nothing_behind(world: World) -> None:
    """An announcement removes the entries of replicas that are gone from a blob's set."""
    gone = [f"10.9.{number}.9:5002" for number in range(100)]
    await world.client.sadd(KEYS.holders(DIGEST), *gone)
    world.replica(digests=[DIGEST])
    await wait_until(lambda: _is_alone(world))


async def _is_alone(world: World) -> bool:
    return await world.holders(DIGEST) == {ME}


async def test_a_blob_has_so_many_holders_at_most(world: World) -> None:
    """Of 500 replicas that have a blob no more are listed than anybody needs."""
    many = [f"10.1.{number // 200}.{number % 200}:5002" for number in range(500)]
    await world.beat(*many)
    await world.client.sadd(KEYS.holders(DIGEST), *many)
    world.replica(digests=[DIGEST])
    await wait_until(lambda: _is_bounded(world))
    assert ME in await world.holders(DIGEST)


async def _is_bounded(world: World) -> bool:
    return len(await world.holders(DIGEST)) == MOST_HOLDERS


async def test_a_new_replica_is_known_before_its_blobs(world: World) -> None:
    """A replica announces its blobs when the others have had a heartbeat to learn of it."""
    index, _, stored = world.replica(digests=BLOBS[:1])
    await until(lambda: stored.listed > 0)
    members = index._members
    assert members._clock.monotonic() - members.joined_at >= 2 * HEARTBEAT_SECONDS
