"""`cacheproxy plan`: what a cache of another size, or with another policy, would save."""

import json
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import click

from cacheproxy.cli.inspecting import inspecting_options, opened
from cacheproxy.cli.planned import lines
from cacheproxy.cli.progress import Progress, shown_progress
from cacheproxy.domain.budget import PolicyName
from cacheproxy.settings.durations import parse_positive_duration
from cacheproxy.settings.sizes import parse_size

if TYPE_CHECKING:
    from cacheproxy.ops.api.work import PlanStep

_POLICIES: tuple[PolicyName, ...] = get_args(PolicyName)


def _sizes(_: click.Context, __: click.Parameter, text: str | None) -> list[str]:
    try:
        return [] if text is None else [str(parse_size(part)) for part in text.split(",")]
    except ValueError as error:
        raise click.BadParameter(f"{error}.") from None


def _duration(_: click.Context, __: click.Parameter, text: str | None) -> str | None:
    try:
        if text is not None:
            parse_positive_duration(text)
    except ValueError as error:
        raise click.BadParameter(f"{error}.") from None
    return text


@click.command()
@inspecting_options
@click.option(
    "--max-size",
    "sizes",
    metavar="SIZE,…",
    callback=_sizes,
    help="Sizes, or shares of the volume; by default half, once, twice and four times today's.",
)
@click.option(
    "--policy",
    "policies",
    multiple=True,
    type=click.Choice(_POLICIES),
    help="Can be given several times; by default all.",
)
@click.option(
    "--since",
    metavar="DURATION",
    callback=_duration,
    help="Count only what was served in this time, such as 7d; what came before fills the caches.",
)
@click.option("--json", "is_json", is_flag=True, help="Print one JSON object.")
def plan(
    sizes: list[str],
    policies: tuple[PolicyName, ...],
    since: str | None,
    is_json: bool,
    **where: Path | str | bool | None,
) -> None:
    """Say what a larger or a smaller cache would have had to fetch, with each policy.

    The server records what it serves (cache.access_log). That record is put to caches of other
    sizes, which begin empty and evict as the server does. Today's size and policy are always
    among them, marked with *, and the others are compared with that. The server is asked
    for it, and where none runs the cache directory is read. What was served in the last 5
    seconds may be missing.

    \b
    Examples:
      cacheproxy plan
      cacheproxy plan --max-size 100GiB,200GiB,400GiB
      cacheproxy plan --max-size 60%,80% --policy lfu-decay --policy gdsf-decay
      cacheproxy plan --since 7d --json | jq '.rows[] | {max_size, policy, upstream_bytes}'

    \b
    Exit codes:
      0  it was planned
      1  nothing is recorded yet, or there is no cache that can be used
      2  the command line or the configuration is wrong
    """  # noqa: D301 - click looks for the control character
    from cacheproxy.ops.api.work import PlanRequest  # noqa: PLC0415 - as the server is

    with ExitStack() as stack:
        cache = stack.enter_context(opened(**where))  # type: ignore[arg-type]  # by the names that its options have
        made = cache.plan(PlanRequest(sizes, list(policies), since), _progress(stack))
    if is_json:
        click.echo(json.dumps(asdict(made), indent=2))
        return
    for line in lines(made, time.time()):
        click.echo(line)


def _progress(stack: ExitStack) -> "Callable[[PlanStep], None]":
    """Show progress until the stack is left, from when it is known how much there is to read."""
    from cacheproxy.ops.api.work import PlanProgress  # noqa: PLC0415 - as the server is

    shown: list[Progress] = []
    done = 0

    def told(step: "PlanStep") -> None:
        nonlocal done
        match step:
            case PlanProgress(count, total):
                if not shown:
                    shown.append(stack.enter_context(shown_progress(total)))
                shown[0].advance(count - done)
                done = count

    return told
