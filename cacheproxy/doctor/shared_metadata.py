"""The Redis that replicas share: reached, let in, its version, what it does when it is full."""

import re
import time
from collections.abc import Mapping
from typing import Any

from redis.exceptions import AuthenticationError, RedisError, ResponseError
from redis.exceptions import TimeoutError as NoAnswerError

from cacheproxy.bootstrap.metadata import redis_login
from cacheproxy.doctor.findings import Finding
from cacheproxy.domain.redis_url import RedisUrl
from cacheproxy.metadata.redis_clients import Client, close_client, make_client, within
from cacheproxy.metadata.redis_sentinels import SentinelsRefuseError
from cacheproxy.settings.model import MetadataSettings

_NAME = "Redis"
_OLDEST = (6, 2)
_SLOW = 0.05  # seconds
_GOES_ON = "; until then each replica goes on by itself"


async def check_redis(settings: MetadataSettings) -> list[Finding]:
    """Ask the Redis of `metadata.url` as a server would."""
    if not isinstance(settings.url, RedisUrl):
        return [Finding(_NAME, "skipped", "metadata.url names none")]
    client = make_client(settings.url, redis_login(settings), settings.timeout)
    try:
        return await _asked(client, settings)
    finally:
        await close_client(client)


async def _asked(client: Client, settings: MetadataSettings) -> list[Finding]:
    try:
        # The first call connects, and logs in; the second one is what a call costs.
        await within(settings.timeout, client.ping)
        begun = time.monotonic()
        await within(settings.timeout, client.ping)
        spent = time.monotonic() - begun
    except (RedisError, OSError) as error:
        return [_failed(error, settings)]
    findings = [_answered(spent, settings)]
    try:
        told = await within(settings.timeout, client.info)
    except (RedisError, OSError):
        said = "it does not say what it is (INFO)"
        advice = "give the user +info, as in docs/redis.md, if this is to be looked at"
        return [*findings, Finding(f"{_NAME}: version", "skipped", said, advice)]
    return [*findings, *of_server(told)]


def of_server(told: Mapping[str, Any]) -> list[Finding]:
    """What a server, or the first one of a Cluster, says of itself (INFO)."""
    first = _first(told)
    return [_version(first), _policy(first)]


def _failed(error: RedisError | OSError, settings: MetadataSettings) -> Finding:
    text = str(error)
    if isinstance(error, SentinelsRefuseError):
        said = f"{settings.url}: {text}"
        advice = (
            "set metadata.sentinel_password (and metadata.sentinel_username) to what they want, "
            "and let that user ask for masters (docs/redis.md has a rule)"
        )
    elif isinstance(error, AuthenticationError) or "NOAUTH" in text or "WRONGPASS" in text:
        said = f"{settings.url} refuses our password"
        advice = "set metadata.password (or user and password in metadata.url) to what it wants"
    elif isinstance(error, TimeoutError | NoAnswerError):
        said = f"{settings.url} did not answer within metadata.timeout ({settings.timeout:g} s)"
        advice = "see that it runs, and that no firewall is on the way"
    elif isinstance(error, ResponseError):
        said = f"{settings.url} refuses: {text}"
        advice = "see what the user may do (docs/redis.md has a rule), and the database's number"
    else:
        said = f"{settings.url} cannot be reached: {_plain(text)}"
        advice = "see that it runs there, and that metadata.url has the right host and port"
    return Finding(_NAME, "failed", said, advice + _GOES_ON)


def _plain(text: str) -> str:
    """Without the full stop, and without what redis-py says of itself."""
    return re.sub(r"^Error -?\d+ ", "", text).rstrip(".") or "no connection"


def _answered(spent: float, settings: MetadataSettings) -> Finding:
    said = f"{settings.url} answers in {spent * 1000:.1f} ms"
    if spent < _SLOW:
        return Finding(_NAME, "ok", said)
    advice = "have it nearer: what is not in memory waits for it"
    return Finding(_NAME, "warning", said, advice)


def _first(told: Mapping[str, Any]) -> Mapping[str, Any]:
    """One server's words; of a Cluster each one has its own."""
    if "redis_version" in told:
        return told
    return next((each for each in told.values() if isinstance(each, Mapping)), {})


def _version(told: Mapping[str, Any]) -> Finding:
    name, version = f"{_NAME}: version", str(told.get("redis_version", "unknown"))
    numbers = tuple(int(part) for part in re.findall(r"\d+", version)[:2])
    if numbers and numbers < _OLDEST:
        return Finding(name, "failed", version, "use Redis 6.2 or newer, or Valkey")
    if "valkey_version" in told:  # which names beside it the Redis that it takes the place of
        version = f"Valkey {told['valkey_version']}"
    return Finding(name, "ok", version)


def _policy(told: Mapping[str, Any]) -> Finding:
    name, policy = f"{_NAME}: memory", str(told.get("maxmemory_policy", "unknown"))
    if not told.get("maxmemory"):
        return Finding(name, "ok", "it has no maxmemory: keys go 90 days after their last use")
    if policy == "noeviction":
        return Finding(
            name,
            "warning",
            f"it has a maxmemory, and {policy}: when that is full nothing can be written",
            "set maxmemory-policy to volatile-lru: what it evicts, replicas write there again",
        )
    if policy.startswith("allkeys"):
        return Finding(
            name,
            "warning",
            f"maxmemory-policy is {policy}, which may evict the list of what was purged",
            "set maxmemory-policy to volatile-lru: it evicts only what has a lifetime",
        )
    return Finding(name, "ok", f"maxmemory-policy is {policy}")
