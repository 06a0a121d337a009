"""Where a blob comes from."""

from dataclasses import dataclass, field

from cacheproxy.domain.digest import Digest
from cacheproxy.domain.reference import Repository
from cacheproxy.domain.retry import RetryPolicy
from cacheproxy.ports import Upstream


@dataclass(frozen=True, slots=True)
class Origin:
    """A blob at its upstream.

    Attributes:
        upstream: the registry.
        repository: that holds the blob.
        digest: of the blob.
        size: in bytes, where a manifest's descriptor says so: it is then the blob's size,
            whatever upstream says.
        linked: the repository is known to hold the blob.
        retry: when to take up a download that broke.
    """

    upstream: Upstream
    repository: Repository
    digest: Digest
    size: int | None
    linked: bool
    retry: RetryPolicy = field(default_factory=RetryPolicy)

    async def confirm(self) -> int | None:
        """Have upstream say that the repository holds the blob; its size where it says that too.

        Raises:
            NotFound, Denied, UpstreamError: it does not say so.
        """
        return await self.upstream.head_blob(self.repository, self.digest)
