"""Which small image of each upstream is pulled: the one that is named, or a well-known one."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from cacheproxy.domain.errors import CacheproxyError, UpstreamUnknown
from cacheproxy.domain.image import Image, parse_image
from cacheproxy.domain.reference import Reference, Repository, Tag
from cacheproxy.domain.routing import Routes

# Public, long-lived and small; only their manifests are fetched.
_WELL_KNOWN: Mapping[str, str] = {
    "cgr.dev": "chainguard/static:latest",
    "docker.io": "library/hello-world:latest",
    "gcr.io": "distroless/static:latest",
    "ghcr.io": "containerd/busybox:1.36",
    "mcr.microsoft.com": "hello-world:latest",
    "mirror.gcr.io": "library/hello-world:latest",
    "public.ecr.aws": "docker/library/hello-world:latest",
    "quay.io": "prometheus/busybox:latest",
    "registry.access.redhat.com": "ubi9/ubi-micro:latest",
    "registry.k8s.io": "pause:3.9",
}


@dataclass(frozen=True, slots=True)
class Sample:
    """An image to try an upstream with.

    Attributes:
        repository: of the upstream.
        reference: tag or digest.
        is_named: whether the user has named it: then it must be there.
    """

    repository: Repository
    reference: Reference
    is_named: bool

    def __str__(self) -> str:
        return f"{self.repository}{'@' if ':' in self.reference else ':'}{self.reference}"


def samples(named: Iterable[str], routes: Routes) -> dict[str, Sample]:
    """What to pull, by the upstream's name; nothing for those of which nothing is known.

    Raises:
        RequestError: an image that was named cannot be, or is of no configured upstream.
    """
    found: dict[str, Sample] = {}
    for route in routes.by_host.values():
        text = _WELL_KNOWN.get(route.registry)
        if text is None:
            continue
        image = parse_image(f"{route.registry}/{text}", routes)
        try:
            route.repository(image.repository.name)
        except CacheproxyError:
            continue  # the rules exclude it, and so would the server
        found[route.registry] = _sample(image, is_named=False)
    for text in named:
        image = parse_image(text, routes)
        if image.repository.registry not in {r.registry for r in routes.by_host.values()}:
            raise UpstreamUnknown(f"{text!a} is of none of the configured upstreams")
        found[image.repository.registry] = _sample(image, is_named=True)
    return found


def _sample(image: Image, *, is_named: bool) -> Sample:
    reference = image.digest or image.tag or Tag.parse("latest")
    return Sample(image.repository, reference, is_named)
