"""The settings of one upstream: frozen values, with every default written here."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Annotated, Literal

from pydantic import PlainValidator, TypeAdapter, with_config

from cacheproxy.settings import reading
from cacheproxy.settings.addresses import (
    mask_password,
    parse_proxy_url,
    parse_registry_url,
)
from cacheproxy.settings.kinds import (
    SECTION,
    Duration,
    FilePath,
    FromFile,
    FromKey,
    HostName,
    NamePattern,
    Only,
    RegistryName,
    Shown,
    SizeOrShare,
    TagPattern,
    Text,
    Timeout,
)
from cacheproxy.settings.secret import Secret
from cacheproxy.settings.sizes import format_bytes, parse_bytes

_Flag = Annotated[bool, PlainValidator(reading.flag)]
_OnNotFound = Annotated[Literal["keep", "drop"], PlainValidator(reading.choice("keep", "drop"))]


@with_config(extra="forbid")
@dataclass(frozen=True, slots=True)
class TagRuleSettings:
    """What is different for the tags that a pattern matches; None is as for all others.

    Attributes:
        pattern: of `tag`, or of `repository:tag`.
        fresh_for: as in `TagSettings`, as are the others.
        stale_while_revalidate: likewise.
        stale_if_error: likewise.
        stale_if_denied: likewise.
        on_not_found: likewise.
        not_found_for: likewise.
        patience: likewise.
    """

    pattern: Annotated[TagPattern, FromKey()]
    fresh_for: Duration | None = None
    stale_while_revalidate: Duration | None = None
    stale_if_error: Duration | None = None
    stale_if_denied: _Flag | None = None
    on_not_found: _OnNotFound | None = None
    not_found_for: Duration | None = None
    patience: Timeout | None = None


@with_config(extra="forbid")
@dataclass(frozen=True, slots=True)
class TagSettings:
    """How long what a tag points to is believed.

    Attributes:
        fresh_for: served without asking upstream.
        stale_while_revalidate: after that, served while upstream is asked in the background.
        stale_if_error: after `fresh_for`, served when upstream cannot answer.
        stale_if_denied: for as long, served too when upstream or its token server refuses us.
        on_not_found: what a 404 does to a tag that is cached.
        not_found_for: how long a 404 is remembered.
        patience: upstream's answer is waited for so long, where what is cached may stand in.
        rules: what is different for some, by their pattern; the first that matches counts.
    """

    fresh_for: Duration = 60.0
    stale_while_revalidate: Duration = 0.0
    stale_if_error: Duration = 7 * 86400.0
    stale_if_denied: _Flag = False
    on_not_found: _OnNotFound = "keep"
    not_found_for: Duration = 10.0
    patience: Timeout = 3.0
    rules: Mapping[str, TagRuleSettings] = field(default_factory=dict)


@with_config(extra="forbid")
@dataclass(frozen=True, slots=True)
class BreakerSettings:
    """When an upstream that fails is not asked for a while.

    Attributes:
        failures: in a row, after which it is given a rest.
        pause: of the first rest; each time that it still fails, twice as long.
        longest_pause: but no longer.
    """

    failures: Annotated[int, PlainValidator(reading.whole(1, 1000))] = 5
    pause: Timeout = 1.0
    longest_pause: Timeout = 30.0


@with_config(extra="forbid")
@dataclass(frozen=True, slots=True)
class CredentialsSettings:
    """Who we are to an upstream, or whom to ask for it.

    Attributes:
        username: without a colon.
        password: or token.
        provider: where user name and password come from; `password`: from the two above.
        path: of Docker's config.json; may begin with `~/`.
        command: prints them as JSON; no shell.
        timeout: that the command may take.
        region: of ECR's API; None: that of the registry's host.
        key_file: a service account's key; None: google-auth's default chain.
        client_id: of an identity at Azure; None: azure-identity's default chain.
    """

    username: Annotated[str, PlainValidator(reading.username), Only(("password",))] | None = None
    password: (
        Annotated[Secret, PlainValidator(reading.secret), FromFile(), Only(("password",))] | None
    ) = None
    provider: Annotated[
        Literal["password", "docker-config", "exec", "ecr", "google", "acr"],
        PlainValidator(reading.provider),
    ] = "password"
    path: Annotated[Path, PlainValidator(reading.home_path), Only(("docker-config",))] = Path(
        "~/.docker/config.json"
    )
    command: Annotated[tuple[Text, ...], Only(("exec",))] = ()
    timeout: Annotated[Timeout, Only(("exec",))] = 10.0
    region: Annotated[str, PlainValidator(reading.region), Only(("ecr",))] | None = None
    key_file: Annotated[FilePath, Only(("google",))] | None = None
    client_id: Annotated[str, PlainValidator(reading.client_id), Only(("acr",))] | None = None


@cache
def _one() -> TypeAdapter[CredentialsSettings]:
    return TypeAdapter(CredentialsSettings)


@cache
def _several() -> TypeAdapter[tuple[CredentialsSettings, ...]]:
    return TypeAdapter(tuple[CredentialsSettings, ...])


def _one_or_several(
    value: object,
) -> CredentialsSettings | tuple[CredentialsSettings, ...] | None:
    """By hand: what pydantic says of a union names its members, which are nobody's keys."""
    if value is None:
        return None
    return (_several() if isinstance(value, list) else _one()).validate_python(value)


