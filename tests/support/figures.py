"""Figures for the page that nobody has counted: of a busy cache, an empty one, a failing one."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from cacheproxy.domain.errors import StorageError
from cacheproxy.domain.savings import (
    Order,
    Period,
    Prices,
    Repositories,
    Savings,
    repositories,
    savings,
)
from cacheproxy.domain.traffic import HOUR, Hours, Totals, Traffic, added
from cacheproxy.ops.api.figures import PERIODS, Figures
from cacheproxy.ops.api.model import (
    Candidate,
    Eviction,
    FillStatus,
    ReplicaStatus,
    Status,
    StoreStatus,
    UpstreamStatus,
)

NOW = 1_760_447_400.0  # Tue 2025-10-14 13:10:00 UTC
GIB = 1024**3
MIB = 1024**2

_WEIGHTS = {
    "docker.io": 1.0,
    "quay.io": 0.42,
    "registry.k8s.io": 0.3,
    "ghcr.io": 0.22,
    "registry.example.com": 0.13,
}
_REPOSITORIES = {
    "docker.io": (
        "library/postgres",
        "library/python",
        "library/nginx",
        "grafana/grafana",
        "library/node",
    ),
    "quay.io": ("prometheus/prometheus", "cilium/cilium", "argoproj/argocd"),
    "registry.k8s.io": ("kube-proxy", "coredns/coredns", "pause"),
    "ghcr.io": ("actions/actions-runner", "fluxcd/source-controller"),
    "registry.example.com": ("team/app", "team/machine-learning/cuda-notebook"),
}


def digest(number: int) -> str:
    """One that is as long as they are."""
    return f"sha256:{(number * 0x9E3779B97F4A7C15) % 2**64:016x}" + "ab" * 24


def busy_hours(now: float = NOW) -> Hours:
    """Five weeks with days, nights and weekends."""
    return dict(_traffic(int(now // HOUR)))


def _traffic(last: int) -> Iterator[tuple[tuple[int, str, str], Traffic]]:
    for hour in range(last - 35 * 24 + 1, last + 1):
        of_day, of_week = hour % 24, (hour // 24 + 4) % 7
        work = math.exp(-(((of_day - 13.5) / 4.2) ** 2)) * (0.3 if of_week in (0, 6) else 1)
        for number, (upstream, weight) in enumerate(_WEIGHTS.items()):
            for place, repository in enumerate(_REPOSITORIES[upstream]):
                wobble = 1 + 0.6 * math.sin(hour * (1.7 + number) + place * 2.1)
                served = int((0.08 + work) * weight * wobble * 9.5 * GIB / (place + 1.4))
                miss = 0.02 + 0.09 * ((number * 5 + place * 3) % 7) / 3
                fetched = int(served * miss * (0.4 + 1.2 * abs(math.sin(hour * 0.37 + place))))
                pulls = served // (60 * MIB)
                yield (
                    (hour, upstream, repository),
                    Traffic(pulls * 9, served - fetched, fetched, 0, 0, fetched, pulls, pulls // 8),
                )


def totals(hours: Hours, times: int = 1) -> Totals:
    """Of all hours, and as much again for what is older."""
    found: Totals = {}
    for _ in range(times):
        added(found, (((name, repository), one) for (_, name, repository), one in hours.items()))
    return found


def busy_status(now: float = NOW, step: int = 0) -> Status:
    """A server that is at work; each step brings its downloads on."""
    fills = [
        _fill(1, "docker.io", "library/postgres", 148, 0.31 + 0.07 * step, 6),
        _fill(2, "quay.io", "cilium/cilium", 212, 0.84, 14),
        _fill(3, "registry.example.com", "team/machine-learning/cuda-notebook", 4100, 0.12, 1),
        _fill(4, "ghcr.io", "actions/actions-runner", None, 0.4, 0),
    ]
    upstreams = [
        UpstreamStatus("docker.io", "up", None, None, 76, 100, now - 4),
        UpstreamStatus(
            "docker.io (mirror mirror.example.com)", "up", None, None, None, None, now - 9
        ),
        UpstreamStatus("ghcr.io", "up", None, None, None, None, now - 31),
        UpstreamStatus("quay.io", "up", None, None, None, None, now - 2),
        UpstreamStatus("registry.example.com", "up", None, None, None, None, now - 640),
        UpstreamStatus("registry.k8s.io", "unknown"),
    ]
    replicas = [ReplicaStatus(f"10.0.3.{n}:5002", n == 12) for n in (11, 12, 13)]
    store = StoreStatus(412 * GIB, 5 * GIB, 500 * GIB, 310 * GIB, 18_204)
    return Status("0.9.0", now, now - 9 * 86_400, 2, store, fills, upstreams, replicas)


def _fill(
    number: int, upstream: str, repository: str, size: int | None, part: float, followers: int
) -> FillStatus:
    whole = None if size is None else size * MIB
    received = int((size or 90) * MIB * min(part, 1))
    return FillStatus(
        digest(number), upstream, repository, received, whole, received / (24 * MIB), followers
    )


def candidates(now: float = NOW) -> Eviction:
    """What would go next."""
    tags: tuple[list[str], ...] = (
        ["docker.io/library/python:3.9-bookworm", "docker.io/library/python:3.9"],
        ["quay.io/argoproj/argocd:v2.4.11"],
        [],
        ["registry.example.com/team/machine-learning/cuda-notebook:2024-11-rc1"],
        [],
        ["docker.io/library/node:16-alpine"],
    )
    entries = [
        Candidate(
            digest(50 + n),
            (310 >> n) * MIB + n * 77_123,
            "blob",
            "docker.io",
            now - (21 - n * 2.3) * 86_400,
            0.01 * n,
            list(found),
        )
        for n, found in enumerate(tags)
    ]
    return Eviction("gdsf-decay", entries)


@dataclass
class FakeSource:
    """Values that a test can change (`State` and `Counts`)."""

    hours: Hours = field(default_factory=dict)
    overall: Totals = field(default_factory=dict)
    prices: Prices = field(default_factory=lambda: Prices({}, "EUR"))
    now: float = NOW
    shown: Status | None = None
    entries: Eviction = field(default_factory=lambda: Eviction("lru", []))
    trouble: str | None = None
    asked: list[str] = field(default_factory=list)
    takes: Callable[[], None] = lambda: None

    async def status(self) -> Status:
        """What goes on now."""
        self._ask("status")
        return self.shown or idle_status(self.now)

    async def eviction(self, limit: int) -> Eviction:
        """What would go next."""
        self._ask("eviction")
        self.takes()
        return Eviction(self.entries.policy, self.entries.entries[:limit])

    async def savings(self, period: Period) -> Savings:
        """What was saved."""
        self._ask(f"savings {period}")
        return savings(period, self.hours, self.overall, self.prices, self.now)

    async def repositories(self, period: Period, order: Order, limit: int) -> Repositories:
        """The repositories with the most of something."""
        self._ask(f"repositories {period} {order}")
        asked = (period, order, limit)
        return repositories(asked, self.hours, self.overall, self.prices, self.now)

    def _ask(self, what: str) -> None:
        self.asked.append(what)
        if self.trouble is not None:
            raise StorageError(self.trouble)


def busy_source(now: float = NOW) -> FakeSource:
    """Of a cache that has been at work for long."""
    hours = busy_hours(now)
    prices = Prices({"docker.io": 0.05, "quay.io": 0.05}, "EUR")
    shown = busy_status(now)
    return FakeSource(hours, totals(hours, 2), prices, now, shown, candidates(now))


def idle_status(now: float = NOW) -> Status:
    """A server that has just begun."""
    upstreams = [UpstreamStatus(name) for name in ("docker.io", "ghcr.io", "quay.io")]
    store = StoreStatus(0, 0, 100 * GIB, 180 * GIB, 0)
    return Status("0.9.0", now, now - 40, 1, store, [], upstreams, [])


def figures_of(source: FakeSource, period: Period = "week") -> Figures:
    """The figures of a source, without asking it."""
    counted = (source.hours, source.overall, source.prices, source.now)
    return Figures(
        {one: savings(one, *counted) for one in PERIODS},
        repositories((period, "saved", 8), *counted),
        repositories((period, "fetched", 8), *counted),
        source.entries,
    )
