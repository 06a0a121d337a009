"""`/api/v1`: what operators read, and what they may do."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, cast

from aiohttp import hdrs, web

from cacheproxy.domain.errors import CacheproxyError, NotFound, RequestError
from cacheproxy.domain.savings import Order, Period
from cacheproxy.ops.api import asked
from cacheproxy.ops.api.access import Access
from cacheproxy.ops.api.contents import Contents, LongWork
from cacheproxy.ops.api.counts import Counts
from cacheproxy.ops.api.encoding import encode
from cacheproxy.ops.api.model import (
    Eviction,
    Failure,
    Problem,
    PurgeRequest,
    Status,
    WarmRequest,
)
from cacheproxy.ops.api.openapi import document
from cacheproxy.ops.api.pulling import Pulling
from cacheproxy.ops.api.work import PlanProgress, PlanRequest, ScrubRequest, Step, last_line, line
from cacheproxy.ports import Clock

PREFIX = "/api/v1"
_MOST_REPOSITORIES = 500
_MOST_CANDIDATES = 200
_NDJSON = "application/x-ndjson"

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class Server:
    """What there is to say of the server itself.

    Attributes:
        version: of cacheproxy.
        started_at: when it began, in seconds since the epoch.
        workers: processes that serve pulls.
    """

    version: str
    started_at: float
    workers: int


@dataclass(frozen=True, slots=True)
class Directory:
    """The cache directory.

    Attributes:
        contents: what is quickly read or changed.
        work: what takes a while.
    """

    contents: Contents
    work: LongWork


class AdminApi:
    """Answers operators."""

    def __init__(
        self, server: Server, pulling: Pulling, directory: Directory, counts: Counts, clock: Clock
    ) -> None:
        self._server = server
        self._pulling = pulling
        self._contents = directory.contents
        self._work = directory.work
        self._clock = clock
        self.counts = counts

    def add_to(self, app: web.Application, access: Access) -> None:
        """Answer the requests of an application."""
        guard = _Guard(access, self._clock)
        app.router.add_get(f"{PREFIX}/openapi.json", self._openapi)
        for path, read in (
            ("status", self._status),
            ("savings", self._savings),
            ("repositories", self._repositories),
            ("eviction", self._eviction),
            ("explain", self._explain),
            ("plan", self._plan),
        ):
            app.router.add_get(f"{PREFIX}/{path}", guard.operators(read))
        app.router.add_post(f"{PREFIX}/purge", guard.operators(self._purge))
        app.router.add_post(f"{PREFIX}/scrub", guard.operators(self._scrub))
        app.router.add_post(f"{PREFIX}/warm", guard.operators(self._warm))
        app.router.add_post(f"{PREFIX}/hooks/push", guard.webhooks(self._pushed))
        app.router.add_route("*", PREFIX + "{tail:(/.*)?}", guard.operators(_nothing))

    async def status(self) -> Status:
        """What goes on now.

        Raises:
            CacheproxyError: the cache directory cannot be read.
        """
        store = await asyncio.to_thread(self._contents.store)
        live = await self._pulling.live()
        return Status(
            version=self._server.version,
            now=self._clock.now(),
            started_at=self._server.started_at,
            workers=self._server.workers,
            store=store,
            fills=live.fills,
            upstreams=live.upstreams,
            replicas=live.replicas,
        )

    async def eviction(self, limit: int) -> Eviction:
        """What would go next.

        Raises:
            CacheproxyError: the cache directory cannot be read.
        """
        return await asyncio.to_thread(self._contents.eviction, limit)

    async def _openapi(self, _: web.Request) -> web.Response:
        return _json(document(self._server.version))

    async def _status(self, _: web.Request) -> web.Response:
        return _json(await self.status())

    async def _savings(self, request: web.Request) -> web.Response:
        period = cast("Period", asked.word(request, "period", Period, "today"))
        return _json(await self.counts.savings(period))

    async def _repositories(self, request: web.Request) -> web.Response:
        period = cast("Period", asked.word(request, "period", Period, "today"))
        order = cast("Order", asked.word(request, "order", Order, "saved"))
        limit = asked.number(request, "limit", 20, _MOST_REPOSITORIES)
        return _json(await self.counts.repositories(period, order, limit))

    async def _eviction(self, request: web.Request) -> web.Response:
        return _json(await self.eviction(asked.number(request, "limit", 20, _MOST_CANDIDATES)))

    async def _explain(self, request: web.Request) -> web.Response:
        image = asked.text(request, "image")
        return _json(await asyncio.to_thread(self._contents.explain, image))

    async def _plan(self, request: web.Request) -> web.StreamResponse:
        query = request.query
        sizes, policies = query.getall("max_size", []), query.getall("policy", [])
        work = self._work.do(PlanRequest(sizes, policies, query.get("since")))
        if request.headers.get(hdrs.ACCEPT) == _NDJSON:
            return await _streamed(request, _lines(work))
        async with aclosing(work) as steps:
            (made,) = [step async for step in steps if not isinstance(step, PlanProgress)]
        return _json(made)

    async def _purge(self, request: web.Request) -> web.Response:
        wanted = await asked.body(request, PurgeRequest)
        return _json(await asyncio.to_thread(self._contents.purge, wanted))

    async def _scrub(self, request: web.Request) -> web.StreamResponse:
        wanted = await asked.body(request, ScrubRequest)
        return await _streamed(request, _lines(self._work.do(wanted)))

    async def _warm(self, request: web.Request) -> web.StreamResponse:
        wanted = await asked.body(request, WarmRequest)
        return await _streamed(request, self._pulling.warm(wanted))

    async def _pushed(self, request: web.Request) -> web.Response:
        body = await asked.raw_body(request)
        return _json(await self._pulling.pushed(body, request.query.get("upstream")), status=202)


@dataclass(frozen=True, slots=True)
class _Guard:
    """Lets through who may, and turns errors into answers: the one place that does."""

    access: Access
    clock: Clock

    def operators(self, handler: Handler) -> Handler:
        """For those who have the token, or have signed in."""
        return self._guarded(handler, lambda request: self.access.allows(request, self.clock.now()))

    def webhooks(self, handler: Handler) -> Handler:
        """For those who may tell of pushes."""
        return self._guarded(handler, self.access.allows_webhook)

    def _guarded(self, handler: Handler, allows: Callable[[web.Request], bool]) -> Handler:
        async def guarded(request: web.Request) -> web.StreamResponse:
            if not allows(request):
                message = (
                    "show the token: Authorization: Bearer …; it is admin.token of the "
                    "configuration, or in the file admin.token in cache.directory"
                )
                response = failure(401, "unauthorized", message)
                response.headers[hdrs.WWW_AUTHENTICATE] = 'Bearer realm="cacheproxy"'
                return response
            try:
                return await handler(request)
            except (asked.AskedWronglyError, RequestError) as error:
                return failure(400, "invalid", str(error))
            except NotFound as error:
                return failure(404, "not_found", str(error))
            except CacheproxyError as error:
                return failure(503, "unavailable", str(error))

        return guarded


async def _lines(work: AsyncGenerator[Step, None]) -> AsyncGenerator[bytes, None]:
    async with aclosing(work) as steps:
        async for step in steps:
            yield encode(line(step))


async def _streamed(request: web.Request, lines: AsyncGenerator[bytes, None]) -> web.StreamResponse:
    """An answer of lines of JSON, each as soon as it is there.

    What goes wrong before the first one is an answer of its own; after it, the last line.
    """
    response = web.StreamResponse(headers={hdrs.CONTENT_TYPE: _NDJSON})
    try:
        async with aclosing(lines) as steps:
            async for step in steps:
                if not response.prepared:
                    await response.prepare(request)
                await response.write(step + b"\n")
    except CacheproxyError as error:
        if not response.prepared:
            raise
        failed = Failure(Problem("unavailable", str(error)))
        await response.write(encode(last_line(failed)) + b"\n")
    return response


async def _nothing(request: web.Request) -> web.Response:
    return failure(404, "not_found", f"there is no {request.method} {request.path} here")


def failure(status: int, code: str, message: str) -> web.Response:
    """An answer that is none."""
    return _json(Failure(Problem(code, message)), status=status)


def _json(value: Any, status: int = 200) -> web.Response:  # noqa: ANN401  # any of the model
    return web.Response(body=encode(value), status=status, content_type="application/json")
