"""One worker as a member of a cluster, wired by the code that wires it in production."""

import shutil
import tempfile
from contextlib import AsyncExitStack
from functools import cache
from pathlib import Path

from aiohttp import web

from cacheproxy.bootstrap.clustering import Cluster, make_cluster
from cacheproxy.bootstrap.metadata import Surroundings, make_metadata
from cacheproxy.cluster import announcements, membership
from cacheproxy.domain.digest import Digest
from cacheproxy.edge.peers import PeerApi
from cacheproxy.inprocess.tasks import Tasks
from cacheproxy.metadata.cluster_clock import ClusterClock
from cacheproxy.ports import Clock, Metadata, Observer, Upstream
from cacheproxy.pullthrough.sharing import Sharing
from cacheproxy.settings.loading import load
from cacheproxy.settings.model import Settings
from cacheproxy.storage.filesystem import FilesystemStore
from cacheproxy.storage.layout import Layout
from tests.simulation.network import REDIS, Network, replica_address
from tests.simulation.world import Process

_SETTINGS = """
default_upstream: docker.io
upstreams: {{docker.io: {{}}}}
metadata: {{url: "redis://{redis}"}}
cluster: {{advertise: "{advertise}", secret: "a secret of all replicas", max_readers: {readers}}}
"""


# Services that look twenty times a second whether there is something to do would take most of the
# steps of a simulation.
membership._LOOK_SECONDS = 0.25
announcements._FLUSH_SECONDS = 0.25


@cache
def settings_of(replica: int, readers: int) -> Settings:
    """Return the settings of a replica; made before any world begins."""
    host, port = replica_address(replica)
    directory = tempfile.mkdtemp()
    try:
        path = Path(directory, "cacheproxy.yaml")
        redis = f"{REDIS[0]}:{REDIS[1]}/0"
        path.write_text(
            _SETTINGS.format(redis=redis, advertise=f"{host}:{port}", readers=readers), "utf-8"
        )
        return load(path, {})
    finally:
        shutil.rmtree(directory)


class Member:
    """What a worker knows of the other replicas, and gives them."""

    def __init__(
        self, process: Process, replica: int, network: Network, around: Surroundings
    ) -> None:
        self._process = process
        self._address = replica_address(replica)
        self._network = network
        self._around = around
        self._stack = AsyncExitStack()
        self.cluster: Cluster
        self.metadata: Metadata

    @classmethod
    async def start(
        cls, process: Process, settings: tuple[int, Settings], layout: Layout, around: Surroundings
    ) -> "Member":
        """Connect to Redis, and open the replica's own metadata."""
        network = process.world.network
        assert network is not None
        replica, given = settings
        member = cls(process, replica, network, around)
        cluster = make_cluster(member._stack, given, around)
        assert cluster is not None
        member.cluster = cluster
        member.metadata = await make_metadata(member._stack, given, layout, around)
        return member

    def share(self, upstream: Upstream) -> Upstream:
        """Return the upstream as one of several replicas asks it."""
        clock = self._around.cluster_clock
        return self.cluster.shared({"docker.io": upstream}, self.metadata, clock)["docker.io"]

    def begin(self, sharing: Sharing, store: FilesystemStore, observer: Observer) -> None:
        """Be there for the others from now on."""
        cluster, clock = self.cluster, self._around.clock
        cluster.begin(self._stack, store, {}, self._around)

        def is_signed(field: str, digest: Digest) -> bool:
            return cluster.is_signed(field, digest, clock.now())

        api = PeerApi(sharing, is_signed, observer, cluster.limits, cluster.index.has_not)
        server = web.Server(api.handle, handler_cancellation=True)
        self._network.listen(self._address, self._process, server)
        self._stack.push_async_callback(server.shutdown, 0.1)

    async def end(self, tasks: Tasks) -> None:
        """Leave the others, in the order of a shutdown."""
        self.cluster.index.leave()
        self._network.unlisten(self._address, self._process)
        await tasks.close()
        await self._stack.aclose()


def make_surroundings(observer: Observer, clock: Clock, tasks: Tasks) -> Surroundings:
    """Return what all parts of a process have in common."""
    return Surroundings(observer, clock, tasks, ClusterClock(clock))
