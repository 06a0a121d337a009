"""`cacheproxy doctor`: what is wrong here, and what to do about it."""

import asyncio
import json
import sys
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cacheproxy.cli.configuration import ConfigurationFailure, config_option, load_settings
from cacheproxy.domain.errors import RequestError
from cacheproxy.settings import Settings, SettingsError

if TYPE_CHECKING:
    from cacheproxy.doctor.findings import Finding, State
    from cacheproxy.doctor.images import Sample

_ERASE = "\r\033[K"
_WIDTH = 9
_SHOWN: "dict[State, str]" = {
    "ok": "ok",
    "warning": "warning",
    "failed": "FAILED",
    "skipped": "skipped",
}


@click.command()
@config_option
@click.option(
    "--image",
    "images",
    metavar="IMAGE",
    multiple=True,
    help="Pull the manifest of this one, of its upstream; can be given for each of them.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object at the end.")
def doctor(named: Path | None, images: tuple[str, ...], as_json: bool) -> None:
    """Check what a server needs, and say what to do about each thing that is wrong.

    Looks at the configuration, the cache directory, the clock, Redis, the server's certificate,
    and each upstream: its name, a connection, TLS, /v2/, the credentials, and the manifest of
    a small image, which counts as one pull where pulls are counted. Where a server runs at
    `server.listen`, the same manifests are pulled through it, in each way in which clients name
    a registry. Nothing is changed, and no secret is printed. Run it as the user and on the
    machine that the server runs as and on.

    \b
    Examples:
      cacheproxy doctor
      cacheproxy doctor --config /etc/cacheproxy.yaml --image registry.example.com/team/app:1
      cacheproxy doctor --json | jq -r '.findings[] | select(.state == "failed") | .advice'

    \b
    Exit codes:
      0  nothing failed; there may be warnings
      1  something failed
      2  the command line or the configuration is wrong
    """  # noqa: D301 - click looks for the control character
    settings = _settings(named, as_json)
    samples = _samples(settings, images)
    # Here, because it imports the server, for which `--help` need not wait.
    from cacheproxy.doctor.examination import examine  # noqa: PLC0415
    from cacheproxy.doctor.findings import Finding  # noqa: PLC0415

    count = len(settings.upstreams)
    said = f"valid; {count} upstream{'' if count == 1 else 's'}: {', '.join(settings.upstreams)}"
    configuration = Finding("configuration", "ok", said)
    shown = _Shown(as_json)
    shown.found([configuration])
    findings = [configuration, *asyncio.run(examine(settings, samples, shown))]
    states = Counter(finding.state for finding in findings)
    if as_json:
        document = {
            "ok": not states["failed"],
            "findings": [asdict(finding) for finding in findings],
        }
        click.echo(json.dumps(document, indent=2))
    else:
        counted = [f"{states[state]} {word}" for state, word in _SHOWN.items() if states[state]]
        click.echo(f"\n{', '.join(counted)}")
    click.get_current_context().exit(1 if states["failed"] else 0)


def _settings(named: Path | None, as_json: bool) -> Settings:
    try:
        return load_settings(named)
    except SettingsError as error:
        if not as_json:
            raise ConfigurationFailure(f"FAILED   configuration\n{error}") from None
        findings = [
            {
                "name": "configuration",
                "state": "failed",
                "said": error.describe(problem),
                "advice": "correct it; cacheproxy check --json has the place of each",
            }
            for problem in error.problems
        ]
        click.echo(json.dumps({"ok": False, "findings": findings}, indent=2))
        click.get_current_context().exit(2)


def _samples(settings: Settings, images: Iterable[str]) -> "dict[str, Sample]":
    from cacheproxy.bootstrap.upstreams import make_routes  # noqa: PLC0415 - as the server is
    from cacheproxy.doctor.images import samples  # noqa: PLC0415

    try:
        return samples(images, make_routes(settings))
    except RequestError as error:
        raise click.UsageError(f"{error}.") from None


class _Shown:
    """Prints each finding on a line, with what to do below it (`Told`)."""

    def __init__(self, as_json: bool) -> None:
        self._is_silent = as_json
        self._has_line = sys.stderr.isatty()

    def found(self, findings: "Iterable[Finding]") -> None:
        """Print them."""
        self._erase()
        if self._is_silent:
            return
        for finding in findings:
            click.echo(f"{_SHOWN[finding.state]:<{_WIDTH}}{finding.name}: {finding.said}")
            if finding.advice:
                click.echo(f"{'':<{_WIDTH}}-> {finding.advice}")

    def waiting(self, names: list[str]) -> None:
        """On a terminal, say what is waited for; what is found next is written over it."""
        self._erase()
        if self._has_line and names:
            text = f"still looking at {', '.join(names)}"
            click.echo(text[:79], nl=False, err=True)

    def _erase(self) -> None:
        if self._has_line:
            click.echo(_ERASE, nl=False, err=True)
