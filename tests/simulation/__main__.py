"""Run seeds of the simulation, print those that fail, or replay one with its schedule."""

import gc
import os
import re
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from multiprocessing import get_context

import click

from tests.simulation.plants import CLUSTER_PLANTS, PLANTS
from tests.simulation.simulate import Outcome, simulate

_REPORT_SECONDS = 15.0
_SEEDS_PER_COLLECTION = 50
_PLANTS = {**PLANTS, **CLUSTER_PLANTS}


@dataclass(slots=True)
class _Tally:
    """What many simulations came to."""

    done: int = 0
    steps: int = 0
    clients: Counter[str] = field(default_factory=Counter)
    failed: dict[str, list[int]] = field(default_factory=dict)

    def add(self, outcome: Outcome) -> None:
        self.done += 1
        self.steps += outcome.steps
        self.clients += outcome.outcomes
        if outcome.violations:
            self.failed.setdefault(_kind(outcome.violations[0]), []).append(outcome.seed)


@click.command(help=__doc__)
@click.option("--seeds", default=2000, show_default=True, help="How many seeds to run.")
@click.option("--first", default=0, show_default=True, help="The first of them.")
@click.option("--seconds", type=float, help="Stop after so long.")
@click.option("--seed", type=int, help="Replay this one, and print its schedule.")
@click.option(
    "--cluster",
    is_flag=True,
    help="Several replicas, their Redis, and the network between them.",
)
@click.option("--plant", type=click.Choice(sorted(_PLANTS)), help="Plant a fault, to be found.")
@click.option("--processes", default=os.cpu_count() or 1, show_default=True)
@click.option("--keep-going", is_flag=True, help="Do not stop at the first seed that fails.")
def main(
    *,
    seeds: int,
    first: int,
    seconds: float | None,
    seed: int | None,
    plant: str | None,
    cluster: bool,
    processes: int,
    keep_going: bool,
) -> None:
    """Run seeds; exit with 1 if one fails."""
    if plant is not None:
        _PLANTS[plant]()
    # Libraries read files once in the life of a process, and system calls are part of a schedule.
    simulate(0, is_cluster=cluster)
    if seed is not None:
        sys.exit(_replay(seed, is_cluster=cluster))
    tally = _Tally()
    began = reported = time.monotonic()
    for outcome in _outcomes(range(first, first + seeds), processes, is_cluster=cluster):
        tally.add(outcome)
        now = time.monotonic()
        if outcome.violations:
            click.echo(f"seed {outcome.seed}: {'; '.join(outcome.violations)[:400]}")
        if now - reported > _REPORT_SECONDS:
            reported = now
            click.echo(f"{tally.done} of {seeds} seeds, {now - began:.0f} s", err=True)
        if (tally.failed and not keep_going) or (seconds is not None and now - began > seconds):
            break
    _report(tally, time.monotonic() - began, is_cluster=cluster)
    sys.exit(bool(tally.failed))


def _outcomes(seeds: range, processes: int, *, is_cluster: bool) -> Iterator[Outcome]:
    gc.freeze()
    run = partial(_simulate, is_cluster=is_cluster)
    with get_context("fork").Pool(processes) as pool:
        yield from pool.imap_unordered(run, seeds, chunksize=8)


def _simulate(seed: int, *, is_cluster: bool) -> Outcome:
    # What a world leaves is garbage in circles: collecting it costs more than a simulation.
    gc.disable()
    if seed % _SEEDS_PER_COLLECTION == 0:
        gc.collect()
    outcome = simulate(seed, is_cluster=is_cluster)
    outcome.trace, outcome.script = [], None
    return outcome


def _report(tally: _Tally, seconds: float, *, is_cluster: bool) -> None:
    for kind, seeds in sorted(tally.failed.items(), key=lambda one: -len(one[1])):
        click.echo(f"{len(seeds):6d} times, first {min(seeds)}: {kind}")
    clients: Counter[str] = Counter()
    for outcome, count in tally.clients.items():
        clients[outcome.split(" ")[0]] += count
    click.echo(
        f"{tally.done} seeds, {tally.steps} steps, {seconds:.0f} s; clients: {dict(clients)}"
    )
    if tally.failed:
        seed = min(seed for seeds in tally.failed.values() for seed in seeds)
        cluster = "--cluster " if is_cluster else ""
        click.echo(f"replay: python -m tests.simulation {cluster}--seed {seed}")


def _replay(seed: int, *, is_cluster: bool) -> int:
    outcome = simulate(seed, is_cluster=is_cluster)
    click.echo(outcome.script)
    click.echo("\n".join(outcome.trace))
    click.echo(f"{dict(outcome.outcomes)}, {outcome.steps} steps")
    for violation in outcome.violations:
        click.echo(f"VIOLATION {violation}")
    return int(bool(outcome.violations))


def _kind(violation: str) -> str:
    """Shorten a violation to what it has in common with others of its kind."""
    text = re.sub(r"sha256:[0-9a-f]+|\b[0-9a-f]{8,}\b|0x[0-9a-f]+", "…", violation)
    return re.sub(r"\(Client.*|[0-9]+", "#", text)[:160]


if __name__ == "__main__":
    if os.environ.get("PYTHONHASHSEED") != "0":
        # The order of sets of strings is part of a schedule.
        os.execve(
            sys.executable,
            [sys.executable, "-m", "tests.simulation", *sys.argv[1:]],
            {**os.environ, "PYTHONHASHSEED": "0"},
        )
    main(prog_name="python -m tests.simulation")
