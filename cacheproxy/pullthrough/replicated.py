"""An upstream that several replicas share (`Upstream`): what one of them has, none fetches again.

Where the bytes of a blob are nearest says `cacheproxy.pullthrough.nearest`. A lease that is lost
harms nobody: bytes are verified wherever they arrive.
"""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from cacheproxy.cluster_ports import Part, Peers, Replicas
from cacheproxy.domain.digest import Digest
from cacheproxy.domain.errors import ManifestUnknown, NotFound, UpstreamError
from cacheproxy.domain.freshness import TagRecord
from cacheproxy.domain.manifest import SIZE_LIMIT
from cacheproxy.domain.operation import Query
from cacheproxy.domain.rate_limit import Spend
from cacheproxy.domain.records import Listing
from cacheproxy.domain.reference import Reference, Repository, Tag
from cacheproxy.ports import BlobStream, Clock, ManifestBody, ManifestHead, Metadata, Upstream
from cacheproxy.pullthrough.nearest import Nearest

# What a tag names is waited for a little longer: not to ask costs a pull less.
_TOLD_TRIES = 60
_TOLD_PAUSE = 0.05
# By the clocks of two replicas.
_JUST_NOW = 5.0


class ReplicatedUpstream:
    """One upstream, as one of several replicas asks it."""

    def __init__(
        self,
        upstream: Upstream,
        replicas: Replicas,
        peers: Peers,
        metadata: Metadata,
        clock: Clock,
    ) -> None:
        self._upstream = upstream
        self._replicas = replicas
        self._nearest = Nearest(replicas, peers, clock)
        self._metadata = metadata
        self._clock = clock

    @property
    def is_silent(self) -> bool:
        """Whether upstream has let the last request wait in vain."""
        return self._upstream.is_silent

    @property
    def may_refresh(self) -> bool:
        """Whether pulls may be spent on what is here in an older state."""
        return self._upstream.may_refresh

    async def head_manifest(
        self, repository: Repository, reference: Reference
    ) -> ManifestHead | None:
        """Ask what a reference names."""
        return await self._upstream.head_manifest(repository, reference)

    async def get_manifest(
        self, repository: Repository, reference: Reference, spend: Spend = "fetch"
    ) -> ManifestBody:
        """Fetch a manifest whole, from a replica that has it if there is one."""
        if isinstance(reference, Tag):
            return await self._by_tag(repository, reference, spend)
        if await self._is_linked(repository, reference):
            async with AsyncExitStack() as stack:
                stream = await self._nearest.stream(stack, Part(reference))
                body = None if stream is None else await self._read_manifest(stream, reference)
                if body is not None:
                    return ManifestBody(body, None, is_from_peer=True)
                return await self._upstream.get_manifest(repository, reference, spend)
        return await self._upstream.get_manifest(repository, reference, spend)

    async def _by_tag(self, repository: Repository, tag: Tag, spend: Spend) -> ManifestBody:
        """One replica asks what a tag names; the others wait for what it is told."""
        async with self._replicas.claim(f"{repository}:{tag}") as asking:
            record = None if asking is None else await self._told(repository, tag)
            if asking is None or record is None:
                try:
                    return await self._upstream.get_manifest(repository, tag, spend)
                except NotFound as error:
                    absent = error  # an answer, so the lease ends as after any other one
            elif record.digest is None:
                absent = ManifestUnknown(f"upstream had no {repository}:{tag} a moment ago")
            else:
                return await self._from_others(repository, record.digest, asking, spend)
        raise absent

    async def _from_others(
        self, repository: Repository, digest: Digest, asking: str, spend: Spend
    ) -> ManifestBody:
        """Return a manifest that another replica has just asked for."""
        # It tells all others in a moment that it has it: too late for who has waited.
        body = await self._from_asker(repository, digest, asking)
        if body is not None:
            return ManifestBody(body, None, is_from_peer=True)
        return await self.get_manifest(repository, digest, spend)

    async def _from_asker(
        self, repository: Repository, digest: Digest, address: str
    ) -> bytes | None:
        """A manifest from the replica that has just asked for it; None if that does not give it."""
        if not await self._is_linked(repository, digest):
            return None
        async with AsyncExitStack() as stack:
            found = await self._nearest.from_one(stack, Part(digest), address)
            return None if found is None else await self._read_manifest(found, digest)

    async def _read_manifest(self, stream: BlobStream, digest: Digest) -> bytes | None:
        """Read a manifest from another replica; None if it broke off, or is wrong."""
        body = await _read_small(stream)
        if body is not None and not digest.names(body):
            self.distrust(digest)
            return None
        return body

    async def _told(self, repository: Repository, tag: Tag) -> TagRecord | None:
        """Return what upstream has just said of a tag; None if nobody says so in time."""
        since = self._clock.now() - _JUST_NOW
        for _ in range(_TOLD_TRIES):
            record = await self._metadata.tag(repository, tag)
            if record is not None and record.checked_at >= since:
                return record
            await self._clock.sleep(_TOLD_PAUSE)
        return None

    async def head_blob(self, repository: Repository, digest: Digest) -> int | None:
        """Confirm that the repository holds a blob."""
        return await self._upstream.head_blob(repository, digest)

    @asynccontextmanager
    async def get_blob(
        self, repository: Repository, digest: Digest, start: int = 0, stop: int | None = None
    ) -> AsyncIterator[BlobStream]:
        """Begin to fetch a blob's bytes, from wherever they are nearest."""
        if not await self._is_linked(repository, digest):
            # Other replicas give what they have; whether it may be given here, upstream says.
            await self._upstream.head_blob(repository, digest)
        async with AsyncExitStack() as stack:
            stream = await self._nearest.stream(stack, Part(digest, start, stop))
            if stream is None:
                stream = await stack.enter_async_context(
                    self._upstream.get_blob(repository, digest, start, stop)
                )
            yield stream

    def distrust(self, digest: Digest) -> None:
        """Shun the replicas that gave the blob, and nobody else's: they may be right for others."""
        self._nearest.distrust(digest)

    async def list_tags(self, repository: Repository, query: Query) -> Listing:
        """Fetch a page of tags."""
        return await self._upstream.list_tags(repository, query)

    async def list_referrers(
        self, repository: Repository, digest: Digest, query: Query
    ) -> Listing | None:
        """Fetch a page of referrers."""
        return await self._upstream.list_referrers(repository, digest, query)

    async def _is_linked(self, repository: Repository, digest: Digest) -> bool:
        return await self._metadata.link(repository, digest) is not None


async def _read_small(stream: BlobStream) -> bytes | None:
    """Read a blob whole; None if it is larger than a manifest may be, or broke off."""
    body = bytearray()
    try:
        async for chunk in stream.chunks():
            body += chunk
            if len(body) > SIZE_LIMIT:
                return None
    except UpstreamError:
        return None
    return bytes(body)
