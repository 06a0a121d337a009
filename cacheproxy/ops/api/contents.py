"""What the admin API needs of the cache directory: read and changed as the commands do it."""

from collections.abc import AsyncGenerator
from typing import Protocol

from cacheproxy.ops.api.model import Eviction, PurgeRequest, StoreStatus
from cacheproxy.ops.api.reports import Explanation, PurgeReport
from cacheproxy.ops.api.work import Step, Work


class Contents(Protocol):
    """The cache directory. Synchronous: each call is made in a thread.

    Every method may raise `CacheproxyError`: a `RequestError` for what was asked wrongly, a
    `NotFound` for what is not here, a `StorageError` or `StartError` where it cannot be used.
    """

    def store(self) -> StoreStatus:
        """The room that is taken."""
        ...

    def eviction(self, limit: int) -> Eviction:
        """What would go next."""
        ...

    def explain(self, asked: str) -> Explanation:
        """All that is known of an image or digest."""
        ...

    def purge(self, asked: PurgeRequest) -> PurgeReport:
        """Remove what is named."""
        ...


class LongWork(Protocol):
    """What takes a while on the cache directory, and must not hinder pulls meanwhile."""

    def do(self, work: Work) -> AsyncGenerator[Step, None]:
        """Do it; the last step is what it came to. Leaving it before ends it.

        Raises:
            RequestError, NotFound, StorageError, StartError: it cannot be done.
        """
        ...
