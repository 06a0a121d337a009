"""Answers that take their time."""

import asyncio
from dataclasses import dataclass, field

from typing_extensions import override

from tests.support.scripted_registry.answer import Answer, Close, Hold, Latch, Wait
from tests.support.scripted_registry.faults.fault import Fault, Offers

WITHIN = 60.0  # seconds in which what a test waits for has to happen


@dataclass(frozen=True, slots=True)
class Gate(Fault):
    """Holds each answer that it is scripted for before byte `at` of the body, until released.

    `at=None` holds the head. A gate wrapped in `Always` holds many answers, and releases all.
    """

    at: int | None = 0
    latch: Latch = field(default_factory=Latch, repr=False, compare=False)

    async def reached(self, within: float = WITHIN) -> None:
        """Waits until one more answer stands here, its bytes before `at` given to the kernel.

        Raises:
            TimeoutError: none did in `within` seconds.
        """
        await self.latch.reached(within)

    def release(self) -> None:
        """Lets all go on that are held, and all that come later pass."""
        self.latch.release()

    @override
    def answer(self, answer: Answer, offers: Offers) -> Answer:
        hold = Hold(self.latch)
        return answer.after(hold) if self.at is None else answer.broken(self.at, hold)


@dataclass(frozen=True, slots=True)
class StallAfter(Fault):
    """Silence after `at` bytes of the body: for seconds, until an event, or (None) for good."""

    at: int
    until: float | asyncio.Event | None = None

    @override
    def answer(self, answer: Answer, offers: Offers) -> Answer:
        if isinstance(self.until, float | int):
            return answer.broken(self.at, Wait(self.until))
        return answer.broken(self.at, Hold(Latch(self.until)))


@dataclass(frozen=True, slots=True)
class Trickle(Fault):
    """The body in pieces of `chunk` bytes, with `delay` seconds between two."""

    chunk: int
    delay: float

    @classmethod
    def rate(cls, bytes_per_second: float, *, chunk: int = 16_384) -> "Trickle":
        """As many bytes a second as a slow link carries."""
        return cls(chunk, chunk / bytes_per_second)

    @override
    def answer(self, answer: Answer, offers: Offers) -> Answer:
        for at in range(self.chunk, len(answer.body), self.chunk):
            answer = answer.broken(at, Wait(self.delay))
        return answer


@dataclass(frozen=True, slots=True)
class SlowHeaders(Fault):
    """The head comes after `delay` seconds."""

    delay: float

    @override
    def answer(self, answer: Answer, offers: Offers) -> Answer:
        return answer.after(Wait(self.delay))


@dataclass(frozen=True, slots=True)
class NoAnswer(Fault):
    """The request is read and never answered; an event, if given, lets the server hang up."""

    until: asyncio.Event | None = None

    @override
    def answer(self, answer: Answer, offers: Offers) -> Answer:
        return answer.after(Hold(Latch(self.until))).after(Close())
