"""The settings of a process: frozen values, checked once, with every default written here.

Durations are seconds, sizes bytes. `cacheproxy.settings.load` makes them from a file; tests
may construct them.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal, get_args

from pydantic import PlainValidator, with_config

from cacheproxy.domain.budget import PolicyName
from cacheproxy.domain.redis_url import RedisUrl
from cacheproxy.settings import reading
from cacheproxy.settings.addresses import (
    Address,
)
from cacheproxy.settings.kinds import (
    SECTION,
    Duration,
    FilePath,
    FromFile,
    ImageName,
    ListenAddress,
    PlatformName,
    ReferencePattern,
    Shown,
    SizeOrShare,
    Text,
    Timeout,
)
from cacheproxy.settings.secret import Secret
from cacheproxy.settings.sizes import Bytes, format_bytes, parse_bytes
from cacheproxy.settings.upstream_model import UpstreamSettings

# The cluster's nodes are the clients, hence every interface; operators are on this host.
_PULL = Address("0.0.0.0", 5000)  # noqa: S104
_ADMIN = Address("127.0.0.1", 5001)
_PEERS = Address("0.0.0.0", 5002)  # noqa: S104
_MAX_SIZE = Bytes(50 * 1024**3)
_MIN_FREE = Bytes(1024**3)


@with_config(extra="forbid")
@dataclass(frozen=True, slots=True)
class TlsSettings:
    """The certificate that clients see.

    Attributes:
        certificate: PEM, with the intermediates.
        key: PEM, unencrypted.
        client_ca: when given, clients must show a certificate that it signed.
    """

    certificate: FilePath
    key: FilePath
    client_ca: FilePath | None = None


@with_config(extra="forbid")
@dataclass(frozen=True, slots=True)
class ServerSettings:
    """Where clients pull.

    Attributes:
        listen: the address.
        workers: processes that share the port and the volume.
        tls: None serves plain HTTP.
        drain_delay: how long the port stays open after SIGTERM, when readiness has ended.
        drain_timeout: how long requests may go on after that.
        header_timeout: how long a client may take to send a request's headers, and how long
            a connection may idle between requests.
        write_timeout: a client that takes no byte for so long is cut.
        response_timeout: a request that has no answer after so long gets a 504.
        silence_timeout: a client that waits for the next byte for so long is cut.
        max_header_size: of a request's line and headers, in bytes.
    """

    listen: ListenAddress = _PULL
    workers: Annotated[int, PlainValidator(reading.workers(os.cpu_count))] = 1
    tls: TlsSettings | None = None
    drain_delay: Duration = 0.0
    drain_timeout: Duration = 30.0
    header_timeout: Timeout = 30.0
    write_timeout: Timeout = 60.0
    response_timeout: Timeout = 25.0
    silence_timeout: Timeout = 120.0
    max_header_size: Annotated[
        int, PlainValidator(reading.header_size(parse_bytes)), Shown(format_bytes)
    ] = 32 * 1024


@with_config(extra="forbid")
@dataclass(frozen=True, slots=True)
class AdminSettings:
    """Where operators look: metrics, health, dashboard.

    Attributes:
        listen: the address.
        token: that the API and the page ask for; None: one is made, in `cache.directory`.
        public: reading needs no token.
        webhook_token: that whoever tells of a push shows; None: nobody may.
        currency: of all prices.
    """

    listen: ListenAddress = _ADMIN
    token: Annotated[Secret, PlainValidator(reading.secret), FromFile()] | None = None
    public: Annotated[bool, PlainValidator(reading.flag)] = False
    webhook_token: Annotated[Secret, PlainValidator(reading.secret), FromFile()] | None = None
    currency: Text = "USD"


@with_config(extra="forbid")
@dataclass(frozen=True, slots=True)
class CacheSettings:
    """The store on disk.

    Attributes:
        directory: holds the blobs and their metadata.
        max_size: it never holds more than this.
        min_free: and leaves at least this free on its volume.
        keep_partial: how long a download that broke off is kept, to be taken up again.
        abandon_after: a download that no client follows any more is given up after so long;
            None lets it go on to its end.
        policy: what goes first when room is needed.
        idle_for: what nobody asked for in so long goes; None keeps it.
        pins: patterns of references, such as docker.io/library/pause:*, that never go.
        scrub_every: all that is stored is read again once in so long, in the background; None:
            never.
        scrub_rate: bytes per second that this reads at most.
        relay_ahead: a closed range that starts more than this ahead of the download is fetched
            from upstream beside it; in bytes.
        access_log: what was served is recorded for `cacheproxy plan`, in at most so many
            bytes; 0 records nothing.
        manifest_memory: manifests that are asked for often are kept in memory, in at most so
            many bytes of each worker; 0 keeps none.
    """

    directory: FilePath = Path("var/cacheproxy")
    max_size: SizeOrShare = _MAX_SIZE
    min_free: SizeOrShare = _MIN_FREE
    keep_partial: Duration = 86400.0
    abandon_after: Duration | None = None
    policy: Annotated[PolicyName, PlainValidator(reading.choice(*get_args(PolicyName)))] = (
        "lfu-decay"
    )
    idle_for: Timeout | None = None
    pins: tuple[ReferencePattern, ...] = ()
    scrub_every: Timeout | None = 30 * 86400.0
    scrub_rate: Annotated[int, PlainValidator(reading.parsed(parse_bytes)), Shown(format_bytes)] = (
        20 * 1024**2
    )
    relay_ahead: Annotated[
        int, PlainValidator(reading.parsed(parse_bytes)), Shown(format_bytes)
    ] = 64 * 1024**2
    access_log: Annotated[
        int, PlainValidator(reading.log_size(parse_bytes)), Shown(format_bytes)
    ] = 64 * 1024**2
    manifest_memory: Annotated[
        int, PlainValidator(reading.parsed(parse_bytes)), Shown(format_bytes)
    ] = 32 * 1024**2


@with_config(extra="forbid")
@dataclass(frozen=True, slots=True)
class MetadataSettings:
    """Where tags and the links from repositories to digests are kept.

    Attributes:
        url: `embedded:` (below `cache.directory`), `memory:` (for tests), or a Redis that
            replicas share.
        password: of that Redis, if it is not in its URL.
        sentinel_username: of an ACL user of its Sentinels; None for the default one.
        sentinel_password: of these; None where they want none.
        timeout: it is waited for so long at most.
    """

    url: Annotated[str | RedisUrl, PlainValidator(reading.metadata_url), FromFile()] = "embedded:"
    password: Annotated[Secret, PlainValidator(reading.secret), FromFile()] | None = None
    sentinel_username: Text | None = None
    sentinel_password: Annotated[Secret, PlainValidator(reading.secret), FromFile()] | None = None
    timeout: Timeout = 1.0


@with_config(extra="forbid")
@dataclass(frozen=True, slots=True)
class ClusterSettings:
    """How several replicas are one cache; they share the metadata in Redis.

    Attributes:
        advertise: where the others reach this one: a host and port of its own.
        secret: that they share, to know each other.
        listen: where this one listens for them.
        max_streams: of blobs, that it sends to others at once.
        max_readers: of one large blob at once; further ones read it from those.
        copies: of a blob, that are worth keeping; further ones are the first to go. None: all.
        connect_timeout: a replica that is gone costs so much.
    """

    advertise: ListenAddress
    secret: Annotated[Secret, PlainValidator(reading.secret), FromFile()]
    listen: ListenAddress = _PEERS
    max_streams: Annotated[int, PlainValidator(reading.whole(1, 10_000))] = 64
    max_readers: Annotated[int, PlainValidator(reading.whole(1, 10_000))] = 3
    copies: Annotated[int, PlainValidator(reading.whole(1, 1000))] | None = None
    connect_timeout: Timeout = 1.0


@with_config(extra="forbid")
@dataclass(frozen=True, slots=True)
class WarmRuleSettings:
    """Images that are warmed again and again.

    Attributes:
        images: their names; without a tag it is `latest`.
        every: so often.
        platforms: which of those that they are for; empty: those of the section.
    """

    images: tuple[ImageName, ...]
    every: Timeout
    platforms: tuple[PlatformName, ...] = ()


@with_config(extra="forbid")
@dataclass(frozen=True, slots=True)
class WarmSettings:
    """What is in the cache before nodes ask for it.

    Attributes:
        schedule: images, and how often it is looked whether there are newer ones.
        platforms: which of those that an image is for, where nobody says; or `all`.
        parallel: images at once, and blobs at once.
    """

    schedule: tuple[WarmRuleSettings, ...] = ()
    platforms: tuple[PlatformName, ...] = ("linux/amd64",)
    parallel: Annotated[int, PlainValidator(reading.whole(1, 64))] = 2


@with_config(extra="forbid")
@dataclass(frozen=True, slots=True)
class LoggingSettings:
    """What is logged, to standard output.

    Attributes:
        level: the least severe that is.
        format: JSON for machines, console for people.
    """

    level: Annotated[
        Literal["debug", "info", "warning", "error"],
        PlainValidator(reading.choice("debug", "info", "warning", "error")),
    ] = "info"
    format: Annotated[
        Literal["json", "console"], PlainValidator(reading.choice("json", "console"))
    ] = "json"


@with_config(extra="forbid")
@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything a process is told.

    Attributes:
        server: where clients pull.
        admin: where operators look.
        cache: the store on disk.
        metadata: tags and links.
        default_upstream: for requests that name none; a key of `upstreams`, or None.
        upstreams: by name: the closed world, nothing else is ever dialled.
        warm: what is in the cache before nodes ask for it.
        logging: what is logged.
        cluster: how several replicas are one cache; None: this one is alone.
    """

    server: Annotated[ServerSettings, SECTION] = field(default_factory=ServerSettings)
    admin: Annotated[AdminSettings, SECTION] = field(default_factory=AdminSettings)
    cache: Annotated[CacheSettings, SECTION] = field(default_factory=CacheSettings)
    metadata: Annotated[MetadataSettings, SECTION] = field(default_factory=MetadataSettings)
    default_upstream: Text | None = None
    upstreams: Mapping[str, UpstreamSettings]
    warm: Annotated[WarmSettings, SECTION] = field(default_factory=WarmSettings)
    logging: Annotated[LoggingSettings, SECTION] = field(default_factory=LoggingSettings)
    cluster: ClusterSettings | None = None
