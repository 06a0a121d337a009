"""An upstream that is had from several places: mirrors, tried in order, and the registry itself."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import TypeVar

from cacheproxy.cluster_ports import Notable
from cacheproxy.domain import manifest as manifests
from cacheproxy.domain.digest import Digest
from cacheproxy.domain.errors import (
    ContentInvalid,
    Denied,
    DigestMismatch,
    NotFound,
    UpstreamError,
)
from cacheproxy.domain.operation import Query
from cacheproxy.domain.rate_limit import Spend
from cacheproxy.domain.records import Listing
from cacheproxy.domain.reference import Reference, Repository
from cacheproxy.inprocess.recent import Recent
from cacheproxy.ports import BlobStream, ManifestBody, ManifestHead, Upstream
from cacheproxy.upstream.client import RegistryClient

T = TypeVar("T")

# What a mirror answers that another place may answer better.
_ELSEWHERE = (NotFound, Denied, UpstreamError, ContentInvalid)
# A blob that a mirror has sent and that is asked for again was cut, or wrong: for so long it is
# had from the next place. If it was only evicted meanwhile, that costs nothing but the detour.
_SHUN_SECONDS = 300.0
_SHUNNED = 10_000


class Endpoints:
    """Mirrors, then the registry itself, whose word is the last (`Upstream`)."""

    def __init__(self, mirrors: Sequence[RegistryClient], registry: RegistryClient) -> None:
        self._mirrors = tuple(mirrors)
        self._registry = registry
        self._shunned: Recent[bool] = Recent(_SHUNNED)

    async def close(self) -> None:
        """Close all connections."""
        for place in (*self._mirrors, self._registry):
            await place.close()
        await self._shunned.close()

    @property
    def notables(self) -> dict[str, Notable]:
        """Notes on all endpoints for other replicas, by name."""
        places = (*self._mirrors, self._registry)
        return {name: health for place in places for name, health in place.notables.items()}

    @property
    def is_silent(self) -> bool:
        """Whether the registry is silent, and no mirror is there to answer in its place."""
        return self._registry.is_silent and all(mirror.is_down for mirror in self._mirrors)

    @property
    def may_refresh(self) -> bool:
        """Whether any of them grants a pull for what is here in an older state."""
        return any(place.may_refresh for place in (*self._mirrors, self._registry))

    async def head_manifest(
        self, repository: Repository, reference: Reference
    ) -> ManifestHead | None:
        """Ask what a reference names."""
        return await self._first(lambda place: place.head_manifest(repository, reference))

    async def get_manifest(
        self, repository: Repository, reference: Reference, spend: Spend = "fetch"
    ) -> ManifestBody:
        """Fetch a manifest whole; what is none, or another one, is passed over."""
        asked = reference if isinstance(reference, Digest) else None

        async def get(place: Upstream) -> ManifestBody:
            sent = await place.get_manifest(repository, reference, spend)
            if asked is not None and not asked.names(sent.body):
                raise DigestMismatch(f"upstream sent a manifest that is not {asked}")
            if place is not self._registry:
                manifests.parse(sent.body, sent.content_type, asked)
            return sent

        return await self._first(get)

    async def head_blob(self, repository: Repository, digest: Digest) -> int | None:
        """Confirm that the repository holds a blob."""
        return await self._first(lambda place: place.head_blob(repository, digest))

    @asynccontextmanager
    async def get_blob(
        self, repository: Repository, digest: Digest, start: int = 0, stop: int | None = None
    ) -> AsyncIterator[BlobStream]:
        """Begin to fetch a blob's bytes, from the first place that begins to send them."""

        async def begin(place: Upstream) -> BlobStream:
            return await stack.enter_async_context(place.get_blob(repository, digest, start, stop))

        async with AsyncExitStack() as stack:
            for number, mirror in enumerate(self._mirrors):
                key = f"{number} {digest}"
                if await self._shunned.get(key):
                    continue
                with suppress(*_ELSEWHERE):
                    stream = await begin(mirror)
                    break
            else:
                yield await begin(self._registry)
                return
            try:
                yield stream
            except _ELSEWHERE:
                await self._shunned.set(key, True, _SHUN_SECONDS)
                raise
            if stop in (None, stream.size):
                await self._shunned.set(key, True, _SHUN_SECONDS)

    def distrust(self, digest: Digest) -> None:
        """Do nothing: a mirror that gave a blob is avoided for a while in any case."""

    async def list_tags(self, repository: Repository, query: Query) -> Listing:
        """Fetch a page of tags."""
        return await self._first(lambda place: place.list_tags(repository, query))

    async def list_referrers(
        self, repository: Repository, digest: Digest, query: Query
    ) -> Listing | None:
        """Fetch a page of referrers: the registry's own, since mirrors often lack them."""
        return await self._registry.list_referrers(repository, digest, query)

    async def _first(self, ask: Callable[[Upstream], Awaitable[T]]) -> T:
        """The first answer that is one; a failure of the registry itself is the outcome."""
        for mirror in self._mirrors:
            try:
                return await ask(mirror)
            except _ELSEWHERE:
                continue
        return await ask(self._registry)
