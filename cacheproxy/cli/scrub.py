"""`cacheproxy scrub`: is every stored blob still what its digest says?"""

import json
import time
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cacheproxy.cli import words
from cacheproxy.cli.inspecting import inspecting_options, opened
from cacheproxy.cli.progress import Progress, shown_progress
from cacheproxy.domain.digest import Digest
from cacheproxy.domain.errors import DigestInvalid
from cacheproxy.settings.sizes import parse_bytes

if TYPE_CHECKING:
    from cacheproxy.ops.api.work import ScrubStep
    from cacheproxy.storage.scrub import Finding

_NOT_MENDED = 1
_INTERRUPTED = 130  # as shells have it: 128 and the signal's number


def _rate(_: click.Context, __: click.Parameter, text: str) -> str:
    try:
        return str(parse_bytes(text.removesuffix("/s")))
    except ValueError as error:
        raise click.BadParameter(f"{error}.") from None


def _digest(_: click.Context, __: click.Parameter, text: str | None) -> Digest | None:
    try:
        return None if text is None else Digest.parse(text)
    except DigestInvalid as error:
        raise click.BadParameter(f"{error}.") from None


@click.command()
@inspecting_options
@click.option(
    "--rate", default="100MiB", show_default=True, callback=_rate, help="Read so much a second."
)
@click.option(
    "--after", metavar="DIGEST", callback=_digest, help="Leave out what comes before and this."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object at the end.")
def scrub(
    rate: str, after: Digest | None, as_json: bool, **where: Path | str | bool | None
) -> None:
    """Read every stored blob again, and take out what is not what its digest says.

    What is wrong is moved to CACHE/quarantine and struck out of the ledger; the next pull
    fetches it again. Blobs of which only the ledger knows are struck out, too. The server does
    it, in a process of its own; where none runs, this command. It can be stopped with Ctrl-C at
    any time: the blobs are read in the order of their digests, and it says where to go on.

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
    from cacheproxy.ops.api.work import ScrubRequest  # noqa: PLC0415 - as the server is

    asked = ScrubRequest(rate, None if after is None else str(after))
    with ExitStack() as stack:
        report = _Report(as_json, stack)
        cache = stack.enter_context(opened(**where))  # type: ignore[arg-type]  # by the names that its options have
        try:
            cache.scrub(asked, report.hear)
        except KeyboardInterrupt:
            report.is_stopped = True
    report.show()
    click.get_current_context().exit(report.exit_code)


class _Report:
    """What is heard of it, and what there is to say at the end.

    It shows progress until the stack is left, from when it is known how much there is to read.
    """

    def __init__(self, as_json: bool, stack: ExitStack) -> None:
        self._as_json = as_json
        self._began = time.monotonic()
        self._checked = self._bytes = 0
        self._last: Digest | None = None
        self._quarantine = ""
        self._findings: dict[Digest, Finding] = {}
        self._stack = stack
        self._progress: Progress | None = None
        self.is_stopped = False

    def hear(self, step: "ScrubStep") -> None:
        """Take note of a step."""
        from cacheproxy.ops.api.work import ScrubBegun, ScrubProgress  # noqa: PLC0415
        from cacheproxy.storage.scrub import Finding  # noqa: PLC0415

        match step:
            case ScrubBegun(total, quarantine):
                self._quarantine = quarantine
                self._progress = self._stack.enter_context(shown_progress(total))
            case ScrubProgress(checked, count, last):
                if self._progress is not None:
                    self._progress.advance(count - self._bytes)
                self._checked, self._bytes, self._last = checked, count, last
            case Finding():
                self._findings[step.digest] = step
                if self._progress is not None and not self._as_json:
                    said = f"{step.digest}: {step.problem}, {step.outcome}: {step.detail}"
                    self._progress.say(said)
            case _:
                pass

    @property
    def exit_code(self) -> int:
        """By what was found."""
        if self.is_stopped:
            return _INTERRUPTED
        return 0 if all(f.is_mended for f in self._findings.values()) else _NOT_MENDED

    def show(self) -> None:
        """Print it."""
        if self._as_json:
            click.echo(json.dumps(self._json(), indent=2))
            return
        spent = words.span(time.monotonic() - self._began)
        click.echo(
            f"{words.counted(self._checked, 'blob')} checked, {words.size(self._bytes)}, {spent}"
        )
        for line in self._counted():
            click.echo(line)
        if self.is_stopped:
            click.echo("stopped; what was found until then is mended")
            if self._last is not None:
                click.echo(f"to go on from here: cacheproxy scrub --after {self._last}")

    def _counted(self) -> list[str]:
        found = [finding.outcome for finding in self._findings.values()]
        lines = [
            (found.count("quarantined"), f"moved to {self._quarantine}"),
            (found.count("struck out"), "struck out of the ledger"),
            (found.count("in use"), "left, because clients are reading them; scrub again later"),
            (found.count("refused"), "left, because the disk refuses"),
        ]
        said = [f"{count} {what}" for count, what in lines if count]
        return said or ([] if self.is_stopped else ["all are what their digests say"])

    def _json(self) -> dict[str, Any]:
        return {
            "ok": self.exit_code == 0,
            "checked": self._checked,
            "bytes": self._bytes,
            "quarantine": self._quarantine,
            "findings": [asdict(finding) for finding in self._findings.values()],
            "stopped_after": self._last if self.is_stopped else None,
        }
