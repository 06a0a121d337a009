"""The choices of a simulation: what runs next, drawn from one seed."""

import random
from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")

_WEIGHTS = (1.0, 1.0, 10.0, 100.0)


class Schedule:
    """Chooses among what can run.

    Uniform choice rarely starves anybody, and many races need just that: one thread that
    stands still while others take many steps. So each runner has a weight, drawn anew from
    time to time, which makes some of them a hundred times slower than others for a while.
    """

    def __init__(self, source: random.Random) -> None:
        self._random = source
        self._weights: dict[int, float] = {}
        self._shuffles = source.choice((0.0, 0.1, 0.5))
        self._changes = source.choice((0.0, 0.01, 0.05))
        self._interrupts = source.choice((0.0, 0.02, 0.2, 0.5))
        self._skips = source.choice((0.0, 0.0, 0.001, 0.01))
        self._freezes = source.choice((0.0, 0.0, 0.0005, 0.003))
        self._delay = source.choice((0.0, 0.0, 0.002, 0.02))

    def choose(self, runnable: Sequence[tuple[int, T]]) -> T:
        """Choose what takes the next step."""
        if self._random.random() < self._changes:
            self._weights.clear()
        if len(runnable) == 1:
            return runnable[0][1]
        weights = [self._weight(owner) for owner, _ in runnable]
        return self._random.choices(runnable, weights)[0][1]

    def _weight(self, owner: int) -> float:
        weight = self._weights.get(owner)
        if weight is None:
            weight = self._weights[owner] = self._random.choice(_WEIGHTS)
        return weight

    def pick(self, count: int) -> int:
        """Choose one of so many in a queue: mostly the first, as event loops and pools do."""
        if count > 1 and self._random.random() < self._shuffles:
            return self._random.randrange(count)
        return 0

    def freeze(self) -> float:
        """Draw for how many virtual seconds a process stands still now: mostly for none."""
        if not self._freezes or self._random.random() >= self._freezes:
            return 0.0
        return self._random.choice((0.02, 0.1, 0.5))

    def delay(self) -> float:
        """Draw for how many virtual seconds a job waits for a thread: a busy disk."""
        if not self._delay:
            return 0.0
        return self._random.choice((0.0, self._random.expovariate(1 / self._delay)))

    def interrupts(self) -> bool:
        """Decide whether something else runs before a system call."""
        return self._random.random() < self._interrupts

    def skips_ahead(self) -> bool:
        """Decide whether time passes although something could run: a busy machine."""
        return self._random.random() < self._skips
