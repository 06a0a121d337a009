"""The scheduler of a simulation: processes, their event loops and threads, and virtual time.

A world holds several simulated processes in one real one. Each has an event loop and thread
pools of its own, and the world alone decides what runs next: a callback of some loop, a job of
some thread pool, or the passing of time. Every decision comes from one seeded generator, so a
seed is a schedule.

Callbacks and jobs run in greenlets. A system call of the code under test may hand control back
to the world in the middle of either, so that another process, or another thread of the same
one, goes on first. Callbacks of one loop never interleave with each other, as in reality.
"""

import asyncio
import contextlib
import random
import sqlite3
import sys
from collections import deque
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from greenlet import GreenletExit, getcurrent, greenlet
from typing_extensions import override

from tests.simulation.schedule import Schedule

if TYPE_CHECKING:
    from tests.simulation.network import Network

T = TypeVar("T")

# Virtual seconds that one step takes: code that never waits still lets time pass.
_STEP_SECONDS = 20e-6
_STEPS_PER_LOOK = 8
# For so long at most a busy machine lets nothing run.
_STALL_SECONDS = 0.2


class Killed(BaseException):
    """Raised by system calls of a process that has crashed: it has no effects any more."""


class Violation(AssertionError):
    """An invariant does not hold."""


class SimulatedLoop(asyncio.BaseEventLoop):
    """An asyncio event loop that never runs by itself: the world takes its callbacks."""

    def __init__(self, process: "Process") -> None:
        super().__init__()
        self.process = process
        self.ready: deque[Any] = self._ready  # type: ignore[attr-defined]  # the same ones
        self.timers: list[Any] = self._scheduled  # type: ignore[attr-defined]
        self.set_task_factory(process.make_task)

    @override
    def time(self) -> float:
        return self.process.world.time

    @override
    def call_soon_threadsafe(  # type: ignore[override]  # the arguments of a callback are its own
        self, callback: Any, *args: Any, context: Any = None
    ) -> Any:
        return self.call_soon(callback, *args, context=context)

    @override
    def run_in_executor(  # type: ignore[override]  # likewise
        self, executor: Any, func: Any, *args: Any
    ) -> Any:
        pool = executor or self.process.default_pool
        return asyncio.wrap_future(pool.submit(func, *args), loop=self)

    @override
    def call_exception_handler(self, context: dict[str, Any]) -> None:
        if self.process.is_alive:
            self.process.world.complain(f"event loop: {context.get('message')}", context)

    @override
    async def create_connection(
        self,
        protocol_factory: Any,
        host: str | None = None,
        port: int | None = None,
        *,
        sock: Any = None,
        **_: Any,
    ) -> Any:
        from tests.simulation.network import create_connection  # it knows this module

        address = None if host is None or port is None else (host, int(port))
        return await create_connection(self.process, protocol_factory, address, sock)

    def take_due(self, now: float) -> None:
        """Make the callbacks ready whose time has come."""
        timers: list[Any] = self.timers
        while timers and (timers[0]._when <= now or timers[0]._cancelled):
            self._make_ready(timers)

    def next_timer(self) -> float | None:
        """Return when the next timer is due, or None if there is none."""
        timers: list[Any] = self.timers
        while timers and timers[0]._cancelled:
            self._make_ready(timers)
        return timers[0]._when if timers else None

    def _make_ready(self, timers: list[Any]) -> None:
        timer = asyncio.base_events.heapq.heappop(timers)  # type: ignore[attr-defined]
        timer._scheduled = False
        if not timer._cancelled:
            self.ready.append(timer)

    def abandon(self) -> None:
        """Drop everything that was to run: the process has ended."""
        self.ready.clear()
        self.timers.clear()


class _BlockingFuture(Future[Any]):
    """A future whose `result` runs the work if nobody has yet: callers may block on it."""

    def __init__(self, pool: "SimulatedPool") -> None:
        super().__init__()
        self._pool = pool

    @override
    def result(self, timeout: float | None = None) -> Any:
        self._pool.finish(self)
        return super().result(timeout)


