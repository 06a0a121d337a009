"""A request of the pull API, parsed once: only what can be answered can be constructed."""

from dataclasses import dataclass

from cacheproxy.domain.byte_range import RequestedRange
from cacheproxy.domain.digest import Digest
from cacheproxy.domain.reference import Reference, Repository

Query = tuple[tuple[str, str], ...]

LIST_PARAMETERS = frozenset({"n", "last", "artifactType", "next_page", "nextToken", "next"})
"""Query parameters of lists that upstream gets to see: those of the distribution spec, and the
cursors of registries that have their own (Quay, Azure). Others would only multiply what is kept."""


@dataclass(frozen=True, slots=True)
class Ping:
    """`GET /v2/`: is this a registry?"""


@dataclass(frozen=True, slots=True)
class PullManifest:
    """`GET /v2/<name>/manifests/<reference>`. A Range makes no sense here."""

    repository: Repository
    reference: Reference


@dataclass(frozen=True, slots=True)
class PullBlob:
    """`GET /v2/<name>/blobs/<digest>`. A tag makes no sense here."""

    repository: Repository
    digest: Digest
    range: RequestedRange | None = None


@dataclass(frozen=True, slots=True)
class ListTags:
    """`GET /v2/<name>/tags/list`; upstream reads the query, whose `last` may be opaque."""

    repository: Repository
    query: Query = ()


@dataclass(frozen=True, slots=True)
class ListReferrers:
    """`GET /v2/<name>/referrers/<digest>`."""

    repository: Repository
    digest: Digest
    query: Query = ()

    @property
    def artifact_type(self) -> str | None:
        """The type to filter by, if any."""
        return next((value for key, value in self.query if key == "artifactType"), None)


Operation = Ping | PullManifest | PullBlob | ListTags | ListReferrers
