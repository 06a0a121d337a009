"""Scrubbing in the background."""

import asyncio
import fcntl
import os
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest

from cacheproxy.domain.digest import Digest
from cacheproxy.domain.events import Damaged, Scrubbed
from cacheproxy.inprocess.tasks import Tasks
from cacheproxy.storage.layout import Layout
from cacheproxy.storage.patrol import Round
from tests.integration.fills import until
from tests.support.clock import FakeClock
from tests.support.hasty import Events
from tests.support.stores import keep, open_store

DAY = 86400.0
RATE = 2**40


class Scene:
    """A store with three blobs, and its patrol."""

    def __init__(self, root: Path) -> None:
        self.clock = FakeClock()
        self.events = Events()
        self.store = open_store(root, clock=self.clock, observer=self.events)
        self.layout = Layout(root)
        self.blobs: list[Digest] = []
        self._tasks = Tasks()

    async def fill(self) -> None:
        """Store the blobs."""
        for number in range(3):
            body = b"%d" % number * 5000
            self.blobs.append(Digest.of(body))
            await keep(self.store, self.blobs[-1], body)
        self.blobs.sort()

    def start(self, every: float = DAY, rate: int = RATE) -> None:
        """Go on patrol."""
        self._tasks.start(self.store.patrol.run(every, rate), "patrol")

    async def stop(self) -> None:
        """End it, as a shutdown does."""
        await self._tasks.close()
        self._tasks = Tasks()

    def read(self) -> int:
        """Bytes that were read again."""
        return sum(event.size for event in self.events.of(Scrubbed))

    def damage(self, digest: Digest) -> None:
        """Turn a bit on the disk, which changes no time."""
        path = Path(self.layout.blob(digest))
        times = path.stat()
        path.chmod(0o644)
        body = bytearray(path.read_bytes())
        body[7] ^= 1
        path.write_bytes(body)
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))

    @property
    def said(self) -> str:
        """How far it says that it is."""
        return self.layout.scrub.read_text() if self.layout.scrub.exists() else ""

    async def until_over(self) -> None:
        """Wait for the end of a pass."""
        await until(lambda: self.said.endswith("over\n"))


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    """All ends with the test."""
    made = Scene(tmp_path / "store")
    with closing(made.store):
        await made.fill()
        yield made
        await made.stop()


async def test_a_bit_that_turned_is_found(scene: Scene) -> None:
    """What no look at a file can tell, a pass finds; the blob is a miss then."""
    scene.damage(scene.blobs[1])
    served = scene.store.open(scene.blobs[1])
    assert served is not None, "the damage must be one that opening does not see"
    served.close()
    scene.start()
    await scene.until_over()
    (found,) = scene.events.of(Damaged)
    assert (found.digest, found.problem, found.outcome) == (
        scene.blobs[1],
        "damaged",
        "quarantined",
    )
    assert scene.store.open(scene.blobs[1]) is None
    assert scene.read() == 15_000
    assert scene.blobs[1] not in await scene.store.accounts.known()


async def test_each_blob_is_read_once_in_so_long(scene: Scene) -> None:
    """A pass is followed by the next one when that is due, and not before."""
    now = scene.clock.now()
    scene.layout.scrub.write_text(f"{now - DAY + 100} over\n")
    scene.start()
    await asyncio.sleep(0)  # which it takes for sleeping, too
    assert scene.read() == 0
    scene.layout.scrub.write_text(f"{now - DAY + 100} over\n")
    await until(lambda: scene.read() == 15_000)
    assert scene.clock.now() >= now + 100


@pytest.mark.parametrize("said", ["", "nonsense", "1 2 3", "x over", "1700000000.0 sha256:zz"])
async def test_what_is_not_understood_begins_anew(scene: Scene, said: str) -> None:
    """A file that was cut or is another's costs a pass from the beginning, no more."""
    scene.layout.scrub.write_text(said)
    scene.start()
    await scene.until_over()
    assert scene.read() == 15_000


async def test_it_goes_on_where_it_was(scene: Scene) -> None:
    """After a restart only what comes after the last noted blob is read."""
    scene.layout.scrub.write_text(f"{scene.clock.now()} {scene.blobs[1]}\n")
    scene.start()
    await scene.until_over()
    assert scene.read() == 5_000


async def test_one_process_does_it(scene: Scene) -> None:
    """While another worker has the lock, nothing is read."""
    with scene.layout.scrub.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        scene.start()
        await asyncio.sleep(0.05)
        assert scene.read() == 0


async def test_it_can_be_ended_anywhere(tmp_path: Path) -> None:
    """A shutdown waits for no more than the step under way, and leaves no descriptor."""
    made = Scene(tmp_path / "store")
    with closing(made.store):
        await made.fill()
        for turns in range(12):
            made.start(rate=1)
            for _ in range(turns):
                await asyncio.sleep(0)
            async with asyncio.timeout(60):
                await made.stop()
        opened = [name.readlink() for name in Path("/proc/self/fd").iterdir() if name.exists()]
        assert not [
            path
            for path in opened
            if path == made.layout.scrub or path.is_relative_to(made.layout.root / "blobs")
        ]


@pytest.mark.parametrize(
    ("now", "due"), [(100.0, False), (100.0 + DAY, True), (99.0, True), (100.0 + DAY / 2, False)]
)
def test_a_pass_is_due_by_its_beginning(now: float, due: bool) -> None:
    """Also when the clock was set back since it began."""
    assert Round(100.0, is_over=True).is_due(DAY, now) is due
