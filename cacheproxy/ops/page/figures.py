"""What the page shows: values of the admin API, and how its reader wants to see them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Protocol
from urllib.parse import urlencode

from cacheproxy.domain.savings import Order, Period, Repositories, Savings
from cacheproxy.ops.api.model import Eviction, Status

Theme = Literal["system", "light", "dark"]

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


@dataclass(frozen=True, slots=True)
class View:
    """How the reader wants to see it.

    Attributes:
        period: of the chart and of the repositories.
        theme: light or dark, or as the reader's system has it.
        host: under which the reader reaches this server, without a port.
        pull_port: where clients pull, for the first example.
        may_sign_out: the reader has signed in.
    """

    period: Period = "week"
    theme: Theme = "system"
    host: str = "127.0.0.1"
    pull_port: int = 5000
    may_sign_out: bool = False

    def query(self, **changes: str) -> str:
        """The part of a URL that asks for this view, or for another one."""
        asked = {"period": self.period, "theme": self.theme} | changes
        usual = {"period": "week", "theme": "system"}
        return urlencode({key: value for key, value in asked.items() if value != usual[key]})


class State(Protocol):
    """What goes on, and what is stored: as the admin API answers it.

    Every method may raise `CacheproxyError`, where it cannot say.
    """

    async def status(self) -> Status:
        """What goes on now."""
        ...

    async def eviction(self, limit: int) -> Eviction:
        """What would go next."""
        ...


class Counts(Protocol):
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
    counts: Counts
