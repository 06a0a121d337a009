"""The core with its adapters, and its upkeep."""

import asyncio
from contextlib import AsyncExitStack
from typing import NoReturn

from cacheproxy.bootstrap.upstreams import make_clients, make_config, make_registries
from cacheproxy.domain.errors import CacheproxyError
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

_SWEEP_SECONDS = 3600.0


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
    store = FilesystemStore(layout)
    stack.callback(store.close)
    metadata = HotMetadata(_metadata(settings, layout), observer)
    stack.push_async_callback(metadata.close)
    tasks = Tasks()
    clients = make_clients(configs, observer, clock, tasks)
    for client in clients.values():
        stack.push_async_callback(client.close)
    stack.push_async_callback(tasks.close)
    tasks.start(_sweep_for_ever(store, clock, settings.cache.keep_partial), "sweep")
    cache = settings.cache
    context = FillContext(store, observer, clock, cache.abandon_after, cache.relay_ahead)
    return PullThrough(make_registries(settings, clients), context, metadata, tasks)


def _metadata(settings: Settings, layout: Layout) -> Metadata:
    if settings.metadata.url == "memory:":
        return MemoryMetadata()
    return EmbeddedMetadata(layout.metadata)


async def _sweep_for_ever(store: FilesystemStore, clock: Clock, keep: float) -> NoReturn:
    while True:
        try:
            await store.sweep(keep)
        except (OSError, CacheproxyError) as error:
            # The next one may do better; what it would have removed is small beside blobs.
            asyncio.get_running_loop().call_exception_handler(
                {"message": "partial downloads could not be swept", "exception": error}
            )
        await clock.sleep(_SWEEP_SECONDS)
