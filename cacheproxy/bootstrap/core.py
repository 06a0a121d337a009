"""The core with its adapters, and its upkeep."""

from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial

from cacheproxy.bootstrap.budget import make_budget
from cacheproxy.bootstrap.clustering import Cluster, make_cluster
from cacheproxy.bootstrap.metadata import Surroundings, make_metadata
from cacheproxy.bootstrap.upkeep import Upkeep
from cacheproxy.bootstrap.upstreams import (
    make_clients,
    make_config,
    make_registries,
    make_routes,
)
from cacheproxy.bootstrap.warming import Schedule, terms_of
from cacheproxy.domain.store_events import Evicted
from cacheproxy.domain.warming import WarmTerms
from cacheproxy.inprocess.tasks import Tasks
from cacheproxy.metadata.cluster_clock import ClusterClock
from cacheproxy.metadata.forgetting import Forgetting
from cacheproxy.ops.observers import Observers
from cacheproxy.ports import Clock, Observer, Upstream
from cacheproxy.pullthrough.context import FillContext
from cacheproxy.pullthrough.pull_through import PullThrough
from cacheproxy.pullthrough.warming import Warmer
from cacheproxy.settings.model import Settings
from cacheproxy.storage.filesystem import FilesystemStore
from cacheproxy.storage.layout import Layout
from cacheproxy.storage.starting import make_room_to_start

# Of the time that a client is let wait: the rest is for serving what is stale instead.
_PATIENCE = 0.6


@dataclass(frozen=True, slots=True)
class Core:
    """What answers pulls, and how it goes by other settings.

    Attributes:
        pull_through: the core.
        apply: takes over what can be changed while it runs.
        cluster: the other replicas; None where this one is alone.
        around: what every part of it has in common.
        observer: is told what happens; the other replicas hear of it, too.
        warmer: has images in the store before anybody asks for them.
        warm_terms: how, where nobody says more; by the settings of now.
        store_problem: tells why nothing is stored; None while blobs are stored.
    """

    pull_through: PullThrough
    apply: Callable[[Settings], None]
    cluster: Cluster | None
    around: Surroundings
    observer: Observer
    warmer: Warmer
    warm_terms: Callable[[], WarmTerms]
    store_problem: Callable[[], str | None]

    def leave(self) -> None:
        """Say to the other replicas, soon, that this one ends: it is asked for nothing more."""
        if self.cluster is not None:
            self.cluster.index.leave()


async def make_core(
    stack: AsyncExitStack, settings: Settings, observer: Observer, clock: Clock
) -> Core:
    """The core; leaving the stack ends its tasks, then gives back what it holds.

    Raises:
        StartError: a directory or a certificate cannot be used.
    """
    workers = settings.server.workers
    configs = {name: make_config(one, workers) for name, one in settings.upstreams.items()}
    layout = Layout(settings.cache.directory)
    layout.prepare()
    budget = make_budget(settings, layout)
    for entry in make_room_to_start(layout, budget, clock.now(), layout.spare_bytes):
        age = clock.now() - entry.since
        observer.observe(Evicted(entry.registry, entry.digest, entry.size, "space", age))
    tasks = Tasks(observer.observe, clock.sleep)
    around = Surroundings(observer, clock, tasks, ClusterClock(clock))
    cluster = make_cluster(stack, settings, around)
    if cluster is not None:
        observer = Observers([observer, cluster.announcer])
    store = FilesystemStore.at(layout, budget, clock, observer, settings.cache.manifest_memory)
    stack.callback(store.close)
    metadata = await make_metadata(stack, settings, layout, around)
    made = make_clients(configs, observer, clock, tasks)
    for client in made.values():
        stack.push_async_callback(client.close)
    clients: Mapping[str, Upstream] = made
    if cluster is not None:
        clients = cluster.shared(made, metadata, around.cluster_clock)
        notables = {
            place: health for client in made.values() for place, health in client.notables.items()
        }
        cluster.begin(stack, store, notables, around)
    stack.push_async_callback(tasks.close)
    upkeep = _upkeep(settings, store, layout, around)
    cache = settings.cache
    context = FillContext(
        store,
        observer,
        around.cluster_clock,
        abandon_after=cache.abandon_after,
        relay_ahead=cache.relay_ahead,
        patience=settings.server.response_timeout * _PATIENCE,
    )
    pull_through = PullThrough(make_registries(settings, clients), context, metadata, tasks)
    warmer = Warmer(pull_through, make_routes(settings), observer, clock, tasks)
    schedule = Schedule(warmer, layout.warm, clock, observer)
    schedule.go_by(settings.warm)
    tasks.keep_running(schedule.run, "warm by schedule")

    def apply(changed: Settings) -> None:
        store.accounts.budget = make_budget(changed, layout)
        pull_through.registries = make_registries(changed, clients)
        warmer.routes = make_routes(changed)
        schedule.go_by(changed.warm)
        tasks.start(upkeep.keep_within(), "keep within")

    def warm_terms() -> WarmTerms:
        return terms_of(schedule.settings)

    def store_problem() -> str | None:
        return store.accounts.problem

    return Core(pull_through, apply, cluster, around, observer, warmer, warm_terms, store_problem)


def _upkeep(
    settings: Settings, store: FilesystemStore, layout: Layout, around: Surroundings
) -> Upkeep:
    cache, clock, tasks = settings.cache, around.clock, around.tasks
    upkeep = Upkeep(store, clock, around.observer, cache.keep_partial)
    tasks.keep_running(upkeep.run, "upkeep")
    tasks.keep_running(upkeep.recount, "recount")
    if cache.scrub_every is not None:
        tasks.keep_running(partial(upkeep.scrub, cache.scrub_every, cache.scrub_rate), "scrub")
    records = None
    if settings.metadata.url != "memory:":
        records = Forgetting(layout.metadata, layout.holds, clock).run
    tasks.keep_running(partial(upkeep.forget, records), "forget")
    return upkeep
