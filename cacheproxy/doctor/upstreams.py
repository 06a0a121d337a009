"""One upstream: the way to it, whether it lets us in, and whether it gives an image."""

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass, replace
from typing import TypeVar

from cacheproxy.bootstrap.metadata import Surroundings
from cacheproxy.bootstrap.upstreams import make_clients, make_config
from cacheproxy.doctor.findings import Finding
from cacheproxy.doctor.images import Sample
from cacheproxy.doctor.reaching import Place, Reached, reach
from cacheproxy.domain.digest import Digest
from cacheproxy.domain.errors import (
    CacheproxyError,
    Denied,
    NotFound,
    RepositoryUnknown,
    StartError,
    UpstreamLimited,
    UpstreamTimeout,
)
from cacheproxy.settings.upstream_model import UpstreamSettings
from cacheproxy.upstream.config import CredentialsConfig, UpstreamConfig
from cacheproxy.upstream.credentials.login import CredentialsUnavailable
from cacheproxy.upstream.transport import Ask, Transport

T = TypeVar("T")

_STEPS = ("login", "manifest")
_DEADLINE = 30.0  # seconds, for a login or a manifest with all that they need


@dataclass(frozen=True, slots=True)
class Report:
    """What was found of an upstream.

    Attributes:
        findings: in the order of the way.
        skew: seconds that its clock is ahead of ours; None where it does not say.
    """

    findings: list[Finding]
    skew: float | None = None


async def check_upstream(
    upstream: UpstreamSettings, sample: Sample | None, around: Surroundings
) -> Report:
    """Try one upstream. Takes at most the deadlines of its settings, and some seconds."""
    if upstream.offline is True:
        said = "it is never asked (offline: true)"
        return Report([Finding(upstream.name, "skipped", said)])
    key = f"upstreams.{upstream.name}"
    try:
        config = make_config(upstream)
    except StartError as error:
        advice = f"see that the files that {key} names are there and are PEM"
        return Report([Finding(upstream.name, "failed", str(error), advice)])
    registry, *mirrors = await asyncio.gather(
        *(reach(place, around.clock) for place in _places(config, key))
    )
    findings = list(registry.findings)
    for mirror in mirrors:
        # The next mirror, or the registry itself, stands in for one that fails.
        findings += [finding.as_warning for finding in mirror.findings]
    if not registry.is_well:
        said = "it cannot be reached"
        findings += [Finding(f"{upstream.name}: {step}", "skipped", said) for step in _STEPS]
        return Report(findings, registry.skew)
    accounts, logins = await _logins(config, key, registry, around)
    findings += logins
    if config.credentials and not accounts:
        # Not once more: what is refused again and again may lock the account.
        said = "no login is accepted"
        return Report(
            [*findings, Finding(f"{upstream.name}: manifest", "skipped", said)], registry.skew
        )
    usable = replace(config, credentials=accounts)
    findings.append(await _manifest(usable, key, sample, around))
    return Report(findings, registry.skew)


def _places(config: UpstreamConfig, key: str) -> list[Place]:
    """The registry, then its mirrors."""
    mirrors = [
        Place(
            f"{config.registry} (mirror {url.authority})",
            key,
            replace(config, url=url, tls=config.tls_elsewhere, credentials=()),
        )
        for url in config.mirrors
    ]
    return [Place(config.registry, key, config), *mirrors]


async def _logins(
    config: UpstreamConfig, key: str, registry: Reached, around: Surroundings
) -> tuple[tuple[CredentialsConfig, ...], list[Finding]]:
    """Each account by itself, shown as `docker login` shows it: where no repository is named.

    Returns those that were not refused, and what was found.
    """
    name = f"{config.registry}: login"
    if not config.credentials:
        return (), [Finding(name, "skipped", "no credentials: pulls are anonymous")]
    if registry.status == 200:
        said = "it asks for none at /v2/; credentials are shown where it does"
        return config.credentials, [Finding(name, "skipped", said)]
    alone = [replace(config, credentials=(each,)) for each in config.credentials]
    findings = await asyncio.gather(*(_login(each, key, around) for each in alone))
    tried = zip(config.credentials, findings, strict=True)
    return tuple(each for each, found in tried if found.state == "ok"), list(findings)


