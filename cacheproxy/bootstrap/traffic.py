"""Traffic: counted by whoever serves, told to the other replicas, and added up for operators."""

import sqlite3
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial

from cacheproxy.bootstrap.core import Core
from cacheproxy.cluster.traffic import SharedTraffic
from cacheproxy.domain.errors import StorageError
from cacheproxy.domain.traffic import hour_of
from cacheproxy.inprocess.tasks import Tasks
from cacheproxy.ops.traffic_log import Counted, TrafficLog
from cacheproxy.ports import Clock
from cacheproxy.settings.model import Settings
from cacheproxy.storage.layout import Layout


@dataclass(frozen=True, slots=True)
class CountedTraffic:
    """The traffic of this process, of its directory, and of all replicas.

    Attributes:
        log: counts it.
        shared: what all replicas have counted; None where this one is alone.
        clock: says which hour it is.
    """

    log: TrafficLog
    shared: SharedTraffic | None
    clock: Clock

    async def count(self, since: int) -> Counted:
        """All of it from an hour on, and of all time; of this directory, where Redis is away.

        Raises:
            StorageError: it cannot be read.
        """
        try:
            own = await self.log.counted(since)
            if self.shared is None:
                return own
            await self._tell(self.shared, own)
        except (sqlite3.Error, OSError) as error:
            raise StorageError(f"the traffic cannot be read: {error}") from error
        try:
            hours = range(since, hour_of(self.clock.now()) + 1)
            return Counted(await self.shared.hours(hours), await self.shared.overall())
        except StorageError:
            return own

    async def flush(self) -> None:
        """Write down what this process has counted.

        Raises:
            StorageError: it cannot be written; it is kept.
        """
        try:
            await self.log.flush()
        except (sqlite3.Error, OSError) as error:
            raise StorageError(f"the traffic cannot be written: {error}") from error

    async def _tell(self, shared: SharedTraffic, own: Counted) -> None:
        """What is new, so that it is among that of all."""
        recent = hour_of(self.clock.now()) - 1
        hours = {key: traffic for key, traffic in own.hours.items() if key[0] >= recent}
        await shared.tell(await self.log.name(), hours, own.overall)


def counting_traffic(stack: AsyncExitStack, settings: Settings, clock: Clock) -> TrafficLog:
    """What counts traffic; leaving the stack writes the last of it."""
    log = TrafficLog(Layout(settings.cache.directory).traffic, clock)
    stack.callback(log.close)
    return log


async def keep_traffic(stack: AsyncExitStack, log: TrafficLog, core: Core) -> CountedTraffic:
    """Have it written down, and told to the others, until the stack is left."""
    tasks = Tasks(core.around.observer.observe, core.around.clock.sleep)
    shared = None
    if core.cluster is not None:
        shared = SharedTraffic(core.cluster.redis, core.cluster.redis.keys.namespace)
    tasks.keep_running(partial(log.run, None if shared is None else shared.tell), "traffic")
    stack.push_async_callback(tasks.close)
    return CountedTraffic(log, shared, core.around.clock)
