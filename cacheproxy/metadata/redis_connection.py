"""One process's connection to Redis: what all adapters that keep something there share.

A call has `timeout` seconds, and waits as long at most for its turn among the calls of this
process, which says nothing of the server. After a failure nobody asks until the server has
answered the watcher, which tries again by itself, so no request ever waits for that.
Deadlines and pauses are of the event loop's time, whatever the clock: the server is real.
"""

import asyncio
import random
import re
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any, NoReturn, TypeVar

from redis.asyncio import Redis
from redis.exceptions import (
    ClusterDownError,
    ReadOnlyError,
    RedisClusterException,
    RedisError,
    ResponseError,
)

from cacheproxy.domain.breaker import Breaker, BreakerPolicy, Failure, Permit
from cacheproxy.domain.errors import StorageError
from cacheproxy.domain.events import (
    SharedStoreCalled,
    SharedStoreFound,
    SharedStoreLost,
    Unexpected,
)
from cacheproxy.domain.redis_url import RedisUrl
from cacheproxy.metadata.cluster_clock import ClusterClock
from cacheproxy.metadata.redis_clients import (
    LIMIT,
    Client,
    RedisLogin,
    close_client,
    make_client,
    within,
)
from cacheproxy.metadata.redis_cluster import (
    Cluster,
    ServerRestingError,
    concerns_one_server,
)
from cacheproxy.metadata.redis_keys import RedisKeys
from cacheproxy.ports import Observer

T = TypeVar("T")

_POLICY = BreakerPolicy(failures=1, pause=1.0, longest_pause=2.0)
_LOOK_SECONDS = 10.0  # how often the watcher looks while all is well
_OLDEST = (6, 2)
# Of the time that a call has.
_FOR_EPOCH = 0.3
# What comes with an error that is not the server's word on one command.
_BROKEN = (OSError, TimeoutError, RedisClusterException, ClusterDownError)


class RedisFailed(StorageError):
    """Redis did not do what it was asked for; `str()` names no password."""


