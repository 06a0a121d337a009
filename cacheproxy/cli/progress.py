"""How far a long command is: bars on a terminal, a line now and then elsewhere.

It goes to standard error, so that what the command prints stays what it prints.
"""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

import click

from cacheproxy.cli import words

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID

_LINE_SECONDS = 30.0
# Of the names that stand before bars: the end of a longer one says more than its beginning.
_NAME_WIDTH = 40


class Progress(Protocol):
    """Shows how far something is."""

    def advance(self, count: int) -> None:
        """So many bytes more."""
        ...

    def say(self, line: str) -> None:
        """Print a line of the command's own."""
        ...


class Bars(Protocol):
    """Shows how far several things are that happen at once."""

    def show(self, name: str, done: int, total: int) -> None:
        """So many bytes of one of them are done, of so many as far as is known."""
        ...

    def end(self, name: str) -> None:
        """One of them is over."""
        ...

    def say(self, line: str) -> None:
        """Print a line of the command's own."""
        ...


@contextmanager
def shown_progress(total: int) -> Iterator[Progress]:
    """Show progress towards so many bytes."""
    if not sys.stderr.isatty():
        yield ProgressLines(total, time.monotonic)
        return
    with _rich() as running:
        yield _Bar(running, total)


@contextmanager
def shown_bars(count: int) -> Iterator[Bars]:
    """Show progress of so many things, of which a few are under way at any time."""
    if not sys.stderr.isatty():
        yield BarLines(count, time.monotonic)
        return
    with _rich() as running:
        yield _Bars(running)


def _rich() -> "RichProgress":
    """Bars that vanish when they are left, so that what was printed remains."""
    # Here, because most commands need none.
    from rich.console import Console  # noqa: PLC0415
    from rich.progress import (  # noqa: PLC0415
        BarColumn,
        DownloadColumn,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )
    from rich.progress import Progress as RichProgress  # noqa: PLC0415

    return RichProgress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(binary_units=True),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True, highlight=False),
        transient=True,
        # What the command prints goes where it is sent, also when that is no terminal.
        redirect_stdout=False,
        redirect_stderr=False,
    )


def _say(running: "RichProgress", line: str) -> None:
    if sys.stdout.isatty():
        # Above the bars, which are on the same terminal.
        running.console.print(line, markup=False, soft_wrap=True)
    else:
        click.echo(line)


class _Bar:
    def __init__(self, running: "RichProgress", total: int) -> None:
        self._running = running
        self._bar = running.add_task("", total=max(1, total))

    def advance(self, count: int) -> None:
        self._running.advance(self._bar, count)

    def say(self, line: str) -> None:
        _say(self._running, line)


class _Bars:
    def __init__(self, running: "RichProgress") -> None:
        self._running = running
        self._bars: dict[str, TaskID] = {}

    def show(self, name: str, done: int, total: int) -> None:
        bar = self._bars.get(name)
        if bar is None:
            shown = name if len(name) <= _NAME_WIDTH else f"…{name[1 - _NAME_WIDTH :]}"
            bar = self._bars[name] = self._running.add_task(shown, total=None)
        self._running.update(bar, completed=done, total=total or None)

    def end(self, name: str) -> None:
        bar = self._bars.pop(name, None)
        if bar is not None:
            self._running.remove_task(bar)

    def say(self, line: str) -> None:
        _say(self._running, line)


class ProgressLines:
    """A line on standard error every half minute (`Progress`)."""

    def __init__(self, total: int, monotonic: Callable[[], float]) -> None:
        self._total = total
        self._done = 0
        self._monotonic = monotonic
        self._said = monotonic()

    def advance(self, count: int) -> None:
        """So many bytes more."""
        self._done += count
        if self._monotonic() - self._said >= _LINE_SECONDS:
            self._said = self._monotonic()
            click.echo(f"{words.size(self._done)} of {words.size(self._total)}", err=True)

    def say(self, line: str) -> None:
        """Print a line of the command's own."""
        click.echo(line)


class BarLines:
    """A line on standard error every half minute, for all of them together (`Bars`)."""

    def __init__(self, count: int, monotonic: Callable[[], float]) -> None:
        self._count = count
        self._over = 0
        self._under_way: dict[str, tuple[int, int]] = {}
        self._monotonic = monotonic
        self._said = monotonic()

    def show(self, name: str, done: int, total: int) -> None:
        """So many bytes of one of them are done."""
        self._under_way[name] = done, total
        if self._monotonic() - self._said >= _LINE_SECONDS:
            self._said = self._monotonic()
            done = sum(done for done, _ in self._under_way.values())
            total = sum(total for _, total in self._under_way.values())
            click.echo(
                f"{self._over} of {self._count} are over; under way: {words.size(done)} of "
                f"{words.size(total)}",
                err=True,
            )

    def end(self, name: str) -> None:
        """One of them is over."""
        self._under_way.pop(name, None)
        self._over += 1

    def say(self, line: str) -> None:
        """Print a line of the command's own."""
        click.echo(line)