@with_config(extra="forbid")
@dataclass(frozen=True, slots=True)
class ClientCertificateSettings:
    """The certificate that we show to an upstream.

    Attributes:
        certificate: PEM, with the intermediates.
        key: PEM, unencrypted.
    """

    certificate: FilePath
    key: FilePath


@with_config(extra="forbid")
@dataclass(frozen=True, slots=True)
class UpstreamSettings:
    """A registry that is pulled from.

    Attributes:
        name: as in image references; lower case.
        url: of its API, without `/v2/` and without a slash at the end.
        aliases: other names for it.
        official_namespace: put before repository names of one component.
        credentials: or several, in the order in which they are used; None pulls anonymously.
        tags: how long tags are believed.
        allow: patterns of the repositories that may be pulled.
        deny: and of those that may not, though allowed.
        ca_file: PEM; trusted beside the system's certificate authorities.
        client_certificate: for upstreams that ask for one.
        proxy_url: of an HTTP proxy on the way; may hold a password.
        insecure: do not verify its certificate.
        token_realms: further hosts that credentials may be sent to for a token.
        redirect_hosts: hosts that redirects may lead to although they are private.
        max_connections: at once.
        connect_timeout: for the connection and its TLS handshake.
        answer_timeout: for the head of an answer; all of it but for blobs, twice as long.
        idle_timeout: a blob that brings no byte for so long is given up.
        max_size: its blobs never take more than this of the cache; None: as much as there is.
        retries: how often in a row a download that breaks is taken up again.
        mirrors: URLs of other places to have it from, asked first, in this order, anonymously.
        offline: True: it is never asked; `auto`: while it cannot be reached, nothing that is
            cached is too old; False: `stale_if_error` holds.
        breaker: when it is not asked for a while.
        ratelimit_reserve: pulls of its rate limit that are kept for what is not cached.
        max_bandwidth: bytes per second that its blobs take of the link, by all workers.
        price_per_gb: what 10^9 bytes over its link cost, in `admin.currency`; None: not known.
    """

    name: Annotated[str, PlainValidator(reading.text), FromKey()]
    url: Annotated[str, PlainValidator(reading.parsed(parse_registry_url))]
    aliases: tuple[RegistryName, ...] = ()
    official_namespace: Annotated[str, PlainValidator(reading.namespace)] | None = None
    credentials: Annotated[
        CredentialsSettings | tuple[CredentialsSettings, ...] | None,
        PlainValidator(_one_or_several),
    ] = None
    tags: Annotated[TagSettings, SECTION] = field(default_factory=TagSettings)
    allow: tuple[NamePattern, ...] = ("**",)
    deny: tuple[NamePattern, ...] = ()
    ca_file: FilePath | None = None
    client_certificate: ClientCertificateSettings | None = None
    proxy_url: (
        Annotated[
            str, PlainValidator(reading.parsed(parse_proxy_url)), Shown(mask_password), FromFile()
        ]
        | None
    ) = field(default=None, repr=False)
    insecure: _Flag = False
    token_realms: tuple[HostName, ...] = ()
    redirect_hosts: tuple[HostName, ...] = ()
    max_connections: Annotated[int, PlainValidator(reading.whole(1, 10_000))] = 32
    connect_timeout: Timeout = 5.0
    answer_timeout: Timeout = 10.0
    idle_timeout: Timeout = 30.0
    max_size: SizeOrShare | None = None
    retries: Annotated[int, PlainValidator(reading.whole(0, 100))] = 5
    mirrors: tuple[Annotated[str, PlainValidator(reading.parsed(parse_registry_url))], ...] = ()
    offline: Annotated[bool | Literal["auto"], PlainValidator(reading.flag_or("auto"))] = False
    breaker: Annotated[BreakerSettings, SECTION] = field(default_factory=BreakerSettings)
    ratelimit_reserve: Annotated[int, PlainValidator(reading.whole(0, 1_000_000))] = 10
    max_bandwidth: (
        Annotated[int, PlainValidator(reading.parsed(parse_bytes)), Shown(format_bytes)] | None
    ) = None
    price_per_gb: Annotated[float, PlainValidator(reading.amount)] | None = None

    @property
    def accounts(self) -> tuple[CredentialsSettings, ...]:
        """The credentials, however many."""
        match self.credentials:
            case None:
                return ()
            case tuple() as several:
                return several
            case one:
                return (one,)
