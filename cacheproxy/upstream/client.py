"""A registry, asked by the OCI distribution spec (`Upstream`)."""

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from functools import partial
from typing import Literal

import aiohttp

from cacheproxy.cluster_ports import Notable
from cacheproxy.domain import list_pages, media_types
from cacheproxy.domain.digest import Digest
from cacheproxy.domain.errors import (
    BlobUnknown,
    CacheproxyError,
    Denied,
    DigestInvalid,
    ManifestInvalid,
    ManifestUnknown,
    NotFound,
    RepositoryUnknown,
    UpstreamRefused,
    UpstreamUnavailable,
)
from cacheproxy.domain.manifest import SIZE_LIMIT
from cacheproxy.domain.operation import Query
from cacheproxy.domain.rate_limit import Spend
from cacheproxy.domain.records import Listing
from cacheproxy.domain.reference import Reference, Repository
from cacheproxy.domain.web_links import next_query
from cacheproxy.ports import Clock, ManifestBody, ManifestHead
from cacheproxy.upstream.answers import (
    MayBeLacking,
    RefusedElsewhere,
    content_range,
    read_at_most,
    translated,
)
from cacheproxy.upstream.head_support import HeadSupport
from cacheproxy.upstream.transport import Ask, Transport

_ACCEPT = {"Accept": media_types.ACCEPT}
_ONE_BYTE = {**_ACCEPT, "Range": "bytes=0-0"}
# The requests that confirm a blob, and the refusals after which the next one is sent. Some
# registries refuse every HEAD of a blob (ECR Public answers 401), and some redirect it to a URL
# that is signed for GET; an empty blob has no first byte, and some storage has no ranges.
_CONFIRMATIONS: tuple[tuple[str, Mapping[str, str], tuple[type[CacheproxyError], ...]], ...] = (
    ("HEAD", _ACCEPT, (NotFound, Denied, UpstreamRefused, RefusedElsewhere)),
    ("GET", _ONE_BYTE, (UpstreamRefused, RefusedElsewhere)),
    ("GET", _ACCEPT, ()),
)


class RegistryClient:
    """One upstream registry."""

    def __init__(self, transport: Transport, clock: Clock) -> None:
        self._transport = transport
        self._clock = clock
        self._root = transport.config.url / "v2"
        self._heads = HeadSupport(clock)

    async def close(self) -> None:
        """Close all connections."""
        await self._transport.close()

    @property
    def notables(self) -> dict[str, Notable]:
        """Notes for other replicas, by name."""
        return self._transport.notables

    @property
    def is_silent(self) -> bool:
        """Whether it lets all who ask it wait in vain."""
        return self._transport.is_silent

    @property
    def is_down(self) -> bool:
        """Whether it is silent, or given a rest."""
        return self._transport.is_down

    @property
    def may_refresh(self) -> bool:
        """Whether it grants a pull for what is here in an older state."""
        return self._transport.quotas.grants("refresh")

    async def head_manifest(
        self, repository: Repository, reference: Reference
    ) -> ManifestHead | None:
        """Ask what a reference names; return None if this upstream answers no HEAD."""
        if self._heads.is_missing:
            return None
        ask = self._ask("HEAD", repository, f"manifests/{reference}", ManifestUnknown)
        try:
            async with self._transport.send(replace(ask, lane="head")) as response:
                media_type = media_types.essence(response.headers.get("Content-Type"))
                digest = _digest(response.headers.get("Docker-Content-Digest"))
                if media_type in media_types.SCHEMAS_1:
                    digest = None  # it is not that of the bytes
                # No manifest is empty.
                return ManifestHead(digest, _stated_length(response) or None, media_type)
        except ManifestUnknown:
            self._heads.on_refusal(f"{repository} {reference}")
            raise
        except (Denied, UpstreamRefused, RefusedElsewhere):
            self._heads.on_refusal(f"{repository} {reference}")
            return None

    async def get_manifest(
        self, repository: Repository, reference: Reference, spend: Spend = "fetch"
    ) -> ManifestBody:
        """Fetch a manifest whole; never more than one may have."""
        ask = self._ask("GET", repository, f"manifests/{reference}", ManifestUnknown)
        async with self._transport.send(replace(ask, spend=spend)) as response:
            if (response.content_length or 0) > SIZE_LIMIT:
                raise ManifestInvalid(f"the manifest is larger than {SIZE_LIMIT} bytes")
            try:
                body = await read_at_most(response, SIZE_LIMIT)
            except UpstreamUnavailable as error:
                raise ManifestInvalid(f"the manifest is larger than {SIZE_LIMIT} bytes") from error
            self._heads.on_success(f"{repository} {reference}")
            self._transport.received(len(body), repository.name)
            self._transport.pulled(repository.name)
            return ManifestBody(body, response.headers.get("Content-Type"))

    async def head_blob(self, repository: Repository, digest: Digest) -> int | None:
        """Confirm that the repository holds a blob; return its size if upstream states it.

        The last request is for the whole blob, and is aborted after the response's head.
        """
        for method, headers, refusals in _CONFIRMATIONS:
            ask = self._ask(method, repository, f"blobs/{digest}", BlobUnknown)
            lane = "head" if method == "HEAD" else "blob"
            with suppress(*refusals):
                async with self._transport.send(
                    replace(ask, headers=headers, lane=lane)
                ) as response:
                    size = _extent(response, 0)[1]
                    return size if size or digest.names(b"") else None
        raise AssertionError("the last request has an outcome")

    @asynccontextmanager
    async def get_blob(
        self, repository: Repository, digest: Digest, start: int = 0, stop: int | None = None
    ) -> AsyncIterator["ResponseStream"]:
        """Begin to fetch a blob's bytes.

        The range is closed where the end is known: one kind of registry refuses open ones.
        """
        last = "" if stop is None else str(stop - 1)
        headers = {**_ACCEPT, "Range": f"bytes={start}-{last}"} if start else _ACCEPT
        ask = self._ask("GET", repository, f"blobs/{digest}", BlobUnknown)
        async with self._transport.send(
            replace(ask, headers=headers, bulk=True, lane="blob")
        ) as response:
            yield ResponseStream(response, self._transport, repository, start)

    def distrust(self, digest: Digest) -> None:
        """Do nothing: a registry is the only source of its blobs."""

    async def list_tags(self, repository: Repository, query: Query) -> Listing:
        """Fetch a page of tags."""
        ask = self._ask("GET", repository, "tags/list", RepositoryUnknown, query)
        return await self._page(ask, "application/json", list_pages.is_tag_page)

    async def list_referrers(
        self, repository: Repository, digest: Digest, query: Query
    ) -> Listing | None:
        """Fetch a page of referrers; None where upstream's answer says that it lacks the API.

        Raises:
            UpstreamRefused: upstream lacks the API, or has failed.
        """
        ask = self._ask("GET", repository, f"referrers/{digest}", ManifestUnknown, query)
        is_page = partial(list_pages.is_referrers_page, subject=digest)
        try:
            return await self._page(replace(ask, is_optional=True), media_types.OCI_INDEX, is_page)
        except MayBeLacking:
            raise
        except (ManifestUnknown, UpstreamRefused):
            return None

    async def _page(
        self, ask: Ask, media_type: str, is_page: Callable[[bytes, str | None], bool]
    ) -> Listing:
        """Fetch a page of a list.

        Raises:
            UpstreamRefused: the answer is no such page, or too large for one.
        """
        async with self._transport.send(ask) as response:
            try:
                body = await read_at_most(response, list_pages.SIZE_LIMIT)
            except UpstreamUnavailable as error:
                raise UpstreamRefused(f"upstream's answer to {ask} is too large") from error
            self._transport.received(len(body), ask.repository)
            if not is_page(body, response.headers.get("Content-Type")):
                raise UpstreamRefused(f"upstream's answer to {ask} is no page of a list")
            links = response.headers.getall("Link", [])
            following = next_query(links, str(response.url), ask.url.path)
            filters = response.headers.get("OCI-Filters-Applied")
        return Listing(body, media_type, following, filters, self._clock.now())

    def _ask(
        self,
        method: str,
        repository: Repository,
        path: str,
        missing: type[NotFound],
        query: Query = (),
    ) -> Ask:
        url = self._root.joinpath(repository.name, path).with_query(query)
        # The full list for every request: blobs and pages do not mind, and what a registry
        # answers to less is not what it holds.
        scope = f"repository:{repository.name}:pull"
        return Ask(method, url, scope, missing, _ACCEPT, repository=repository.name)


