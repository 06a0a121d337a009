"""One simulation: a seed in, and which promises were broken out."""

import hashlib
import os
import random
import shutil
import sqlite3
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from collections.abc import Set as AbstractSet
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cacheproxy.domain.digest import Digest
from cacheproxy.domain.records import Link
from cacheproxy.metadata.embedded import _open
from cacheproxy.metadata.memory import MemoryMetadata
from cacheproxy.storage.filesystem import open_ledger
from cacheproxy.storage.layout import Layout
from tests.simulation import actors, disk, network
from tests.simulation.actors import Pull
from tests.simulation.cluster import ClusterEvents
from tests.simulation.cluster_script import (
    ClusterScript,
    Standstill,
    TagPull,
    write_cluster_script,
)
from tests.simulation.member import settings_of
from tests.simulation.script import AMPLE, REPOSITORIES, Client, Crash, Script, write_script
from tests.simulation.upstream import Book
from tests.simulation.worker import Surroundings, Worker
from tests.simulation.world import Process, SimulatedPool, World

# Nothing that a client waits for may take longer, whatever fails.
_CLIENT_SECONDS = 400.0
_QUIET_SECONDS = 900.0
_FINAL_SECONDS = 60.0


@dataclass(slots=True)
class Outcome:
    """What a simulation came to.

    Attributes:
        seed: of it.
        violations: promises that were broken; empty where all held.
        steps: that it took.
        outcomes: of clients, by kind.
        trace: what happened, the last few thousand lines.
        script: what was to happen.
    """

    seed: int
    violations: list[str]
    steps: int
    outcomes: Counter[str] = field(default_factory=Counter)
    trace: list[str] = field(default_factory=list)
    script: Script | None = None


def simulate(seed: int, *, is_cluster: bool = False) -> Outcome:
    """Run one simulation to its end: of one volume, or of a cluster of replicas."""
    script = write_cluster_script(seed) if is_cluster else write_script(seed)
    world = World(seed)
    random.seed(seed)
    run = _Run(world, script)
    try:
        run.run()
    finally:
        world.close()
        shutil.rmtree(world.root, ignore_errors=True)
    trace = [line.replace(world.root, "ROOT") for line in world.trace]
    outcomes = Counter(pull.outcome.split(":")[0] for pull in run.pulls)
    if run.cluster is not None:
        outcomes.update(run.cluster.outcomes)
    return Outcome(seed, world.violations, world.steps, outcomes, trace, script)


