"""Runs all checks: at once, each with a deadline, and told in an order that stays the same."""

import asyncio
import time
from collections.abc import Coroutine, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from cacheproxy.bootstrap.metadata import Surroundings
from cacheproxy.doctor.certificate import check_certificate
from cacheproxy.doctor.directory import check_directory
from cacheproxy.doctor.findings import Finding, in_thread
from cacheproxy.doctor.images import Sample
from cacheproxy.doctor.server import check_server
from cacheproxy.doctor.shared_metadata import check_redis
from cacheproxy.doctor.times import check_clock
from cacheproxy.doctor.upstreams import check_upstream
from cacheproxy.inprocess.clock import SystemClock
from cacheproxy.inprocess.tasks import Tasks
from cacheproxy.metadata.cluster_clock import ClusterClock
from cacheproxy.ops.observers import Observers
from cacheproxy.settings.model import Settings

_ON_DISK = 15.0  # seconds
# Beyond all deadlines that the checks have themselves: what comes so late is a mistake of ours.
_LATEST = 120.0


class Told(Protocol):
    """Whoever shows what is found."""

    def found(self, findings: Iterable[Finding]) -> None:
        """Some more is known."""
        ...

    def waiting(self, names: list[str]) -> None:
        """These checks are still under way."""
        ...


@dataclass(frozen=True, slots=True)
class _Check:
    name: str
    work: Coroutine[Any, Any, list[Finding]]


async def examine(settings: Settings, samples: Mapping[str, Sample], told: Told) -> list[Finding]:
    """All that there is to be found.

    Args:
        settings: of the server; they are known to be valid.
        samples: what to pull, by the upstream's name.
        told: is told as it is found.
    """
    tasks = Tasks()
    try:
        return await _Examination(settings, samples, tasks).run(told)
    finally:
        await tasks.close()


class _Examination:
    def __init__(self, settings: Settings, samples: Mapping[str, Sample], tasks: Tasks) -> None:
        self._settings = settings
        self._samples = samples
        self._tasks = tasks
        clock = SystemClock()
        self._around = Surroundings(Observers(()), clock, tasks, ClusterClock(clock))
        self._skews: dict[str, float] = {}

    async def run(self, told: Told) -> list[Finding]:
        """Begin with all at once; tell them one after the other."""
        running = {
            check.name: self._tasks.start(_bounded(check), check.name) for check in self._checks()
        }
        everything: list[Finding] = []
        for name, task in running.items():
            told.waiting([each for each, other in running.items() if not other.done()])
            findings = await task
            if name == _SERVER:
                findings = [check_clock(self._skews), *findings]
            told.found(findings)
            everything += findings
        return everything

    def _checks(self) -> list[_Check]:
        settings = self._settings
        return [
            _Check("cache directory", self._directory()),
            _Check("certificate", self._certificate()),
            _Check("Redis", check_redis(settings.metadata)),
            *(_Check(name, self._upstream(name)) for name in settings.upstreams),
            _Check(_SERVER, check_server(settings, self._samples)),
        ]

    async def _directory(self) -> list[Finding]:
        try:
            return await in_thread(lambda: check_directory(self._settings), _ON_DISK)
        except TimeoutError:
            said = f"{self._settings.cache.directory} does not answer within {_ON_DISK:g} s"
            advice = "its file server is gone, or its disk fails: see dmesg"
            return [Finding("cache directory", "failed", said, advice)]

    async def _certificate(self) -> list[Finding]:
        tls = self._settings.server.tls
        return await in_thread(lambda: check_certificate(tls, time.time()), _ON_DISK)

    async def _upstream(self, name: str) -> list[Finding]:
        report = await check_upstream(
            self._settings.upstreams[name], self._samples.get(name), self._around
        )
        if report.skew is not None:
            self._skews[name] = report.skew
        return report.findings


_SERVER = "server"


async def _bounded(check: _Check) -> list[Finding]:
    try:
        async with asyncio.timeout(_LATEST):
            return await check.work
    except TimeoutError:
        said = f"not finished within {_LATEST:g} s"
        return [Finding(check.name, "failed", said, "try again; if it stays so, report it")]
