"""What the cache has saved: traffic added up for people, in bytes, pulls and money."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from cacheproxy.domain.traffic import HOUR, Hours, Totals, Traffic, added, hour_of

Period = Literal["today", "week", "month", "all"]
Order = Literal["saved", "fetched", "served"]

_DAY = 24
_GIGABYTE = 1e9
# Of hours, nothing older is kept.
KEPT_HOURS = 35 * _DAY


@dataclass(frozen=True, slots=True)
class Sources:
    """Body bytes that clients got, by where they came from.

    Attributes:
        store: from disk.
        fill: while they came in from upstream.
        peer: while they came in from another replica.
        upstream: passed on, and not kept; and manifests as they came.
    """

    store: int
    fill: int
    peer: int
    upstream: int


@dataclass(frozen=True, slots=True)
class Numbers:
    """What there is to say of some traffic.

    Attributes:
        requests: of clients that were answered.
        served_bytes: that clients got, bodies only.
        fetched_bytes: that crossed the upstream link, bodies only.
        saved_bytes: the difference; negative where more came than was asked for.
        sources: where those that were served came from.
        pulls: manifests that clients got.
        upstream_pulls: manifests that upstream gave, as rate limits count them.
        pulls_avoided: the difference.
        cost_saved: what the saved bytes would have cost; None where no price is known.
    """

    requests: int
    served_bytes: int
    fetched_bytes: int
    saved_bytes: int
    sources: Sources
    pulls: int
    upstream_pulls: int
    pulls_avoided: int
    cost_saved: float | None


@dataclass(frozen=True, slots=True)
class Hour:
    """An upstream's traffic in one hour.

    Attributes:
        at: when the hour began, in seconds since the epoch.
        upstream: its canonical name.
        requests: of clients that were answered.
        served_bytes: that clients got.
        fetched_bytes: that crossed the upstream link.
    """

    at: float
    upstream: str
    requests: int
    served_bytes: int
    fetched_bytes: int


@dataclass(frozen=True, slots=True)
class Savings:
    """What was saved in a period, over all workers and replicas.

    Attributes:
        period: which.
        since: when it began, in seconds since the epoch; of `all`, the first hour listed.
        until: now.
        currency: of all costs; None where no upstream has a price.
        all: of all upstreams.
        upstreams: of each.
        hours: of the period, as far back as hours are kept.
    """

    period: Period
    since: float
    until: float
    currency: str | None
    all: Numbers
    upstreams: dict[str, Numbers]
    hours: list[Hour]


@dataclass(frozen=True, slots=True)
class RepositorySavings:
    """Of one repository, or of all those of an upstream that are not listed by name.

    Attributes:
        upstream: the upstream's canonical name.
        repository: its name there; empty for the rest.
        numbers: what there is to say.
    """

    upstream: str
    repository: str
    numbers: Numbers


@dataclass(frozen=True, slots=True)
class Repositories:
    """The repositories with the most of something, in a period. As of `Savings`."""

    period: Period
    since: float
    until: float
    currency: str | None
    repositories: list[RepositorySavings]


@dataclass(frozen=True, slots=True)
class Prices:
    """What bytes cost.

    Attributes:
        per_gigabyte: of 10^9 bytes over the link, by upstream, where that is known.
        currency: of all of them.
    """

    per_gigabyte: Mapping[str, float]
    currency: str

    @property
    def shown_currency(self) -> str | None:
        """The currency, if anything has a price."""
        return self.currency if self.per_gigabyte else None

    def of(self, upstream: str, traffic: Traffic) -> float | None:
        """What was saved, in money."""
        price = self.per_gigabyte.get(upstream)
        return None if price is None else traffic.saved / _GIGABYTE * price


def first_hour(period: Period, now: float) -> int:
    """The hour that a period begins with; days begin at midnight UTC."""
    hour = hour_of(now)
    match period:
        case "today":
            return hour - hour % _DAY
        case "week":
            return hour - 7 * _DAY + 1
        case "month" | "all":
            return hour - KEPT_HOURS + 1


def savings(period: Period, hours: Hours, overall: Totals, prices: Prices, now: float) -> Savings:
    """Add it up.

    Args:
        period: which.
        hours: from its first hour on, or more.
        overall: of all time, which `all` is about.
        prices: what bytes cost.
        now: seconds since the epoch.
    """
    since = first_hour(period, now)
    totals = _by_upstream(overall if period == "all" else _totals(hours, since))
    return Savings(
        period,
        float(since * HOUR),
        now,
        prices.shown_currency,
        _all(totals, prices),
        {name: _numbers(one, prices.of(name, one)) for name, one in sorted(totals.items())},
        _hours(hours, since),
    )


def repositories(
    asked: tuple[Period, Order, int], hours: Hours, overall: Totals, prices: Prices, now: float
) -> Repositories:
    """Those with the most; as `savings`.

    Args:
        asked: the period, of what the most, and how many.
        hours: from its first hour on, or more.
        overall: of all time.
        prices: what bytes cost.
        now: seconds since the epoch.
    """
    period, order, limit = asked
    since = first_hour(period, now)
    totals = overall if period == "all" else _totals(hours, since)
    ranked = sorted(totals.items(), key=lambda item: (-_amount(item[1], order), item[0]))
    found = [
        RepositorySavings(registry, name, _numbers(one, prices.of(registry, one)))
        for (registry, name), one in ranked[:limit]
    ]
    return Repositories(period, float(since * HOUR), now, prices.shown_currency, found)


def _amount(traffic: Traffic, order: Order) -> int:
    match order:
        case "saved":
            return traffic.saved
        case "fetched":
            return traffic.fetched
        case "served":
            return traffic.served


def _totals(hours: Hours, since: int) -> Totals:
    kept = (
        ((registry, repository), one)
        for (hour, registry, repository), one in hours.items()
        if hour >= since
    )
    return added({}, kept)


def _by_upstream(totals: Totals) -> dict[str, Traffic]:
    return added({}, ((registry, one) for (registry, _), one in totals.items()))


def _hours(hours: Hours, since: int) -> list[Hour]:
    kept = (((hour, registry), one) for (hour, registry, _), one in hours.items() if hour >= since)
    sums: dict[tuple[int, str], Traffic] = added({}, kept)
    return [
        Hour(float(hour * HOUR), registry, one.requests, one.served, one.fetched)
        for (hour, registry), one in sorted(sums.items())
    ]


def _all(totals: dict[str, Traffic], prices: Prices) -> Numbers:
    costs = [cost for name, one in totals.items() if (cost := prices.of(name, one)) is not None]
    sums = sum(totals.values(), start=Traffic())
    return _numbers(sums, sum(costs) if prices.per_gigabyte else None)


def _numbers(traffic: Traffic, cost: float | None) -> Numbers:
    return Numbers(
        requests=traffic.requests,
        served_bytes=traffic.served,
        fetched_bytes=traffic.fetched,
        saved_bytes=traffic.saved,
        sources=Sources(
            traffic.from_store, traffic.from_fill, traffic.from_peer, traffic.from_upstream
        ),
        pulls=traffic.pulls,
        upstream_pulls=traffic.upstream_pulls,
        pulls_avoided=traffic.pulls_avoided,
        cost_saved=cost,
    )
