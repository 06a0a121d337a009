"""What is wrong with a configuration: every problem, with its place and a remedy."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from cacheproxy.domain.errors import CacheproxyError

_SHOWN = 60


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong.

    Attributes:
        line: in the file, from 1; None when it is not about a line (a variable, a default).
        column: in characters, from 1; None likewise.
        path: the key, such as `cache.max_size`; `$CACHEPROXY__…` for a variable; empty when
            it is about the whole file.
        message: what is wrong, and what to write instead.
    """

    line: int | None
    column: int | None
    path: str
    message: str


class SettingsError(CacheproxyError):
    """The configuration cannot be used; `str()` has one line for each problem.

    Attributes:
        problems: all of them, in the file's order, those of the environment last.
        file: the configuration file; None when there is none.
    """

    def __init__(self, problems: Iterable[Problem], file: Path | None = None) -> None:
        self.problems = tuple(sorted(problems, key=_order))
        self.file = file
        super().__init__("\n".join(self.describe(problem) for problem in self.problems))

    def describe(self, problem: Problem) -> str:
        """One line: `config/cacheproxy.yaml:8:3: cache.max_sizee: unknown key; …`."""
        parts = [problem.path, problem.message]
        if self.file is not None and not problem.path.startswith("$"):
            place = [str(self.file), problem.line, problem.column]
            parts.insert(0, ":".join(str(part) for part in place if part is not None))
        return ": ".join(part for part in parts if part)


def quoted(text: str) -> str:
    """`text` fit for a message: in quotes, on one line, not too long, only what prints."""
    return repr(text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…")


def shown(location: Sequence[str | int]) -> str:
    """A location as people write it: `upstreams.docker.io.allow[0]`."""
    path = ""
    for part in location:
        if isinstance(part, int):
            path += f"[{part}]"
        else:
            name = part if part.isprintable() and 0 < len(part) <= _SHOWN else quoted(part)
            path += f".{name}" if path else name
    return path


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word that `word` may be a misspelling of."""
    matches = get_close_matches(word[:_SHOWN], known, n=1, cutoff=0.6)
    return matches[0] if matches else None


def _order(problem: Problem) -> tuple[bool, bool, int, int]:
    return (
        problem.path.startswith("$"),
        problem.line is None,
        problem.line or 0,
        problem.column or 0,
    )