class ResponseStream:
    """A blob coming in (`BlobStream`)."""

    source: Literal["fill"] = "fill"

    def __init__(
        self,
        response: aiohttp.ClientResponse,
        transport: Transport,
        repository: Repository,
        asked: int,
    ) -> None:
        self._response = response
        self._transport = transport
        self._repository = repository.name
        self.start, self.size = _extent(response, asked)

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        """The bytes as they come, as large as they have gathered.

        Those that came before a failure are not lost by it: they need not be fetched again.
        """
        content = self._response.content
        with translated(self._transport.config.registry):
            try:
                async for chunk in content.iter_any():
                    self._transport.received(len(chunk), self._repository)
                    yield chunk
                    await self._transport.bandwidth.wait()
            except (aiohttp.ClientError, OSError, TimeoutError):
                # What aiohttp has read and not handed out; its public ways raise by now.
                rest = content._read_nowait(-1)  # noqa: SLF001  # no public way after a failure
                if rest:
                    self._transport.received(len(rest), self._repository)
                    yield rest
                raise


def _extent(response: aiohttp.ClientResponse, asked: int) -> tuple[int, int | None]:
    """Where the bytes begin, and how many the whole blob has."""
    if response.status != 206:
        return 0, _stated_length(response)
    parsed = content_range(response.headers.get("Content-Range"))
    if parsed is None or parsed[0] != asked:
        raise UpstreamRefused("upstream answered another range than it was asked for")
    return asked, parsed[2]


def _is_encoded(response: aiohttp.ClientResponse) -> bool:
    """Whether the response claims a content coding.

    That is a claim about bytes that a digest may contradict: several registries label gzipped
    layers with the coding that is part of the layer.
    """
    coding = response.headers.get("Content-Encoding", "").strip().lower()
    return coding not in ("", "identity")


def _stated_length(response: aiohttp.ClientResponse) -> int | None:
    """Return the Content-Length; None if it is missing, or that of another representation."""
    is_head = response.method == "HEAD"
    return None if is_head and _is_encoded(response) else response.content_length


def _digest(field: str | None) -> Digest | None:
    try:
        return Digest.parse(field) if field else None
    except DigestInvalid:
        return None