async def _login(config: UpstreamConfig, key: str, around: Surroundings) -> Finding:
    name, what = f"{config.registry}: login", config.credentials[0].name
    transport = Transport(config, around.observer, around.clock, around.tasks)
    try:
        await _within(_pinged(transport))
    except Denied:
        # What the client says of it is for a server: until when it shows them no more.
        said = f"upstream refuses {what}"
        advice = f"replace them in {key}.credentials; docker login tries them by hand"
        return Finding(name, "failed", said, advice)
    except CacheproxyError as error:
        return Finding(name, "failed", f"{what}: {error}", _of_login(error, key))
    finally:
        await transport.close()
    return Finding(name, "ok", f"{what} are accepted")


async def _pinged(transport: Transport) -> None:
    url = transport.config.url / "v2" / ""
    async with transport.send(Ask("GET", url, "", RepositoryUnknown)):
        pass


def _of_login(error: CacheproxyError, key: str) -> str:
    match error:
        case CredentialsUnavailable():
            return f"see to what {key}.credentials names: run the command, or read the file"
        case _:
            return f"the token server, too, must be reached from here; see {key}.token_realms"


async def _manifest(
    config: UpstreamConfig, key: str, sample: Sample | None, around: Surroundings
) -> Finding:
    """A manifest, pulled as the server would, mirrors included."""
    name = f"{config.registry}: manifest"
    if sample is None:
        said = "no image of it is known that may be pulled"
        advice = f"name one: --image {config.registry}/REPOSITORY:TAG"
        return Finding(name, "skipped", said, advice)
    client = make_clients({config.registry: config}, around.observer, around.clock, around.tasks)[
        config.registry
    ]
    try:
        got = await _within(client.get_manifest(sample.repository, sample.reference))
    except CacheproxyError as error:
        return _refused(name, key, sample, error)
    finally:
        await client.close()
    digest = Digest.of(got.body)
    if ":" in sample.reference and sample.reference != digest:
        said = f"{sample}: what came is {digest}"
        return Finding(name, "failed", said, "something on the way changes what is pulled")
    return Finding(name, "ok", f"{sample} is {digest}")


def _refused(name: str, key: str, sample: Sample, error: CacheproxyError) -> Finding:
    said = f"{sample}: {error}"
    match error:
        case NotFound() if sample.is_named:
            return Finding(name, "failed", said, "see that the image's name is spelt right")
        case NotFound():
            advice = f"name another: --image {sample.repository.registry}/REPOSITORY:TAG"
            return Finding(name, "warning", said, advice)
        case CredentialsUnavailable():
            return Finding(name, "failed", said, _of_login(error, key))
        case Denied():
            advice = f"{key}.credentials must be of an account that may pull this"
            return Finding(name, "failed", said, advice)
        case UpstreamLimited():
            advice = f"its rate limit is used up: wait, or set {key}.credentials"
            return Finding(name, "failed", said, advice)
        case UpstreamTimeout():
            advice = f"it is slow, or a mirror is; see {key}.answer_timeout"
            return Finding(name, "failed", said, advice)
        case _:
            advice = "see docs/operations.md for what this says; it would fail a pull as well"
            return Finding(name, "failed", said, advice)


async def _within(work: Awaitable[T]) -> T:
    """What comes of it, in time.

    Raises:
        UpstreamTimeout: nothing.
    """
    try:
        async with asyncio.timeout(_DEADLINE):
            return await work
    except TimeoutError:
        raise UpstreamTimeout(f"no answer within {_DEADLINE:g} s") from None
