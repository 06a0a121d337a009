"""The core with its adapters, and its upkeep."""

from contextlib import AsyncExitStack

from cacheproxy.bootstrap.budget import make_budget
from cacheproxy.bootstrap.upkeep import Upkeep
from cacheproxy.bootstrap.upstreams import make_clients, make_config, make_registries
from cacheproxy.inprocess.tasks import Tasks
from cacheproxy.metadata.embedded import EmbeddedMetadata
from cacheproxy.metadata.hot import HotMetadata
from cacheproxy.metadata.memory import MemoryMetadata
from cacheproxy.ports import Clock, Metadata, Observer
from cacheproxy.pullthrough.fill import FillContext
from cacheproxy.pullthrough.pull_through import PullThrough
from cacheproxy.settings.model import Settings
from cacheproxy.storage.filesystem import FilesystemStore
from cacheproxy.storage.layout import Layout

# Of the time that a client is let wait: the rest is for serving what is stale instead.
_PATIENCE = 0.6


async def make_core(
    stack: AsyncExitStack, settings: Settings, observer: Observer, clock: Clock
) -> PullThrough:
    """The core; leaving the stack ends its tasks, then gives back what it holds.

    Raises:
        StartError: a directory or a certificate cannot be used.
    """
    configs = {name: make_config(upstream) for name, upstream in settings.upstreams.items()}
    layout = Layout(settings.cache.directory)
    layout.prepare()
    store = FilesystemStore.at(layout, make_budget(settings, layout), clock, observer)
    stack.callback(store.close)
    metadata = HotMetadata(_metadata(settings, layout), observer)
    stack.push_async_callback(metadata.close)
    tasks = Tasks()
    clients = make_clients(configs, observer, clock, tasks)
    for client in clients.values():
        stack.push_async_callback(client.close)
    stack.push_async_callback(tasks.close)
    upkeep = Upkeep(store, clock, observer, settings.cache.keep_partial)
    tasks.start(upkeep.run(), "upkeep")
    cache = settings.cache
    context = FillContext(
        store,
        observer,
        clock,
        abandon_after=cache.abandon_after,
        relay_ahead=cache.relay_ahead,
        patience=settings.server.response_timeout * _PATIENCE,
    )
    return PullThrough(make_registries(settings, clients), context, metadata, tasks)


def _metadata(settings: Settings, layout: Layout) -> Metadata:
    if settings.metadata.url == "memory:":
        return MemoryMetadata()
    return EmbeddedMetadata(layout.metadata)
