"""Files that change while the process runs: seen by looking, now and then.

To be told of changes would need to know how they are made: a file is written over or put in
the place of another, and Kubernetes changes the target of a link further up.
"""

import asyncio
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

_LOOK_SECONDS = 2.0

Stamp = tuple[tuple[int, int, int] | None, ...]
"""By which a change of a file shows: its number, its size, and when it was written."""


class Watched:
    """Some files, and what they were like when they were last read."""

    def __init__(self, files: Sequence[Path]) -> None:
        self._files = files
        self._seen = _stamp(files)

    def read(self) -> None:
        """Note that they are read now."""
        self._seen = _stamp(self._files)

    async def watch(self, act: Callable[[], None]) -> NoReturn:
        """Act on each change, once whoever makes it has come to an end. For ever."""
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            found = await asyncio.to_thread(_stamp, self._files)
            while found != self._seen:
                await asyncio.sleep(_LOOK_SECONDS / 4)
                before, found = found, await asyncio.to_thread(_stamp, self._files)
                if found == before:
                    self._seen = found
                    act()
                    break


def _stamp(files: Sequence[Path]) -> Stamp:
    return tuple(map(_stamp_of, files))


def _stamp_of(file: Path) -> tuple[int, int, int] | None:
    try:
        status = os.stat(file)  # noqa: PTH116  # of what links lead to
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns
