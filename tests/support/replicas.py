"""Several replicas in one process, on one Redis: each a core with a store and a port of its own."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from aiohttp import web
from typing_extensions import override

from cacheproxy.bootstrap.clustering import Announcer
from cacheproxy.bootstrap.upstreams import make_clients, make_config, make_registries
from cacheproxy.cluster.index import Index
from cacheproxy.cluster.peers import HttpPeers, Patience
from cacheproxy.cluster.signature import is_signed
from cacheproxy.domain.digest import Digest
from cacheproxy.domain.operation import PullBlob, PullManifest
from cacheproxy.domain.redis_url import parse_redis_url
from cacheproxy.domain.reference import Name, Repository, Tag
from cacheproxy.edge.peers import Limits, PeerApi
from cacheproxy.inprocess.clock import SystemClock
from cacheproxy.inprocess.tasks import Tasks
from cacheproxy.metadata.cluster_clock import ClusterClock
from cacheproxy.metadata.memory import MemoryMetadata
from cacheproxy.metadata.redis_connection import RedisConnection
from cacheproxy.ops.observers import Observers
from cacheproxy.ports import Clock
from cacheproxy.pullthrough.context import FillContext
from cacheproxy.pullthrough.pull_through import PullThrough
from cacheproxy.pullthrough.replicated import ReplicatedUpstream
from cacheproxy.storage.filesystem import FilesystemStore
from tests.support.hasty import Events, Wanted, settings_for
from tests.support.parts.process import free_port
from tests.support.scripted_registry import ScriptedRegistry
from tests.support.stores import open_store

REPOSITORY = Repository("docker.io", Name("library/app"))
SECRET = b"replicas of the tests"


def connection(port: int, clock: Clock, timeout: float = 1.0) -> RedisConnection:
    """As a replica has it; `watch` is for whoever made it to start."""
    url = parse_redis_url(f"redis://127.0.0.1:{port}")
    return RedisConnection(url, Events(), ClusterClock(clock), timeout)


class Replica:
    """One of them."""

    def __init__(
        self, core: PullThrough, store: FilesystemStore, index: Index, events: Events, address: str
    ) -> None:
        self.core = core
        self.store = store
        self.index = index
        self.events = events
        self.address = address
        self.stop: Callable[[], Awaitable[None]] = _nothing
        # For how long it waited whenever it found nobody to have bytes from.
        self.pauses: list[float] = []
        self.readers: Callable[[Digest], list[str]] = _nobody

    async def blob(self, digest: str) -> bytes:
        """All of a blob, as a client gets it."""
        answer = await self.core.blob(PullBlob(REPOSITORY, Digest(digest)), head=False)
        assert answer.content is not None
        body = bytearray()
        try:
            while part := await answer.content.read(len(body), 1024 * 1024):
                body += part
        finally:
            answer.content.close()
        return bytes(body)

    async def manifest(self, tag: str) -> bytes:
        """A manifest, by its tag."""
        answer = await self.core.manifest(PullManifest(REPOSITORY, Tag(tag)), head=False)
        assert answer.body is not None
        return answer.body


class _Pausing(SystemClock):
    """Remembers for how long it was slept by."""

    def __init__(self) -> None:
        self.pauses: list[float] = []

    @override
    async def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        await super().sleep(seconds)


async def _nothing() -> None:
    return None


def _nobody(_: Digest) -> list[str]:
    return []


@asynccontextmanager
async def replica(
    hub: ScriptedRegistry, directory: Path, port: int, metadata: MemoryMetadata, **peers: Any
) -> AsyncIterator[Replica]:
    """A replica, from when it knows that it is heard until it is stopped or the context ends."""
    settings, events, clock = (
        settings_for({"docker.io": hub}, directory, Wanted()),
        Events(),
        SystemClock(),
    )
    address = f"127.0.0.1:{free_port()}"
    async with AsyncExitStack() as stack:
        tasks = Tasks()
        redis = connection(port, clock)
        stack.push_async_callback(redis.close)
        tasks.keep_running(redis.watch, "redis")
        index = Index(redis, "tests", address, tasks, clock)
        observer = Observers([events, Announcer(index)])
        store = open_store(directory, clock=clock, observer=observer)
        stack.callback(store.close)
        asking = HttpPeers(
            SECRET, observer, clock, Patience(0.5, idle=5.0), index.is_there, address
        )
        stack.push_async_callback(asking.close)
        configs = {name: make_config(one) for name, one in settings.upstreams.items()}
        clients = make_clients(configs, observer, clock, tasks)
        for client in clients.values():
            stack.push_async_callback(client.close)
        pausing = _Pausing()
        shared = {
            name: ReplicatedUpstream(client, index, asking, metadata, pausing)
            for name, client in clients.items()
        }
        stack.push_async_callback(tasks.close)
        context = FillContext(store, observer, clock)
        core = PullThrough(make_registries(settings, shared), context, metadata, tasks)
        api = PeerApi(
            core.sharing,
            lambda field, digest: is_signed(SECRET, field, digest, clock.now()),
            observer,
            Limits(peers.get("max_streams", 16), peers.get("max_readers", 16)),
            index.has_not,
        )
        runner = web.ServerRunner(
            web.Server(api.handle, handler_cancellation=True), shutdown_timeout=0.1
        )
        await runner.setup()
        host, _, number = address.partition(":")
        await web.TCPSite(runner, host, int(number)).start()
        stack.push_async_callback(runner.cleanup)
        index.start(store.accounts.known, observer)
        made = Replica(core, store, index, events, address)
        made.pauses, made.readers = pausing.pauses, api.readers
        made.stop = stack.pop_all().aclose
        try:
            yield made
        finally:
            await made.stop()
            made.stop = _nothing
