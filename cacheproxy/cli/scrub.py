"""`cacheproxy scrub`: is every stored blob still what its digest says?"""

import json
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cacheproxy.cli import words
from cacheproxy.cli.configuration import config_option
from cacheproxy.cli.offline import opened_cache
from cacheproxy.cli.progress import Progress, shown_progress
from cacheproxy.domain.digest import Digest
from cacheproxy.domain.errors import DigestInvalid
from cacheproxy.settings.sizes import parse_bytes

if TYPE_CHECKING:
    from cacheproxy.bootstrap.offline import Cache
    from cacheproxy.storage.scrub import Finding, Step

_NOT_MENDED = 1
_INTERRUPTED = 130  # as shells have it: 128 and the signal's number


def _rate(_: click.Context, __: click.Parameter, text: str) -> int:
    try:
        return parse_bytes(text.removesuffix("/s"))
    except ValueError as error:
        raise click.BadParameter(f"{error}.") from None


def _digest(_: click.Context, __: click.Parameter, text: str | None) -> Digest | None:
    try:
        return None if text is None else Digest.parse(text)
    except DigestInvalid as error:
        raise click.BadParameter(f"{error}.") from None


@click.command()
@config_option
@click.option(
    "--rate", default="100MiB", show_default=True, callback=_rate, help="Read so much a second."
)
@click.option(
    "--after", metavar="DIGEST", callback=_digest, help="Leave out what comes before and this."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object at the end.")
def scrub(named: Path | None, rate: int, after: Digest | None, as_json: bool) -> None:
    """Read every stored blob again, and take out what is not what its digest says.

    What is wrong is moved to CACHE/quarantine and struck out of the ledger; the next pull
    fetches it again. Blobs of which only the ledger knows are struck out, too. Can run beside
    a server, and be stopped with Ctrl-C at any time: the blobs are read in the order of their
    digests, and it says where to go on.

    \b
    Examples:
      cacheproxy scrub
      cacheproxy scrub --config /etc/cacheproxy.yaml --rate 20MiB
      cacheproxy scrub --json | jq -r '.findings[].digest'

    \b
    Exit codes:
      0    everything is right, or was mended
      1    something could not be mended, or there is no cache that can be used
      2    the command line or the configuration is wrong
      130  stopped by Ctrl-C
    """  # noqa: D301 - click looks for the control character
    with opened_cache(named, with_metadata=False) as cache:
        report = _scrubbed(cache, rate, after, _Report(as_json))
        report.show(cache)
    click.get_current_context().exit(report.exit_code)


@dataclass(slots=True)
class _Report:
    """What there is to say at the end."""

    as_json: bool
    began: float = field(default_factory=time.monotonic)
    checked: int = 0
    count: int = 0
    last: Digest | None = None
    is_stopped: bool = False
    findings: dict[Digest, "Finding"] = field(default_factory=dict)

    @property
    def exit_code(self) -> int:
        if self.is_stopped:
            return _INTERRUPTED
        return 0 if all(f.is_mended for f in self.findings.values()) else _NOT_MENDED

    def show(self, cache: "Cache") -> None:
        """Print it."""
        if self.as_json:
            click.echo(json.dumps(self._json(cache), indent=2))
            return
        spent = words.span(time.monotonic() - self.began)
        click.echo(
            f"{words.counted(self.checked, 'blob')} checked, {words.size(self.count)}, {spent}"
        )
        for line in self._counted(cache):
            click.echo(line)
        if self.is_stopped:
            click.echo("stopped; what was found until then is mended")
            if self.last is not None:
                click.echo(f"to go on from here: cacheproxy scrub --after {self.last}")

    def _counted(self, cache: "Cache") -> list[str]:
        found = [finding.outcome for finding in self.findings.values()]
        lines = [
            (found.count("quarantined"), f"moved to {cache.layout.root / 'quarantine'}"),
            (found.count("struck out"), "struck out of the ledger"),
            (found.count("in use"), "left, because clients are reading them; scrub again later"),
            (found.count("refused"), "left, because the disk refuses"),
        ]
        said = [f"{count} {what}" for count, what in lines if count]
        return said or ([] if self.is_stopped else ["all are what their digests say"])

    def _json(self, cache: "Cache") -> dict[str, Any]:
        return {
            "ok": self.exit_code == 0,
            "checked": self.checked,
            "bytes": self.count,
            "quarantine": str(cache.layout.root / "quarantine"),
            "findings": [asdict(finding) for finding in self.findings.values()],
            "stopped_after": self.last if self.is_stopped else None,
        }


def _scrubbed(cache: "Cache", rate: int, after: Digest | None, report: _Report) -> _Report:
    from cacheproxy.storage.inventory import stored  # noqa: PLC0415 - as the server is
    from cacheproxy.storage.pace import Pace  # noqa: PLC0415
    from cacheproxy.storage.scrub import Scrub  # noqa: PLC0415

    blobs = [(digest, size) for digest, size in stored(cache.layout) if not after or digest > after]
    layout, ledger = cache.layout, cache.ledger
    pass_ = Scrub(
        layout,
        lambda digests: ledger.strike(digests, layout.holds),
        Pace(rate, time.monotonic, time.sleep),
    )
    known = [entry.digest for entry in ledger.entries()]
    try:
        with shown_progress(sum(size for _, size in blobs)) as progress:
            for step in pass_.run((digest for digest, _ in blobs), known):
                _note(report, step, progress)
    except KeyboardInterrupt:
        report.is_stopped = True
    return report


def _note(report: _Report, step: "Step", progress: Progress) -> None:
    from cacheproxy.storage.scrub import Checked, Finding, Hashed  # noqa: PLC0415

    match step:
        case Hashed(count):
            progress.advance(count)
            report.count += count
        case Checked(digest):
            report.checked += 1
            report.last = digest
        case Finding():
            report.findings[step.digest] = step
            if not report.as_json:
                progress.say(f"{step.digest}: {step.problem}, {step.outcome}: {step.detail}")
