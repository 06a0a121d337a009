"""The settings of a process: frozen values, checked once, with every default written here.

Durations are seconds, sizes bytes. `cacheproxy.settings.load` makes them from a file; tests
may construct them.
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import BeforeValidator, PlainValidator, with_config

from cacheproxy.domain.budget import PolicyName
from cacheproxy.settings import reading
from cacheproxy.settings.addresses import (
    Address,
    mask_password,
    parse_host,
    parse_proxy_url,
    parse_registry,
    parse_registry_url,
)
from cacheproxy.settings.durations import (
    format_duration,
    parse_duration,
    parse_positive_duration,
)
from cacheproxy.settings.secret import Secret
from cacheproxy.settings.sizes import Bytes, Size, format_bytes, parse_bytes, parse_size


@dataclass(frozen=True, slots=True)
class Shown:
    """How a value is written in the effective configuration, where `str()` is not it."""

    form: Callable[[Any], str]


class FromFile:
    """The value may be a secret: `KEY_file` names a file that holds it."""


class FromKey:
    """The value is the key of the mapping that the section is in, not one of its own keys."""


# A section that is written without any key has all its defaults.
_SECTION = BeforeValidator(lambda value: {} if value is None else value)

_Text = Annotated[str, PlainValidator(reading.text)]
_Path = Annotated[Path, PlainValidator(reading.path)]
_Address = Annotated[Address, PlainValidator(reading.parsed(Address.parse))]
_Duration = Annotated[float, PlainValidator(reading.parsed(parse_duration)), Shown(format_duration)]
_Timeout = Annotated[
    float, PlainValidator(reading.parsed(parse_positive_duration)), Shown(format_duration)
]
_Size = Annotated[Size, PlainValidator(reading.parsed(parse_size))]
_Registry = Annotated[str, PlainValidator(reading.parsed(parse_registry))]
_Host = Annotated[str, PlainValidator(reading.parsed(parse_host))]
_Reference = Annotated[str, PlainValidator(reading.reference_pattern)]
_Pattern = Annotated[str, PlainValidator(reading.pattern)]

# The cluster's nodes are the clients, hence every interface; operators are on this host.
_PULL = Address("0.0.0.0", 5000)  # noqa: S104
_ADMIN = Address("127.0.0.1", 5001)
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

    certificate: _Path
    key: _Path
    client_ca: _Path | None = None


@with_config(extra="forbid")
@dataclass(frozen=True, slots=True)
class ServerSettings:
    """Where clients pull.

    Attributes:
        listen: the address.
        workers: processes that share the port and the volume.
        tls: None serves plain HTTP.
        drain_timeout: how long requests may go on after SIGTERM.
        header_timeout: how long a client may take to send a request's headers, and how long
            a connection may idle between requests.
        write_timeout: a client that takes no byte for so long is cut.
        response_timeout: a request that has no answer after so long gets a 504.
        silence_timeout: a client that waits for the next byte for so long is cut.
        max_header_size: of a request's line and headers, in bytes.
    """

    listen: _Address = _PULL
    workers: Annotated[int, PlainValidator(reading.workers(os.cpu_count))] = 1
    tls: TlsSettings | None = None
    drain_timeout: _Duration = 30.0
    header_timeout: _Timeout = 30.0
    write_timeout: _Timeout = 60.0
    response_timeout: _Timeout = 25.0
    silence_timeout: _Timeout = 120.0
    max_header_size: Annotated[
        int, PlainValidator(reading.header_size(parse_bytes)), Shown(format_bytes)
    ] = 32 * 1024


@with_config(extra="forbid")
@dataclass(frozen=True, slots=True)
class AdminSettings:
    """Where operators look: metrics, health, dashboard.

    Attributes:
        listen: the address.
    """

    listen: _Address = _ADMIN


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
        relay_ahead: a closed range that starts more than this ahead of the download is fetched
            from upstream beside it; in bytes.
    """

    directory: _Path = Path("var/cacheproxy")
    max_size: _Size = _MAX_SIZE
    min_free: _Size = _MIN_FREE
    keep_partial: _Duration = 86400.0
    abandon_after: _Duration | None = None
    policy: Annotated[PolicyName, PlainValidator(reading.choice(*get_args(PolicyName)))] = (
        "lfu-decay"
    )
    idle_for: _Timeout | None = None
    pins: tuple[_Reference, ...] = ()
    relay_ahead: Annotated[
        int, PlainValidator(reading.parsed(parse_bytes)), Shown(format_bytes)
    ] = 64 * 1024**2