class _Run:
    def __init__(self, world: World, script: Script) -> None:
        self.world = world
        self.script = script
        self.book = Book(world, script)
        self.metadata = MemoryMetadata()
        self.pulls: list[Pull] = []
        self._waiting: list[tuple[float, int, Callable[[], None]]] = []
        self._pending_starts = 0
        self._chores: list[tuple[Worker, Any]] = []
        self._crashed = False
        world.root = _directories(script.replicas)
        self.cluster: ClusterEvents | None = None
        if script.cluster is not None:
            for replica in range(script.replicas):
                settings_of(replica, script.cluster.readers)  # they are kept, and no process's
            self.cluster = ClusterEvents(world, script, self.book, self._at)
        self._around = Surroundings(world, script, self.book, self.metadata)
        for repository, blob, says_size in script.linked:
            content = script.contents[blob]
            link = Link(content.size if says_size else None)
            self.metadata._links[REPOSITORIES[repository], content.digest] = link
        self.workers = [self._start(number) for number in range(script.workers)]
        world.disk.fault = self._disk_fault
        world.fail_job = self._fail_job
        world.disk.on_change = self._check_budget

    def _start(self, number: int) -> Worker:
        with self._no_trouble():
            return Worker(number, self._around)

    @contextmanager
    def _no_trouble(self) -> Iterator[None]:
        """Let a start succeed: what refuses one is not the subject here."""
        before, self.book.is_well = self.book.is_well, True
        try:
            yield
        finally:
            self.book.is_well = before

    # -- its course -----------------------------------------------------------------------------

    def run(self) -> None:
        """Play the script, then see what is left."""
        script = self.script
        for client in script.clients:
            self._at(client.at, lambda client=client: self._pull(client))  # type: ignore[misc]
        for chore in script.chores:
            self._at(chore.at, lambda chore=chore: self._do(chore))  # type: ignore[misc]
        for crash in script.crashes:
            self._at(crash.at, lambda crash=crash: self._crash(crash))  # type: ignore[misc]
        if self.cluster is not None and script.cluster is not None:
            self._play(self.cluster, script.cluster)
        if not self.world.run_until(self._has_ended, _CLIENT_SECONDS, "what clients wait for"):
            return
        self._judge()
        if self.world.violations or not self._become_quiet():
            return
        self._pull_again()
        if not self.world.violations:
            self._look_at_leftovers()

    def _at(self, seconds: float, action: Callable[[], None]) -> None:
        """Have something happen at a time: by a process that never ends."""
        self._pending_starts += 1

        def act() -> None:
            self._pending_starts -= 1
            action()

        self._world_process().loop.call_later(seconds, self._outside, act)

    def _outside(self, act: Callable[[], None]) -> None:
        with self.world.entered(None):
            act()

    def _world_process(self) -> Process:
        for process in self.world.processes:
            if process.name == "world":
                return process
        return self.world.spawn("world")

    def _pull(self, client: Client) -> None:
        worker = self.workers[client.worker]
        state = Pull(client, worker)
        self.pulls.append(state)
        if worker.process.is_alive and worker.is_ready:
            worker.process.start(actors.pull(self.book, worker, state), "client")
        else:
            state.outcome = "refused"

    def _do(self, chore: Any) -> None:
        worker = self.workers[chore.worker]
        if worker.process.is_alive and worker.is_ready:
            task = worker.process.start(actors.do(self.book, worker, chore), chore.kind)
            self._chores.append((worker, task))

    def _crash(self, crash: Crash) -> None:
        worker = self.workers[crash.worker]
        if not worker.process.is_alive:
            return
        self._crashed = True
        if self.cluster is not None:
            self.cluster.note_crash(crash.down_for)
        if crash.system_calls:
            worker.process.system_calls_left = crash.system_calls
        else:
            worker.process.kill()
        self._at(crash.down_for, lambda: self._restart(crash.worker))

    def _play(self, events: ClusterEvents, script: ClusterScript) -> None:
        """Have happen what several replicas are about."""
        for pull in script.tag_pulls:
            self._at(pull.at, lambda pull=pull: self._pull_tag(events, pull))  # type: ignore[misc]
        for purge in script.purges:
            self._at(purge.at, lambda purge=purge: events.purge(purge))  # type: ignore[misc]
        for one in script.standstills:
            self._at(one.at, lambda one=one: self._stand_still(events, one))  # type: ignore[misc]

    def _pull_tag(self, events: ClusterEvents, pull: TagPull) -> None:
        events.pull_tag(pull, self.workers[pull.worker])

    def _stand_still(self, events: ClusterEvents, standstill: Standstill) -> None:
        events.stand_still(standstill, self.workers[standstill.worker].process)

    def _restart(self, number: int) -> None:
        worker = self.workers[number]
        if self.world.ledger_is_busy():
            self._at(0.001, lambda: self._restart(number))  # a start waits for the lock
        elif not worker.process.is_alive:
            self.world.note(f"{worker.name} starts again")
            self.workers[number] = self._start(number)
        else:
            worker.process.system_calls_left = None

    def _has_ended(self) -> bool:
        for pull in self.pulls:
            if not pull.outcome and not pull.worker.process.is_alive:
                pull.outcome = "crashed"
        if self._pending_starts or not all(pull.outcome for pull in self.pulls):
            return False
        if self.cluster is not None and not self.cluster.has_ended():
            return False
        return all(task.done() or not w.process.is_alive for w, task in self._chores)

    # -- faults ---------------------------------------------------------------------------------

    def _trouble(self, kind: str) -> bool:
        if self.book.is_well:
            return False
        now = self.world.time - 1000.0
        for one in self.script.trouble:
            if one.kind == kind and one.start <= now < one.stop:
                return self.world.random.random() < one.share
        return False

    def _disk_fault(self, _: Process, name: str, path: str) -> OSError | None:
        if name in ("pwrite", "fsync") and "/ingest/" in path and self._trouble("write"):
            number = self.world.random.choice((5, 28))
            return OSError(number, os.strerror(number), path)
        return None

    def _fail_job(self, pool: SimulatedPool) -> None:
        if pool.is_ledger and self._trouble("ledger"):
            error = sqlite3.OperationalError("database is locked")
            error.sqlite_errorcode = sqlite3.SQLITE_BUSY
            raise error

    # -- what must hold ---------------------------------------------------------------------------

    def _check_budget(self) -> None:
        with self.world.entered(None):  # nothing goes on meanwhile
            for replica in range(self.script.replicas):
                allowed = self.script.budget_of(replica)
                if allowed < AMPLE and (used := _used(self.world.directory(replica))) > allowed:
                    self.world.complain(f"{used} bytes are on disk, {allowed} allowed")

    def _judge(self) -> None:
        """Judge clients that failed: only what fails upstream of them excuses that."""
        for pull in self.pulls:
            if pull.outcome in ("whole", "part", "left", "refused", "crashed"):
                continue
            client = pull.client
            if self.cluster is not None and self.cluster.stood_still(client.worker):
                continue
            if not self.book.excuses(client.repository, client.blob):
                self.world.complain(f"a client fails for no reason: {pull.outcome} ({client})")
        if self.script.is_quiet and self.script.abandon_after is None:
            self._judge_amplification()
        if self.cluster is not None:
            self.cluster.judge()

    def _judge_amplification(self) -> None:
        if self.script.relay_ahead < 2**20 or self.script.removes:
            return
        for content in self.script.contents:
            sent = self.book.sent[content.digest]
            if sent > content.size:
                self.world.complain(f"upstream sent {sent} bytes of a blob of {content.size}")

    def _become_quiet(self) -> bool:
        """Let faults end, dead workers start again, and downloads come to their end."""
        self.book.is_well = True
        if self.cluster is not None:
            self.cluster.mend_all()
        for number in range(len(self.workers)):
            self._restart(number)

        def is_quiet() -> bool:
            return not self._pending_starts and all(
                worker.process.is_alive and worker.is_idle for worker in self.workers
            )

        return self.world.run_until(is_quiet, _QUIET_SECONDS, "a download")

    def _pull_again(self) -> None:
        """Pull each blob once more, from each worker: it must come, whatever went before.

        What a lying upstream has left behind is found out when its end has come: the clients of
        that download are cut, and the next ones get the blob.
        """
        lied = self.book.lied
        if not self._pull_all(lied) and not self.world.violations:
            self._pull_all(set())

    def _pull_all(self, excused: AbstractSet[Digest]) -> bool:
        first = len(self.pulls)
        for number in range(len(self.workers)):
            for blob in range(len(self.script.contents)):
                self._pull(Client(0, number, 0, blob, None, 100_000, 0.0, None, None))
        again = self.pulls[first:]
        # Workers may try one after the other, where a blob that has no room does not say its size.
        seconds = _FINAL_SECONDS + 2 * self.script.workers * self.script.download_seconds
        if not self.world.run_until(self._has_ended, seconds, "a last pull"):
            return False
        failed = [pull for pull in again if pull.outcome != "whole"]
        for pull in failed:
            if self.script.contents[pull.client.blob].digest not in excused:
                self.world.complain(f"a last pull fails: {pull.outcome} ({pull.client})")
        self.world.run_until(
            lambda: all(worker.is_idle for worker in self.workers), _QUIET_SECONDS, "a download"
        )
        return not failed

    def _look_at_leftovers(self) -> None:
        world = self.world
        if not self.script.is_orderly:
            # Then the ledger may lag behind the directory until the next upkeep.
            tasks = [w.process.start(w.catch_up(), "catch up") for w in self.workers]
            world.run_until(
                lambda: (
                    all(task.done() for task in tasks)
                    and all(worker.is_idle for worker in self.workers)
                ),
                60.0,
                "settling",
            )
        for replica in range(self.script.replicas):
            self._look_at_ledger(replica)
        closing = [w.process.start(w.close(), "close") for w in self.workers]
        world.run_until(lambda: all(task.done() for task in closing), 60.0, "a shutdown")
        for worker in self.workers:
            process = worker.process
            with world.entered(process):
                worker.store.close()
            left = [
                task
                for task in process.tasks
                if not task.done() and task.get_name() not in ("upkeep", "recount")
            ]
            if left:
                world.complain(f"{worker.name} leaves tasks: {left}")
            if process.files:
                world.complain(f"{worker.name} leaves files open: {list(process.files.values())}")

    def _look_at_ledger(self, replica: int) -> None:
        """Compare the ledger with the directory: nothing else may be in it, and all of that."""
        worker = next(worker for worker in self.workers if worker.replica == replica)
        ledger = worker.store.accounts._handle._current()
        stored = {e.digest: e.size for e in ledger.entries()}
        reserved = set(ledger.reservations())
        found: dict[Digest, int] = {}
        for path in (worker.directory / "blobs").rglob("*"):
            if path.is_file():
                digest = Digest(f"{path.parent.parent.name}:{path.name}")
                found[digest] = -(-path.stat().st_size // 4096) * 4096
                if hashlib.sha256(path.read_bytes()).hexdigest() != path.name:
                    self.world.complain(f"{path.name[:8]} is stored and wrong")
        partial = {
            Digest(path.name.replace("-", ":", 1))
            for path in (worker.directory / "ingest").iterdir()
        }
        if stored != found:
            self.world.complain(f"the ledger has {stored}, and the directory {found}")
        if not reserved <= partial:
            self.world.complain(f"reservations without a download: {reserved - partial}")


_TEMPLATE: list[str] = []


def _used(directory: Path) -> int:
    """Return the room that blobs and downloads take."""
    used = 0
    for below in ("blobs", "ingest"):
        for parent, _, names in os.walk(directory / below):
            for name in names:
                with suppress(FileNotFoundError):
                    used += disk.REAL["lstat"](f"{parent}/{name}").st_blocks * 512
    return used


def _directories(count: int) -> str:
    """Make cache directories in one: copies of one that was prepared once."""
    memory = Path("/dev/shm")  # a file system in memory, where there is one
    where = memory if memory.is_dir() else None
    if not _TEMPLATE:
        disk.install()
        network.install()
        template = tempfile.mkdtemp(prefix="simulation-", dir=where)
        layout = Layout(Path(template))
        layout.prepare()
        open_ledger(layout).close()
        _open(layout.metadata).close()
        _TEMPLATE.append(template)
    root = tempfile.mkdtemp(prefix="simulation-", dir=where)
    for number in range(count):
        shutil.copytree(_TEMPLATE[0], f"{root}/{number}")
    return root