class SimulatedPool(Executor):
    """A thread pool (`ThreadPoolExecutor`) whose threads run when the world says so."""

    def __init__(self, max_workers: int = 8, thread_name_prefix: str = "") -> None:
        process = World.current
        if process is None:
            raise AssertionError("a thread pool belongs to a process")
        self.process = process
        self.number = process.world.next_number()
        self.name = thread_name_prefix
        self._limit = max_workers
        self._queue: deque[tuple[float, _BlockingFuture, Callable[[], Any]]] = deque()
        self._running: list[tuple[_BlockingFuture, greenlet]] = []
        process.pools.append(self)

    @property
    def is_ledger(self) -> bool:
        """Whether its jobs are transactions of the ledger, which exclude each other."""
        return self.name == "ledger"

    @override
    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        future = _BlockingFuture(self)
        world = self.process.world
        begins = world.time + world.schedule.delay()
        self._queue.append((begins, future, lambda: fn(*args, **kwargs)))
        self.process.busy_pools[self.number] = self
        return future

    @override
    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        while wait and (self._queue or self._running):
            self.finish(self._running[0][0] if self._running else self._queue[0][1])

    def choices(self) -> int:
        """Return the number of jobs that can go on now."""
        if not self._queue:
            return len(self._running)
        return len(self._running) + self._can_start()

    def _can_start(self) -> bool:
        if len(self._running) >= self._limit or self._queue[0][0] > self.process.world.time:
            return False
        return not self.is_ledger or not self.process.world.ledger_is_busy()

    def next_start(self) -> float | None:
        """Return when the next job can begin, or None if it waits for something else than time."""
        if not self._queue or self._queue[0][0] <= self.process.world.time:
            return None
        return self._queue[0][0]

    @property
    def is_running(self) -> bool:
        """Whether a job has begun and not ended."""
        return bool(self._running)

    def step(self, number: int) -> None:
        """Let one job run up to its next system call that hands control back."""
        if number < len(self._running):
            future, thread = self._running[number]
            self._go_on(future, thread)
            return
        _, future, work = self._queue.popleft()
        if future.set_running_or_notify_cancel():
            thread = greenlet(lambda: self._outcome(work))
            self._running.append((future, thread))
            self._go_on(future, thread)

    def finish(self, future: Future[Any]) -> None:
        """Run jobs, without any interruption, until this one has ended."""
        with self.process.world.uninterrupted():
            while not future.done():
                self.step(0)

    def _outcome(self, work: Callable[[], Any]) -> tuple[Any, BaseException | None]:
        try:
            self.process.world.fail_job(self)
            return work(), None
        except (Killed, GreenletExit):
            raise
        except BaseException as error:  # noqa: BLE001  # a future holds whatever it was
            return None, error

    def _go_on(self, future: Future[Any], thread: greenlet) -> None:
        thread.parent = getcurrent()
        outcome = thread.switch()
        if not thread.dead:
            return
        self._running = [one for one in self._running if one[0] is not future]
        if not self._running and not self._queue:
            self.process.busy_pools.pop(self.number, None)
        if isinstance(outcome, tuple):  # else it was killed
            result, error = outcome
            if error is not None:
                future.set_exception(error)
            else:
                future.set_result(result)

    def abandon(self) -> list[greenlet]:
        """Drop all jobs; returns the threads of those that had begun."""
        threads = [thread for _, thread in self._running]
        self._queue.clear()
        self._running = []
        self.process.busy_pools.pop(self.number, None)
        return threads


