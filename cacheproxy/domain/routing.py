"""From a request target to an operation on a configured upstream: a closed world.

Whatever a request names is a key to look up, never a place to dial.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import assert_never

from cacheproxy.domain.digest import Digest
from cacheproxy.domain.errors import Denied, NameInvalid, UpstreamAmbiguous, UpstreamUnknown
from cacheproxy.domain.operation import (
    ListReferrers,
    ListTags,
    Operation,
    Ping,
    PullBlob,
    PullManifest,
)
from cacheproxy.domain.patterns import Patterns
from cacheproxy.domain.reference import Name, Repository, parse_reference
from cacheproxy.domain.target import Target

_DEFAULT_PORT = re.compile(r":(443|80)\Z")


@dataclass(frozen=True, slots=True)
class Route:
    """What requests need to know of one upstream.

    Attributes:
        registry: its canonical name.
        official_namespace: put before names of one component (`library` on Docker Hub).
        allow: which repositories may be pulled.
    """

    registry: str
    official_namespace: str | None = None
    allow: Patterns = field(default_factory=Patterns)

    def repository(self, name: str) -> Repository:
        """The repository that `name` means here.

        Raises:
            NameInvalid: no repository can be called so.
            Denied: the operator's rules exclude it.
        """
        parsed = Name.parse(name)
        if self.official_namespace and "/" not in parsed:
            parsed = Name.parse(f"{self.official_namespace}/{parsed}")
        if not self.allow.accept(parsed):
            raise Denied(f"{self.registry}/{parsed} is not allowed by this proxy's rules")
        return Repository(self.registry, parsed)


@dataclass(frozen=True, slots=True)
class Routes:
    """All configured upstreams.

    Attributes:
        by_host: every canonical name and alias, in lower case.
        default: for requests that name no upstream.
    """

    by_host: Mapping[str, Route]
    default: Route | None

    def resolve(self, target: Target) -> Operation:
        """Say what a target asks for.

        Raises:
            UpstreamUnknown: it names a registry that is not configured, or none and there
                is no default.
            UpstreamAmbiguous: it names two different ones.
            NameInvalid, TagInvalid, DigestInvalid, Denied: as their names say.
        """
        route, name = self._route(target)
        if target.endpoint == "ping":
            return Ping()
        if route is None:
            raise UpstreamUnknown("the request names no upstream, and none is the default")
        return _operation(target, route.repository(name))

    def _route(self, target: Target) -> tuple[Route | None, str]:
        named = [self._configured(host) for host in (target.prefix, target.ns) if host is not None]
        first, _, rest = target.name.partition("/")
        inner = self.by_host.get(canonical_host(first)) if looks_like_host(first) else None
        if inner is None and not named and looks_like_host(first):
            # Never the default's: `cache/acme.example/app` must not become docker.io/acme…
            raise UpstreamUnknown(f"{first[:80]!a} is not a configured upstream")
        if inner is not None and not rest:
            raise NameInvalid(f"{target.name!a} names an upstream, but no repository")
        everyone = [*named, inner] if inner is not None else named
        if len({route.registry for route in everyone}) > 1:
            raise UpstreamAmbiguous("the request names two different upstreams")
        route = everyone[0] if everyone else self.default
        return route, (rest if inner is not None else target.name)

    def _configured(self, host: str) -> Route:
        route = self.by_host.get(canonical_host(host))
        if route is None:
            raise UpstreamUnknown(f"{host[:80]!a} is not a configured upstream")
        return route


def looks_like_host(component: str) -> bool:
    """Whether a first path component can only be meant as a registry's host."""
    return "." in component or ":" in component or component.lower() == "localhost"


def canonical_host(host: str) -> str:
    """Lower case, no trailing dot, no default port: DNS and URLs compare so."""
    return _DEFAULT_PORT.sub("", host.lower()).rstrip(".")


def _operation(target: Target, repository: Repository) -> Operation:
    match target.endpoint:
        case "manifest":
            return PullManifest(repository, parse_reference(target.reference))
        case "blob":
            return PullBlob(repository, Digest.parse(target.reference))
        case "tags":
            return ListTags(repository, target.query)
        case "referrers":
            return ListReferrers(repository, Digest.parse(target.reference), target.query)
        case "ping":
            return Ping()
        case _:
            assert_never(target.endpoint)
