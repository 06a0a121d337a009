"""`cacheproxy stats`: what the cache has saved, and what goes on."""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import click

from cacheproxy.cli.api import AdminApi, api_options, find_api
from cacheproxy.cli.configuration import RunFailure
from cacheproxy.cli.statistics import lines
from cacheproxy.domain.savings import Period
from cacheproxy.settings.durations import parse_positive_duration

_INTERRUPTED = 130  # as shells have it: 128 and the signal's number
_CLEAR = "\x1b[H\x1b[2J"


def _seconds(_: click.Context, __: click.Parameter, text: str | None) -> float | None:
    try:
        return None if text is None else parse_positive_duration(text)
    except ValueError as error:
        raise click.BadParameter(f"{error}.") from None


@click.command()
@click.option(
    "--period",
    type=click.Choice(get_args(Period)),
    default="today",
    show_default=True,
    help="Since midnight UTC, the last 7 days, the last 35, or all time.",
)
@click.option(
    "--top", type=click.IntRange(1, 100), default=5, show_default=True, help="Repositories listed."
)
@click.option(
    "--watch",
    metavar="DURATION",
    callback=_seconds,
    is_flag=False,
    flag_value="2s",
    help="Show it anew every so often, until Ctrl-C; 2s where nothing else is said.",
)
@api_options
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object; with --watch, lines.")
def stats(
    period: Period, top: int, watch: float | None, as_json: bool, **where: Path | str | None
) -> None:
    """Say what a running server has saved, and how it does.

    Saved is what clients got and the link to upstream did not carry. Sums are of all workers,
    and of all replicas of one cache; they survive restarts.

    \b
    Examples:
      cacheproxy stats
      cacheproxy stats --period week --top 20
      cacheproxy stats --watch
      cacheproxy stats --json | jq .savings.all.saved_bytes

    \b
    Exit codes:
      0    it was said
      1    the server could not be asked
      2    the command line or the configuration is wrong
      130  stopped by Ctrl-C
    """  # noqa: D301 - click looks for the control character
    api = find_api(**where)  # type: ignore[arg-type]  # by the names that its options have
    show: Callable[[dict[str, Any], bool], None] = _json if as_json else _text
    if watch is None:
        show(_asked(api, period, top), False)
        return
    try:
        _watched(api, watch, lambda asked: show(asked, True), (period, top))
    except KeyboardInterrupt:
        click.get_current_context().exit(_INTERRUPTED)


def _watched(
    api: AdminApi, seconds: float, show: Callable[[dict[str, Any]], None], what: tuple[Period, int]
) -> None:
    """Show it again and again; a server that is away for a while is waited for."""
    while True:
        try:
            show(_asked(api, *what))
        except RunFailure as error:
            click.echo(error.message, err=True)
        time.sleep(seconds)


def _asked(api: AdminApi, period: Period, top: int) -> dict[str, Any]:
    repositories = {"period": period, "limit": str(top)}
    return {
        "status": api.get("/api/v1/status"),
        "savings": api.get("/api/v1/savings", {"period": period}),
        "repositories": api.get("/api/v1/repositories", repositories)["repositories"],
    }


def _json(asked: dict[str, Any], is_watched: bool) -> None:
    click.echo(json.dumps(asked, indent=None if is_watched else 2))


def _text(asked: dict[str, Any], is_watched: bool) -> None:
    if is_watched and sys.stdout.isatty():
        click.echo(_CLEAR, nl=False)
    for line in lines(asked["status"], asked["savings"], asked["repositories"]):
        click.echo(line)
    if is_watched and not sys.stdout.isatty():
        click.echo()
