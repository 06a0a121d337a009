"""What an answer of another replica means, and what none means."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from cacheproxy.cluster.peers import HttpPeers, Patience
from cacheproxy.cluster_ports import Part, ReplicaBusy
from cacheproxy.domain import peer
from cacheproxy.domain.digest import Digest
from cacheproxy.domain.errors import UpstreamUnavailable
from tests.support.clock import FakeClock
from tests.support.hasty import Events

PART = Part(Digest.of(b"wanted"))
SECRET = b"of the replicas"


class Asking:
    """A replica that asks another one, whose answers a test chooses.

    Attributes:
        address: of the other one.
        clock: of the replica that asks.
        asked: the number of questions that came.
    """

    def __init__(self, address: str, peers: HttpPeers, clock: FakeClock) -> None:
        self.address = address
        self.clock = clock
        self.asked = 0
        self._peers = peers

    async def ask(self) -> None:
        """Ask for a blob, and read nothing of it."""
        async with self._peers.get_blob(self.address, PART):
            pass


@asynccontextmanager
async def asking(
    answer: Callable[[], Awaitable[web.Response]], seconds: float = 60.0
) -> AsyncIterator[Asking]:
    """Yield a replica that waits so many seconds for the other one's answer."""
    clock = FakeClock()

    async def handle(_: web.BaseRequest) -> web.Response:
        made.asked += 1
        return await answer()

    runner = web.ServerRunner(web.Server(handle), shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    patience = Patience(60.0, answer=seconds)
    peers = HttpPeers(SECRET, Events(), clock, patience, lambda _: True, "me:1")
    try:
        made = Asking(site.name.removeprefix("http://"), peers, clock)
        yield made
    finally:
        await peers.close()
        await runner.cleanup()


async def test_a_replica_that_is_not_there_is_named_in_words() -> None:
    """A replica that cannot be connected to is unreachable, for a reason that a person can read."""

    async def answer() -> web.Response:
        raise AssertionError("nobody asks this one")

    async with asking(answer) as replica:
        replica.address = "127.0.0.1:1"
        with pytest.raises(UpstreamUnavailable) as raised:
            await replica.ask()
    assert str(raised.value) == "replica 127.0.0.1:1: connection refused, nothing listens there"


async def test_a_replica_that_never_answers_is_unreachable() -> None:
    """A replica that accepts a connection and is silent is unreachable, and rests for a moment."""
    is_over = asyncio.Event()

    async def hang() -> web.Response:
        await is_over.wait()
        return web.Response()

    async with asking(hang, seconds=0.05) as replica:
        for _ in range(2):
            with pytest.raises(UpstreamUnavailable):
                await replica.ask()
        assert replica.asked <= 1
        before = replica.asked
        replica.clock.advance(3.0)
        with pytest.raises(UpstreamUnavailable):
            await replica.ask()
        assert replica.asked >= before
        is_over.set()


@pytest.mark.parametrize("is_waiting", [False, True])
async def test_a_busy_replica_says_so(*, is_waiting: bool) -> None:
    """A 503 names readers, and tells whether the replica itself waits for upstream."""

    async def refuse() -> web.Response:
        headers = {peer.READERS: "a:1,b:2"}
        return web.Response(
            status=503, headers=headers | ({peer.WAITING: "1"} if is_waiting else {})
        )

    async with asking(refuse) as replica:
        with pytest.raises(ReplicaBusy) as busy:
            await replica.ask()
    assert (list(busy.value.readers), busy.value.is_waiting) == (["a:1", "b:2"], is_waiting)
