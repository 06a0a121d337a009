"""`cacheproxy purge`: remove an image, a repository, or all of an upstream from the cache."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cacheproxy.cli import words
from cacheproxy.cli.configuration import config_option
from cacheproxy.cli.offline import opened_cache
from cacheproxy.domain.digest import Digest

if TYPE_CHECKING:
    from cacheproxy.bootstrap.offline import Cache
    from cacheproxy.bootstrap.purging import Plan


@click.command()
@click.argument("targets", metavar="(IMAGE|DIGEST|REPOSITORY|UPSTREAM)...", nargs=-1, required=True)
@config_option
@click.option("--dry-run", is_flag=True, help="Only say what would go.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def purge(targets: tuple[str, ...], named: Path | None, dry_run: bool, as_json: bool) -> None:
    """Remove what is cached of these, pinned or not; upstream is not touched.

    With a tag, that tag is forgotten, and its manifest and the parts of it that nothing else
    in the cache refers to are removed. Without one, everything of the repository is. A name
    without a registry is of `default_upstream`, unless it is an upstream's own. Can run beside
    a server: what is being read is left, and said.

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
    with opened_cache(named) as cache:
        from cacheproxy.bootstrap import purging  # noqa: PLC0415 - as the server is

        wanted = [purging.read_target(cache, text) for text in targets]
        done = [_purged(cache, purging.plan(cache, target), dry_run) for target in wanted]
    if as_json:
        click.echo(json.dumps({"dry_run": dry_run, "targets": [d.json() for d in done]}, indent=2))
    else:
        for each in done:
            each.show(dry_run)
    click.get_current_context().exit(0 if all(each.is_well for each in done) else 1)


@dataclass(frozen=True, slots=True)
class _Done:
    """A plan, and what is left in spite of it."""

    plan: "Plan"
    left: list[Digest]

    @property
    def is_well(self) -> bool:
        return not self.left and not self.plan.is_empty

    @property
    def freed(self) -> int:
        return sum(size for digest, size in self.plan.blobs.items() if digest not in self.left)

    def show(self, dry_run: bool) -> None:
        if self.plan.is_empty:
            click.echo(f"{self.plan.target}: nothing is known of it", err=True)
            return
        count = len(self.plan.blobs) - len(self.left)
        verb = "would free" if dry_run else "freed"
        blobs = words.counted(count, "blob")
        click.echo(f"{self.plan.target}: {verb} {words.size(self.freed)}, {blobs}")
        if self.plan.tags:
            forgotten = "would be forgotten" if dry_run else "forgotten"
            click.echo(f"  {words.counted(len(self.plan.tags), 'tag')} {forgotten}")
        if self.plan.shared:
            size = words.size(sum(self.plan.shared.values()))
            blobs = words.counted(len(self.plan.shared), "blob")
            click.echo(f"  left: {size}, {blobs} that something else here refers to")
        for digest in self.left:
            click.echo(f"  left: {digest}, which is being read, or cannot be removed")

    def json(self) -> dict[str, Any]:
        return {
            "target": self.plan.target,
            "known": not self.plan.is_empty,
            "freed_bytes": self.freed,
            "removed": [digest for digest in self.plan.blobs if digest not in self.left],
            "shared": list(self.plan.shared),
            "in_use": self.left,
            "tags": self.plan.tags,
        }


def _purged(cache: "Cache", plan: "Plan", dry_run: bool) -> _Done:
    from cacheproxy.bootstrap import purging  # noqa: PLC0415

    return _Done(plan, [] if dry_run else purging.carry_out(cache, plan))
