"""What was asked of the scripted servers, and how much of the answers went out."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from multidict import CIMultiDictProxy, MultiDictProxy

from tests.support.scripted_registry.answer import Asked
from tests.support.scripted_registry.faults.waits import WITHIN

State = Literal["open", "sent", "cut"]


@dataclass(frozen=True, slots=True)
class Recorded:
    """One request and what became of it.

    `status` is None as long as no head has gone out. `body_bytes_sent` counts bytes of the body
    (not of chunk framing) that the kernel took; of a connection that was cut while its client read
    more slowly than the server sent, up to one piece of 64 KiB may be missing from it. `state` is
    `cut` where an answer did not reach its end, whoever cut it. `server` is `registry`, `cdn` or
    `token`.
    """

    method: str
    path: str
    query: MultiDictProxy[str]
    headers: CIMultiDictProxy[str]
    status: int | None
    body_bytes_sent: int
    host: str
    state: State
    server: str


class Exchange:
    """One request that is being answered."""

    def __init__(self, server: str, asked: Asked, changed: Callable[[], None]) -> None:
        self._server = server
        self._asked = asked
        self._changed = changed
        self._status: int | None = None
        self._sent = 0
        self.state: State = "open"

    def answered(self, status: int) -> None:
        """The head has gone out."""
        self._status = status

    def count(self, sent: int) -> None:
        """So many more bytes of the body have gone out."""
        self._sent += sent

    def end(self, state: State) -> None:
        """No more bytes will come."""
        self.state = state
        self._changed()

    def recorded(self) -> Recorded:
        """What is known by now."""
        asked = self._asked
        return Recorded(
            method=asked.method,
            path=asked.path,
            query=asked.query,
            headers=asked.headers,
            status=self._status,
            body_bytes_sent=self._sent,
            host=asked.headers.get("Host", ""),
            state=self.state,
            server=self._server,
        )


class Journal:
    """All exchanges of a registry and its helpers, in the order in which requests came."""

    def __init__(self) -> None:
        self._exchanges: list[Exchange] = []
        self._change = asyncio.Event()

    def open(self, server: str, asked: Asked) -> Exchange:
        """Notes a request that has arrived."""
        exchange = Exchange(server, asked, self._changed)
        self._exchanges.append(exchange)
        self._changed()
        return exchange

    def entries(self, server: str | None = None) -> tuple[Recorded, ...]:
        """What is known of each request, of all servers or of one."""
        recorded = (exchange.recorded() for exchange in self._exchanges)
        return tuple(entry for entry in recorded if server in (None, entry.server))

    async def until(self, condition: Callable[[], bool], within: float = WITHIN) -> None:
        """Waits until the condition holds, looking at it whenever a request comes or ends.

        Raises:
            TimeoutError: it did not in `within` seconds.
        """
        async with asyncio.timeout(within):
            while not condition():
                await self._change.wait()

    async def quiet(self, within: float = WITHIN) -> None:
        """Waits until no request is being answered: from then on all counts are final.

        Raises:
            TimeoutError: one still was after `within` seconds.
        """
        await self.until(lambda: all(e.state != "open" for e in self._exchanges), within)

    def _changed(self) -> None:
        # A fresh event for each change: whoever waits sees it once, and none is missed, as
        # nothing else runs between looking at a condition and waiting.
        self._change.set()
        self._change = asyncio.Event()


def chosen(
    entries: tuple[Recorded, ...], method: str | None, path_suffix: str
) -> tuple[Recorded, ...]:
    """The entries with that method (None: any) whose path ends so."""
    return tuple(
        entry
        for entry in entries
        if method in (None, entry.method) and entry.path.endswith(path_suffix)
    )