class Process:
    """One simulated process: a loop, thread pools, open files and databases."""

    def __init__(self, world: "World", name: str, host: str) -> None:
        self.world = world
        self.name = name
        self.host = host
        self.number = world.next_number()
        self.is_alive = True
        self.frozen_until = 0.0
        self.pools: list[SimulatedPool] = []
        self.busy_pools: dict[int, SimulatedPool] = {}
        self.files: dict[int, str] = {}
        self.databases: list[sqlite3.Connection] = []
        self.tasks: list[asyncio.Task[Any]] = []
        self.system_calls_left: int | None = None
        self.on_kill: list[Callable[[], None]] = []
        self.loop = SimulatedLoop(self)
        with world.entered(self):
            self.default_pool = SimulatedPool(4, "default")
        self._thread: greenlet | None = None
        self._graveyard: list[greenlet] = []

    def make_task(self, loop: Any, work: Any, **options: Any) -> asyncio.Task[Any]:
        """Make a task, and remember it for the end of the process (a task factory)."""
        task: asyncio.Task[Any] = asyncio.Task(work, loop=loop, **options)
        self.tasks.append(task)
        return task

    def start(self, work: Coroutine[Any, Any, T], name: str) -> asyncio.Task[T]:
        """Start a task in this process."""
        with self.world.entered(self):
            return self.loop.create_task(work, name=name)

    def next_times(self) -> Iterator[float]:
        """Yield when something of it can run, as far as that depends on time."""
        if self.frozen_until > self.world.time:
            yield self.frozen_until
        due = self.loop.next_timer()
        if due is not None:
            yield due
        for pool in self.busy_pools.values():
            start = pool.next_start()
            if start is not None:
                yield start

    def may_run(self, now: float) -> bool:
        """Return False if it has nothing to do: a quick look, since most processes have not."""
        loop = self.loop
        if loop.ready or self.busy_pools or self._thread is not None:
            return True
        return bool(loop.timers) and loop.timers[0]._when <= now

    @property
    def is_inside(self) -> bool:
        """Whether a callback of its loop was interrupted, and has to be finished first."""
        return self._thread is not None

    def step(self, handle: Any = None) -> None:
        """Run a ready callback, or go on with the one that was interrupted."""
        # As `World.entered`, which costs as much as a short callback.
        before = World.current
        World.current = self
        asyncio._set_running_loop(self.loop)
        try:
            thread = self._thread
            if thread is None:
                thread = self._thread = greenlet(_run)
                thread.parent = getcurrent()
                thread.switch(handle)
            else:
                thread.parent = getcurrent()
                thread.switch()
            if thread.dead:
                self._thread = None
        finally:
            World.current = before
            asyncio._set_running_loop(before.loop if before is not None else None)

    def kill(self) -> None:
        """End the process as `kill -9` does: nothing of it runs again, its files are closed."""
        self.is_alive = False
        self.world.note(f"{self.name} is killed")
        self.loop.abandon()
        self._graveyard += [t for pool in self.pools for t in pool.abandon()]
        if self._thread is not None:
            self._graveyard.append(self._thread)
            self._thread = None
        for database in self.databases:
            database.close()
        self.world.disk.close_all(self)
        for tell in self.on_kill:
            tell()

    def bury(self) -> None:
        """Let go of what a killed process was doing, without effects; at the end of a world."""
        with self.world.entered(self):
            for thread in self._graveyard:
                with contextlib.suppress(BaseException):
                    thread.throw(GreenletExit)
            for task in self.tasks:
                task._log_destroy_pending = False  # type: ignore[attr-defined]
                with contextlib.suppress(BaseException):
                    task.get_coro().close()
            self.loop.abandon()
            self.loop.close()


def _run(handle: Any) -> None:
    try:
        handle._run()
    except Killed:
        return


