"""How much each eviction policy keeps from being fetched again: `python -m bench.policies`.

Made-up pulls (`bench.traces`) are replayed through the product's own model of the store
(`cacheproxy.domain.replay`), in caches of several sizes. Hit ratios are those of requests and of
their bytes; the latter is what an upstream link notices. Beside them: `ttl-7d`, which keeps each
layer a week, as distribution does, the oldest going first where there is no room (distribution
itself has no bound); and `clairvoyant`, which knows the future: what is asked for last goes
first, or does not come at all. With layers of different sizes that is near the optimum of the
byte hit ratio rather than the optimum itself, which would take too long to find.
"""

import statistics
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import click

from bench.traces import DAY, Request, total, trace
from cacheproxy.domain import budget
from cacheproxy.domain.accesses import Access
from cacheproxy.domain.budget import Budget, Entry, PolicyName, on_disk
from cacheproxy.domain.digest import Digest
from cacheproxy.domain.foresight import Foresight
from cacheproxy.domain.model_store import ModelStore
from cacheproxy.domain.replay import Answer, run
from cacheproxy.domain.trace import Content, Trace

POLICIES: tuple[PolicyName, ...] = ("lru", "lfu-decay", "gdsf-decay")
SHARES = (0.02, 0.05, 0.1, 0.2, 0.4)
_TTL = 7 * DAY
# Not counted: the cache is empty at first, which says nothing of what goes when it is full.
_WARM_UP = 0.25


@dataclass(frozen=True, slots=True)
class Ratios:
    """Of requests that were hits, and of their bytes."""

    objects: float
    bytes: float


class Replay:
    """A trace, and what comes of it with some policy."""

    def __init__(self, requests: Sequence[Request]) -> None:
        self._trace = Trace(
            Access(r.at, _digest(r.layer), on_disk(r.size), on_disk(r.size), "blob", "")
            for r in requests
        )

    def by_policy(self, size: int, policy: PolicyName) -> Ratios:
        """One of the product's."""
        return self._run(ModelStore(Budget(size, policy=policy)).ask)

    def by_worth(self, size: int, worth: Callable[[Entry, float], float]) -> Ratios:
        """Whatever is worth least goes first."""
        return self._run(
            ModelStore(
                Budget(size), order=lambda some, now: sorted(some, key=lambda e: worth(e, now))
            ).ask
        )

    def by_age(self, size: int) -> Ratios:
        """A week from when it came, and the oldest first where there is no room."""
        store = ModelStore(
            Budget(size), order=lambda some, _: sorted(some, key=lambda entry: entry.since)
        )

        def ask(content: Content, at: float) -> Answer:
            found = store.entries.get(content.key)
            if found is not None and at - found.since > _TTL:
                store.drop(content.key)
            return store.ask(content, at)

        return self._run(ask)

    def by_foresight(self, size: int) -> Ratios:
        """What is asked for last goes first; what never is, at once."""
        return self._run(Foresight(self._trace, size).ask)

    def _run(self, ask: Callable[[Content, float], Answer]) -> Ratios:
        counted_from = int(len(self._trace) * _WARM_UP)
        tally = run(self._trace, ask, counted_from=counted_from)
        return Ratios(tally.hit_ratio, tally.byte_hit_ratio)


@contextmanager
def half_life(seconds: float) -> Iterator[None]:
    """Have uses fade at another speed than the product's."""
    before, budget.HALF_LIFE = budget.HALF_LIFE, seconds
    try:
        yield
    finally:
        budget.HALF_LIFE = before


def weighed(exponent: float) -> Callable[[Entry, float], float]:
    """Heat against room to some power: 0 is `lfu-decay`, 0.5 `gdsf-decay`, 1 plain GDSF."""
    return lambda entry, now: entry.heat_at(now) / max(1, entry.size) ** exponent


def _digest(layer: int) -> Digest:
    return Digest(f"sha256:{layer:064x}")


Case = Callable[[Replay, int], Ratios]


def _policies() -> dict[str, Case]:
    cases: dict[str, Case] = {
        "ttl-7d": Replay.by_age,
        **{name: partial(Replay.by_policy, policy=name) for name in POLICIES},
        "clairvoyant": Replay.by_foresight,
    }
    return cases


def _variants() -> dict[str, Case]:
    def variant(days: float, exponent: float) -> Case:
        def run(replay: Replay, size: int) -> Ratios:
            with half_life(days * DAY):
                return replay.by_worth(size, weighed(exponent))

        return run

    return {
        f"{days:g} d, size^{exponent:g}": variant(days, exponent)
        for days in (0.5, 1, 2, 4, 8, 16)
        for exponent in (0.0, 0.25, 0.5, 1.0)
    }


def _table(replays: list[tuple[Replay, int]], cases: dict[str, Case]) -> Iterator[str]:
    header = "".join(f"{share:>16.0%}" for share in SHARES)
    yield f"{'byte / object hit ratio, %':<27}{header}"
    for name, case in cases.items():
        cells = []
        for share in SHARES:
            ratios = [case(replay, int(size * share)) for replay, size in replays]
            objects = statistics.mean(ratio.objects for ratio in ratios)
            in_bytes = statistics.mean(ratio.bytes for ratio in ratios)
            cells.append(f"{100 * in_bytes:>9.1f} /{100 * objects:>5.1f}")
        yield f"{name:<27}" + "".join(cells)


@click.command(help=sys.modules[__name__].__doc__)
@click.option("--seeds", default=3, help="Traces to take the mean of.")
@click.option("--pulls", default=16_000, help="Of images, in each trace.")
@click.option("--sweep", is_flag=True, help="Other half-lives, and other weights of the size.")
def main(*, seeds: int, pulls: int, sweep: bool) -> None:
    """Replays, and prints what came of it."""
    traces = [trace(seed, pulls=pulls) for seed in range(seeds)]
    replays = [(Replay(requests), total(requests)) for requests in traces]
    for requests in traces:
        click.echo(_about(requests))
    click.echo(
        "\nThe cache's size is a share of the bytes of all layers that are ever asked for.\n"
    )
    for line in _table(replays, _variants() if sweep else _policies()):
        click.echo(line)


def _about(requests: list[Request]) -> str:
    """Whether a trace has the shape that it should have."""
    sizes = {request.layer: request.size for request in requests}
    counts = dict.fromkeys(sizes, 0)
    for request in requests:
        counts[request.layer] += 1
    hottest = sorted(counts.values(), reverse=True)
    top = sum(hottest[: len(hottest) // 100]) / len(requests)
    once = sum(count == 1 for count in hottest) / len(hottest)
    small = sum(size < 10**6 for size in sizes.values()) / len(sizes)
    large = sum(size > 10**7 for size in sizes.values()) / len(sizes)
    return (
        f"{len(requests):,} requests for {len(sizes):,} layers of {total(requests) / 1e9:.0f} GB; "
        f"the hottest 1% get {top:.0%}, {once:.0%} are asked for once; "
        f"{small:.0%} are below 1 MB, {large:.0%} above 10 MB"
    )


if __name__ == "__main__":
    main()
