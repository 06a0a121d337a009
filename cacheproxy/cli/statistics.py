"""What a server says of itself, as lines of text."""

from collections.abc import Iterator, Mapping
from typing import Any

from cacheproxy.cli import words

Json = Mapping[str, Any]

_PERIODS = {
    "today": "since midnight UTC",
    "week": "in 7 days",
    "month": "in 35 days",
    "all": "in all",
}
_SOURCES = {
    "store": "from disk",
    "fill": "while it came in",
    "peer": "from other replicas",
    "upstream": "passed on",
}


def lines(status: Json, savings: Json, repositories: list[Json]) -> Iterator[str]:
    """Write it down."""
    yield from _savings(savings)
    yield ""
    yield from _upstreams(status, savings)
    if repositories:
        yield ""
        yield from _repositories(repositories)
    yield ""
    yield from _state(status)


def _savings(savings: Json) -> Iterator[str]:
    numbers = savings["all"]
    period = _PERIODS[savings["period"]]
    served, fetched = numbers["served_bytes"], numbers["fetched_bytes"]
    money = _money(numbers["cost_saved"], savings["currency"])
    yield f"saved {_size(numbers['saved_bytes'])}{money} {period}"
    share = f", {100 * fetched / served:.1f}% of that" if served else ""
    yield f"  served   {words.size(served)} in {words.counted(numbers['requests'], 'request')}"
    yield f"  fetched  {words.size(fetched)}{share}"
    sources = [
        f"{words.size(count)} {_SOURCES[name]}"
        for name, count in numbers["sources"].items()
        if count
    ]
    if sources:
        yield f"  of what was served: {', '.join(sources)}"
    pulls = words.counted(numbers["pulls"], "pull")
    yield f"  {pulls}, of which upstream saw {numbers['upstream_pulls']:,}"


def _upstreams(status: Json, savings: Json) -> Iterator[str]:
    known = {upstream["name"]: upstream for upstream in status["upstreams"]}
    names = sorted({*known, *savings["upstreams"]})
    width = max(map(len, names), default=8)
    yield f"  {'upstream':<{width}}  {'saved':>11}  {'fetched':>11}  {'pulls left':>10}  state"
    for name in names:
        numbers = savings["upstreams"].get(name)
        saved, fetched = (
            ("", "")
            if numbers is None
            else (_size(numbers["saved_bytes"]), words.size(numbers["fetched_bytes"]))
        )
        upstream = known.get(name, {})
        left = _left(upstream)
        state = _state_of(upstream, status["now"])
        yield f"  {name:<{width}}  {saved:>11}  {fetched:>11}  {left:>10}  {state}"


def _repositories(repositories: list[Json]) -> Iterator[str]:
    yield f"  {'saved':>11}  {'fetched':>11}  {'pulls':>8}  repository"
    for each in repositories:
        numbers = each["numbers"]
        name = f"{each['upstream']}/{each['repository'] or '(all others)'}"
        yield (
            f"  {_size(numbers['saved_bytes']):>11}  {words.size(numbers['fetched_bytes']):>11}"
            f"  {numbers['pulls']:>8,}  {name}"
        )


def _state(status: Json) -> Iterator[str]:
    store = status["store"]
    share = 100 * store["bytes"] / store["max_bytes"] if store["max_bytes"] else 0.0
    yield (
        f"store: {words.size(store['bytes'])} of {words.size(store['max_bytes'])} ({share:.0f}%), "
        f"{words.counted(store['blobs'], 'blob')}; the volume has {words.size(store['free_bytes'])}"
        " free"
    )
    if status["store_problem"]:
        yield f"  nothing is stored: {status['store_problem']}"
    for fill in status["fills"]:
        of = f" of {words.size(fill['size_bytes'])}" if fill["size_bytes"] else ""
        name = f"{fill['upstream']}/{fill['repository']}"
        followers = words.counted(fill["followers"], "client")
        yield f"  fetching {words.size(fill['received_bytes'])}{of} for {name}, {followers}"
    replicas = [
        one["address"] + (" (this)" if one["is_self"] else "") for one in status["replicas"]
    ]
    if replicas:
        yield f"replicas: {', '.join(replicas)}"
    workers = words.counted(status["workers"], "worker")
    up = words.span(status["now"] - status["started_at"])
    yield f"cacheproxy {status['version']}, {workers}, up for {up}"


def _state_of(upstream: Json, now: float) -> str:
    state = str(upstream.get("state", ""))
    if upstream.get("paused_until"):
        state += f" for {words.span(upstream['paused_until'] - now)}"
    return f"{state}: {upstream['error']}" if upstream.get("error") else state


def _left(upstream: Json) -> str:
    left, limit = upstream.get("ratelimit_remaining"), upstream.get("ratelimit_limit")
    if left is None:
        return ""
    return f"{left:,}" if limit is None else f"{left:,}/{limit:,}"


def _size(count: int) -> str:
    """Bytes that may be fewer than none."""
    return f"-{words.size(-count)}" if count < 0 else words.size(count)


def _money(cost: float | None, currency: str | None) -> str:
    return "" if cost is None or currency is None else f" ({cost:,.2f} {currency})"
