"""`/api/v1`: what operators read, and what they may do."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from dataclasses import dataclass

from aiohttp import hdrs, web

from cacheproxy.domain.errors import CacheproxyError
from cacheproxy.ops.api import asked
from cacheproxy.ops.api.contents import Contents, LongWork
from cacheproxy.ops.api.encoding import encode
from cacheproxy.ops.api.guard import PREFIX, Guard, answer, failure
from cacheproxy.ops.api.model import Failure, Problem, PurgeRequest, WarmRequest
from cacheproxy.ops.api.openapi import document
from cacheproxy.ops.api.pulling import Pulling
from cacheproxy.ops.api.reading import Reading
from cacheproxy.ops.api.work import PlanProgress, PlanRequest, ScrubRequest, Step, last_line, line
from cacheproxy.storage.scrub import Finding

_NDJSON = "application/x-ndjson"


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
        self, version: str, reading: Reading, pulling: Pulling, directory: Directory
    ) -> None:
        self._version = version
        self._reading = reading
        self._pulling = pulling
        self._contents = directory.contents
        self._work = directory.work

    def add_to(self, app: web.Application, guard: Guard) -> None:
        """Answer the requests of an application."""
        app.router.add_get(f"{PREFIX}/openapi.json", self._openapi)
        self._reading.add_to(app, guard)
        app.router.add_get(f"{PREFIX}/explain", guard.operators(self._explain))
        app.router.add_get(f"{PREFIX}/plan", guard.operators(self._plan))
        app.router.add_post(f"{PREFIX}/purge", guard.operators(self._purge))
        app.router.add_post(f"{PREFIX}/scrub", guard.operators(self._scrub))
        app.router.add_post(f"{PREFIX}/warm", guard.operators(self._warm))
        app.router.add_post(f"{PREFIX}/hooks/push", guard.webhooks(self._pushed))
        app.router.add_route("*", PREFIX + "{tail:(/.*)?}", guard.operators(_nothing))

    async def _openapi(self, _: web.Request) -> web.Response:
        return answer(document(self._version))

    async def _explain(self, request: web.Request) -> web.Response:
        image = asked.text(request, "image")
        return answer(await asyncio.to_thread(self._contents.explain, image))

    async def _plan(self, request: web.Request) -> web.StreamResponse:
        query = request.query
        sizes, policies = query.getall("max_size", []), query.getall("policy", [])
        work = self._work.do(PlanRequest(sizes, policies, query.get("since")))
        if request.headers.get(hdrs.ACCEPT) == _NDJSON:
            return await _streamed(request, _lines(work))
        async with aclosing(work) as steps:
            (made,) = [step async for step in steps if not isinstance(step, PlanProgress)]
        return answer(made)

    async def _purge(self, request: web.Request) -> web.Response:
        wanted = await asked.body(request, PurgeRequest)
        return answer(await asyncio.to_thread(self._contents.purge, wanted))

    async def _scrub(self, request: web.Request) -> web.StreamResponse:
        wanted = await asked.body(request, ScrubRequest)
        return await _streamed(request, _lines(self._noted(self._work.do(wanted))))

    async def _noted(self, work: AsyncGenerator[Step, None]) -> AsyncGenerator[Step, None]:
        """What is found, told to those who serve as well: they count it, and tell replicas."""
        async with aclosing(work) as steps:
            async for step in steps:
                if isinstance(step, Finding):
                    with suppress(CacheproxyError):  # who asked for it hears of it in any case
                        await self._pulling.damaged(step)
                yield step

    async def _warm(self, request: web.Request) -> web.StreamResponse:
        wanted = await asked.body(request, WarmRequest)
        return await _streamed(request, self._pulling.warm(wanted))

    async def _pushed(self, request: web.Request) -> web.Response:
        body = await asked.raw_body(request)
        return answer(await self._pulling.pushed(body, request.query.get("upstream")), status=202)


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
