"""The pull API, answered: from here if it is here, else through upstream."""

from collections.abc import Mapping

from cacheproxy.domain.operation import ListReferrers, ListTags, PullBlob, PullManifest
from cacheproxy.domain.reference import Repository, Tag
from cacheproxy.inprocess.tasks import Tasks
from cacheproxy.ports import Metadata
from cacheproxy.pullthrough.answers import BlobAnswer, ListingAnswer, ManifestAnswer
from cacheproxy.pullthrough.blobs import Blobs
from cacheproxy.pullthrough.fill import FillContext
from cacheproxy.pullthrough.listings import Listings
from cacheproxy.pullthrough.manifests import Manifests
from cacheproxy.pullthrough.remote import Registry, Remote


class PullThrough:
    """One cache in front of all upstreams."""

    def __init__(
        self,
        registries: Mapping[str, Registry],
        context: FillContext,
        metadata: Metadata,
        tasks: Tasks,
    ) -> None:
        self._registries = registries
        self._blobs = Blobs(context, metadata, tasks)
        self._manifests = Manifests(context, metadata, tasks)
        self._listings = Listings(context, metadata, self._manifests, tasks)

    async def manifest(self, asked: PullManifest, *, head: bool) -> ManifestAnswer:
        """`GET` or `HEAD /v2/<name>/manifests/<reference>`."""
        remote = self._remote(asked.repository)
        if isinstance(asked.reference, Tag):
            return await self._manifests.by_tag(remote, asked.reference, head=head)
        return await self._manifests.by_digest(remote, asked.reference)

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
        registry = self._registries[repository.registry]
        return Remote(registry.upstream, registry.tags, registry.retry, repository)
