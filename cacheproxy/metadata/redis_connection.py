"""One process's connection to Redis: what all adapters that keep something there share.

Whoever calls waits for `timeout` seconds at most, once: after a failure nobody asks until the
server has answered the watcher, which tries again by itself, so no request ever waits for that.
Deadlines and pauses are of the event loop's time, whatever the clock: the server is real.
"""

import asyncio
import random
import re
import secrets
from collections.abc import Awaitable, Callable
from typing import Any, NoReturn, TypeVar

from redis.asyncio import Redis
from redis.asyncio.cluster import RedisCluster
from redis.exceptions import (
    ClusterDownError,
    ReadOnlyError,
    RedisClusterException,
    RedisError,
    ResponseError,
)

from cacheproxy.domain.breaker import Breaker, BreakerPolicy, Failure
from cacheproxy.domain.errors import StorageError
from cacheproxy.domain.events import (
    SharedStoreCalled,
    SharedStoreFound,
    SharedStoreLost,
    Unexpected,
)
from cacheproxy.domain.redis_url import RedisUrl
from cacheproxy.metadata.redis_clients import (
    LIMIT,
    Client,
    RedisLogin,
    close_client,
    make_client,
    within,
)
from cacheproxy.metadata.redis_keys import RedisKeys
from cacheproxy.ports import Clock, Observer

T = TypeVar("T")

_POLICY = BreakerPolicy(failures=1, pause=1.0, longest_pause=2.0)
_LOOK_SECONDS = 10.0  # how often the watcher looks while all is well
_OLDEST = (6, 2)
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
        clock: Clock,
        timeout: float = 1.0,
        login: RedisLogin | None = None,
    ) -> None:
        """Begin without a connection: the first call, or the watcher, makes one.

        Args:
            url: where.
            observer: is told how it goes.
            clock: compared with the server's.
            timeout: seconds that a call has in all.
            login: who we are, where the URL does not say so.
        """
        self.url = url
        self.keys = RedisKeys.of(url.namespace)
        self.timeout = timeout
        self.login = login or RedisLogin()
        # Of this process, among all that share the server.
        self.replica = secrets.token_hex(8)
        # Seconds by which our clock is ahead of the server's, as last measured.
        self.ahead = 0.0
        # Called each time that the server is there again, at first too.
        self.on_found: list[Callable[[], None]] = []
        self._observer = observer
        self._clock = clock
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
        if self._breaker.is_open:
            self._observer.observe(SharedStoreCalled("skipped"))
            raise RedisFailed(f"{self.url} is not asked for a moment: {self._breaker.error}")
        try:
            answer = await self._within(work)
        except (RedisError, *_BROKEN) as error:
            problem = _sentence(error)
            is_broken = _is_broken(error)
            if is_broken:
                self._broke(problem)
            elif isinstance(error, ReadOnlyError) and isinstance(self._client, Redis):
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

    async def watch(self) -> NoReturn:
        """Find out whether the server is there, and again whenever it was not; for ever."""
        while True:
            self._look.clear()
            try:
                await self._within(self._examine)
            except Exception as error:  # noqa: BLE001  # whatever it is, it is tried again
                self.surprised_by(error)
                self._broke(_sentence(error))
                self._lost()
                loop = asyncio.get_running_loop()
                await asyncio.sleep(self._breaker.wait(loop.time()) or 0.0)
                continue
            self._breaker = self._breaker.answered()
            self._found()
            try:
                async with asyncio.timeout(_LOOK_SECONDS):
                    await self._look.wait()
            except TimeoutError:
                pass
            else:
                self._lost()
                await asyncio.sleep(_POLICY.pause)

    def surprised_by(self, error: Exception) -> None:
        """Report an error that no failure of a server explains."""
        if not isinstance(error, (RedisError, *_BROKEN)):
            self._observer.observe(Unexpected(error))

    async def close(self) -> None:
        """Close all connections."""
        await close_client(self._client)

    async def _within(self, work: Callable[[Client], Awaitable[T]]) -> T:
        return await within(self.timeout, lambda: self._at_once(work))

    async def _at_once(self, work: Callable[[Client], Awaitable[T]]) -> T:
        async with self._slots:
            if isinstance(self._client, RedisCluster):
                # By itself it would send its first commands to any server.
                await self._client.initialize()
            return await work(self._client)

    async def _examine(self, client: Client) -> None:
        """What there is to know of a server, from one that answers.

        Raises:
            RedisFailed: it is too old.
        """
        before = self._clock.now()
        seconds, micros = await _time_of(client)
        now = (before + self._clock.now()) / 2
        self.ahead = now - (seconds + micros / 1e6)
        if not self._is_found:
            version = await _version_of(client)
            if version is not None and version < _OLDEST:
                raise ResponseError(_too_old(version))

    def _broke(self, problem: str) -> None:
        jitter = random.random()  # noqa: S311  # no secret
        now = asyncio.get_running_loop().time()
        era = self._breaker.era
        self._breaker = self._breaker.failed(era, Failure(problem), now, _POLICY, jitter)
        self._look.set()

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


async def _time_of(client: Client) -> tuple[int, int]:
    answer: Any = await client.time()
    if isinstance(answer, dict):  # a Cluster's servers each have one
        answer = next(iter(answer.values()))
    return int(answer[0]), int(answer[1])


async def _version_of(client: Client) -> tuple[int, ...] | None:
    """The server's version; None where it does not say, as an ACL can have it."""
    try:
        told: Any = await client.info("server")
    except ResponseError:
        return None
    if "redis_version" not in told:
        told = next(iter(told.values()), {})
    match = re.match(r"(\d+)\.(\d+)", str(told.get("redis_version", "")))
    return (int(match[1]), int(match[2])) if match else None


def _too_old(version: tuple[int, ...]) -> str:
    words = ".".join(map(str, version))
    return f"its version is {words}, and the oldest that will do is 6.2"


def _is_broken(error: Exception) -> bool:
    """Whether the next call would fare no better; else it is about this command alone."""
    return not isinstance(error, ResponseError) or isinstance(error, ClusterDownError)


def _sentence(error: BaseException) -> str:
    match error:
        case TimeoutError():
            return "no answer in time"
        case _:
            return str(error) or type(error).__name__
