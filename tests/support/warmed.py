"""Images that are warmed by a proxy of the tests, and what the admin API says of it."""

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass

from aiohttp import web

from cacheproxy.domain.platforms import Platforms
from cacheproxy.domain.warming import WarmStep, WarmSummary, WarmTerms, line, read_request
from tests.support.hasty import HastyProxy

TOKEN = "the token of the tests"
ALL = WarmTerms(Platforms())


@dataclass(frozen=True, slots=True)
class WarmedImages:
    """What was told: the last step of each image, and the sum."""

    images: dict[str, WarmStep]
    summary: WarmSummary

    @property
    def only(self) -> WarmStep:
        """The one image's."""
        (step,) = self.images.values()
        return step


async def warmed(proxy: HastyProxy, *images: str, terms: WarmTerms = ALL) -> WarmedImages:
    """Warm images to the end."""
    last: dict[str, WarmStep] = {}
    async with aclosing(proxy.core.warmer.warm(images, terms)) as steps:
        async for told in steps:
            if isinstance(told, WarmSummary):
                return WarmedImages(last, told)
            assert not (told.image in last and last[told.image].state == "failed")
            last[told.image] = told
    raise AssertionError("there was no summary")


@asynccontextmanager
async def warm_api(proxy: HastyProxy) -> AsyncIterator[str]:
    """What the command `warm` needs of the admin API, with a token; its URL."""

    async def warm(request: web.Request) -> web.StreamResponse:
        if request.headers.get("Authorization") != f"Bearer {TOKEN}":
            return _error(401, "UNAUTHORIZED", "a token is needed")
        try:
            images, terms = read_request(await request.json(), proxy.core.warm_terms())
        except ValueError as error:
            return _error(400, "BAD_REQUEST", str(error))
        response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
        await response.prepare(request)
        async with aclosing(proxy.core.warmer.warm(images, terms)) as steps:
            async for told in steps:
                await response.write(json.dumps(line(told)).encode() + b"\n")
        return response

    app = web.Application()
    app.router.add_post("/api/v1/warm", warm)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def _error(status: int, code: str, message: str) -> web.Response:
    return web.json_response({"error": {"code": code, "message": message}}, status=status)


def names(repositories: Sequence[str], tag: str = "1") -> list[str]:
    """Images of Docker Hub, by their repositories."""
    return [f"docker.io/{repository}:{tag}" for repository in repositories]
