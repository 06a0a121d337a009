"""Registries that need no configuration but their name."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class WellKnown:
    """What is true of a registry wherever it is used.

    Attributes:
        url: where its API is.
        aliases: other names for it in image references.
        official_namespace: put before repository names of one component.
    """

    url: str
    aliases: tuple[str, ...] = ()
    official_namespace: str | None = None


# Names only: for these, as for any other registry, the API is at https://NAME. They are here
# so that an environment variable (which cannot spell a dot) and a misspelling find them.
_AT_THEIR_NAME = (
    "cgr.dev",
    "docker.elastic.co",
    "gcr.io",
    "ghcr.io",
    "lscr.io",
    "mcr.microsoft.com",
    "mirror.gcr.io",
    "nvcr.io",
    "public.ecr.aws",
    "quay.io",
    "registry.access.redhat.com",
    "registry.gitlab.com",
    "registry.k8s.io",
    "registry.redhat.io",
)

WELL_KNOWN: Mapping[str, WellKnown] = {
    "docker.io": WellKnown(
        url="https://registry-1.docker.io",
        aliases=("index.docker.io", "registry-1.docker.io"),
        official_namespace="library",
    ),
    **{name: WellKnown(url=f"https://{name}") for name in _AT_THEIR_NAME},
}

# What is served when the configuration names no upstreams.
DEFAULT_UPSTREAMS = ("docker.io", "quay.io", "gcr.io", "ghcr.io", "registry.k8s.io")
DEFAULT_UPSTREAM = "docker.io"


def well_known(name: str) -> WellKnown:
    """What is known of the registry `name`; at least its URL."""
    return WELL_KNOWN.get(name) or WellKnown(url=f"https://{name}")