@with_config(extra="forbid")
@dataclass(frozen=True, slots=True)
class MetadataSettings:
    """Where tags and the links from repositories to digests are kept.

    Attributes:
        url: `embedded:` (below `cache.directory`), or `memory:` (for tests).
    """

    url: Annotated[str, PlainValidator(reading.metadata_url)] = "embedded:"


@with_config(extra="forbid")
@dataclass(frozen=True, slots=True)
class TagSettings:
    """How long what a tag points to is believed.

    Attributes:
        fresh_for: served without asking upstream.
        stale_while_revalidate: after that, served while upstream is asked in the background.
        stale_if_error: after `fresh_for`, served when upstream cannot answer.
        on_not_found: what a 404 does to a tag that is cached.
        not_found_for: how long a 404 is remembered.
    """

    fresh_for: _Duration = 60.0
    stale_while_revalidate: _Duration = 0.0
    stale_if_error: _Duration = 7 * 86400.0
    on_not_found: Annotated[
        Literal["keep", "drop"], PlainValidator(reading.choice("keep", "drop"))
    ] = "keep"
    not_found_for: _Duration = 10.0


@with_config(extra="forbid")
@dataclass(frozen=True, slots=True)
class CredentialsSettings:
    """Who we are to an upstream.

    Attributes:
        username: without a colon.
        password: or token.
    """

    username: Annotated[str, PlainValidator(reading.username)]
    password: Annotated[Secret, PlainValidator(reading.secret), FromFile()]


@with_config(extra="forbid")
@dataclass(frozen=True, slots=True)
class ClientCertificateSettings:
    """The certificate that we show to an upstream.

    Attributes:
        certificate: PEM, with the intermediates.
        key: PEM, unencrypted.
    """

    certificate: _Path
    key: _Path


@with_config(extra="forbid")
@dataclass(frozen=True, slots=True)
class UpstreamSettings:
    """A registry that is pulled from.

    Attributes:
        name: as in image references; lower case.
        url: of its API, without `/v2/` and without a slash at the end.
        aliases: other names for it.
        official_namespace: put before repository names of one component.
        credentials: None pulls anonymously.
        tags: how long tags are believed.
        allow: patterns of the repositories that may be pulled.
        deny: and of those that may not, though allowed.
        ca_file: PEM; trusted instead of the system's certificate authorities.
        client_certificate: for upstreams that ask for one.
        proxy_url: of an HTTP proxy on the way; may hold a password.
        insecure: do not verify its certificate.
        token_realms: further hosts that credentials may be sent to for a token.
        max_connections: at once.
        connect_timeout: for the connection and its TLS handshake.
        answer_timeout: for the head of an answer; all of it but for blobs, twice as long.
        idle_timeout: a blob that brings no byte for so long is given up.
        max_size: its blobs never take more than this of the cache; None: as much as there is.
        retries: how often in a row a download that breaks is taken up again.
    """

    name: Annotated[str, PlainValidator(reading.text), FromKey()]
    url: Annotated[str, PlainValidator(reading.parsed(parse_registry_url))]
    aliases: tuple[_Registry, ...] = ()
    official_namespace: Annotated[str, PlainValidator(reading.namespace)] | None = None
    credentials: CredentialsSettings | None = None
    tags: Annotated[TagSettings, _SECTION] = field(default_factory=TagSettings)
    allow: tuple[_Pattern, ...] = ("**",)
    deny: tuple[_Pattern, ...] = ()
    ca_file: _Path | None = None
    client_certificate: ClientCertificateSettings | None = None
    proxy_url: (
        Annotated[
            str, PlainValidator(reading.parsed(parse_proxy_url)), Shown(mask_password), FromFile()
        ]
        | None
    ) = field(default=None, repr=False)
    insecure: Annotated[bool, PlainValidator(reading.flag)] = False
    token_realms: tuple[_Host, ...] = ()
    max_connections: Annotated[int, PlainValidator(reading.whole(1, 10_000))] = 32
    connect_timeout: _Timeout = 5.0
    answer_timeout: _Timeout = 10.0
    idle_timeout: _Timeout = 30.0
    max_size: _Size | None = None
    retries: Annotated[int, PlainValidator(reading.whole(0, 100))] = 5


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
        logging: what is logged.
    """

    server: Annotated[ServerSettings, _SECTION] = field(default_factory=ServerSettings)
    admin: Annotated[AdminSettings, _SECTION] = field(default_factory=AdminSettings)
    cache: Annotated[CacheSettings, _SECTION] = field(default_factory=CacheSettings)
    metadata: Annotated[MetadataSettings, _SECTION] = field(default_factory=MetadataSettings)
    default_upstream: _Text | None = None
    upstreams: Mapping[str, UpstreamSettings]
    logging: Annotated[LoggingSettings, _SECTION] = field(default_factory=LoggingSettings)
