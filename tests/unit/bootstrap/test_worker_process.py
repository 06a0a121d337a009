"""A worker's process and its successors, with workers that serve nothing."""

import asyncio
import errno
import os
import signal
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from multiprocessing import resource_tracker
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any

import pytest

from cacheproxy.bootstrap import worker_process
from cacheproxy.bootstrap.worker_process import WorkerDied, WorkerProcess
from cacheproxy.domain.errors import StartError
from cacheproxy.domain.events import TaskFailed
from cacheproxy.inprocess.tasks import Tasks
from cacheproxy.settings import Settings, load
from tests.integration.fills import until
from tests.support import workers
from tests.support.clock import FakeClock

Work = Callable[..., Any]
WITHIN = 60.0  # seconds in which a process starts on a busy machine


class Scene:
    """A worker that is watched, and the reports of its failures."""

    def __init__(self, worker: WorkerProcess) -> None:
        self.worker = worker
        self.failures: asyncio.Queue[TaskFailed] = asyncio.Queue()
        self.tasks = Tasks(self.failures.put_nowait, FakeClock().sleep)

    def watch(self) -> None:
        """Replace the worker whenever it dies."""
        self.tasks.keep_running(self.worker.keep_alive, "worker")

    async def failure(self) -> BaseException:
        """Wait for the next failure that is reported."""
        return (await self.failures.get()).error

    async def process(self) -> SpawnProcess:
        """Wait until there is a process."""
        await until(lambda: self.worker._process is not None, WITHIN)
        assert self.worker._process is not None
        return self.worker._process


@pytest.fixture(scope="module", autouse=True)
def _resource_tracker() -> None:
    """Start multiprocessing's helper process, which then runs for as long as the tests do."""
    resource_tracker.ensure_running()


@pytest.fixture
def settings() -> Settings:
    """Settings with a drain that takes no time."""
    loaded = load(None, {})
    return replace(loaded, server=replace(loaded.server, drain_timeout=0.0))


@pytest.fixture
async def scene(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Scene]:
    """A worker that is not started yet."""
    monkeypatch.setattr(worker_process, "_GRACE", 0.0)
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    monkeypatch.setattr(worker_process, "work", workers.serve)
    made = Scene(WorkerProcess(settings, tmp_path / "worker.sock"))
    yield made
    await made.tasks.close()
    await made.worker.stop()


def _pid(process: SpawnProcess) -> int:
    assert process.pid is not None
    return process.pid


async def test_a_worker_that_dies_is_replaced(scene: Scene) -> None:
    """A successor serves after the process was killed."""
    await scene.worker.start()
    scene.watch()
    killed = _pid(await scene.process())
    os.kill(killed, signal.SIGKILL)
    assert isinstance(await scene.failure(), WorkerDied)
    assert _pid(await scene.process()) != killed


@pytest.mark.parametrize(
    "place", ["socket.socketpair", "multiprocessing.process.BaseProcess.start"]
)
async def test_a_worker_that_cannot_be_started_is_tried_again(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    """A system that has no process or descriptor to spare does not end the supervision."""

    def refuse(*_: object, **__: object) -> None:
        raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")

    await scene.worker.start()
    first = _pid(await scene.process())
    with monkeypatch.context() as patch:
        patch.setattr(place, refuse)
        scene.watch()
        os.kill(first, signal.SIGKILL)
        assert isinstance(await scene.failure(), WorkerDied)
        for _ in range(3):
            error = await scene.failure()
            assert str(error) == "a worker cannot be started: Resource temporarily unavailable"
    assert _pid(await scene.process()) != first


async def test_a_worker_that_cannot_be_started_at_first_is_an_error_of_the_start(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first start fails with a sentence instead of a stack trace."""
    monkeypatch.setattr("socket.socketpair", _too_many_files)
    with pytest.raises(StartError, match="a worker cannot be started: Too many open files"):
        await scene.worker.start()


def _too_many_files() -> None:
    raise OSError(errno.EMFILE, "Too many open files")


@pytest.mark.parametrize(
    ("work", "reason"),
    [(workers.refuse, "the directory is read-only"), (workers.die, "its output says why")],
)
async def test_a_worker_that_cannot_serve_says_why(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, work: Work, reason: str
) -> None:
    """The start fails with the worker's reason, and leaves no process behind."""
    monkeypatch.setattr(worker_process, "work", work)
    with pytest.raises(StartError, match=reason):
        await scene.worker.start()
    assert scene.worker._process is None


async def test_gauges_that_cannot_be_removed_do_not_end_the_supervision(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker is replaced although its metrics' files cannot be deleted."""

    def refuse(_: int) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr("prometheus_client.multiprocess.mark_process_dead", refuse)
    await scene.worker.start()
    scene.watch()
    killed = _pid(await scene.process())
    os.kill(killed, signal.SIGKILL)
    assert isinstance(await scene.failure(), WorkerDied)
    assert _pid(await scene.process()) != killed


async def test_a_worker_survives_a_hangup_from_its_first_moment(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SIGHUP, which is for the supervisor, does not end a worker that is starting."""
    monkeypatch.setattr(worker_process, "work", workers.serve_after_hangup)
    await scene.worker.start()


async def test_a_stopped_worker_does_not_block_its_supervisor(
    scene: Scene, settings: Settings
) -> None:
    """Orders to a worker that reads none return at once, however many they are."""
    await scene.worker.start()
    os.kill(_pid(await scene.process()), signal.SIGSTOP)
    for _ in range(2000):
        scene.worker.apply(settings)
    scene.worker.leave()


async def test_a_worker_that_does_not_drain_is_killed(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker that ignores SIGTERM is killed after the drain."""
    monkeypatch.setattr(worker_process, "work", workers.ignore_sigterm)
    await scene.worker.start()
    pid = _pid(await scene.process())
    await scene.worker.stop()
    assert scene.worker._process is None
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
