"""From settings to replicas that are one cache."""

import socket
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from functools import partial

from aiohttp import web

from cacheproxy.bootstrap.listening import Listening, listen
from cacheproxy.bootstrap.metadata import Surroundings, make_redis
from cacheproxy.cluster.index import SAMPLED, Index
from cacheproxy.cluster.notes import Notes
from cacheproxy.cluster.peers import HttpPeers, Patience
from cacheproxy.cluster.signature import is_signed
from cacheproxy.cluster_ports import Notable
from cacheproxy.domain.digest import Digest
from cacheproxy.domain.events import Event
from cacheproxy.domain.store_events import Damaged, Evicted, Stored
from cacheproxy.edge.guard import GuardedServer
from cacheproxy.edge.peers import Limits, PeerApi
from cacheproxy.metadata.redis_connection import RedisConnection
from cacheproxy.ops.observers import Observers
from cacheproxy.ports import Clock, Metadata, Upstream
from cacheproxy.pullthrough.replicated import ReplicatedUpstream
from cacheproxy.pullthrough.sharing import Sharing
from cacheproxy.settings.model import ClusterSettings, Settings
from cacheproxy.storage.filesystem import FilesystemStore


@dataclass(frozen=True, slots=True)
class Announcer:
    """Tells the others what comes and goes here (`Observer`)."""

    index: Index

    def observe(self, event: Event) -> None:
        """Pass on what is about stored blobs."""
        match event:
            case Stored(digest):
                self.index.has(digest)
            case Evicted(_, digest):
                self.index.has_not(digest)
            case Damaged(digest, _, outcome) if outcome in ("quarantined", "struck out"):
                self.index.has_not(digest)
            case _:
                pass


@dataclass(frozen=True, slots=True)
class Cluster:
    """This replica among the others."""

    settings: ClusterSettings
    redis: RedisConnection
    index: Index
    peers: HttpPeers
    limits: Limits

    @property
    def announcer(self) -> Announcer:
        """Tells the others what comes and goes here."""
        return Announcer(self.index)

    def is_signed(self, field: str, digest: Digest, now: float) -> bool:
        """Whether a request is another replica's."""
        return is_signed(self.settings.secret.reveal().encode(), field, digest, now)

    def shared(
        self, clients: Mapping[str, Upstream], metadata: Metadata, clock: Clock
    ) -> dict[str, Upstream]:
        """The upstreams, as one of several replicas asks them."""
        return {
            name: ReplicatedUpstream(client, self.index, self.peers, metadata, clock)
            for name, client in clients.items()
        }

    def begin(
        self,
        stack: AsyncExitStack,
        store: FilesystemStore,
        notables: Mapping[str, Notable],
        around: Surroundings,
    ) -> None:
        """Be there for the others, from now on; the last word is said when the stack is left."""
        tasks = around.tasks
        # After all that may be fetching has ended: a lease that is given back is of no use then.
        stack.push_async_callback(self.index.end)
        copies = self.settings.copies
        if copies is not None:
            enough = min(copies, SAMPLED)
            store.accounts.is_spare = lambda digest: self.index.copies(digest) >= enough
        self.index.start(store.accounts.known, around.observer)
        notes = Notes(self.redis, self.redis.keys.namespace, around.clock)
        tasks.keep_running(partial(notes.run, notables), "notes")


def make_cluster(stack: AsyncExitStack, settings: Settings, around: Surroundings) -> Cluster | None:
    """This replica, not yet among the others; leaving the stack closes its connections.

    None where it is alone.
    """
    cluster = settings.cluster
    # The metadata's connection says how Redis does; this one need not say it again.
    quiet = replace(around, observer=Observers([]))
    redis = None if cluster is None else make_redis(settings.metadata, quiet)
    if cluster is None or redis is None:
        return None
    stack.push_async_callback(redis.close)
    around.tasks.keep_running(redis.watch, "redis of the cluster")
    secret = cluster.secret.reveal().encode()
    index = Index(redis, redis.keys.namespace, str(cluster.advertise), around.tasks, around.clock)
    patience = Patience(cluster.connect_timeout)
    me = str(cluster.advertise)
    peers = HttpPeers(secret, around.observer, around.clock, patience, index.is_there, me)
    stack.push_async_callback(peers.close)
    # Each worker counts its own.
    workers = settings.server.workers
    limits = Limits(max(1, cluster.max_streams // workers), max(1, cluster.max_readers // workers))
    return Cluster(cluster, redis, index, peers, limits)


async def listen_for_replicas(
    stack: AsyncExitStack,
    cluster: Cluster,
    sharing: Sharing,
    around: Surroundings,
    on: socket.socket,
) -> None:
    """Serve other replicas on a bound socket, until the stack is left."""

    def is_signed(field: str, digest: Digest) -> bool:
        return cluster.is_signed(field, digest, around.clock.now())

    api = PeerApi(sharing, is_signed, around.observer, cluster.limits, cluster.index.has_not)
    how = Listening(on)
    # A reader that hangs up gives back its place at once, also while no byte comes for it.
    server = GuardedServer(api.handle, write_timeout=how.write_timeout, handler_cancellation=True)
    runner = web.ServerRunner(server, shutdown_timeout=how.shutdown_timeout)
    await listen(stack, runner, how)
