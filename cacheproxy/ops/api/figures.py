"""What the page shows of what was counted, as one value, and where its parts come from."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from cacheproxy.domain.savings import Order, Period, Repositories, Savings
from cacheproxy.ops.api.model import Eviction, Status

PERIODS: tuple[Period, ...] = ("today", "week", "month", "all")


@dataclass(frozen=True, slots=True)
class Missing:
    """In the place of a value that cannot be had now.

    Attributes:
        reason: in a sentence.
    """

    reason: str


@dataclass(frozen=True, slots=True)
class Figures:
    """What is counted, which changes slowly and costs more to ask for.

    Attributes:
        savings: of each period.
        by_saved: repositories with the most bytes saved.
        by_fetched: repositories with the most bytes fetched.
        eviction: what would go next.
    """

    savings: Mapping[Period, Savings] | Missing
    by_saved: Repositories | Missing
    by_fetched: Repositories | Missing
    eviction: Eviction | Missing

    @property
    def missing(self) -> Missing | None:
        """The first of them that cannot be had."""
        parts = (self.savings, self.by_saved, self.by_fetched, self.eviction)
        return next((part for part in parts if isinstance(part, Missing)), None)


class State(Protocol):
    """What goes on, and what is stored.

    Every method may raise `CacheproxyError`, where it cannot say.
    """

    async def status(self) -> Status:
        """What goes on now."""
        ...

    async def eviction(self, limit: int) -> Eviction:
        """What would go next."""
        ...


class Sums(Protocol):
    """What was counted, likewise."""

    async def savings(self, period: Period) -> Savings:
        """What was saved."""
        ...

    async def repositories(self, period: Period, order: Order, limit: int) -> Repositories:
        """The repositories with the most of something."""
        ...


@dataclass(frozen=True, slots=True)
class Source:
    """Where the values come from."""

    state: State
    counts: Sums
