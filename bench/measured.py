"""Values of several rounds, and the processor time of a program with its children."""

import os
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")
_QUIET = 0.3  # seconds


@dataclass(slots=True)
class Measured:
    """One cell of the table.

    Attributes:
        unit: behind the number.
        higher_is_better: which round is the best.
        rounds: the values.
    """

    unit: str = ""
    higher_is_better: bool = False
    rounds: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        """Of the rounds."""
        return statistics.median(self.rounds)

    @property
    def best(self) -> float:
        """Of the rounds."""
        return max(self.rounds) if self.higher_is_better else min(self.rounds)


def processor_seconds(pid: int) -> float:
    """What a process and all below it have used so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    own = sum(map(int, fields[11:15])) / _TICKS  # user, system, and those of ended children
    return own + sum(map(processor_seconds, _children(pid)))


def settled(value: Callable[[], int], slack: int = 4096) -> None:
    """Waits until a counter stands still."""
    before = value()
    while True:
        time.sleep(_QUIET)
        now = value()
        if now - before <= slack:
            return
        before = now


def _children(pid: int) -> list[int]:
    return [
        int(child)
        for task in Path(f"/proc/{pid}/task").iterdir()
        for child in (task / "children").read_text().split()
    ]