class RedisConnection:
    """How adapters ask Redis. Start `watch` as a task."""

    def __init__(
        self,
        url: RedisUrl,
        observer: Observer,
        clock: ClusterClock,
        timeout: float = 1.0,
        login: RedisLogin | None = None,
    ) -> None:
        """Begin without a connection: the first call, or the watcher, makes one.

        Args:
            url: where.
            observer: is told how it goes.
            clock: measured by the server's.
            timeout: seconds that a call has, and that it waits for its turn at most.
            login: who we are, where the URL does not say so.
        """
        self.url = url
        self.keys = RedisKeys.of(url.namespace)
        self.timeout = timeout
        self.login = login or RedisLogin()
        # Of this process, among all that share the server.
        self.replica = secrets.token_hex(8)
        self.clock = clock
        # Called each time that the server is there again, at first too.
        self.on_found: list[Callable[[], None]] = []
        self._observer = observer
        self._client = make_client(url, self.login, timeout)
        self._slots = asyncio.Semaphore(LIMIT)
        self._breaker = Breaker()
        self._is_found: bool | None = None
        self._told = ""
        self._look = asyncio.Event()

    @property
    def client(self) -> Client:
        """The client, for those who need more than a call."""
        return self._client

    @property
    def ahead(self) -> float:
        """Seconds by which the wall clock is ahead of the server's."""
        return self.clock.ahead

    @property
    def is_resting(self) -> bool:
        """Whether nobody asks for now, since it failed."""
        return self._breaker.is_open

    async def call(self, work: Callable[[Client], Awaitable[T]]) -> T:
        """What `work` has of the server, within the time that a call has.

        Args:
            work: sends commands, one after the other. Where a connection breaks, a command
                may be sent twice.

        Raises:
            RedisFailed: it did not work, or is not tried, having failed a moment ago.
        """
        async with self._turn():
            return await self._call(work)

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        """Hold one of the places for calls under way.

        Raises:
            RedisFailed: none was free in time, or the server is not asked for now.
        """
        self._refuse_while_open()
        try:
            async with asyncio.timeout(self.timeout):
                await self._slots.acquire()
        except TimeoutError as error:
            raise self._skip("too many calls are under way") from error
        try:
            self._refuse_while_open()  # by now
            yield
        finally:
            self._slots.release()

    def _refuse_while_open(self) -> None:
        if self._breaker.is_open:
            raise self._skip(self._breaker.error)

    def _skip(self, problem: str) -> RedisFailed:
        """Return the error of a call that is not made."""
        self._observer.observe(SharedStoreCalled("skipped"))
        return RedisFailed(f"{self.url} is not asked for a moment: {problem}")

    async def _call(self, work: Callable[[Client], Awaitable[T]]) -> T:
        self._breaker, permit = self._breaker.admit()
        try:
            answer = await self._within(work)
        except ServerRestingError as error:
            self._observer.observe(SharedStoreCalled("skipped"))
            raise RedisFailed(f"{self.url} failed: {error}") from error
        except (RedisError, *_BROKEN) as error:
            problem = _sentence(error)
            is_broken = _is_broken(error)
            if is_broken:
                self._look.set()
                if not (isinstance(self._client, Cluster) and concerns_one_server(error)):
                    self._fail(permit, problem)
            elif _is_read_only(error) and isinstance(self._client, Redis):
                # It may be another server by now that has this name.
                await self._client.connection_pool.disconnect(inuse_connections=False)
            self._observer.observe(SharedStoreCalled("failed" if is_broken else "refused"))
            raise RedisFailed(f"{self.url} failed: {problem}") from error
        except Exception as error:
            # redis-py's own mistakes, as when it closes a connection that is in use: no pull's.
            self._observer.observe(SharedStoreCalled("failed"))
            self.surprised_by(error)
            raise RedisFailed(f"{self.url} failed: {_sentence(error)}") from error
        self._observer.observe(SharedStoreCalled("answered"))
        return answer

    async def measure(self) -> None:
        """Measure the cluster's clock.

        Raises:
            RedisFailed: the server does not tell its time.
        """
        await self.call(self._measure)

    async def watch(self) -> NoReturn:
        """Find out whether the server is there, and again whenever it was not; for ever."""
        while True:
            self._look.clear()
            self._breaker, permit = self._breaker.admit()
            try:
                await self._within(self._examine)
            except Exception as error:  # noqa: BLE001  # whatever it is, it is tried again
                self.surprised_by(error)
                self._fail(permit, _sentence(error))
                self._lost()
                loop = asyncio.get_running_loop()
                await asyncio.sleep(self._breaker.wait(loop.time()) or 0.0)
                continue
            self._breaker = self._breaker.close()
            self._found()
            try:
                async with asyncio.timeout(self._look_seconds):
                    await self._look.wait()
            except TimeoutError:
                continue
            if self._breaker.is_open:
                self._lost()
            await asyncio.sleep(_POLICY.pause)

    def surprised_by(self, error: Exception) -> None:
        """Report an error that no failure of a server explains."""
        if not isinstance(error, (RedisError, *_BROKEN)):
            self._observer.observe(Unexpected(error))

    async def close(self) -> None:
        """Close all connections."""
        await close_client(self._client)

    @property
    def _look_seconds(self) -> float:
        """Seconds until the next look; fewer while a part of a Cluster fails."""
        has_failures = isinstance(self._client, Cluster) and self._client.has_failures
        return _POLICY.pause if has_failures else _LOOK_SECONDS

    async def _within(self, work: Callable[[Client], Awaitable[T]]) -> T:
        return await within(self.timeout, lambda: self._work_on(work))

    async def _work_on(self, work: Callable[[Client], Awaitable[T]]) -> T:
        if isinstance(self._client, Cluster):
            # By itself it would send its first commands to any server.
            await self._client.initialize()
        return await work(self._client)

    async def _examine(self, client: Client) -> None:
        """What there is to know of a server, from one that answers.

        Raises:
            RedisFailed: it is too old.
        """
        if isinstance(client, Cluster):
            await client.examine()
        await self._measure(client)
        if not self._is_found:
            version = await _version_of(client)
            if version is not None and version < _OLDEST:
                raise ResponseError(_too_old(version))

    async def _measure(self, client: Client) -> None:
        before = self.clock.monotonic()
        seconds, micros = await _time_of(client)
        self.clock.measure(seconds + micros / 1e6, before, self.clock.monotonic())
        # Without its number the epoch is the one that we know of.
        with suppress(RedisError, OSError, TimeoutError):
            await within(self.timeout * _FOR_EPOCH, lambda: self._join_epoch(client, seconds))

    async def _join_epoch(self, client: Client, seconds: int) -> None:
        """Agree on the latest epoch; the first one is named by the time of the server."""
        try:
            known = _number(await client.get(self.keys.clock))
        except ResponseError:
            known = 0
        self.clock.join_epoch(known or seconds)
        if self.clock.epoch > known:
            await client.set(self.keys.clock, self.clock.epoch)

    def _fail(self, permit: Permit, problem: str) -> None:
        """Open the breaker, unless an earlier failure has opened it since the permit."""
        jitter = random.random()  # noqa: S311  # no secret
        now = asyncio.get_running_loop().time()
        self._breaker = self._breaker.fail(permit, Failure(problem), now, _POLICY, jitter)

    def _lost(self) -> None:
        """Say once of each outage, and of each reason for it, that there is one."""
        problem = self._breaker.error
        if self._is_found is not False or problem != self._told:
            self._told = problem
            self._is_found = False
            self._observer.observe(SharedStoreLost(str(self.url), problem))

    def _found(self) -> None:
        if not self._is_found:
            self._is_found = True
            self._told = ""
            self._observer.observe(SharedStoreFound(str(self.url)))
            for tell in self.on_found:
                tell()


def _number(value: object) -> int:
    """Return the number of an epoch; 0 for anything else."""
    if not isinstance(value, bytes) or not re.fullmatch(rb"[0-9]{1,15}", value):
        return 0
    return int(value)


async def _time_of(client: Client) -> tuple[int, int]:
    if isinstance(client, Cluster):  # its servers each have one
        answer: Any = await client.time(target_nodes=client.any_server)
    else:
        answer = await client.time()
    return int(answer[0]), int(answer[1])


async def _version_of(client: Client) -> tuple[int, ...] | None:
    """The server's version; None where it does not say, as an ACL can have it."""
    try:
        if isinstance(client, Cluster):
            told: Any = await client.info("server", target_nodes=client.any_server)
        else:
            told = await client.info("server")
    except ResponseError:
        return None
    match = re.match(r"(\d+)\.(\d+)", str(told.get("redis_version", "")))
    return (int(match[1]), int(match[2])) if match else None


def _too_old(version: tuple[int, ...]) -> str:
    words = ".".join(map(str, version))
    return f"its version is {words}, and the oldest that will do is 6.2"


def _is_broken(error: Exception) -> bool:
    """Whether the next call would fare no better; else it is about this command alone."""
    return not isinstance(error, ResponseError) or isinstance(error, ClusterDownError)


def _is_read_only(error: Exception) -> bool:
    """Whether the server may not write; Redis 6.2 hides what it says of a script in a text."""
    return isinstance(error, ReadOnlyError) or "-READONLY" in str(error)


def _sentence(error: BaseException) -> str:
    match error:
        case TimeoutError():
            return "no answer in time"
        case _:
            return str(error) or type(error).__name__
