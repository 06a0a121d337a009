"""A proxy in the test's own process, in front of scripted registries."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol, TypeVar

import aiohttp
from typing_extensions import override

from cacheproxy.bootstrap.core import Core
from cacheproxy.bootstrap.serving import serving
from cacheproxy.domain.events import Event
from cacheproxy.domain.redis_url import is_redis, parse_redis_url
from cacheproxy.inprocess.clock import SystemClock
from cacheproxy.settings import Address, Bytes
from cacheproxy.settings.model import (
    AdminSettings,
    CacheSettings,
    LoggingSettings,
    MetadataSettings,
    ServerSettings,
    Settings,
    WarmSettings,
)
from cacheproxy.settings.upstream_model import TagSettings, UpstreamSettings

E = TypeVar("E")

_ANY_PORT = Address("127.0.0.1", 0)
_PAUSE = 0.002


class Located(Protocol):
    """Where an upstream is, be it there or not."""

    @property
    def url(self) -> str:
        """Scheme and authority, without a slash at the end."""
        ...


class HastyClock(SystemClock):
    """The system's clock, but pauses are over at once, and time can be moved on by hand.

    By a short pause its time has passed, as whoever made it must see; by one that comes round
    all the time it has not, or that would be all that there is.
    """

    def __init__(self) -> None:
        self._passed = 0.0
        self._ahead = 0.0

    @override
    def now(self) -> float:
        return super().now() + self._passed + self._ahead

    @override
    def monotonic(self) -> float:
        return super().monotonic() + self._passed

    @override
    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(_PAUSE if seconds < 60 else seconds)
        if seconds < 5:
            self._passed += seconds

    def advance(self, seconds: float) -> None:
        """Let time pass, for whatever asks what time it is."""
        self._passed += seconds

    def jump(self, seconds: float) -> None:
        """Set the time of day, forward or back; no time passes by that."""
        self._ahead += seconds


class Events:
    """Remembers events (`Observer`): what happened, in order."""

    def __init__(self) -> None:
        self.all: list[Event] = []

    def observe(self, event: Event) -> None:
        """Remember an event."""
        self.all.append(event)

    def of(self, kind: type[E]) -> list[E]:
        """The events of a kind."""
        return [event for event in self.all if isinstance(event, kind)]


@dataclass(frozen=True, slots=True)
class HastyProxy:
    """A running proxy.

    Attributes:
        url: where clients pull, without a slash at the end.
        admin_url: where operators look, likewise.
        client: to ask it with; redirects are not followed, bodies not decoded.
        events: what it stated.
        clock: its clock.
        directory: of its cache.
        core: answers.
    """

    url: str
    admin_url: str
    client: aiohttp.ClientSession
    events: Events
    clock: HastyClock
    directory: Path
    core: Core

    def get(self, path: str, **options: Any) -> Any:
        """A GET, as aiohttp's: to await, or to use with `async with`."""
        return self.client.get(self.url + path, **options)

    def head(self, path: str, **options: Any) -> Any:
        """A HEAD, likewise."""
        return self.client.head(self.url + path, **options)

    async def body(self, path: str, **options: Any) -> bytes:
        """The body of a GET, whole.

        Raises:
            aiohttp.ClientError: it was cut.
        """
        async with self.get(path, **options) as response:
            body: bytes = await response.read()
            return body

    def files(self, below: str) -> list[Path]:
        """The files below a directory of the cache."""
        return sorted(path for path in (self.directory / below).rglob("*") if path.is_file())


@dataclass(frozen=True, slots=True)
class Wanted:
    """What differs from the defaults of a test's proxy."""

    server: Mapping[str, Any] = field(default_factory=dict)
    cache: Mapping[str, Any] = field(default_factory=dict)
    upstream: Mapping[str, Any] = field(default_factory=dict)
    tags: Mapping[str, Any] = field(default_factory=dict)
    admin: Mapping[str, Any] = field(default_factory=dict)
    metadata: str = "embedded:"
    warm: WarmSettings = field(default_factory=WarmSettings)
    default_upstream: str | None = "docker.io"


def settings_for(upstreams: Mapping[str, Located], directory: Path, wanted: Wanted) -> Settings:
    """The settings of a proxy in front of these upstreams."""
    tags = replace(TagSettings(), **wanted.tags)
    return Settings(
        server=ServerSettings(**{"listen": _ANY_PORT, "drain_timeout": 2.0, **wanted.server}),
        admin=AdminSettings(_ANY_PORT, **wanted.admin),
        cache=CacheSettings(
            # Tests must not depend on how full this machine's disk is.
            **{"directory": directory, "min_free": Bytes(1), **wanted.cache}
        ),
        metadata=MetadataSettings(
            parse_redis_url(wanted.metadata) if is_redis(wanted.metadata) else wanted.metadata
        ),
        default_upstream=wanted.default_upstream,
        warm=wanted.warm,
        upstreams={
            name: UpstreamSettings(
                **{
                    "name": name,
                    "url": registry.url,
                    "official_namespace": "library" if name == "docker.io" else None,
                    "tags": tags,
                    "idle_timeout": 5.0,
                    **wanted.upstream,
                }
            )
            for name, registry in upstreams.items()
        },
        logging=LoggingSettings("info", "json"),
    )


@asynccontextmanager
async def hasty_proxy(
    upstreams: Mapping[str, Located],
    directory: Path,
    wanted: Wanted | None = None,
    clock: HastyClock | None = None,
    ahead: float = 0.0,
) -> AsyncIterator[HastyProxy]:
    """A proxy that serves within this context, and a client to ask it with.

    Args:
        upstreams: by name.
        directory: of its cache.
        wanted: what differs from the defaults.
        clock: to go by; one of its own if there is none.
        ahead: seconds by which its clock is, from the start.
    """
    settings = settings_for(upstreams, directory, wanted or Wanted())
    events, clock = Events(), clock or HastyClock()
    clock.jump(ahead)
    async with (
        serving(settings, events, clock) as served,
        aiohttp.ClientSession(
            auto_decompress=False,
            connector=aiohttp.TCPConnector(limit=0),
            timeout=aiohttp.ClientTimeout(total=60),
        ) as client,
    ):
        yield HastyProxy(
            f"http://{served.pull[0]}:{served.pull[1]}",
            f"http://{served.admin[0]}:{served.admin[1]}",
            client,
            events,
            clock,
            directory,
            served.core,
        )
