"""The time of a world, as a process reads it."""

import asyncio
import time

from tests.simulation.world import Process, World

_EPOCH = 1_700_000_000.0
_real_time = time.time


class VirtualClock:
    """The world's time (`Clock`)."""

    def __init__(self, process: Process) -> None:
        self._process = process

    def now(self) -> float:
        """Return the seconds since the epoch, by the wall clock of the process's host."""
        return wall_time(self._process)

    def monotonic(self) -> float:
        """Seconds since some moment."""
        return self._process.world.time

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await asyncio.sleep(seconds)


def virtual_time() -> float:
    """Return the time of day: the world's within one, else the real one (`time.time`)."""
    process = World.current
    return _real_time() if process is None else wall_time(process)


def wall_time(process: Process) -> float:
    """Return the seconds since the epoch, by the wall clock of a host, which may have stepped."""
    world = process.world
    return _EPOCH + world.time + world.clock_offsets.get(process.host, 0.0)
