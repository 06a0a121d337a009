"""The pull API over HTTP: parse once, ask the core, send, and say what happened."""

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass, replace
from typing import Any, TypeVar, assert_never

from aiohttp import hdrs, web

from cacheproxy.domain.byte_range import RequestedRange
from cacheproxy.domain.cache_status import HIT, CacheStatus
from cacheproxy.domain.digest import Digest
from cacheproxy.domain.errors import CacheproxyError, MethodUnsupported, UpstreamTimeout
from cacheproxy.domain.events import Unexpected
from cacheproxy.domain.operation import (
    ListReferrers,
    ListTags,
    Operation,
    Ping,
    PullBlob,
    PullManifest,
)
from cacheproxy.domain.routing import Routes
from cacheproxy.domain.target import Target
from cacheproxy.edge import responses
from cacheproxy.edge.body import BodyWriter, Patient
from cacheproxy.edge.conditions import matches, wanted_range
from cacheproxy.edge.errors import rule_of
from cacheproxy.edge.exchange import Exchange
from cacheproxy.edge.targets import Targets
from cacheproxy.inprocess.deadline import within
from cacheproxy.ports import Clock, Observer
from cacheproxy.pullthrough.answers import BlobAnswer
from cacheproxy.pullthrough.pull_through import PullThrough

T = TypeVar("T")

_NAME = "cacheproxy"


@dataclass(frozen=True, slots=True)
class EdgeConfig:
    """What the edge needs to know.

    Attributes:
        response_timeout: seconds after which a request without an answer gets a 504.
        silence_timeout: seconds after which a client that waits for the next byte is cut.
    """

    response_timeout: float = 25.0
    silence_timeout: float = 120.0


