"""Images as people name them: `nginx:1.25`, `quay.io/team/app`, `app@sha256:…`."""

from dataclasses import dataclass, replace

from cacheproxy.domain.digest import Digest
from cacheproxy.domain.errors import UpstreamUnknown
from cacheproxy.domain.reference import Repository, Tag
from cacheproxy.domain.routing import Route, Routes, canonical_host, looks_like_host


@dataclass(frozen=True, slots=True)
class Image:
    """A repository, with the tag and the digest that were written behind it.

    Attributes:
        repository: of an upstream, which may be one that is no longer configured.
        tag: None where there is none.
        digest: likewise; where there are both, the digest counts, as it does for clients.
    """

    repository: Repository
    tag: Tag | None = None
    digest: Digest | None = None

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag is not None else ""
        return f"{self.repository}{tag}" + (f"@{self.digest}" if self.digest is not None else "")


def parse_image(text: str, routes: Routes) -> Image:
    """Read an image's name as container engines do.

    What is read here is looked up in the cache, never dialled. So an upstream need not be
    configured, and what its rules deny is an image all the same.

    Raises:
        UpstreamUnknown: it names no upstream, and none is the default.
        NameInvalid, TagInvalid, DigestInvalid: as their names say.
    """
    named, at, digest = text.partition("@")
    first, slash, rest = named.partition("/")
    if slash and looks_like_host(first):
        host = canonical_host(first)
        route, path = routes.by_host.get(host) or Route(host), rest
    elif routes.default is not None:
        route, path = routes.default, named
    else:
        raise UpstreamUnknown(f"{text!a} names no upstream, and none is the default")
    name, colon, tag = _tagged(path)
    return Image(
        # Without the route's rules: they say what may be pulled, not what may be cached.
        Route(route.registry, route.official_namespace).repository(name),
        Tag.parse(tag) if colon else None,
        Digest.parse(digest) if at else None,
    )


def pullable(image: Image, routes: Routes) -> Image:
    """The image, if it may be pulled: that it has a name is not enough where it will be dialled.

    Raises:
        UpstreamUnknown: its upstream is not configured.
        Denied: the operator's rules exclude it.
    """
    registry = image.repository.registry
    route = routes.by_host.get(registry)
    if route is None:
        raise UpstreamUnknown(f"{registry[:80]!a} is not a configured upstream")
    return replace(image, repository=route.repository(image.repository.name))


def _tagged(path: str) -> tuple[str, str, str]:
    """Name, colon and tag: a colon before the last slash is part of a (bad) name."""
    name, colon, tag = path.rpartition(":")
    return (path, "", "") if not colon or "/" in tag else (name, colon, tag)
