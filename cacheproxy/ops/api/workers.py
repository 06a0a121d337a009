"""Several workers, asked by their supervisor: over a socket in a directory of its own.

The directory is the supervisor's, and only its user can enter it; so nobody else can ask.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import aiohttp
import msgspec
from aiohttp import web

from cacheproxy.domain.errors import CacheproxyError, RequestError, StorageError
from cacheproxy.domain.traffic import Hours, Totals, Traffic
from cacheproxy.ops.api import asked
from cacheproxy.ops.api.encoding import encode
from cacheproxy.ops.api.model import FillStatus, Live, PushAccepted, WarmRequest
from cacheproxy.ops.api.pulling import Pulling
from cacheproxy.ops.api.upstream_board import merged
from cacheproxy.ops.traffic_log import Counted
from cacheproxy.storage.scrub import Finding

T = TypeVar("T")

# They are on this host: one that takes longer has trouble, and is left out.
_SECONDS = 5.0
_LONGEST_LINE = 4 * 1024 * 1024


class _Rows(msgspec.Struct):
    """`Counted`, as JSON has it."""

    hours: list[tuple[int, str, str, Traffic]]
    overall: list[tuple[str, str, Traffic]]


def make_worker_app(pulling: Pulling, flushed: Callable[[], Awaitable[None]]) -> web.Application:
    """What a worker answers its supervisor.

    Args:
        pulling: the worker.
        flushed: has it write down what it has counted, for another one to read.
    """
    answers = _Answers(pulling, flushed)
    app = web.Application(middlewares=[_told])
    app.router.add_get("/live", answers.live)
    app.router.add_post("/flush", answers.flush)
    app.router.add_get("/counted", answers.counted)
    app.router.add_post("/warm", answers.warm)
    app.router.add_post("/pushed", answers.pushed)
    app.router.add_post("/damaged", answers.damaged)
    return app


@dataclass(frozen=True, slots=True)
class _Answers:
    """A worker's, each as `Pulling` has it."""

    pulling: Pulling
    flushed: Callable[[], Awaitable[None]]

    async def live(self, _: web.Request) -> web.Response:
        return _json(await self.pulling.live())

    async def flush(self, _: web.Request) -> web.Response:
        await self.flushed()
        return web.Response()

    async def counted(self, request: web.Request) -> web.Response:
        found = await self.pulling.counted(int(request.query["since"]))
        hours = [(*key, traffic) for key, traffic in found.hours.items()]
        return _json(_Rows(hours, [(*key, one) for key, one in found.overall.items()]))

    async def warm(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        async with aclosing(self.pulling.warm(await asked.body(request, WarmRequest))) as steps:
            async for step in steps:
                if not response.prepared:
                    await response.prepare(request)
                await response.write(step + b"\n")
        return response

    async def pushed(self, request: web.Request) -> web.Response:
        body = await asked.raw_body(request)
        return _json(await self.pulling.pushed(body, request.query.get("upstream")))

    async def damaged(self, request: web.Request) -> web.Response:
        await self.pulling.damaged(await asked.body(request, Finding))
        return web.Response()


@web.middleware
async def _told(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Errors as the supervisor raises them again."""
    try:
        return await handler(request)
    except RequestError as error:
        return web.Response(status=400, text=str(error))
    except CacheproxyError as error:
        return web.Response(status=503, text=str(error))


class Workers:
    """All workers of a supervisor (`Pulling`)."""

    def __init__(self, sockets: Sequence[Path]) -> None:
        """Know where they listen; those that do not, now, are left out."""
        self._workers = [_Worker(path) for path in sockets]

    async def live(self) -> Live:
        """What all of them are about."""
        seen = await self._all(lambda worker: worker.live())
        replicas = {replica for live in seen for replica in live.replicas}
        return Live(
            fills=_fills(seen),
            upstreams=merged([live.upstreams for live in seen]),
            replicas=sorted(replicas, key=lambda replica: replica.address),
            store_problem=next((live.store_problem for live in seen if live.store_problem), None),
        )

    async def counted(self, since: int) -> Counted:
        """The traffic: each writes down what it has counted, and one reads it all."""
        await self._all(lambda worker: worker.flush())
        return await self._first(lambda worker: worker.counted(since))

    async def warm(self, asked_for: WarmRequest) -> AsyncGenerator[bytes, None]:
        """Have images here: one of them does it, and all follow its downloads."""
        worker = await self._first(lambda worker: worker.here())
        async with aclosing(worker.warm(asked_for)) as steps:
            async for step in steps:
                yield step

    async def pushed(self, body: bytes, upstream: str | None) -> PushAccepted:
        """Have images here that were pushed, soon."""
        return await self._first(lambda worker: worker.pushed(body, upstream))

    async def damaged(self, found: Finding) -> None:
        """Take note of what a scrub has found: one of them, since what they count is added up."""
        await self._first(lambda worker: worker.damaged(found))

    async def close(self) -> None:
        """Close all connections."""
        for worker in self._workers:
            await worker.close()

    async def _all(self, ask: Callable[["_Worker"], Awaitable[T]]) -> list[T]:
        answers = await asyncio.gather(*map(ask, self._workers), return_exceptions=True)
        return [answer for answer in answers if not isinstance(answer, BaseException)]

    async def _first(self, ask: Callable[["_Worker"], Awaitable[T]]) -> T:
        """What the first one says that is there.

        Raises:
            RequestError: it was asked wrongly.
            StorageError: none is there.
        """
        for worker in self._workers:
            with suppress(aiohttp.ClientError, OSError, TimeoutError):
                return await ask(worker)
        raise StorageError("no worker answers now; try again")


def _fills(seen: list[Live]) -> list[FillStatus]:
    """Each download once: only who leads it tells of it."""
    fills = {fill.digest: fill for live in seen for fill in live.fills}
    return sorted(fills.values(), key=lambda fill: -fill.seconds)


@dataclass(slots=True)
class _Worker:
    """One worker, at its socket."""

    path: Path
    _session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    async def here(self) -> "_Worker":
        await self.live()
        return self

    async def live(self) -> Live:
        return msgspec.json.decode(await self._got("GET", "/live"), type=Live)

    async def flush(self) -> None:
        await self._got("POST", "/flush")

    async def counted(self, since: int) -> Counted:
        rows = msgspec.json.decode(await self._got("GET", f"/counted?since={since}"), type=_Rows)
        hours: Hours = {(hour, registry, name): one for hour, registry, name, one in rows.hours}
        overall: Totals = {(registry, name): one for registry, name, one in rows.overall}
        return Counted(hours, overall)

    async def pushed(self, body: bytes, upstream: str | None) -> PushAccepted:
        query = {} if upstream is None else {"upstream": upstream}
        answer = await self._got("POST", "/pushed", params=query, data=body)
        return msgspec.json.decode(answer, type=PushAccepted)

    async def damaged(self, found: Finding) -> None:
        await self._got("POST", "/damaged", data=encode(found))

    async def warm(self, asked_for: WarmRequest) -> AsyncGenerator[bytes, None]:
        body = encode(asked_for)
        try:
            async with self._made().post("http://worker/warm", data=body) as response:
                await _raised(response)
                while line := await response.content.readuntil(b"\n"):
                    yield line.rstrip(b"\n")
        except (aiohttp.ClientError, OSError) as error:
            raise StorageError("the worker that did it has gone; ask again") from error

    async def _got(self, method: str, path: str, **more: object) -> bytes:
        timeout = aiohttp.ClientTimeout(total=_SECONDS)
        url = f"http://worker{path}"
        async with self._made().request(method, url, timeout=timeout, **more) as response:  # type: ignore[arg-type]  # of aiohttp's
            await _raised(response)
            return await response.read()

    def _made(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.UnixConnector(str(self.path)),
                timeout=aiohttp.ClientTimeout(total=None),
                read_bufsize=_LONGEST_LINE,
            )
        return self._session


async def _raised(response: aiohttp.ClientResponse) -> None:
    match response.status:
        case 200:
            return
        case 400:
            raise RequestError(await response.text())
        case _:
            raise StorageError(await response.text() or "a worker failed")


def _json(value: object) -> web.Response:
    return web.Response(body=encode(value), content_type="application/json")
