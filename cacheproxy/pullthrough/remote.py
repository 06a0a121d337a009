"""A repository at its upstream, and how that upstream is to be treated."""

from dataclasses import dataclass

from cacheproxy.domain.freshness import TagPolicy
from cacheproxy.domain.reference import Repository
from cacheproxy.ports import Upstream


@dataclass(frozen=True, slots=True)
class Registry:
    """An upstream as configured.

    Attributes:
        upstream: to ask.
        tags: how long its tags are believed.
    """

    upstream: Upstream
    tags: TagPolicy


@dataclass(frozen=True, slots=True)
class Remote:
    """A repository at its upstream."""

    upstream: Upstream
    tags: TagPolicy
    repository: Repository
