"""`cacheproxy explain`: what is cached of an image, and when it goes."""

import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cacheproxy.cli.configuration import RunFailure, config_option
from cacheproxy.cli.explanation import lines
from cacheproxy.cli.offline import opened_cache
from cacheproxy.domain.digest import Digest
from cacheproxy.domain.image import Image, parse_image

if TYPE_CHECKING:
    from cacheproxy.bootstrap.offline import Cache


@click.command()
@click.argument("asked", metavar="IMAGE|DIGEST")
@config_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def explain(asked: str, named: Path | None, as_json: bool) -> None:
    """Say what is cached of an image or blob, since when, and what would go before it.

    IMAGE is read as container engines read it: without a registry it is of
    `default_upstream`, without a tag it is `latest`. Upstream is not asked. Can run beside a
    server; what was asked for in the last 5 seconds may be missing.

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
    with opened_cache(named) as cache:
        image = _parsed(asked, cache)
        from cacheproxy.bootstrap import explaining  # noqa: PLC0415 - as the server is

        now = time.time()
        explanation = explaining.explain(cache, image, now)
        if not explanation.is_known:
            raise RunFailure(_nothing(cache, explanation.asked, image))
        if as_json:
            click.echo(json.dumps(asdict(explanation), indent=2))
            return
        for line in lines(explanation, now):
            click.echo(line)


def _parsed(text: str, cache: "Cache") -> Image | Digest:
    is_digest = text.startswith(("sha256:", "sha512:"))
    return Digest.parse(text) if is_digest else parse_image(text, cache.routes)


def _nothing(cache: "Cache", asked: str, image: Image | Digest) -> str:
    from cacheproxy.bootstrap import explaining  # noqa: PLC0415

    said = f"cacheproxy: nothing is known of {asked} in {cache.layout.root}"
    tags = [] if isinstance(image, Digest) else explaining.cached_tags(cache, image)
    shown = ", ".join(tags[:10]) + (", …" if len(tags) > 10 else "")
    return f"{said}; of that repository there is {shown}" if tags else said
