"""The paths of the pull API."""

import re
from dataclasses import dataclass
from typing import Literal

_NAME = (
    r"(?P<name>[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*)"
)
_TAG = r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}"
_DIGEST = r"[a-z0-9]+(?:[+._-][a-z0-9]+)*:[a-zA-Z0-9=_-]+"
_HEX = {"sha256": 64, "sha512": 128}


Kind = Literal["ping", "manifests", "blobs", "tags", "referrers"]


@dataclass(frozen=True, slots=True)
class Route:
    """A path of the API, with what it names."""

    kind: Kind
    repository: str = ""
    reference: str = ""

    @property
    def by_digest(self) -> bool:
        """Whether the reference is a digest: a tag has no colon."""
        return ":" in self.reference


_ROUTES: tuple[tuple[Kind, re.Pattern[str]], ...] = (
    ("ping", re.compile(r"/v2/", re.ASCII)),
    ("manifests", re.compile(rf"/v2/{_NAME}/manifests/(?P<ref>{_TAG}|{_DIGEST})", re.ASCII)),
    ("blobs", re.compile(rf"/v2/{_NAME}/blobs/(?P<ref>{_DIGEST})", re.ASCII)),
    ("tags", re.compile(rf"/v2/{_NAME}/tags/list", re.ASCII)),
    ("referrers", re.compile(rf"/v2/{_NAME}/referrers/(?P<ref>{_DIGEST})", re.ASCII)),
)


def route(path: str) -> Route | None:
    """Where a path leads, if anywhere."""
    for kind, pattern in _ROUTES:
        found = pattern.fullmatch(path)
        if found:
            parts = found.groupdict()
            return Route(kind, parts.get("name", ""), parts.get("ref", ""))
    return None


def well_formed(digest: str) -> bool:
    """Whether a digest is one of an algorithm that registries know, at its right length."""
    algorithm, _, encoded = digest.partition(":")
    return len(encoded) == _HEX.get(algorithm) and set(encoded) <= set("0123456789abcdef")
