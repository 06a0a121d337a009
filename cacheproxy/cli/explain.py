"""`cacheproxy explain`: what is cached of an image, and when it goes."""

import json
import time
from dataclasses import asdict
from pathlib import Path

import click

from cacheproxy.cli.explanation import lines
from cacheproxy.cli.inspecting import inspecting_options, opened


@click.command()
@click.argument("asked", metavar="IMAGE|DIGEST")
@inspecting_options
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def explain(asked: str, as_json: bool, **where: Path | str | bool | None) -> None:
    """Say what is cached of an image or blob, since when, and what would go before it.

    IMAGE is read as container engines read it: without a registry it is of
    `default_upstream`, without a tag it is `latest`. Upstream is not asked, but the server is,
    and where none runs the cache directory. What was asked for in the last 5 seconds may be
    missing.

    \b
    Examples:
      cacheproxy explain nginx:1.25
      cacheproxy explain quay.io/prometheus/node-exporter:v1.8.2
      cacheproxy explain --json nginx:1.25 | jq '.content.parts[] | select(.is_here)'

    \b
    Exit codes:
      0  it was explained
      1  nothing is known of it, or there is no cache that can be used
      2  the command line or the configuration is wrong
    """  # noqa: D301 - click looks for the control character
    with opened(**where) as cache:  # type: ignore[arg-type]  # by the names that its options have
        explanation = cache.explain(asked)
    if as_json:
        click.echo(json.dumps(asdict(explanation), indent=2))
        return
    for line in lines(explanation, time.time()):
        click.echo(line)
