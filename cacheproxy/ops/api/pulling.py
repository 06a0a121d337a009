"""The processes that serve pulls, as the admin API asks them.

One process asks itself. With several workers the API is their supervisor's, which serves no
pulls, and asks each of them (`workers`).
"""

from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

from cacheproxy.domain.errors import StorageError
from cacheproxy.domain.store_events import Damaged
from cacheproxy.ops.api.model import (
    FillStatus,
    Live,
    PushAccepted,
    ReplicaStatus,
    WarmRequest,
)
from cacheproxy.ops.api.upstream_board import UpstreamBoard
from cacheproxy.ops.traffic_log import Counted
from cacheproxy.ports import Observer
from cacheproxy.storage.scrub import Finding


class Pulling(Protocol):
    """Who serves pulls."""

    async def live(self) -> Live:
        """What they are about."""
        ...

    async def counted(self, since: int) -> Counted:
        """The traffic of all workers and replicas from an hour on, and of all time.

        Raises:
            StorageError: it cannot be read now.
        """
        ...

    def warm(self, asked: WarmRequest) -> AsyncGenerator[bytes, None]:
        """Have images here; a line of JSON for each step."""
        ...

    async def pushed(self, body: bytes, upstream: str | None) -> PushAccepted:
        """Have images here that a notification says were pushed, soon.

        Args:
            body: of the notification.
            upstream: the registry's name here; None: the default one.

        Raises:
            RequestError: it is not understood.
        """
        ...

    async def damaged(self, found: Finding) -> None:
        """Take note of what a scrub beside them has found: metrics, log, other replicas.

        Raises:
            StorageError: nobody is there to do so.
        """
        ...


class PullingSoon:
    """Who will serve pulls (`Pulling`): the admin port answers before there is anybody."""

    def __init__(self) -> None:
        self.ready: Pulling | None = None

    async def live(self) -> Live:
        """What they are about: nothing yet."""
        return Live([], [], []) if self.ready is None else await self.ready.live()

    async def counted(self, since: int) -> Counted:
        """The traffic of all workers and replicas."""
        return await self._there().counted(since)

    def warm(self, asked: WarmRequest) -> AsyncGenerator[bytes, None]:
        """Have images here."""
        return self._there().warm(asked)

    async def pushed(self, body: bytes, upstream: str | None) -> PushAccepted:
        """Have images here that were pushed, soon."""
        return await self._there().pushed(body, upstream)

    async def damaged(self, found: Finding) -> None:
        """Take note of what a scrub has found."""
        await self._there().damaged(found)

    def _there(self) -> Pulling:
        if self.ready is None:
            raise StorageError("the server is starting; ask again in a moment")
        return self.ready


class Warming(Protocol):
    """Has images here before they are asked for."""

    def warm(self, asked: WarmRequest) -> AsyncGenerator[bytes, None]:
        """As of `Pulling`."""
        ...

    def pushed(self, body: bytes, upstream: str | None) -> PushAccepted:
        """As of `Pulling`."""
        ...


@dataclass(frozen=True, slots=True)
class PullingHere:
    """This process (`Pulling`).

    Attributes:
        board: how upstreams do.
        fills: the downloads under way.
        replicas: who is there.
        count: adds up the traffic.
        warmer: has images here.
        observer: is told what happens.
        store_problem: tells why nothing is stored; None while blobs are stored.
    """

    board: UpstreamBoard
    fills: Callable[[], list[FillStatus]]
    replicas: Callable[[], list[ReplicaStatus]]
    count: Callable[[int], Awaitable[Counted]]
    warmer: Warming
    observer: Observer
    store_problem: Callable[[], str | None]

    async def live(self) -> Live:
        """What it is about."""
        statuses = self.board.statuses()
        return Live(self.fills(), statuses, self.replicas(), self.store_problem())

    async def counted(self, since: int) -> Counted:
        """The traffic of all workers and replicas."""
        return await self.count(since)

    def warm(self, asked: WarmRequest) -> AsyncGenerator[bytes, None]:
        """Have images here."""
        return self.warmer.warm(asked)

    async def pushed(self, body: bytes, upstream: str | None) -> PushAccepted:
        """Have images here that were pushed, soon."""
        return self.warmer.pushed(body, upstream)

    async def damaged(self, found: Finding) -> None:
        """Take note of what a scrub has found."""
        self.observer.observe(Damaged(found.digest, found.problem, found.outcome, found.detail))
