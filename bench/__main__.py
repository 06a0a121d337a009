"""`python -m bench`: see the package's description."""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import click

from bench import report, secure, shared, subjects
from bench.cases import Cases
from bench.subjects import Subject
from bench.upstream import Upstream, upstream
from tests.support.parts.process import find


@dataclass(frozen=True, slots=True)
class Plan:
    """How much of everything.

    Attributes:
        size: of a blob, in bytes.
        clients: of a cold blob at once, a case each.
        rounds: of each case.
        seconds: of each warm round.
    """

    size: int
    clients: tuple[int, ...]
    rounds: int
    seconds: float

    def of(self, subject: Subject, clients: int) -> int:
        """Rounds of a cold case: what fetches for each client takes its time."""
        return self.rounds if subject.coalesces or clients == 1 else 1


_FULL = Plan(50_000_000, (1, 32, 200), 3, 4.0)
_QUICK = Plan(20_000_000, (1, 16), 1, 2.0)


@click.command(help=sys.modules["bench"].__doc__)
@click.option("--quick", is_flag=True, help="Smaller, fewer, once: three minutes.")
@click.option("--json", "json_path", type=click.Path(path_type=Path), help="Write all values here.")
@click.option("--only", multiple=True, help="Subjects whose name begins so; may be repeated.")
def main(*, quick: bool, json_path: Path | None, only: tuple[str, ...]) -> None:
    """Measures everybody, and prints what came of it."""
    # Ending by SIGTERM must stop what was started, as Ctrl-C does.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    if find("docker-registry") is None:
        raise click.ClickException("docker-registry is not installed: it is the upstream")
    plan = _QUICK if quick else _FULL
    with ExitStack() as stack:
        up = stack.enter_context(upstream(plan.size, len(plan.clients) * plan.rounds))
        running = [s for s in _subjects(stack, up.url) if not only or s.name.startswith(only)]
        click.echo(f"{os.cpu_count()} cores; blobs of {plan.size:,} bytes; upstream {up.about}.")
        cases = _measure(up, plan, running)
        over_tls = None
        if find("wrk") is not None and not only:
            _say("warm, over TLS")
            over_tls = secure.measure(up, plan.rounds, plan.seconds)
    names = [subject.name for subject in running]
    click.echo(report.table(cases.table, ["direct", *names]))
    ours = [name for name in names if name.startswith("cacheproxy")]
    click.echo(report.ratios(cases.table, ours, [name for name in names if name not in ours]))
    if json_path is not None:
        about: dict[str, object] = {"cores": os.cpu_count(), "size": plan.size, "link": up.about}
        report.write_json(json_path, cases.table, about)
    if over_tls is not None:
        _show_tls(*over_tls)
    if find("redis-server") is None:
        click.echo("redis-server is not installed, and left out")
    elif not only:
        click.echo("\n" + shared.printed(quick=quick))


def _show_tls(cases: Cases, names: list[str]) -> None:
    click.echo("\n" + report.table(cases.table, names))
    click.echo(report.ratios(cases.table, names[:1], names[1:]))


def _subjects(stack: ExitStack, url: str) -> Iterator[Subject]:
    for workers in (1, 2):
        yield stack.enter_context(subjects.cacheproxy(url, workers))
    yield stack.enter_context(subjects.distribution(url))
    if find("nginx") is not None:
        yield stack.enter_context(subjects.nginx(url, workers=2))
    else:
        click.echo("nginx is not installed, and left out (Debian package: nginx-light)")


def _measure(up: Upstream, plan: Plan, running: list[Subject]) -> Cases:
    """Subjects take turns within each round, so that what else happens here happens to all."""
    cases, layer = Cases(up), 0
    for subject in running:
        cases.prepare(subject)
    for clients in plan.clients:
        for number in range(plan.rounds):
            for subject in running:
                if number < plan.of(subject, clients):
                    _say(f"cold, {clients} clients, round {number + 1}: {subject.name}")
                    cases.cold(subject, clients, layer)
            layer += 1
    for number in range(plan.rounds):
        for subject in running:
            _say(f"warm, round {number + 1}: {subject.name}")
            _warm(cases, subject, up, plan)
    return cases


def _warm(cases: Cases, subject: Subject, up: Upstream, plan: Plan) -> None:
    if find("wrk") is not None:
        cases.manifests(subject, up.image.digest, "digest", plan.seconds)
        cases.manifests(subject, "1", "tag", plan.seconds)
    cases.warm_blob(subject, 0, plan.seconds)


def _say(what: str) -> None:
    if sys.stderr.isatty():
        click.echo(f"\r\x1b[K{what}", nl=False, err=True)


if __name__ == "__main__":
    main()
