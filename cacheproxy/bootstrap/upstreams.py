"""From settings to upstreams: routes for the edge, clients for the core."""

from collections.abc import Mapping

from yarl import URL

from cacheproxy.domain.freshness import TagPolicy
from cacheproxy.domain.patterns import Patterns
from cacheproxy.domain.retry import RetryPolicy
from cacheproxy.domain.routing import Route, Routes
from cacheproxy.inprocess.tasks import Tasks
from cacheproxy.ports import Clock, Observer
from cacheproxy.pullthrough.remote import Registry
from cacheproxy.settings.model import Settings, TagSettings, UpstreamSettings
from cacheproxy.upstream.auth import Login
from cacheproxy.upstream.client import RegistryClient
from cacheproxy.upstream.config import UpstreamConfig, tls_context
from cacheproxy.upstream.transport import Transport


def make_routes(settings: Settings) -> Routes:
    """Every name of every upstream."""
    by_host: dict[str, Route] = {}
    for name, upstream in settings.upstreams.items():
        allow = Patterns(upstream.allow, upstream.deny)
        route = Route(name, upstream.official_namespace, allow)
        by_host.update(dict.fromkeys((name, *upstream.aliases), route))
    default = settings.default_upstream
    return Routes(by_host, by_host[default] if default is not None else None)


def make_config(settings: UpstreamSettings) -> UpstreamConfig:
    """What a client of this upstream needs to know.

    Raises:
        StartError: its certificates cannot be used.
    """
    credentials, certificate = settings.credentials, settings.client_certificate
    return UpstreamConfig(
        registry=settings.name,
        url=URL(settings.url),
        login=(Login(credentials.username, credentials.password.reveal()) if credentials else None),
        realms=frozenset(settings.token_realms),
        tls=tls_context(
            settings.ca_file,
            (certificate.certificate, certificate.key) if certificate else None,
            insecure=settings.insecure,
        ),
        proxy=URL(settings.proxy_url) if settings.proxy_url else None,
        max_connections=settings.max_connections,
        connect_timeout=settings.connect_timeout,
        answer_timeout=settings.answer_timeout,
        idle_timeout=settings.idle_timeout,
    )


def make_clients(
    configs: Mapping[str, UpstreamConfig], observer: Observer, clock: Clock, tasks: Tasks
) -> dict[str, RegistryClient]:
    """A client for each upstream; needs a running event loop."""
    return {
        name: RegistryClient(Transport(config, observer, clock, tasks), clock)
        for name, config in configs.items()
    }


def make_registries(
    settings: Settings, clients: Mapping[str, RegistryClient]
) -> dict[str, Registry]:
    """The upstreams as the core sees them."""
    return {
        name: Registry(clients[name], _policy(upstream.tags), RetryPolicy(upstream.retries))
        for name, upstream in settings.upstreams.items()
    }


def _policy(tags: TagSettings) -> TagPolicy:
    return TagPolicy(
        fresh_for=tags.fresh_for,
        stale_while_revalidate=tags.stale_while_revalidate,
        stale_if_error=tags.stale_if_error,
        on_not_found=tags.on_not_found,
        not_found_for=tags.not_found_for,
    )
