"""What a client asked, and what a scripted server will put on the wire, as values."""

import asyncio
from dataclasses import dataclass, replace
from enum import Enum, auto

from multidict import CIMultiDict, CIMultiDictProxy, MultiDictProxy


class ScriptError(Exception):
    """A fault was scripted for an answer that it cannot happen to."""


class Latch:
    """Lets deliveries arrive and wait, and a test see them arrive and let them go on."""

    def __init__(self, released: asyncio.Event | None = None) -> None:
        self._arrivals = asyncio.Semaphore(0)
        self._released = released or asyncio.Event()

    async def passed(self) -> None:
        """Arrives; returns once the latch is released."""
        self._arrivals.release()
        await self._released.wait()

    async def reached(self, within: float) -> None:
        """Waits for one more arrival, each of which is told of once.

        Raises:
            TimeoutError: none came in `within` seconds.
        """
        async with asyncio.timeout(within):
            await self._arrivals.acquire()

    def release(self) -> None:
        """Lets everybody through who is here or comes later."""
        self._released.set()


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing is sent for `seconds`, by the server's clock."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Hold:
    """Nothing is sent until the latch is released."""

    latch: Latch


@dataclass(frozen=True, slots=True)
class Say:
    """Raw bytes, HTTP or not."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Close:
    """The connection ends with a FIN."""


@dataclass(frozen=True, slots=True)
class Reset:
    """The connection ends with an RST, once the peer's kernel has all bytes before it."""


Step = Wait | Hold | Say | Close | Reset


class Framing(Enum):
    """How a client can tell where the body ends."""

    LENGTH = auto()
    CHUNKED = auto()
    UNTIL_CLOSE = auto()


@dataclass(frozen=True, slots=True)
class Break:
    """A step that comes between byte `at - 1` and byte `at` of the body."""

    at: int
    step: Step


@dataclass(frozen=True, slots=True)
class Asked:
    """One request, as it came in: `path` and `query_string` are still percent-encoded."""

    method: str
    path: str
    query_string: str
    query: MultiDictProxy[str]
    headers: CIMultiDictProxy[str]
    body: bytes = b""
    keep_alive: bool = True

    def lacking(self, name: str) -> "Asked":
        """The same request without one of its headers."""
        headers = CIMultiDict(self.headers)
        headers.popall(name, None)
        return replace(self, headers=CIMultiDictProxy(headers))


@dataclass(frozen=True, slots=True)
class Answer:
    """One response, and everything that is to go wrong with it.

    `claimed` is the Content-Length, where that is not the body's.
    """

    status: int
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    framing: Framing = Framing.LENGTH
    claimed: int | None = None
    before_head: tuple[Step, ...] = ()
    breaks: tuple[Break, ...] = ()

    def header(self, name: str) -> str | None:
        """The value of the first header of that name."""
        return next((value for key, value in self.headers if key.lower() == name.lower()), None)

    def lacking(self, name: str) -> "Answer":
        """The same answer without a header."""
        kept = tuple(pair for pair in self.headers if pair[0].lower() != name.lower())
        return replace(self, headers=kept)

    def having(self, name: str, value: str) -> "Answer":
        """The same answer with a header that replaces any other of its name."""
        return replace(self, headers=(*self.lacking(name).headers, (name, value)))

    def after(self, step: Step) -> "Answer":
        """The same answer, but its head waits for one more step."""
        return replace(self, before_head=(*self.before_head, step))

    def broken(self, at: int, step: Step) -> "Answer":
        """The same answer with a step before byte `at` of its body (its length: after the last).

        Raises:
            ScriptError: the body ends before.
        """
        if not 0 <= at <= len(self.body):
            raise ScriptError(f"{step} at byte {at} of a body of {len(self.body)} bytes")
        return replace(self, breaks=(*self.breaks, Break(at, step)))
