"""The process that serves pulls, as the admin API asks it: in the same process or from another."""

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, aclosing
from dataclasses import asdict, dataclass
from pathlib import Path

from aiohttp import web

from cacheproxy.bootstrap.core import Core
from cacheproxy.bootstrap.traffic import CountedTraffic
from cacheproxy.domain.errors import RequestError
from cacheproxy.domain.pushes import parse_push
from cacheproxy.domain.warming import line, read_request
from cacheproxy.ops.api.encoding import encode
from cacheproxy.ops.api.model import FillStatus, PushAccepted, ReplicaStatus, WarmRequest
from cacheproxy.ops.api.pulling import Pulling, PullingHere
from cacheproxy.ops.api.upstream_board import UpstreamBoard
from cacheproxy.ops.api.workers import make_worker_app


def pulling_here(core: Core, board: UpstreamBoard, traffic: CountedTraffic) -> PullingHere:
    """This process, for the admin API to ask."""

    def fills() -> list[FillStatus]:
        found = [
            FillStatus(
                digest=fill.digest,
                upstream=fill.repository.registry,
                repository=fill.repository.name,
                received_bytes=fill.state.received,
                size_bytes=fill.state.size,
                seconds=seconds,
                followers=fill.followers,
            )
            for fill in core.pull_through.fills
            if (seconds := fill.seconds) is not None  # those of other workers they tell of
        ]
        return sorted(found, key=lambda fill: -fill.seconds)

    def replicas() -> list[ReplicaStatus]:
        if core.cluster is None:
            return []
        me = str(core.cluster.settings.advertise)
        return [ReplicaStatus(one, one == me) for one in sorted({me, *core.cluster.index.live})]

    return PullingHere(
        board,
        fills,
        replicas,
        traffic.count,
        _Warming(core),
        core.observer,
        core.store_problem,
    )


async def answer_supervisor(
    stack: AsyncExitStack, pulling: Pulling, traffic: CountedTraffic, path: Path
) -> None:
    """Answer the supervisor at a socket, until the stack is left."""
    path.unlink(missing_ok=True)  # noqa: ASYNC240  # of a worker that died; nobody waits yet
    app = make_worker_app(pulling, traffic.flush)
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    await web.UnixSite(runner, str(path)).start()


@dataclass(frozen=True, slots=True)
class _Warming:
    """The core's warmer, as the API asks it (`Warming`)."""

    core: Core

    async def warm(self, asked: WarmRequest) -> AsyncGenerator[bytes, None]:
        """Have images here; a line of JSON for each step."""
        if not asked.images:
            raise RequestError("images names none")
        how = asdict(asked) | {"platforms": asked.platforms or None}
        try:
            images, terms = read_request(how, self.core.warm_terms())
        except ValueError as error:
            raise RequestError(str(error)) from None
        async with aclosing(self.core.warmer.warm(images, terms)) as steps:
            async for step in steps:
                yield encode(line(step))

    def pushed(self, body: bytes, upstream: str | None) -> PushAccepted:
        """Have images here that were pushed, soon."""
        try:
            found = parse_push(body, self.core.warmer.routes, upstream)
        except ValueError as error:
            raise RequestError(str(error)) from None
        images = [str(image) for image in found.images]
        if images and not self.core.warmer.begin(images, self.core.warm_terms()):
            raise RequestError("too much is waiting to be warmed; tell again later")
        return PushAccepted(images, list(found.ignored))
