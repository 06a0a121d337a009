"""One worker: the core and its store, wired as in production, in a simulated process."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from cacheproxy.bootstrap.upkeep import Upkeep
from cacheproxy.domain.budget import Budget
from cacheproxy.domain.digest import Digest
from cacheproxy.domain.events import Event, FillEnded, Unexpected
from cacheproxy.domain.freshness import TagRules
from cacheproxy.domain.retry import RetryPolicy
from cacheproxy.domain.store_events import Damaged
from cacheproxy.inprocess.tasks import Tasks
from cacheproxy.metadata.memory import MemoryMetadata
from cacheproxy.ports import Observer, Upstream
from cacheproxy.pullthrough.context import FillContext
from cacheproxy.pullthrough.pull_through import PullThrough
from cacheproxy.pullthrough.remote import Registry
from cacheproxy.storage.filesystem import FilesystemStore
from cacheproxy.storage.layout import Layout
from cacheproxy.storage.leftovers import is_locked
from tests.simulation.clock import VirtualClock
from tests.simulation.member import Member
from tests.simulation.network import Network
from tests.simulation.script import Script
from tests.simulation.upstream import Book, ScriptedUpstream
from tests.simulation.world import SimulatedPool, World


class _Watch:
    """Complains of events that never may be (`Observer`)."""

    def __init__(self, worker: "Worker", book: Book) -> None:
        self._worker = worker
        self._process = worker.process
        self._book = book
        self.others: list[Observer] = []

    def observe(self, event: Event) -> None:
        """Look at an event."""
        world = self._process.world
        world.note(f"{self._process.name}: {type(event).__name__}")
        for other in self.others:
            other.observe(event)
        if isinstance(event, Unexpected):
            world.complain(f"{self._process.name}: unexpected {event.error!r}")
        if isinstance(event, Damaged):
            world.complain(f"{self._process.name}: a stored blob is damaged: {event}")
        if isinstance(event, FillEnded) and event.error and not _was_left(event.error):
            self._look_for_condemned(event.digest)

    def _look_for_condemned(self, digest: Digest) -> None:
        """Complain of wrong bytes that stay where the next download takes them up."""
        world, content = self._process.world, self._book.content(digest)
        if self._book.script.crashes or not self._process.is_alive or not content.size:
            return  # what a killed worker leaves, nobody has condemned
        path = Layout(self._worker.directory).ingest(digest)
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

    def __init__(self, number: int, surroundings: "Surroundings") -> None:
        around, world, script = surroundings, surroundings.world, surroundings.script
        self.number = number
        self.replica = script.replica_of(number)
        self.name = f"w{number}" if script.replicas == 1 else f"r{self.replica}w{number}"
        self.process = world.spawn(self.name)
        self.directory = world.directory(self.replica)
        self.script = script
        with world.entered(self.process), simulated_pools():
            clock = VirtualClock(self.process)
            observer = _Watch(self, around.book)
            self._tasks, self._services = Tasks(), Tasks()
            self.member = None
            if around.network is not None:
                self.member = Member(self, around.network, self._services, clock)
                observer.others.append(self.member.announcer)
            self.store = FilesystemStore.at(
                Layout(self.directory), Budget(script.max_size), clock, observer
            )
            context = FillContext(
                self.store,
                observer,
                clock,
                abandon_after=script.abandon_after,
                relay_ahead=script.relay_ahead,
            )
            upstream: Upstream = ScriptedUpstream(around.book)
            if self.member is not None:
                upstream = self.member.share(upstream, around.metadata)
            registry = Registry(upstream, TagRules(), RetryPolicy())
            self.core = PullThrough({"docker.io": registry}, context, around.metadata, self._tasks)
            if self.member is not None:
                self.member.begin(self.core.sharing, self.store, observer)
        upkeep = Upkeep(self.store, clock, observer, keep_partial=3600.0)
        self.process.start(upkeep.run(), "upkeep")
        self.process.start(upkeep.recount(), "recount")

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
        if self.member is not None:
            await self.member.end()
        await self._services.close()


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What all workers of a world have in common; no network where there is one replica."""

    world: World
    script: Script
    book: Book
    metadata: MemoryMetadata
    network: Network | None


def _was_left(error: str) -> bool:
    """Whether a download ended because nobody wanted it any more, and was not judged."""
    return "given up" in error or "nobody waits" in error
