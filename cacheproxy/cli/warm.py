"""`cacheproxy warm`: have images in the cache before nodes ask for them."""

import json
import platform
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from cacheproxy.cli import words
from cacheproxy.cli.api import AdminApi, api_options, find_api
from cacheproxy.cli.configuration import RunFailure
from cacheproxy.cli.progress import Bars, shown_bars
from cacheproxy.domain.image_lists import LONGEST, read_images
from cacheproxy.domain.platforms import ALL, Platform, Platforms
from cacheproxy.domain.warming import State, WarmStep, WarmSummary, read_line, summed

_PATH = "/api/v1/warm"
_SOME_FAILED = 1
_INTERRUPTED = 130  # as shells have it: 128 and the signal's number
# In one request, so that its body stays small.
_AT_ONCE = 1000


def _platforms(_: click.Context, __: click.Parameter, texts: tuple[str, ...]) -> list[str]:
    chosen = list(texts) or [str(Platform.of(sys.platform, platform.machine().lower()))]
    try:
        Platforms.parse(chosen)
    except ValueError as error:
        raise click.BadParameter(f"{error}.") from None
    return chosen


@click.command()
@click.argument("images", metavar="[IMAGE]...", nargs=-1)
@click.option(
    "--file",
    "--from",
    "files",
    metavar="FILE",
    multiple=True,
    type=click.Path(path_type=Path, allow_dash=True),
    help="With a list of images, or - for standard input. Can be given several times.",
)
@click.option(
    "--platform",
    "platforms",
    metavar="PLATFORM",
    multiple=True,
    callback=_platforms,
    help=f"Such as linux/arm64, or {ALL}; can be given several times. By default this host's.",
)
@click.option(
    "--parallel",
    type=click.IntRange(1, 64),
    default=2,
    show_default=True,
    help="Images at once, and blobs at once.",
)
@api_options
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object at the end.")
def warm(
    images: tuple[str, ...],
    files: tuple[Path, ...],
    platforms: list[str],
    parallel: int,
    as_json: bool,
    **where: Path | str | None,
) -> None:
    """Have a running server fetch images, so that nodes find them in its cache.

    What is there already costs nothing, and what a tag names is asked of upstream, however
    fresh it is. It can be stopped with Ctrl-C, and run again: only what is missing is fetched.
    Nothing of it counts as served.

    A list of images has a name on each line (# begins a comment), or is what `kubectl get pods
    -A -o json` or `crictl images -o json` print.

    \b
    Examples:
      cacheproxy warm nginx:1.27 quay.io/prometheus/prometheus:v3.1.0
      cacheproxy warm --file images.txt --platform linux/amd64 --platform linux/arm64
      kubectl get pods -A -o json | cacheproxy warm --from -
      cacheproxy warm --server http://cache.example.com:5001 --token-file token redis:7

    \b
    Exit codes:
      0    all of them are warm
      1    some are not, or the server could not be asked
      2    the command line or the configuration is wrong
      130  stopped by Ctrl-C
    """  # noqa: D301 - click looks for the control character
    names = _names(images, files)
    api = find_api(**where)  # type: ignore[arg-type]  # by the names that its options have
    report = _Report(as_json)
    how = {"platforms": platforms, "parallel": parallel}
    try:
        with shown_bars(len(names)) as bars:
            for start in range(0, len(names), _AT_ONCE):
                asked = {"images": names[start : start + _AT_ONCE], **how}
                _warm(api, asked, report, bars)
    except KeyboardInterrupt:
        report.is_stopped = True
    except RunFailure:
        if report.has_heard:
            report.show(len(names))
        raise
    report.show(len(names))
    click.get_current_context().exit(report.exit_code)


def _warm(api: AdminApi, asked: dict[str, Any], report: "_Report", bars: Bars) -> None:
    report.is_heard_out = False
    api.stream(_PATH, asked, lambda line: report.hear(line, bars))
    if not report.is_heard_out:
        raise RunFailure(
            f"cacheproxy: the server at {api.url} ended before all was done; run this again when "
            "it is back: only what is missing is fetched"
        )


def _names(images: tuple[str, ...], files: tuple[Path, ...]) -> list[str]:
    names = dict.fromkeys(images)
    for file in files:
        shown = "standard input" if str(file) == "-" else str(file)
        try:
            names |= dict.fromkeys(read_images(_text(file)))
        except (OSError, ValueError) as error:
            said = error.strerror if isinstance(error, OSError) else error
            raise click.UsageError(f"{shown}: {said}.") from None
    if not names:
        raise click.UsageError("There is no image to warm; name some, or a --file with them.")
    return list(names)


def _text(file: Path) -> str:
    with click.open_file(str(file), encoding="utf-8") as stream:
        text: str = stream.read(LONGEST + 1)
    if len(text) > LONGEST:
        raise ValueError(f"is longer than {words.size(LONGEST)}")
    return text


class _Report:
    """What the server said of each image, and what there is to say at the end."""

    def __init__(self, as_json: bool) -> None:
        self._as_json = as_json
        self._last: dict[str, WarmStep] = {}
        self._seconds = 0.0
        self.is_stopped = False
        self.is_heard_out = False

    @property
    def has_heard(self) -> bool:
        return bool(self._last)

    @property
    def exit_code(self) -> int:
        if self.is_stopped:
            return _INTERRUPTED
        return _SOME_FAILED if self._count("failed") else 0

    def hear(self, document: object, bars: Bars) -> None:
        """Take note of a line of the server's answer."""
        match read_line(document):
            case WarmStep() as step:
                self._last[step.image] = step
                if not step.is_over:
                    bars.show(step.image, step.bytes_done, step.bytes_total)
                    return
                bars.end(step.image)
                if not self._as_json:
                    bars.say(_line(step))
            case WarmSummary(seconds=seconds):
                self.is_heard_out = True
                self._seconds += seconds
            case None:
                pass

    def show(self, asked: int) -> None:
        """Print it."""
        if self._as_json:
            click.echo(json.dumps(self._json(asked), indent=2))
            return
        for line in self._lines(asked):
            click.echo(line)

    def _count(self, state: State) -> int:
        return sum(step.state == state for step in self._last.values())

    def _lines(self, asked: int) -> Iterator[str]:
        done, failed = self._count("done"), self._count("failed")
        said = words.counted(done, "image") + " warm"
        said += f", {failed} failed" if failed else ""
        yield said if self.is_stopped else f"{said}, {words.span(self._seconds)}"
        sums = summed(self._last.values(), self._seconds)
        for size, where in _sources(sums):
            yield f"  {words.size(size):>11} {where}"
        if self.is_stopped:
            yield (
                f"stopped, with {asked - done} to go; run it again: only what is missing is fetched"
            )

    def _json(self, asked: int) -> dict[str, Any]:
        sums = asdict(summed(self._last.values(), self._seconds))
        return {
            "ok": self.exit_code == 0,
            **sums,
            "images": [asdict(step) for step in self._last.values()],
            "asked": asked,
            "stopped": self.is_stopped,
        }


def _line(step: WarmStep) -> str:
    if step.error is not None:
        return f"{step.image}: failed: {step.error}"
    parts = [f"{words.size(size)} {where}" for size, where in _sources(step)]
    return f"{step.image}: warm, {', '.join(parts) or 'nothing to fetch'}"


def _sources(what: WarmStep | WarmSummary) -> Iterator[tuple[int, str]]:
    """Where bytes came from, if any did."""
    for size, where in (
        (what.fetched_bytes, "from upstream"),
        (what.replica_bytes, "from other replicas"),
        (what.here_bytes, "here already"),
    ):
        if size:
            yield size, where
