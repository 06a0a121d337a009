"""The pull API, answered: from here if it is here, else through upstream."""

from collections.abc import Callable, Mapping

from cacheproxy.domain.digest import Digest
from cacheproxy.domain.operation import ListReferrers, ListTags, PullBlob, PullManifest
from cacheproxy.domain.rate_limit import Spend
from cacheproxy.domain.reference import Repository, Tag
from cacheproxy.inprocess.tasks import Tasks
from cacheproxy.ports import Metadata
from cacheproxy.pullthrough.answers import BlobAnswer, ListingAnswer, ManifestAnswer
from cacheproxy.pullthrough.blobs import Blobs
from cacheproxy.pullthrough.context import FillContext
from cacheproxy.pullthrough.fill import Fill
from cacheproxy.pullthrough.listings import Listings
from cacheproxy.pullthrough.manifests import Manifests
from cacheproxy.pullthrough.remote import Registry, Remote
from cacheproxy.pullthrough.sharing import Sharing


class PullThrough:
    """One cache in front of all upstreams."""

    def __init__(
        self,
        registries: Mapping[str, Registry],
        context: FillContext,
        metadata: Metadata,
        tasks: Tasks,
    ) -> None:
        self.registries = registries
        self._store = context.store
        self._blobs = Blobs(context, metadata, tasks)
        self.sharing = Sharing(context.store, self._blobs)
        self._manifests = Manifests(context, metadata, tasks)
        self._listings = Listings(context, metadata, self._manifests, tasks)

    @property
    def fills(self) -> list[Fill]:
        """The downloads that this process knows of."""
        return list(self._blobs.fills)

    async def manifest(self, asked: PullManifest, *, head: bool) -> ManifestAnswer:
        """`GET` or `HEAD /v2/<name>/manifests/<reference>`."""
        registry = self.registries[asked.repository.registry]
        if isinstance(asked.reference, Tag):
            remote = registry.remote(asked.repository, asked.reference)
            return await self._manifests.by_tag(remote, asked.reference, head=head)
        return await self._manifests.by_digest(registry.remote(asked.repository), asked.reference)

    async def latest(
        self, asked: PullManifest, within: float = 0.0, spend: Spend = "fetch"
    ) -> tuple[ManifestAnswer, Digest | None]:
        """What upstream has now, and what the tag named before, by upstream's word of then.

        Args:
            asked: a tag, or a digest, which names the same at all times.
            within: upstream's word on a tag may be so many seconds old.
            spend: what a pull counts as, should it cost one.
        """
        registry = self.registries[asked.repository.registry]
        if isinstance(asked.reference, Tag):
            remote = registry.remote(asked.repository, asked.reference)
            return await self._manifests.latest(remote, asked.reference, within, spend)
        remote = registry.remote(asked.repository)
        return await self._manifests.by_digest(remote, asked.reference, spend), asked.reference

    async def keep(
        self, asked: PullBlob, begun: Callable[[Fill], None], *, is_use: bool
    ) -> Fill | None:
        """Have a blob in the store; the download that brought it, if it was not there."""
        remote = self._remote(asked.repository)
        return await self._blobs.keep(remote, asked.digest, begun, is_use=is_use)

    def has(self, digest: Digest) -> bool:
        """Whether something is in the store."""
        return self._store.has(digest)

    async def blob(self, asked: PullBlob, *, head: bool) -> BlobAnswer:
        """`GET` or `HEAD /v2/<name>/blobs/<digest>`."""
        return await self._blobs.pull(self._remote(asked.repository), asked, head=head)

    async def tags(self, asked: ListTags) -> ListingAnswer:
        """`GET /v2/<name>/tags/list`."""
        return await self._listings.tags(self._remote(asked.repository), asked)

    async def referrers(self, asked: ListReferrers) -> ListingAnswer:
        """`GET /v2/<name>/referrers/<digest>`."""
        return await self._listings.referrers(self._remote(asked.repository), asked)

    def _remote(self, repository: Repository) -> Remote:
        return self.registries[repository.registry].remote(repository)
