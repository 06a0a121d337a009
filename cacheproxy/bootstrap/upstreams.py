"""From settings to upstreams: routes for the edge, clients for the core."""

from collections.abc import Mapping
from dataclasses import fields, replace

from yarl import URL

from cacheproxy.bootstrap.credentials import make_credentials
from cacheproxy.domain.breaker import BreakerPolicy
from cacheproxy.domain.freshness import TagPolicy, TagRules
from cacheproxy.domain.retry import RetryPolicy
from cacheproxy.domain.routing import Routes
from cacheproxy.inprocess.tasks import Tasks
from cacheproxy.ports import Clock, Observer, Upstream
from cacheproxy.pullthrough.remote import Registry
from cacheproxy.settings.model import Settings
from cacheproxy.settings.routes import routes_of
from cacheproxy.settings.upstream_model import TagRuleSettings, UpstreamSettings
from cacheproxy.upstream.bandwidth import Bandwidth
from cacheproxy.upstream.client import RegistryClient
from cacheproxy.upstream.config import UpstreamConfig, tls_context
from cacheproxy.upstream.endpoints import Endpoints
from cacheproxy.upstream.transport import Transport


def make_routes(settings: Settings) -> Routes:
    """Every name of every upstream."""
    return routes_of(settings)


def make_config(settings: UpstreamSettings, workers: int = 1) -> UpstreamConfig:
    """What a client of this upstream needs to know.

    Args:
        settings: of the upstream.
        workers: processes that share its bandwidth.

    Raises:
        StartError: its certificates cannot be used.
    """
    certificate = settings.client_certificate
    tls = tls_context(
        settings.ca_file,
        (certificate.certificate, certificate.key) if certificate else None,
        insecure=settings.insecure,
    )
    return UpstreamConfig(
        registry=settings.name,
        url=URL(settings.url),
        credentials=make_credentials(settings, tls),
        realms=frozenset(settings.token_realms),
        redirect_hosts=frozenset(settings.redirect_hosts),
        tls=tls,
        tls_elsewhere=tls_context(settings.ca_file, None, insecure=settings.insecure)
        if certificate
        else tls,
        proxy=URL(settings.proxy_url) if settings.proxy_url else None,
        max_connections=settings.max_connections,
        connect_timeout=settings.connect_timeout,
        answer_timeout=settings.answer_timeout,
        idle_timeout=settings.idle_timeout,
        breaker=BreakerPolicy(
            settings.breaker.failures, settings.breaker.pause, settings.breaker.longest_pause
        ),
        ratelimit_reserve=settings.ratelimit_reserve,
        mirrors=tuple(URL(mirror) for mirror in settings.mirrors),
        offline=settings.offline is True,
        max_bandwidth=_part(settings.max_bandwidth, workers),
        patience=settings.tags.patience,
    )


def _part(bandwidth: int | None, workers: int) -> int | None:
    return None if bandwidth is None else max(1, bandwidth // workers)


Client = RegistryClient | Endpoints


def make_clients(
    configs: Mapping[str, UpstreamConfig], observer: Observer, clock: Clock, tasks: Tasks
) -> dict[str, Client]:
    """A client for each upstream; needs a running event loop."""

    def client(config: UpstreamConfig, bandwidth: Bandwidth) -> RegistryClient:
        return RegistryClient(Transport(config, observer, clock, tasks, bandwidth), clock)

    def all_of(config: UpstreamConfig) -> Client:
        bandwidth = Bandwidth(config.max_bandwidth, clock)
        registry = client(config, bandwidth)
        if not config.mirrors:
            return registry
        mirrors = [client(_mirror(config, url), bandwidth) for url in config.mirrors]
        return Endpoints(mirrors, registry)

    return {name: all_of(config) for name, config in configs.items()}


def _mirror(config: UpstreamConfig, url: URL) -> UpstreamConfig:
    """One of an upstream's mirrors."""
    return replace(
        config,
        url=url,
        mirror=url.authority,
        mirrors=(),
        # Nobody but the registry itself is shown who we are.
        credentials=(),
        tls=config.tls_elsewhere,
        # There are other places to ask, so one failure is enough to do so.
        breaker=replace(config.breaker, failures=1),
    )


def make_registries(settings: Settings, clients: Mapping[str, Upstream]) -> dict[str, Registry]:
    """The upstreams as the core sees them."""
    return {
        name: Registry(clients[name], _rules(upstream), RetryPolicy(upstream.retries))
        for name, upstream in settings.upstreams.items()
    }


def _rules(upstream: UpstreamSettings) -> TagRules:
    tags = upstream.tags
    default = TagPolicy(
        fresh_for=tags.fresh_for,
        stale_while_revalidate=tags.stale_while_revalidate,
        stale_if_error=tags.stale_if_error,
        stale_if_denied=tags.stale_if_denied,
        on_not_found=tags.on_not_found,
        not_found_for=tags.not_found_for,
        patience=tags.patience,
        is_patient_offline=upstream.offline == "auto",
    )
    rules = ((pattern, _differing(default, rule)) for pattern, rule in tags.rules.items())
    return TagRules(default, tuple(rules))


def _differing(default: TagPolicy, rule: TagRuleSettings) -> TagPolicy:
    """The default, but for what the rule says."""
    written = {each.name: getattr(rule, each.name) for each in fields(rule)}
    said = {name: value for name, value in written.items() if value is not None}
    said.pop("pattern")
    return replace(default, **said)
