"""The access log: written by whoever serves, read by who plans."""

from contextlib import AsyncExitStack

from cacheproxy.domain.routing import Routes
from cacheproxy.inprocess.tasks import Tasks
from cacheproxy.ops.access_log import AccessLog
from cacheproxy.ops.access_records import Decoder
from cacheproxy.ops.access_segments import SegmentReader, SegmentWriter
from cacheproxy.ports import Clock, Observer
from cacheproxy.settings.model import Settings
from cacheproxy.storage.layout import Layout


def recorded_accesses(
    stack: AsyncExitStack, settings: Settings, clock: Clock, observer: Observer
) -> list[Observer]:
    """Return what records accesses, if anything; leaving the stack writes the last of them.

    Args:
        stack: of the process.
        settings: say whether to record, and where.
        clock: of the process.
        observer: receives failures of the recording task.
    """
    cache = settings.cache
    if not cache.access_log:
        return []
    log = AccessLog(SegmentWriter(Layout(cache.directory).accesses, cache.access_log).append, clock)
    stack.callback(log.close)
    tasks = Tasks(observer.observe, clock.sleep)
    tasks.keep_running(log.run, "access log")
    stack.push_async_callback(tasks.close)
    return [log]


def access_reader(layout: Layout, routes: Routes) -> SegmentReader:
    """What reads them, for the upstreams of today."""
    registries = {route.registry for route in routes.by_host.values()}
    return SegmentReader(layout.accesses, Decoder(registries))
