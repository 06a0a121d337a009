"""Putting files where a client reads them, without losing what is there."""

import contextlib
import os
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from cacheproxy.clients.docker import merged
from cacheproxy.clients.setup import ClientFile

Done = Literal["written", "unchanged", "added to", "replaced"]


class Refusal(Exception):
    """Nothing, or nothing more, is written.

    Attributes:
        lines: why; a sentence for each file.
    """

    def __init__(self, lines: Iterable[str]) -> None:
        self.lines = tuple(lines)
        super().__init__("\n".join(self.lines))


@dataclass(frozen=True, slots=True)
class Step:
    """A file to write.

    Attributes:
        path: where it is, symbolic links followed.
        content: what it is to be.
        done: what that comes to.
    """

    path: Path
    content: str
    done: Done


@dataclass(frozen=True, slots=True)
class Written:
    """What was done with a file.

    Attributes:
        path: of it.
        done: with it.
        kept: where what it was is now; None where nothing was there, or nothing changed.
    """

    path: Path
    done: Done
    kept: str | None = None


def planned(files: Iterable[ClientFile], root: Path, *, is_forced: bool) -> list[Step]:
    """What is to be written below a root; looks at all files before any is touched.

    Raises:
        Refusal: a file is there and is different, or cannot be read, or leads out of the root.
    """
    steps: list[Step] = []
    refused: list[str] = []
    for file in files:
        try:
            steps.append(_step(file, root, is_forced=is_forced))
        except Refusal as refusal:
            refused += refusal.lines
    if refused:
        raise Refusal([*refused, "nothing was written"])
    return steps


def place(steps: Iterable[Step]) -> list[Written]:
    """Write them, each whole or not at all.

    Raises:
        Refusal: the system refused.
    """
    written = []
    for step in steps:
        try:
            kept = None if step.done == "unchanged" else _replace(step)
        except OSError as error:
            raise Refusal([f"{step.path} cannot be written: {error.strerror}"]) from error
        written.append(Written(step.path, step.done, None if kept is None else str(kept)))
    return written


def _step(file: ClientFile, root: Path, *, is_forced: bool) -> Step:
    base = root.resolve()
    path = (base / file.path.lstrip("/")).resolve()
    if not path.is_relative_to(base):
        raise Refusal(
            [f"{base / file.path.lstrip('/')} leads to {path}, which is not below {root}"]
        )
    try:
        present = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return Step(path, file.content, "written")
    except OSError as error:
        raise Refusal([f"{path} cannot be read: {error.strerror}"]) from error
    except UnicodeDecodeError as error:
        raise Refusal([f"{path} is not a text in UTF-8"]) from error
    if present == file.content:
        return Step(path, present, "unchanged")
    if file.kind == "json":
        return _addition(path, present, file.content)
    if is_forced:
        return Step(path, file.content, "replaced")
    raise Refusal([f"{path} is there and is different; see what it says, or give --force"])


def _addition(path: Path, present: str, wanted: str) -> Step:
    try:
        content = merged(present, wanted)
    except ValueError as error:
        raise Refusal([f"{path} cannot be added to: {error}"]) from None
    return Step(path, content, "unchanged" if content == present else "added to")


def _replace(step: Step) -> Path | None:
    step.path.parent.mkdir(parents=True, exist_ok=True)
    mode, kept = 0o644, None
    if step.path.exists():
        mode = step.path.stat().st_mode & 0o777
        kept = _free(step.path)
        _put(kept, step.path.read_bytes(), mode)
    _put(step.path, step.content.encode(), mode)
    return kept


def _free(path: Path) -> Path:
    """The first name of a copy that nothing has yet: an older one is never lost."""
    number, found = 1, path.with_name(f"{path.name}.bak")
    while os.path.lexists(found):
        number += 1
        found = path.with_name(f"{path.name}.bak{number}")
    return found


def _put(path: Path, content: bytes, mode: int) -> None:
    """A file that is there whole, or not at all."""
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(name).chmod(mode)
        Path(name).replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(name).unlink()
        raise