class World:
    """Everything that happens in one simulation.

    Attributes:
        current: the process whose code runs right now.
        network: between its hosts; None where there is one.
        clock_offsets: seconds by which the wall clock of a host is ahead.
    """

    current: "Process | None" = None

    def __init__(self, seed: int) -> None:
        from tests.simulation.disk import Disk  # it knows the world

        self.seed = seed
        self.random = random.Random(seed)
        self.schedule = Schedule(random.Random(self.random.random()))
        self.time = 1000.0
        self.steps = 0
        self.processes: list[Process] = []
        self.living: list[Process] = []
        self.disk: Disk = Disk(self)
        self.network: Network | None = None
        self.clock_offsets: dict[str, float] = {}
        self.root = ""
        self.violations: list[str] = []
        self.trace: deque[str] = deque(maxlen=4000)
        self.fail_job: Callable[[SimulatedPool], None] = lambda _: None
        self._main = getcurrent()
        self._interrupts = True
        self._numbers = 0
        self._is_closing = False

    # -- for the code that is simulated -----------------------------------------------------

    @contextlib.contextmanager
    def entered(self, process: Process | None) -> Iterator[None]:
        """Run code as this process."""
        before = World.current
        World.current = process
        asyncio._set_running_loop(process.loop if process is not None else None)
        try:
            yield
        finally:
            World.current = before
            asyncio._set_running_loop(before.loop if before is not None else None)

    @contextlib.contextmanager
    def uninterrupted(self) -> Iterator[None]:
        """Let nothing else run meanwhile: a blocking call of the process."""
        before, self._interrupts = self._interrupts, False
        try:
            yield
        finally:
            self._interrupts = before

    def at_system_call(self, process: Process, what: str) -> None:
        """Crash the process here if that is due, or let something else run first.

        Raises:
            Killed: the process has crashed.
        """
        if not process.is_alive:
            raise Killed
        if process.system_calls_left is not None:
            process.system_calls_left -= 1
            if process.system_calls_left <= 0:
                self.note(f"{process.name} crashes at {what}")
                process.system_calls_left = None
                self._end_here(process)
        if self._interrupts and getcurrent() is not self._main and self.schedule.interrupts():
            self.note(f"{process.name} is interrupted at {what}")
            self._hand_back()
            if not process.is_alive:
                raise Killed

    def _end_here(self, process: Process) -> None:
        process.kill()
        if getcurrent() is not self._main:
            process._graveyard.append(getcurrent())
            self._hand_back()
        raise Killed

    def _hand_back(self) -> None:
        self._main.switch()

    def ledger_is_busy(self) -> bool:
        """Whether a transaction of the ledger is under way in any process."""
        return any(
            pool.is_ledger and pool.is_running
            for process in self.processes
            for pool in process.busy_pools.values()
        )

    def directory(self, replica: int) -> Path:
        """Return the cache directory of a replica."""
        return Path(self.root, str(replica))

    # -- for the scenario ---------------------------------------------------------------------

    def next_number(self) -> int:
        """Return a number that nothing else in this world has."""
        self._numbers += 1
        return self._numbers

    def spawn(self, name: str, host: str = "") -> Process:
        """Begin a process on a host."""
        process = Process(self, name, host)
        self.processes.append(process)
        self.living.append(process)
        return process

    def note(self, what: str) -> None:
        """Add a line to the trace."""
        self.trace.append(f"{self.time - 1000:10.4f} {self.steps:6d} {what}")

    def complain(self, what: str, context: object = None) -> None:
        """Record that an invariant does not hold."""
        if self._is_closing:
            return
        error = context.get("exception") if isinstance(context, dict) else None
        text = f"{what}: {error!r}" if error is not None else what
        self.note(f"VIOLATION {text}")
        self.violations.append(text)

    def run_until(self, is_done: Callable[[], bool], seconds: float, what: str) -> bool:
        """Take steps until something is so, at most so many virtual seconds; whether it is."""
        deadline = self.time + seconds
        while not is_done():
            # Asked now and then: to ask costs as much as a step.
            for _ in range(_STEPS_PER_LOOK):
                if self.violations:
                    return False
                if self.time > deadline or not self._step():
                    if is_done():
                        return True
                    self.complain(f"{what} did not end within {seconds:g} virtual seconds")
                    return False
        return True

    def _step(self) -> bool:
        """Let one thing happen; False if nothing ever will."""
        self.steps += 1
        self.time += _STEP_SECONDS
        runnable: list[tuple[int, Process | SimulatedPool]] = []
        now = self.time
        for process in self.living:
            if process.frozen_until <= now and process.may_run(now):
                _offer(process, now, runnable)
        if not runnable:
            return self._pass_time()
        if self.schedule.skips_ahead():
            self.time += self.random.uniform(0.0, _STALL_SECONDS)
        try:
            self._go_on(self.schedule.choose(runnable))
        except Killed:
            return True
        return True

    def _go_on(self, chosen: "Process | SimulatedPool") -> None:
        seconds = self.schedule.freeze()
        if seconds:
            process = chosen.process if isinstance(chosen, SimulatedPool) else chosen
            process.frozen_until = self.time + seconds
            self.note(f"{process.name} stands still for {seconds:g} s")
            return
        if isinstance(chosen, SimulatedPool):
            with self.entered(chosen.process):
                chosen.step(self.schedule.pick(chosen.choices()))
        elif chosen.is_inside:
            chosen.step()
        else:
            self._call(chosen)

    def _call(self, process: Process) -> None:
        ready = process.loop.ready
        number = self.schedule.pick(len(ready))
        ready.rotate(-number)
        handle = ready.popleft()
        ready.rotate(number)
        if not handle._cancelled:
            process.step(handle)

    def _pass_time(self) -> bool:
        """Move on to the next timer; False if there is none."""
        due: list[float] = []
        for process in self.living:
            due += (max(time, process.frozen_until) for time in process.next_times())
        if not due:
            return False
        self.time = max(self.time, min(due))
        return True

    def close(self) -> None:
        """End everything without effects. What garbage complains of is of no interest then."""
        self._is_closing = True
        hook, sys.unraisablehook = sys.unraisablehook, lambda _: None
        try:
            self._bury()
        finally:
            sys.unraisablehook = hook

    def _bury(self) -> None:
        for process in self.processes:
            if process.is_alive:
                process.kill()
        for process in self.processes:
            process.bury()
        self.disk.close()
        self.processes.clear()


def _offer(
    process: Process, now: float, runnable: list[tuple[int, Process | SimulatedPool]]
) -> None:
    """Add what of a process can take a step: its loop, and each of its thread pools."""
    loop = process.loop
    loop.take_due(now)
    if loop.ready or process.is_inside:
        runnable.append((process.number, process))
    runnable += [(pool.number, pool) for pool in process.busy_pools.values() if pool.choices()]
