"""One worker: the core and its store, wired as in production, in a simulated process."""

import asyncio
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cacheproxy.bootstrap.upkeep import Upkeep
from cacheproxy.domain.budget import Budget
from cacheproxy.domain.digest import Digest
from cacheproxy.domain.events import Event, FillEnded, Unexpected
from cacheproxy.domain.freshness import TagRules
from cacheproxy.domain.retry import RetryPolicy
from cacheproxy.domain.store_events import Damaged
from cacheproxy.inprocess.tasks import Tasks
from cacheproxy.metadata.memory import MemoryMetadata
from cacheproxy.pullthrough.context import FillContext
from cacheproxy.pullthrough.pull_through import PullThrough
from cacheproxy.pullthrough.remote import Registry
from cacheproxy.storage.filesystem import FilesystemStore
from cacheproxy.storage.layout import Layout
from cacheproxy.storage.leftovers import is_locked
from tests.simulation.script import Script
from tests.simulation.upstream import Book, ScriptedUpstream
from tests.simulation.world import Process, SimulatedPool, World

_EPOCH = 1_700_000_000.0


class VirtualClock:
    """The world's time (`Clock`)."""

    def __init__(self, process: Process) -> None:
        self._process = process

    def now(self) -> float:
        """Seconds since the epoch."""
        return _EPOCH + self._process.world.time

    def monotonic(self) -> float:
        """Seconds since some moment."""
        return self._process.world.time

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await asyncio.sleep(seconds)


class _Watch:
    """Complains of events that never may be (`Observer`)."""

    def __init__(self, process: Process, book: Book) -> None:
        self._process = process
        self._book = book

    def observe(self, event: Event) -> None:
        """Look at an event."""
        world = self._process.world
        world.note(f"{self._process.name}: {type(event).__name__}")
        if isinstance(event, Unexpected):
            world.complain(f"{self._process.name}: unexpected {event.error!r}")
        if isinstance(event, Damaged):
            world.complain(f"{self._process.name}: a stored blob is damaged: {event}")
        if isinstance(event, FillEnded) and "that are not" in (event.error or ""):
            self._look_for_condemned(event.digest)

    def _look_for_condemned(self, digest: Digest) -> None:
        """Complain of wrong bytes that stay where the next download takes them up."""
        world, content = self._process.world, self._book.content(digest)
        if self._book.script.crashes or not self._process.is_alive:
            return  # what a killed worker leaves, nobody has condemned
        path = Layout(Path(world.root)).ingest(digest)
        with world.entered(None):
            if path.is_file() and path.read_bytes() == content.lie and not is_locked(path):
                world.complain(f"{self._process.name}: condemned bytes of {digest[7:15]} stay")


@contextmanager
def simulated_pools() -> Iterator[None]:
    """Have the store's thread pools be the world's."""
    modules = [
        module
        for name, module in sys.modules.items()
        if name.startswith("cacheproxy.storage") and hasattr(module, "ThreadPoolExecutor")
    ]
    kept = [module.ThreadPoolExecutor for module in modules]
    for module in modules:
        module.ThreadPoolExecutor = SimulatedPool  # type: ignore[attr-defined]
    try:
        yield
    finally:
        for module, real in zip(modules, kept, strict=True):
            module.ThreadPoolExecutor = real  # type: ignore[attr-defined]


class Worker:
    """A worker that serves. Metadata is shared by all, as one embedded store is."""

    def __init__(
        self, world: World, name: str, script: Script, book: Book, metadata: MemoryMetadata
    ) -> None:
        self.name = name
        self.process = world.spawn(name)
        self.script = script
        with world.entered(self.process), simulated_pools():
            clock, observer = VirtualClock(self.process), _Watch(self.process, book)
            self.store = FilesystemStore.at(
                Layout(Path(world.root)), Budget(script.max_size), clock, observer
            )
            self._tasks = Tasks()
            context = FillContext(
                self.store,
                observer,
                clock,
                abandon_after=script.abandon_after,
                relay_ahead=script.relay_ahead,
            )
            registry = Registry(ScriptedUpstream(book), TagRules(), RetryPolicy())
            self.core = PullThrough({"docker.io": registry}, context, metadata, self._tasks)
        self._upkeep = Upkeep(self.store, clock, observer, keep_partial=3600.0)
        self.process.start(self._upkeep.run(), "upkeep")
        self.process.start(self._upkeep.recount(), "recount")

    async def catch_up(self) -> None:
        """Bring the ledger in line with the directory, as upkeep does from time to time."""
        await self.store.accounts.flush()
        await self.store.settle()

    @property
    def is_idle(self) -> bool:
        """Whether nothing is under way or being put down, and stock has been taken."""
        return self.store.accounts.is_counted and not len(self._tasks)

    async def close(self) -> None:
        """End as at a shutdown."""
        await self._tasks.close()
