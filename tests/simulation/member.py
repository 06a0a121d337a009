"""One worker as a member of a cluster: index, leases and peers, wired as in production."""

from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING, Any

from fakeredis import FakeAsyncRedis

from cacheproxy.bootstrap.clustering import Announcer
from cacheproxy.cluster.index import Index
from cacheproxy.cluster_ports import Part, ReplicaBusy
from cacheproxy.inprocess.tasks import Tasks
from cacheproxy.ports import Clock, Metadata, Observer, Upstream
from cacheproxy.pullthrough.replicated import ReplicatedUpstream
from cacheproxy.pullthrough.sharing import Sharing
from cacheproxy.storage.filesystem import FilesystemStore
from tests.simulation.network import Network, RedisLink, SimulatedPeers

if TYPE_CHECKING:
    from tests.simulation.worker import Worker

_READERS = 3
_STEP = 16_384


class Member:
    """What a worker knows of the other replicas, and gives them."""

    def __init__(self, worker: "Worker", network: Network, services: Tasks, clock: Clock) -> None:
        self._network = network
        self._process = worker.process
        self._clock = clock
        self._readers = 0
        self.address = network.address(worker.replica)
        client = FakeAsyncRedis(server=network.redis.server)
        self._link = RedisLink(network, self.address, client)
        self.index = Index(self._link, "sim", self.address, services, clock)
        self._peers = SimulatedPeers(network, self.address, worker.process)

    @property
    def announcer(self) -> Observer:
        """Tells the others what comes and goes here."""
        return Announcer(self.index)

    def share(self, upstream: Upstream, metadata: Metadata) -> Upstream:
        """Return the upstream as one of several replicas asks it."""
        return ReplicatedUpstream(upstream, self.index, self._peers, metadata, self._clock)

    def begin(self, sharing: Sharing, store: FilesystemStore, observer: Observer) -> None:
        """Be there for the others from now on."""
        self._sharing = sharing
        self.index.start(store.accounts.known, observer)
        self._network.listen(self.address, self._process, self._serve)

    async def end(self) -> None:
        """Leave the others."""
        self.index.leave()
        await self.index.end()

    async def _serve(self, part: Part) -> AsyncGenerator[tuple[int | None, bytes], None]:
        """Serve a part to another replica, as its port does."""
        if self._readers >= _READERS:
            raise ReplicaBusy("as many read as may")
        self._readers += 1
        try:
            offer = self._sharing.look(part)
            try:
                await offer.wait_beyond()
                answer = await offer.answer()
                async for chunk in _chunks(answer.content, part, answer.size):
                    yield answer.size, chunk
            finally:
                offer.close()
        finally:
            self._readers -= 1


async def _chunks(reader: Any, part: Part, size: int | None) -> AsyncGenerator[bytes, None]:
    offset = part.start
    stop = part.stop if part.stop is not None else size
    yield b""  # the head
    try:
        while stop is None or offset < stop:
            length = _STEP if stop is None else min(_STEP, stop - offset)
            chunk = reader.try_read(offset, length) or await reader.read(offset, length)
            if not chunk:
                return
            yield chunk
            offset += len(chunk)
    finally:
        reader.close()
