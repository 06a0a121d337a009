"""A repository at its upstream, and how that upstream is to be treated."""

from dataclasses import dataclass

from cacheproxy.domain.freshness import TagPolicy, TagRules
from cacheproxy.domain.reference import Repository
from cacheproxy.domain.retry import RetryPolicy
from cacheproxy.ports import Upstream


@dataclass(frozen=True, slots=True)
class Registry:
    """An upstream as configured.

    Attributes:
        upstream: to ask.
        tags: how long its tags are believed.
        retry: when to take up a download that broke.
    """

    upstream: Upstream
    tags: TagRules
    retry: RetryPolicy

    def remote(self, repository: Repository, tag: str = "") -> "Remote":
        """A repository of it, treated as a tag's rules say."""
        policy = self.tags.of(repository.name, tag) if tag else self.tags.default
        return Remote(self.upstream, policy, self.retry, repository)


@dataclass(frozen=True, slots=True)
class Remote:
    """A repository at its upstream."""

    upstream: Upstream
    tags: TagPolicy
    retry: RetryPolicy
    repository: Repository
