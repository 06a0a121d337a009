"""`cacheproxy purge`: remove an image, a repository, or all of an upstream from the cache."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cacheproxy.cli import words
from cacheproxy.cli.inspecting import inspecting_options, opened

if TYPE_CHECKING:
    from cacheproxy.ops.api.reports import PurgedTarget


@click.command()
@click.argument("targets", metavar="(IMAGE|DIGEST|REPOSITORY|UPSTREAM)...", nargs=-1, required=True)
@inspecting_options
@click.option("--dry-run", is_flag=True, help="Only say what would go.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def purge(
    targets: tuple[str, ...], dry_run: bool, as_json: bool, **where: Path | str | bool | None
) -> None:
    """Remove what is cached of these, pinned or not; upstream is not touched.

    With a tag, that tag is forgotten, and its manifest and the parts of it that nothing else
    in the cache refers to are removed. Without one, everything of the repository is. A name
    without a registry is of `default_upstream`, unless it is an upstream's own. The server
    does it; where none runs, this command. What is being read is left, and said.

    \b
    Examples:
      cacheproxy purge nginx:1.25
      cacheproxy purge --dry-run quay.io/team/app
      cacheproxy purge registry.example.com
      cacheproxy purge sha256:6c3c624b58dbbcd3c0dd82b4c53f04194d1247c6eebdaab7c610cf7d66709b3b

    \b
    Exit codes:
      0  it is gone, or would go
      1  nothing is known of one of them, or some of it is left, or there is no usable cache
      2  the command line or the configuration is wrong
    """  # noqa: D301 - click looks for the control character
    from cacheproxy.ops.api.model import PurgeRequest  # noqa: PLC0415 - as the server is

    with opened(**where) as cache:  # type: ignore[arg-type]  # by the names that its options have
        report = cache.purge(PurgeRequest(list(targets), dry_run))
    if as_json:
        click.echo(json.dumps(asdict(report), indent=2))
    else:
        for done in report.targets:
            _show(done, dry_run)
    click.get_current_context().exit(0 if all(done.is_well for done in report.targets) else 1)


def _show(done: "PurgedTarget", dry_run: bool) -> None:
    if not done.known:
        click.echo(f"{done.target}: nothing is known of it", err=True)
        return
    verb = "would free" if dry_run else "freed"
    blobs = words.counted(len(done.removed), "blob")
    click.echo(f"{done.target}: {verb} {words.size(done.freed_bytes)}, {blobs}")
    forgotten = "would be forgotten" if dry_run else "forgotten"
    if done.shared_records:
        click.echo(f"  {words.counted(done.shared_records, 'record')} in Redis {forgotten}")
    if done.tags:
        click.echo(f"  {words.counted(len(done.tags), 'tag')} {forgotten}")
    if done.shared:
        blobs = words.counted(len(done.shared), "blob")
        size = words.size(done.shared_bytes)
        click.echo(f"  left: {size}, {blobs} that something else here refers to")
    for digest in done.in_use:
        click.echo(f"  left: {digest}, which is being read, or cannot be removed")
