"""The core without an edge, with metadata that can be slow and that tells what was written."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from typing_extensions import override

from cacheproxy.bootstrap.upstreams import make_clients, make_config, make_registries
from cacheproxy.domain.digest import Digest
from cacheproxy.domain.freshness import TagRecord
from cacheproxy.domain.records import Link
from cacheproxy.domain.reference import Repository, Tag
from cacheproxy.inprocess.tasks import Tasks
from cacheproxy.metadata.memory import MemoryMetadata
from cacheproxy.pullthrough.context import FillContext
from cacheproxy.pullthrough.pull_through import PullThrough
from tests.support.hasty import Events, HastyClock, Wanted, settings_for
from tests.support.scripted_registry import ScriptedRegistry
from tests.support.stores import open_store


class WatchedMetadata(MemoryMetadata):
    """Metadata that remembers what was written, each write of which takes some seconds.

    `tags` has the digest of each tag record, `links` what each call said that is held.
    """

    def __init__(self, seconds: float = 0.0) -> None:
        super().__init__()
        self.tags: list[Digest | None] = []
        self.links: list[set[str]] = []
        self._seconds = seconds

    @override
    async def put_tag(self, repository: Repository, tag: Tag, record: TagRecord) -> bool:
        await asyncio.sleep(self._seconds)
        self.tags.append(record.digest)
        return await super().put_tag(repository, tag, record)

    @override
    async def add_links(self, repository: Repository, links: Mapping[Digest, Link]) -> None:
        await asyncio.sleep(self._seconds)
        await super().add_links(repository, links)
        self.links.append(set(links))


@asynccontextmanager
async def bare_core(
    hub: ScriptedRegistry, directory: Path, metadata: WatchedMetadata, clock: HastyClock
) -> AsyncIterator[PullThrough]:
    """A core in front of a registry, which it knows as docker.io."""
    settings, events = settings_for({"docker.io": hub}, directory, Wanted()), Events()
    async with AsyncExitStack() as stack:
        store = open_store(directory, clock=clock, observer=events)
        stack.callback(store.close)
        tasks = Tasks()
        configs = {name: make_config(one) for name, one in settings.upstreams.items()}
        clients = make_clients(configs, events, clock, tasks)
        for client in clients.values():
            stack.push_async_callback(client.close)
        stack.push_async_callback(tasks.close)
        context = FillContext(store, events, clock)
        yield PullThrough(make_registries(settings, clients), context, metadata, tasks)
