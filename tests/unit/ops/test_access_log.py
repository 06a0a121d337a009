import asyncio
import threading
from collections.abc import Iterator
from dataclasses import replace

import pytest
import structlog

from cacheproxy.domain.accesses import Access, prefix_of
from cacheproxy.domain.events import Responded, UpstreamReceived
from cacheproxy.inprocess.tasks import Tasks
from cacheproxy.ops.access_log import AccessLog
from cacheproxy.ops.access_records import RECORD_BYTES, Decoder, encoded
from tests.support.clock import FakeClock
from tests.unit.ops.events import BLOB, DIGEST

SERVED = replace(BLOB, digest=DIGEST, size=5000)


class Disk:
    """Keeps records in memory, unless it is told to refuse."""

    def __init__(self) -> None:
        self.kept = b""
        self.refuses = False
        self.is_busy = False
        self.threads: set[str] = set()

    def append(self, records: bytes) -> None:
        """Keep records."""
        self.threads.add(threading.current_thread().name)
        if self.is_busy:
            raise BlockingIOError(11, "another process keeps the lock")
        if self.refuses:
            raise OSError(28, "No space left on device")
        self.kept += records

    def accesses(self) -> list[Access]:
        """What was kept."""
        return list(Decoder(["docker.io"]).accesses(self.kept))


@pytest.fixture
def disk() -> Disk:
    return Disk()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def log(disk: Disk, clock: FakeClock) -> Iterator[AccessLog]:
    """A log that keeps at most three responses in memory."""
    structlog.reset_defaults()
    made = AccessLog(disk.append, clock, pending=3)
    yield made
    made.close()


async def test_a_response_is_an_access(log: AccessLog, disk: Disk, clock: FakeClock) -> None:
    """When it was asked for, of what, how much of it, and by which upstream."""
    log.observe(SERVED)
    await log.flush()
    (found,) = disk.accesses()
    asked_at = int((clock.now() - SERVED.duration) * 1000) / 1000
    expected = Access(asked_at, found.key, 5000, 1000, "blob", "docker.io")
    assert found == expected
    assert disk.kept == encoded(expected, prefix_of(DIGEST))


@pytest.mark.parametrize(
    "event",
    [BLOB, replace(SERVED, body_bytes=0), replace(BLOB, status=404, outcome="error")],
    ids=["listing", "HEAD", "error"],
)
async def test_what_is_no_access(log: AccessLog, disk: Disk, event: Responded) -> None:
    """Without content, or without a byte of it, nothing is recorded; nor of other events."""
    log.observe(event)
    log.observe(UpstreamReceived("docker.io", 5))
    await log.flush()
    assert disk.kept == b""


async def test_a_size_that_nobody_knew(log: AccessLog, disk: Disk) -> None:
    """A blob of unknown length is at least as long as what was served of it."""
    log.observe(replace(SERVED, size=None))
    log.observe(replace(SERVED, asked=replace(SERVED.asked, operation="manifest")))
    await log.flush()
    assert [(found.size, found.kind) for found in disk.accesses()] == [
        (1000, "blob"),
        (5000, "manifest"),
    ]


async def test_it_is_written_in_a_thread_of_its_own(log: AccessLog, disk: Disk) -> None:
    """The loop does not wait for the disk."""
    log.observe(SERVED)
    await log.flush()
    assert threading.current_thread().name not in disk.threads
    assert len(disk.threads) == 1


async def test_it_writes_every_few_seconds(disk: Disk, clock: FakeClock) -> None:
    """What was observed is on disk after one turn, without being asked for."""
    loop, written = asyncio.get_running_loop(), asyncio.Event()

    def append(records: bytes) -> None:
        disk.append(records)
        loop.call_soon_threadsafe(written.set)

    log = AccessLog(append, clock)
    log.observe(SERVED)
    tasks = Tasks()
    tasks.start(log.run(), "access log")
    async with asyncio.timeout(60):
        await written.wait()
    await tasks.close()
    log.close()
    assert len(disk.kept) == RECORD_BYTES


def test_the_end_is_written(disk: Disk, clock: FakeClock) -> None:
    """What waits as the process ends is written."""
    log = AccessLog(disk.append, clock)
    log.observe(SERVED)
    log.close()
    assert len(disk.accesses()) == 1


async def test_the_memory_is_bounded(log: AccessLog, disk: Disk) -> None:
    """What comes faster than it is written is lost, and that is said."""
    with structlog.testing.capture_logs() as lines:
        for _ in range(5):
            log.observe(SERVED)
        await log.flush()
        log.observe(SERVED)
        await log.flush()
    assert len(disk.accesses()) == 4
    assert [(line["event"], line["error"]) for line in lines] == [
        ("accesses not recorded", "they come faster than they are written")
    ]


async def test_a_refusing_disk_costs_records_only(log: AccessLog, disk: Disk) -> None:
    """It is said when that begins, once, and again only if it has been well in between."""
    said = []
    for refuses in (True, True, True, False, True):
        disk.refuses = refuses
        with structlog.testing.capture_logs() as lines:
            log.observe(SERVED)
            await log.flush()
        said.append([(line["event"], line["error"]) for line in lines])
    once = [("accesses not recorded", "No space left on device")]
    assert said == [once, [], [], [], once]
    assert len(disk.accesses()) == 1


async def test_what_cannot_be_written_now_waits(log: AccessLog, disk: Disk) -> None:
    """While others keep the lock, nothing is lost that may wait, and nothing is said."""
    disk.is_busy = True
    with structlog.testing.capture_logs() as lines:
        for size in (5001, 5002):
            log.observe(replace(SERVED, size=size))
            await log.flush()
        assert disk.kept == b""
        disk.is_busy = False
        log.observe(replace(SERVED, size=5003))
        await log.flush()
    assert [found.size for found in disk.accesses()] == [5001, 5002, 5003]
    assert lines == []