class Api:
    """Answers the requests of clients."""

    def __init__(
        self,
        core: PullThrough,
        routes: Routes,
        *,
        observer: Observer,
        clock: Clock,
        config: EdgeConfig,
    ) -> None:
        self._core = core
        self._targets = Targets(routes)
        self._observer = observer
        self._clock = clock
        self._config = config

    def route(self, routes: Routes) -> None:
        """Go by other routes."""
        self._targets = Targets(routes)

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request. Whatever happens, one `Responded` says so."""
        exchange = Exchange.of(request, self._clock)
        try:
            return await self._answered(request, exchange)
        except asyncio.CancelledError:
            exchange.client_left()
            raise
        except ConnectionError:
            exchange.client_left()
            # Not raised: aiohttp would log it as our failure.
            return exchange.response or web.Response()
        finally:
            self._observer.observe(exchange.ended())

    def refuse(self, request: web.BaseRequest, status: int) -> web.Response:
        """Answer what could not be read as a request; whoever calls sends it."""
        exchange = Exchange.of(request, self._clock)
        exchange.error = "the request could not be read"
        response = responses.unreadable(status)
        self._sign(request, exchange, response)
        exchange.head_is_out(response)
        self._observer.observe(exchange.ended())
        return response

    async def _answered(self, request: web.BaseRequest, exchange: Exchange) -> web.StreamResponse:
        try:
            return await self._understood(request, exchange)
        except CacheproxyError as error:
            exchange.error = str(error)
            exchange.status = CacheStatus("error", detail=rule_of(error).code)
            return await self._failed(request, exchange, responses.failure(error))
        except ConnectionError:
            raise
        except Exception as error:  # noqa: BLE001  # the rim: a mistake of ours is a 500
            exchange.error = f"{type(error).__name__}: {error}"
            self._observer.observe(Unexpected(error))
            return await self._failed(request, exchange, responses.unexpected())

    async def _understood(self, request: web.BaseRequest, exchange: Exchange) -> web.StreamResponse:
        # By an allow-list and before anything else: no way of naming a thing (by tag, by an
        # upload's URL) may lead around it (CVE-2026-41888).
        if request.method not in (hdrs.METH_GET, hdrs.METH_HEAD):
            raise MethodUnsupported(f"{request.method} is not supported: this is a pull cache")
        target, operation = self._targets.read(request.raw_path)
        exchange.understood(operation)
        return await self._operate(request, exchange, target, operation)

    async def _operate(
        self, request: web.BaseRequest, exchange: Exchange, target: Target, operation: Operation
    ) -> web.StreamResponse:
        match operation:
            case Ping():
                exchange.answered(HIT, "none")
                return await self._sent(request, exchange, responses.ping())
            case PullManifest():
                return await self._manifest(request, exchange, operation)
            case PullBlob():
                return await self._blob(request, exchange, operation)
            case ListTags():
                page = await self._in_time(self._core.tags(operation))
            case ListReferrers():
                page = await self._in_time(self._core.referrers(operation))
            case _:
                assert_never(operation)
        exchange.answered(page.status, page.source)
        path = request.raw_path.partition("?")[0]
        return await self._sent(request, exchange, responses.listing(page, path, target.ns))

    async def _manifest(
        self, request: web.BaseRequest, exchange: Exchange, asked: PullManifest
    ) -> web.StreamResponse:
        head = request.method == hdrs.METH_HEAD
        by_digest = isinstance(asked.reference, Digest)
        answer = await self._in_time(self._core.manifest(asked, head=head))
        exchange.answered(answer.status, answer.source)
        if matches(request.headers.get(hdrs.IF_NONE_MATCH), answer.digest):
            response: web.StreamResponse = responses.not_modified(
                answer.digest, by_digest=by_digest
            )
        else:
            response = responses.manifest(answer, by_digest=by_digest, head=head)
            if answer.body is not None and not head:
                exchange.sends(answer.digest, answer.size)
        return await self._sent(request, exchange, response)

    async def _blob(
        self, request: web.BaseRequest, exchange: Exchange, asked: PullBlob
    ) -> web.StreamResponse:
        unmodified = matches(request.headers.get(hdrs.IF_NONE_MATCH), asked.digest)
        head = request.method == hdrs.METH_HEAD
        asked = replace(asked, range=None if head else _wanted(request, asked.digest))
        answer = await self._in_time(self._core.blob(asked, head=head or unmodified))
        try:
            exchange.answered(answer.status, answer.source)
            if unmodified:
                response = responses.not_modified(asked.digest, by_digest=True)
                return await self._sent(request, exchange, response)
            if answer.content is None or head:
                return await self._sent(request, exchange, responses.blob(answer, None, head=True))
            return await self._blob_body(request, exchange, answer)
        finally:
            if answer.content is not None:
                answer.content.close()

    async def _blob_body(
        self, request: web.BaseRequest, exchange: Exchange, answer: BlobAnswer
    ) -> web.StreamResponse:
        part = answer.part
        response = responses.blob(answer, part, head=False)
        if answer.size is None and request.version >= (1, 1):
            response.enable_chunked_encoding()
        await self._head(request, exchange, response)
        exchange.sends(answer.digest, answer.size)
        start, stop = (part.start, part.stop) if part else (0, answer.size)
        content = answer.content
        if content is not None:
            patient = Patient(content, self._config.silence_timeout)
            writer = BodyWriter(response, request.transport, patient)
            try:
                await writer.write(start, stop)
            finally:
                exchange.body_bytes = writer.written
        await response.write_eof()
        if answer.size is None:
            exchange.sends(answer.digest, exchange.body_bytes)  # now it is known
        return response

    async def _in_time(self, answer: Coroutine[Any, Any, T]) -> T:
        """The core's answer, unless it is late. What it waits for goes on, for the next one."""
        seconds = self._config.response_timeout
        try:
            return await within(seconds, answer)
        except TimeoutError as error:
            raise UpstreamTimeout(f"there was no answer within {seconds:g} seconds") from error

    async def _sent(
        self, request: web.BaseRequest, exchange: Exchange, response: web.StreamResponse
    ) -> web.StreamResponse:
        """Send a response that is whole already."""
        await self._head(request, exchange, response)
        await response.write_eof()
        body = response.body if isinstance(response, web.Response) else None
        if isinstance(body, bytes) and request.method != hdrs.METH_HEAD:
            exchange.body_bytes = len(body)
        return response

    async def _head(
        self, request: web.BaseRequest, exchange: Exchange, response: web.StreamResponse
    ) -> None:
        self._sign(request, exchange, response)
        await response.prepare(request)
        exchange.head_is_out(response)

    @staticmethod
    def _sign(request: web.BaseRequest, exchange: Exchange, response: web.StreamResponse) -> None:
        """The header fields that each response has."""
        response.headers["Cache-Status"] = exchange.status.field(_NAME)
        response.headers["Docker-Distribution-API-Version"] = "registry/2.0"
        response.headers[hdrs.SERVER] = _NAME
        ns = request.query.get("ns")
        if ns is not None and exchange.asked is not None and exchange.asked.registry:
            response.headers["OCI-Namespace"] = ns

    async def _failed(
        self, request: web.BaseRequest, exchange: Exchange, response: web.Response
    ) -> web.StreamResponse:
        """Say that it failed; once a head is out, the only honest way is to cut.

        A body that ends cleanly, or an error within it, would pass for the blob.
        """
        if exchange.response is None:
            return await self._sent(request, exchange, response)
        if request.transport is not None:
            request.transport.abort()
        return exchange.response


def _wanted(request: web.BaseRequest, digest: Digest) -> RequestedRange | None:
    headers = request.headers
    return wanted_range(headers.get(hdrs.RANGE), headers.get(hdrs.IF_RANGE), digest)
