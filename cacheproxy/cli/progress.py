"""How far a long command is: a bar on a terminal, a line now and then elsewhere.

It goes to standard error, so that what the command prints stays what it prints.
"""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import click

from cacheproxy.cli import words

_LINE_SECONDS = 30.0
_ERASE = "\r\033[K"


class Progress(Protocol):
    """Shows how far something is."""

    def advance(self, count: int) -> None:
        """So many bytes more."""
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
    bar = click.progressbar(length=max(1, total), file=sys.stderr, show_pos=False, width=30)
    with bar as running:
        yield _Bar(running)


class _Bar:
    def __init__(self, bar: Any) -> None:  # noqa: ANN401 - click does not export its class
        self._bar = bar

    def advance(self, count: int) -> None:
        self._bar.update(count)

    def say(self, line: str) -> None:
        click.echo(_ERASE, nl=False, err=True)
        click.echo(line)
        self._bar.render_progress()


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
