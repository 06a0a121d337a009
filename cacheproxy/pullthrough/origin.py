"""The repositories that a blob may be fetched from."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from cacheproxy.domain.digest import Digest
from cacheproxy.domain.errors import CacheproxyError, Denied, NotFound, UpstreamError
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
        size: in bytes, where a manifest's descriptor says so: a hint, which may be wrong.
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


class Origins:
    """The repositories under which one blob is wanted: each is tried, and judged by itself.

    That one repository is refused says nothing of another one's; and whoever waits for it under
    a repository that is known to hold it gets the bytes, whichever repository they come from.
    """

    def __init__(self) -> None:
        self._origins: dict[Repository, Origin] = {}
        self._errors: dict[Repository, CacheproxyError] = {}
        self._proven: set[Repository] = set()

    def __iter__(self) -> Iterator[Origin]:
        return iter(tuple(self._origins.values()))

    def add(self, origin: Origin) -> None:
        """Add one; the first of a repository stays, unless the new one is known to hold it."""
        known = self._origins.get(origin.repository)
        if known is None or (origin.linked and not known.linked):
            self._origins[origin.repository] = origin

    def of(self, repository: Repository) -> Origin | None:
        """Return the origin of a repository."""
        return self._origins.get(repository)

    @property
    def size(self) -> int | None:
        """The blob's size, where a manifest has said it to any of them."""
        return next((one.size for one in self if one.size is not None), None)

    def next_of(self, repository: Repository) -> Origin | None:
        """Return the origin of a repository, unless it has failed."""
        return None if repository in self._errors else self._origins.get(repository)

    def next(self) -> Origin | None:
        """Return one that has not failed; None if there is none (any more)."""
        for origin in self._origins.values():
            if origin.repository not in self._errors:
                return origin
        return None

    def fail(self, origin: Origin, error: CacheproxyError) -> None:
        """Note that upstream does not give the blob under this repository."""
        self._errors[origin.repository] = error

    def prove(self, origin: Origin) -> None:
        """Note that upstream gives the blob under this repository, or says that it would."""
        self._proven.add(origin.repository)

    def is_proven(self, origin: Origin) -> bool:
        """Whether the blob may be served under this repository."""
        return origin.linked or origin.repository in self._proven

    def error_of(self, repository: Repository) -> CacheproxyError | None:
        """Return the error with which upstream refused the blob under a repository."""
        return self._errors.get(repository)

    async def confirm(self, on_change: Callable[[], None]) -> int | None:
        """Ask upstream for each repository of which it is not known whether it holds the blob.

        Args:
            on_change: is called after each answer.

        Returns:
            The size, if upstream says it.

        Raises:
            NotFound, Denied, UpstreamError: none of the repositories holds it.
        """
        size: int | None = None
        for origin in self:
            if self.is_proven(origin) or origin.repository in self._errors:
                continue
            try:
                size = await origin.confirm()
                self.prove(origin)
            except (NotFound, Denied, UpstreamError) as error:
                self.fail(origin, error)
                if self.next() is None:
                    raise
            on_change()
        return size

    def was_tried(self, repository: Repository) -> bool:
        """Whether upstream has given or refused it under this repository."""
        return repository in self._errors or repository in self._proven
