"""From settings to where logins come from."""

import ssl
from collections.abc import Callable
from dataclasses import replace

from yarl import URL

from cacheproxy.domain.ecr_host import EcrHost
from cacheproxy.domain.errors import StartError
from cacheproxy.ports import Clock
from cacheproxy.settings.upstream_model import CredentialsSettings, UpstreamSettings
from cacheproxy.upstream.config import CredentialsConfig
from cacheproxy.upstream.credentials.acr import Acr, Exchange
from cacheproxy.upstream.credentials.docker_config import DockerConfig
from cacheproxy.upstream.credentials.ecr import Ecr
from cacheproxy.upstream.credentials.files import PasswordFile
from cacheproxy.upstream.credentials.fixed import Fixed
from cacheproxy.upstream.credentials.google import Google
from cacheproxy.upstream.credentials.helpers import Exec
from cacheproxy.upstream.credentials.login import Login, Source


def make_credentials(
    upstream: UpstreamSettings, tls: ssl.SSLContext | bool = True
) -> tuple[CredentialsConfig, ...]:
    """The credentials of an upstream, in their order.

    Args:
        upstream: whose they are.
        tls: how to speak it to that upstream, where that is who gives a login.

    Raises:
        StartError: they lack what their provider needs.
    """
    several = isinstance(upstream.credentials, tuple)
    return tuple(
        CredentialsConfig(
            _name(upstream, settings, index if several else None),
            _maker(upstream, settings, tls),
        )
        for index, settings in enumerate(upstream.accounts)
    )


def _name(upstream: UpstreamSettings, settings: CredentialsSettings, index: int | None) -> str:
    """Clients may read it: which key of the configuration it is, not what that says."""
    which = "credentials" if index is None else f"credentials[{index}]"
    of_file = settings.password is not None and settings.password.file is not None
    return f"{upstream.name}'s {which} ({'password_file' if of_file else settings.provider})"


def _maker(
    upstream: UpstreamSettings, settings: CredentialsSettings, tls: ssl.SSLContext | bool
) -> Callable[[Clock], Source]:
    match settings.provider:
        case "password":
            return _password(upstream, settings)
        case "docker-config":
            path, hosts = settings.path.expanduser(), _hosts(upstream)
            return lambda _: DockerConfig(path, hosts)
        case "exec":
            return lambda _: Exec(settings.command, settings.timeout)
        case "ecr":
            host = _ecr_host(upstream, settings.region)
            return lambda clock: Ecr(host, clock)
        case "google":
            return lambda clock: Google(settings.key_file, clock)
        case "acr":
            exchange = _exchange(upstream, tls)
            return lambda clock: Acr(exchange, settings.client_id, clock)


def _password(
    upstream: UpstreamSettings, settings: CredentialsSettings
) -> Callable[[Clock], Source]:
    username, password = settings.username, settings.password
    if username is None or password is None:
        raise StartError(f"the credentials of {upstream.name} have no username or no password")
    file = password.file
    if file is not None:
        return lambda _: PasswordFile(username, file)
    return lambda _: Fixed(Login(username, password.reveal()))


def _exchange(upstream: UpstreamSettings, tls: ssl.SSLContext | bool) -> Exchange:
    return Exchange(
        URL(upstream.url),
        tls,
        URL(upstream.proxy_url) if upstream.proxy_url else None,
        upstream.connect_timeout,
        upstream.answer_timeout,
    )


def _hosts(upstream: UpstreamSettings) -> tuple[str, ...]:
    """What Docker may know a registry by, the preferred name first."""
    return tuple(dict.fromkeys((upstream.name, URL(upstream.url).authority, *upstream.aliases)))


def _ecr_host(upstream: UpstreamSettings, region: str | None) -> EcrHost:
    for host in (URL(upstream.url).host or "", upstream.name):
        found = EcrHost.of(host)
        if found is not None:
            return found if region is None or found.is_public else replace(found, region=region)
    if region is None:
        raise StartError(f"{upstream.name} names no region of ECR; write one in its credentials")
    return EcrHost(region)
