"""What a test leaves behind: tasks that still run, and files that are still open."""

import asyncio
import gc
from collections import Counter
from pathlib import Path
from typing import Any

_OPEN = Path("/proc/self/fd")
# Closing a connection takes the event loop some turns; more than these, and it is a leak.
_TURNS = 25


def open_files() -> Counter[str]:
    """How often this process has what open; sockets and pipes are told apart by their inode."""
    found: Counter[str] = Counter()
    for descriptor in _OPEN.iterdir():
        try:
            found[str(descriptor.readlink())] += 1
        except FileNotFoundError:  # the one that lists this directory
            continue
    return found


def opened_since(before: Counter[str]) -> Counter[str]:
    """What is open now and was not then; what only garbage holds is closed first.

    Files and sockets that are closed so late warn of it, and a warning fails a test too.
    """
    left = open_files() - before
    if left:
        gc.collect()
        left = open_files() - before
    return left


def other_tasks() -> set[asyncio.Task[Any]]:
    """The tasks of this event loop besides the one that asks."""
    return {task for task in asyncio.all_tasks() if task is not asyncio.current_task()}


async def settle(turns: int = _TURNS) -> None:
    """Let everything happen that needs no time, but only turns of the event loop."""
    for _ in range(turns):
        await asyncio.sleep(0)
