"""From a URL to a client of redis-py, with none of its defaults that make requests wait.

By itself it would send a command ten times, each with five seconds to answer, and have no
bound on connections but an error. Here a command is sent once more at most, and only where the
connection broke; who calls bounds how many are under way.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from redis.asyncio import ConnectionPool, Redis, SSLConnection
from redis.asyncio.cluster import ClusterNode
from redis.asyncio.connection import Connection
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import SentinelConnectionPool
from redis.backoff import ExponentialWithJitterBackoff, NoBackoff
from redis.credentials import CredentialProvider
from redis.exceptions import ConnectionError as NotConnectedError
from typing_extensions import override

from cacheproxy.domain.redis_url import Host, RedisUrl
from cacheproxy.metadata.redis_cluster import Cluster
from cacheproxy.metadata.redis_sentinels import Sentinels

T = TypeVar("T")

Client = Redis | Cluster

LIMIT = 32
"""Calls under way at once, of one process."""

# Of the time that a call has.
_TO_CONNECT = 0.3
_TO_ANSWER = 0.5
# A connection that was idle for so long is tried before it is used.
_IDLE_SECONDS = 15


@dataclass(frozen=True, slots=True)
class SentinelLogin:
    """Who we are to Sentinels, which know other users than their server does.

    Attributes:
        password: that they want.
        file: that it was read from; read again for each connection, for it may change.
        username: of an ACL user; None for the default one.
    """

    password: str = field(repr=False)
    file: Path | None = None
    username: str | None = None


@dataclass(frozen=True, slots=True)
class RedisLogin:
    """A password, and where it comes from.

    Attributes:
        password: None where the URL has it, or none is needed.
        file: that it was read from; read again for each connection, for it may change.
        sentinels: None where they want no password.
    """

    password: str | None = field(default=None, repr=False)
    file: Path | None = None
    sentinels: SentinelLogin | None = None


class _Credentials(CredentialProvider):
    """User and password, as of now."""

    def __init__(self, username: str | None, password: str, file: Path | None) -> None:
        self._username = username
        self._password = password
        self._file = file

    @override
    def get_credentials(self) -> tuple[str] | tuple[str, str]:
        return (self._username, self._password) if self._username else (self._password,)

    @override
    async def get_credentials_async(self) -> tuple[str] | tuple[str, str]:
        if self._file is not None:
            found = await asyncio.to_thread(_text_of, self._file)
            self._password = found or self._password
        return self.get_credentials()


async def within(seconds: float, work: Callable[[], Awaitable[T]]) -> T:
    """What `work` returns, within so many seconds; cancelled for good when it is cancelled.

    redis-py writes with `asyncio.wait_for`, which up to Python 3.11 can swallow a cancellation,
    this deadline's too.

    Raises:
        TimeoutError: it took longer.
    """
    task = asyncio.current_task()
    async with asyncio.timeout(seconds):
        before = task.cancelling() if task else 0
        try:
            return await work()
        finally:
            if task and task.cancelling() > before:
                raise asyncio.CancelledError


def make_client(url: RedisUrl, login: RedisLogin, timeout: float) -> Client:
    """A client that has not connected yet.

    Args:
        url: where.
        login: who we are, where the URL does not say so.
        timeout: seconds that a call has in all.
    """
    options = _options(url, login, timeout)
    match url.kind:
        case "cluster":
            return Cluster(
                [ClusterNode(host, port) for host, port in url.hosts],
                dynamic_startup_nodes=False,  # names that were written outlive addresses
                reinitialize_steps=0,  # which would close connections that others use
                max_connections=2 * LIMIT,
                require_full_coverage=False,  # a part that works is better than none
                **(options | _tls(url)),
            )
        case "sentinel":
            return _by_sentinels(url, options, login.sentinels, timeout)
        case "single":
            return _of_one(url.hosts[0], url, options)


def make_listener(
    client: Client, url: RedisUrl, login: RedisLogin, timeout: float, turn: int
) -> Redis:
    """A client for one connection that waits for messages; in a Cluster any server has them.

    Args:
        client: that knows the servers of a Cluster, by now.
        url: where.
        login: who we are, where the URL does not say so.
        timeout: seconds that a call has in all.
        turn: counts the attempts, so that another server's is the next one.
    """
    options = _options(url, login, timeout) | {"retry": Retry(NoBackoff(), 0)}
    if isinstance(client, Cluster):
        hosts: Sequence[Host] = [(str(node.host), int(node.port)) for node in client.get_nodes()]
        hosts = hosts or url.hosts
        return _of_one(hosts[turn % len(hosts)], url, options)
    if url.kind == "sentinel":
        return _by_sentinels(url, options, login.sentinels, timeout)
    return _of_one(url.hosts[0], url, options)


async def close_client(client: Client) -> None:
    """Close its connections, those to Sentinels too."""
    if isinstance(client, Cluster):
        await client.disconnect()
        return
    sentinels: list[Redis] = []
    pool = getattr(client, "connection_pool", None)
    if isinstance(pool, SentinelConnectionPool):
        sentinels = pool.sentinel_manager.sentinels
    for each in (client, *sentinels):
        await each.aclose()


def _of_one(host: Host, url: RedisUrl, options: dict[str, Any]) -> Redis:
    pool = ConnectionPool(
        host=host[0],
        port=host[1],
        db=url.database,
        connection_class=SSLConnection if url.is_tls else Connection,
        max_connections=2 * LIMIT,
        **(options | {key: value for key, value in _tls(url).items() if key != "ssl"}),
    )
    return Redis.from_pool(pool)


def _by_sentinels(
    url: RedisUrl, options: dict[str, Any], login: SentinelLogin | None, timeout: float
) -> Redis:
    # Several may have to be asked within the time that there is.
    patience = timeout * _TO_CONNECT
    of_sentinels = {
        "socket_timeout": patience,
        "socket_connect_timeout": patience,
        "retry": Retry(NoBackoff(), 0),
        "protocol": 2,
        "credential_provider": login and _Credentials(login.username, login.password, login.file),
        **_tls(url),
    }
    sentinels = Sentinels(list(url.hosts), sentinel_kwargs=of_sentinels)  # type: ignore[no-untyped-call]  # not annotated
    found: Redis = sentinels.master_for(
        url.service, db=url.database, max_connections=2 * LIMIT, **(options | _tls(url))
    )
    return found


def _options(url: RedisUrl, login: RedisLogin, timeout: float) -> dict[str, Any]:
    password = url.password if login.password is None else login.password
    credentials = None
    if password is not None:
        credentials = _Credentials(url.username, password, login.file)
    return {
        # What a server says of its own accord comes on connections of their own.
        "protocol": 2,
        "legacy_responses": False,
        # Who calls has a deadline for all of it. Only a Cluster's client must learn which of its
        # servers is silent, to look for another one.
        "socket_timeout": timeout * _TO_ANSWER if url.kind == "cluster" else None,
        # One server has all of the time, since there is no other one to try: a process that is
        # busy itself may notice late that a connection stands.
        "socket_connect_timeout": timeout * (1.0 if url.kind == "single" else _TO_CONNECT),
        "socket_keepalive": True,
        "health_check_interval": _IDLE_SECONDS,
        "retry": Retry(
            ExponentialWithJitterBackoff(base=0.02, cap=0.2),
            1,
            # A call that got no answer in time has no time left for another.
            supported_errors=(NotConnectedError,),
        ),
        "credential_provider": credentials,
        "client_name": "cacheproxy",
    }


def _tls(url: RedisUrl) -> dict[str, Any]:
    if not url.is_tls:
        return {}
    return {
        "ssl": True,
        "ssl_cert_reqs": "required",
        "ssl_check_hostname": True,
        "ssl_ca_certs": url.ca_file,
        "ssl_certfile": url.certificate,
        "ssl_keyfile": url.key,
    }


def _text_of(file: Path) -> str | None:
    try:
        return file.read_text(encoding="utf-8-sig").removesuffix("\n").removesuffix("\r")
    except (OSError, UnicodeDecodeError):
        return None  # what was read before may still hold
