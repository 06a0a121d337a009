"""The network between simulated replicas, and to Redis: latency, cuts, and connections that break.

Two processes have two event loops, so nothing is shared between them but channels: what one end
sends is delivered to the other one's loop a moment later, unless the link is cut by then.
"""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Literal, TypeVar

from fakeredis import FakeServer
from redis.exceptions import RedisError

from cacheproxy.cluster_ports import Part, ReplicaBusy
from cacheproxy.domain.errors import (
    BlobUnknown,
    CacheproxyError,
    StorageError,
    UpstreamTimeout,
    UpstreamUnavailable,
)
from cacheproxy.ports import BlobStream
from tests.simulation.world import Process, World

T = TypeVar("T")

_CONNECT_SECONDS = 2.0
_IDLE_SECONDS = 5.0
_REDIS_SECONDS = 0.5
_STEP = 16_384
# So many chunks may be under way: then the sender waits.
_WINDOW = 4

Serve = Callable[[Part], AsyncGenerator[tuple[int | None, bytes], None]]
"""Serves a part of a blob: yields the blob's size with each of the bytes."""


class Network:
    """Who can reach whom.

    Attributes:
        latency: virtual seconds that anything is under way.
    """

    def __init__(self, world: World, latency: float) -> None:
        self.world = world
        self.latency = latency
        self.redis = RedisState()
        self._cuts: set[frozenset[str]] = set()
        self._served_at: dict[str, list[tuple[Process, Serve]]] = {}

    @staticmethod
    def address(replica: int) -> str:
        """Return the address of a replica, or of Redis (-1)."""
        return "redis" if replica < 0 else f"10.0.0.{replica + 1}:5002"

    def cut(self, one: str, other: str) -> None:
        """Drop everything between two hosts from now on."""
        self.world.note(f"network: {one} and {other} are cut off")
        self._cuts.add(frozenset((one, other)))

    def mend(self, one: str, other: str) -> None:
        """Let them reach each other again."""
        self._cuts.discard(frozenset((one, other)))

    def mend_all(self) -> None:
        """Let everybody reach everybody again."""
        self._cuts.clear()

    def is_cut(self, one: str, other: str) -> bool:
        """Whether nothing passes between two hosts."""
        return frozenset((one, other)) in self._cuts

    def listen(self, address: str, process: Process, serve: Serve) -> None:
        """Have a process serve blobs at an address, beside others that do."""
        self._served_at.setdefault(address, []).append((process, serve))

    def listeners(self, address: str) -> list[tuple[Process, Serve]]:
        """Return the processes that live and serve at an address."""
        return [one for one in self._served_at.get(address, []) if one[0].is_alive]


class _Channel:
    """One direction of a connection, from a sender's process to a receiver's."""

    def __init__(self, network: Network, hosts: tuple[str, str], receiver: Process) -> None:
        self._network = network
        self._hosts = hosts
        self._receiver = receiver
        self._came: deque[Any] = deque()
        self._arrival: asyncio.Future[None] | None = None
        self.under_way = 0

    def send(self, item: Any) -> None:
        """Send something, from whichever process."""
        network = self._network
        self.under_way += 1
        at = network.world.time + network.latency
        self._receiver.loop.call_at(at, self._deliver, item)

    def _deliver(self, item: Any) -> None:
        self.under_way -= 1
        if self._network.is_cut(*self._hosts):
            return
        self._came.append(item)
        if self._arrival is not None and not self._arrival.done():
            self._arrival.set_result(None)

    async def receive(self, seconds: float) -> Any:
        """Wait for what comes next.

        Raises:
            UpstreamTimeout: nothing does, for so long.
        """
        try:
            async with asyncio.timeout(seconds):
                while not self._came:
                    self._arrival = self._receiver.loop.create_future()
                    await self._arrival
        except TimeoutError:
            raise UpstreamTimeout(f"nothing came for {seconds:g} seconds") from None
        return self._came.popleft()


class _PeerStream:
    """The bytes of a part as they come from another replica (`BlobStream`)."""

    source: Literal["fill", "peer"] = "peer"

    def __init__(self, channel: _Channel, start: int, size: int | None) -> None:
        self._channel = channel
        self.start = start
        self.size = size

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        """Yield the bytes."""
        while True:
            item = await self._channel.receive(_IDLE_SECONDS)
            if isinstance(item, CacheproxyError):
                raise item
            if not item:
                return
            yield item


class SimulatedPeers:
    """The other replicas, as one process of a replica asks them (`Peers`)."""

    def __init__(self, network: Network, host: str, process: Process) -> None:
        self._network = network
        self._host = host
        self._process = process

    @asynccontextmanager
    async def get_blob(self, address: str, part: Part) -> AsyncIterator[BlobStream]:
        """Begin to fetch a blob's bytes from one of them."""
        network, world = self._network, self._network.world
        await asyncio.sleep(network.latency)
        listeners = network.listeners(address)
        if network.is_cut(self._host, address):
            await asyncio.sleep(_CONNECT_SECONDS)
            raise UpstreamUnavailable(f"{address} cannot be reached")
        if not listeners:
            raise UpstreamUnavailable(f"{address} refuses the connection")
        process, serve = world.random.choice(listeners)
        channel = _Channel(network, (self._host, address), self._process)
        is_open = [True]
        process.on_kill.append(lambda: channel.send(UpstreamUnavailable(f"{address} has died")))
        process.start(_send(channel, serve, part, is_open), "peer")
        try:
            size = await channel.receive(_CONNECT_SECONDS + _IDLE_SECONDS)
            if isinstance(size, CacheproxyError):
                raise size
            yield _PeerStream(channel, part.start, size[0])
        finally:
            is_open[0] = False


async def _send(channel: _Channel, serve: Serve, part: Part, is_open: list[bool]) -> None:
    """Serve one request, in the process that was asked."""
    is_begun = False
    try:
        async for size, chunk in serve(part):
            if not is_begun:
                channel.send((size,))
                is_begun = True
            while channel.under_way > _WINDOW and is_open[0]:  # noqa: ASYNC110  # two loops
                await asyncio.sleep(0.001)
            if not is_open[0]:
                return
            if chunk:
                channel.send(chunk)
        channel.send(b"")
    except (BlobUnknown, ReplicaBusy) as error:
        channel.send(error)
    except CacheproxyError as error:
        channel.send(UpstreamUnavailable(f"the other replica failed: {error}"))


class RedisLink:
    """Redis, as one process reaches it (`Shared`): calls can be lost before and after it."""

    def __init__(self, network: Network, host: str, client: Any) -> None:
        self._network = network
        self._host = host
        self._client = client
        self.ahead = 0.0

    async def call(self, work: Callable[[Any], Awaitable[T]]) -> T:
        """Do something with it, within a deadline."""
        await self._pass()
        try:
            result = await work(self._client)
        except RedisError as error:
            raise StorageError(f"Redis: {error}") from error
        await self._pass()
        return result

    async def _pass(self) -> None:
        """Be under way once; a packet that is lost costs the whole deadline."""
        await asyncio.sleep(self._network.latency)
        if self._network.redis.is_down:
            raise StorageError("Redis refuses the connection")
        if self._network.is_cut(self._host, "redis"):
            await asyncio.sleep(_REDIS_SECONDS)
            raise StorageError("Redis does not answer")


class RedisState:
    """The one Redis of a world: in memory, and with its scripts."""

    def __init__(self) -> None:
        self.server = FakeServer(server_type="redis", version=(7,))
        self.is_down = False

    def lose_all(self) -> None:
        """Forget everything, as after a crash without persistence."""
        for database in self.server.dbs.values():
            database.clear()
