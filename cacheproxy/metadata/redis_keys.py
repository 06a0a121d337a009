"""Every key's name, and the channel's: this is the only place that makes them.

What belongs to a repository has it as its hash tag, so that in a Cluster all of that is on one
server, and one script can write it. docs/redis.md lists the keys.
"""

from dataclasses import dataclass

from cacheproxy.domain.digest import Digest
from cacheproxy.domain.reference import Repository, Tag

FORMAT = 1
"""Of keys and values, and a part of each name: a later one is not read by an older version, nor
the other way round. So versions that differ in it can use one Redis, as during an upgrade."""

_DAY = 86400

TAG_SECONDS = 90 * _DAY
LINK_SECONDS = 90 * _DAY
LISTING_SECONDS = 7 * _DAY
ABSENCE_SECONDS = _DAY
"""A key that is not used for so long goes. Each use begins the time anew."""

PURGE_SECONDS = 90 * _DAY
"""So long a purge is kept: as long as what it was of may be here unused."""


@dataclass(frozen=True, slots=True)
class RedisKeys:
    """The names within a namespace."""

    namespace: str

    @classmethod
    def of(cls, namespace: str) -> "RedisKeys":
        """Those of a namespace, in today's format."""
        return cls(f"{namespace}:{FORMAT}")

    def tag(self, repository: Repository, tag: Tag) -> str:
        """Of what a tag points to."""
        return self.tag_within(f"{repository} ", tag)

    def tag_within(self, scope: str, tag: str) -> str:
        """The same, of a repository with the space that ends its name."""
        return f"{self.namespace}:{{{scope.removesuffix(' ')}}}:tag:{tag}"

    def link(self, repository: Repository, digest: Digest) -> str:
        """Of a link."""
        return f"{self.namespace}:{{{repository}}}:link:{digest}"

    def listing(self, key: str) -> str:
        """Of a page of tags or referrers."""
        return f"{self.namespace}:listing:{key}"

    @property
    def clock(self) -> str:
        """Of the number of the epoch that the cluster's clock is in."""
        return f"{self.namespace}:clock"

    @property
    def purges(self) -> str:
        """Of what was purged lately."""
        return f"{self.namespace}:purges"

    @property
    def changes(self) -> str:
        """The channel on which processes say what has changed."""
        return f"{self.namespace}:changes"

    def is_below(self, key: str, scope: str) -> bool:
        """Whether a key is of a repository, or of an upstream.

        Args:
            key: of any kind.
            scope: `docker.io/library/nginx `, with the space that ends a name; or `docker.io/`.
        """
        begins = (
            f"{self.namespace}:{{{scope.replace(' ', '}')}",
            f"{self.namespace}:listing:tags {scope}",
            f"{self.namespace}:listing:referrers {scope}",
        )
        return key.startswith(begins)

    @property
    def all(self) -> str:
        """A pattern of all keys: a namespace has no character that means something else in it."""
        return f"{self.namespace}:*"
