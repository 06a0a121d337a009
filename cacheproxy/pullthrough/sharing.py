"""What other replicas may have of this one: what it holds, and what it is getting."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

from cacheproxy.cluster_ports import Part, ReplicaBusy
from cacheproxy.domain.cache_status import HIT
from cacheproxy.domain.digest import Digest
from cacheproxy.domain.errors import BlobUnknown, UpstreamUnavailable
from cacheproxy.domain.freshness import TagPolicy
from cacheproxy.domain.operation import Query
from cacheproxy.domain.rate_limit import Spend
from cacheproxy.domain.records import Listing
from cacheproxy.domain.reference import Name, Reference, Repository
from cacheproxy.domain.retry import RetryPolicy
from cacheproxy.ports import BlobStore, BlobStream, ManifestBody, ManifestHead, StoredBlob
from cacheproxy.pullthrough.answers import BlobAnswer
from cacheproxy.pullthrough.blobs import Blobs
from cacheproxy.pullthrough.fill import Fill
from cacheproxy.pullthrough.remote import Remote

# Under no registry's name: nobody's pull is ever of this repository.
_NOBODYS = Repository("", Name("replicas"))
# Who asks may ask others, or again: it is told so well before it loses patience.
_MOMENT = 2.0
_LITTLE = 1024 * 1024


class Sharing:
    """Serves blobs by digest alone, to those who have proven that they are replicas."""

    def __init__(self, store: BlobStore, blobs: Blobs) -> None:
        self._store = store
        self._blobs = blobs
        self._remote = Remote(_Nowhere(), TagPolicy(), RetryPolicy(0), _NOBODYS)

    def look(self, part: Part) -> "Offer":
        """What there is to give; it must be closed.

        Raises:
            BlobUnknown: it is neither here nor on its way here; or no more of it is here than
                `part` says that there must be.
        """
        stored = self._store.open(part.digest)
        if stored is not None:
            return Offer(part, stored, self._blobs, self._remote)
        fill = self._coming(part.digest)
        if part.is_ahead and not fill.is_beyond(part.start):
            raise BlobUnknown("no more of it is here")
        return Offer(part, fill, self._blobs, self._remote)

    def _coming(self, digest: Digest) -> Fill:
        if not self._blobs.is_coming(digest):
            growing = self._store.watch(digest)
            if growing is None:
                raise BlobUnknown("it is not here")
            growing.close()  # another worker of this replica is getting it
        return self._blobs.coming(self._remote, digest)


@dataclass(frozen=True, slots=True)
class Offer:
    """A blob that is here, or on its way here, for a replica that wants a part of it."""

    part: Part
    _of: StoredBlob | Fill
    _blobs: Blobs
    _remote: Remote

    @property
    def is_little(self) -> bool:
        """Whether all of it is sent in no time."""
        of = self._of
        size = (of.state.size or of.origin.size) if isinstance(of, Fill) else of.size
        return size is not None and size <= _LITTLE

    async def beyond(self) -> None:
        """Wait, but not for long, until there is more of it than what is before the part.

        Raises:
            CacheproxyError: it was on its way, and is not any more.
        """
        if isinstance(self._of, Fill):
            with self._of.attended(), suppress(TimeoutError):
                async with asyncio.timeout(_MOMENT):
                    await self._of.readable_beyond(self.part.start)

    async def answer(self) -> BlobAnswer:
        """The blob.

        Raises:
            ReplicaBusy: it comes from another replica, and whoever asks has as much of it.
            CacheproxyError: it was on its way, and is not any more.
        """
        if not isinstance(self._of, Fill):
            return BlobAnswer(self.part.digest, self._of.size, self._of, HIT, "store")
        try:
            with self._of.attended():
                await self._of.leads(self.part.start, _MOMENT)
        except TimeoutError:
            raise ReplicaBusy("nothing has come yet") from None
        return await self._blobs.follow(self._remote, self._of)

    def close(self) -> None:
        """Give back what is not needed any more."""
        if not isinstance(self._of, Fill):
            self._of.close()


class _Nowhere:
    """The upstream of what is only read along (`Upstream`): nothing can be had of it."""

    is_silent = False

    @property
    def may_refresh(self) -> bool:
        """It may not."""
        return False

    async def head_manifest(self, _: Repository, __: Reference) -> ManifestHead:
        """Raise an error, as all of it does."""
        raise _gone()

    async def get_manifest(
        self,
        _: Repository,
        __: Reference,
        spend: Spend = "fetch",  # noqa: ARG002  # as the port has it
    ) -> ManifestBody:
        """Raise an error."""
        raise _gone()

    async def head_blob(self, _: Repository, __: Digest) -> int | None:
        """Raise an error."""
        raise _gone()

    @asynccontextmanager
    async def get_blob(
        self,
        _: Repository,
        __: Digest,
        start: int = 0,
        stop: int | None = None,
    ) -> AsyncIterator[BlobStream]:
        """Raise an error: whoever was getting it has ended without it."""
        if start >= 0 or stop is None:
            raise _gone()
        yield None  # type: ignore[misc]  # makes this a generator

    async def list_tags(self, _: Repository, __: Query) -> Listing:
        """Raise an error."""
        raise _gone()

    async def list_referrers(self, _: Repository, __: Digest, ___: Query) -> Listing | None:
        """Raise an error."""
        raise _gone()


def _gone() -> UpstreamUnavailable:
    return UpstreamUnavailable("this replica is not getting it any more")
