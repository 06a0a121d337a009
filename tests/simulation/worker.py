"""One worker: the core and its store, wired as in production, in a simulated process."""

from dataclasses import dataclass

from cacheproxy.bootstrap.upkeep import Upkeep
from cacheproxy.domain.budget import Budget
from cacheproxy.domain.digest import Digest
from cacheproxy.domain.events import Event, FillEnded, Unexpected
from cacheproxy.domain.freshness import TagPolicy, TagRules
from cacheproxy.domain.retry import RetryPolicy
from cacheproxy.domain.store_events import Damaged, Evicted, Stored
from cacheproxy.inprocess.tasks import Tasks
from cacheproxy.metadata.memory import MemoryMetadata
from cacheproxy.ports import Clock, Metadata, Observer, Upstream
from cacheproxy.pullthrough.context import FillContext
from cacheproxy.pullthrough.pull_through import PullThrough
from cacheproxy.pullthrough.remote import Registry
from cacheproxy.storage.filesystem import FilesystemStore
from cacheproxy.storage.layout import Layout
from cacheproxy.storage.leftovers import is_locked
from tests.simulation.clock import VirtualClock
from tests.simulation.cluster_script import ClusterScript
from tests.simulation.member import Member, make_surroundings, settings_of
from tests.simulation.network import host_of
from tests.simulation.script import Script
from tests.simulation.upstream import Book, ScriptedUpstream
from tests.simulation.world import World


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
        match event:
            case Stored():
                self._book.note_stored(self._worker.replica, event.digest, is_there=True)
            case Evicted() | Damaged():
                self._book.note_stored(self._worker.replica, event.digest, is_there=False)
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


class Worker:
    """A worker that serves. Alone, its metadata is shared by all, as one embedded store is.

    Attributes:
        is_ready: it serves; until then clients are refused.
    """

    core: PullThrough

    def __init__(self, number: int, surroundings: "Surroundings") -> None:
        around, world, script = surroundings, surroundings.world, surroundings.script
        self.number = number
        self.replica = script.replica_of(number)
        self.name = f"w{number}" if script.cluster is None else f"r{self.replica}w{number}"
        self.process = world.spawn(self.name, host_of(self.replica))
        self.directory = world.directory(self.replica)
        self.script = script
        self.began_at = world.time
        self.is_ready = False
        self._around = around
        self._member: Member | None = None
        with world.entered(self.process):
            self._clock: Clock = VirtualClock(self.process)
            self._observer = _Watch(self, around.book)
            self._tasks, self._services = Tasks(), Tasks(self._observer.observe, self._clock.sleep)
            layout, budget = Layout(self.directory), Budget(script.budget_of(self.replica))
            self.store = FilesystemStore.at(layout, budget, self._clock, self._observer)
        if script.cluster is None:
            with world.entered(self.process):
                self._serve(ScriptedUpstream(around.book, self.replica), around.metadata)
        else:
            self.process.start(self._join(layout, script.cluster), "start")
        upkeep = Upkeep(self.store, self._clock, self._observer, keep_partial=3600.0)
        self.process.start(upkeep.run(), "upkeep")
        self.process.start(upkeep.recount(), "recount")

    async def _join(self, layout: Layout, cluster: ClusterScript) -> None:
        """Become one of several replicas, then serve."""
        around = make_surroundings(self._observer, self._clock, self._services)
        settings = settings_of(self.replica, cluster.readers)
        member = await Member.start(self.process, (self.replica, settings), layout, around)
        self._observer.others.append(member.cluster.announcer)
        self._clock = around.cluster_clock
        upstream = ScriptedUpstream(self._around.book, self.replica)
        self._serve(member.share(upstream), member.metadata)
        member.begin(self.core.sharing, self.store, self._observer)
        self._member = member

    def _serve(self, upstream: Upstream, metadata: Metadata) -> None:
        script = self.script
        context = FillContext(
            self.store,
            self._observer,
            self._clock,
            abandon_after=script.abandon_after,
            relay_ahead=script.relay_ahead,
        )
        policy = TagPolicy() if script.cluster is None else script.cluster.policy
        registry = Registry(upstream, TagRules(policy), RetryPolicy())
        self.core = PullThrough({"docker.io": registry}, context, metadata, self._tasks)
        self.is_ready = True

    async def catch_up(self) -> None:
        """Bring the ledger in line with the directory, as upkeep does from time to time."""
        await self.store.accounts.flush()
        await self.store.settle()

    @property
    def is_idle(self) -> bool:
        """Whether nothing is under way or being put down, and stock has been taken."""
        return self.is_ready and self.store.accounts.is_counted and not len(self._tasks)

    async def close(self) -> None:
        """End as at a shutdown."""
        await self._tasks.close()
        if self._member is not None:
            await self._member.end(self._services)
        await self._services.close()


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What all workers of a world have in common; of one replica, its metadata too."""

    world: World
    script: Script
    book: Book
    metadata: MemoryMetadata


def _was_left(error: str) -> bool:
    """Whether a download ended because nobody wanted it any more, and was not judged."""
    return "given up" in error or "nobody waits" in error
