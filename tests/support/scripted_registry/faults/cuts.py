"""Connections that end too soon."""

from dataclasses import dataclass

from typing_extensions import override

from tests.support.scripted_registry.answer import Answer, Close, Reset, Say
from tests.support.scripted_registry.faults.fault import Fault, Offers


@dataclass(frozen=True, slots=True)
class ResetAfter(Fault):
    """An RST after `at` bytes of the body, all of which the peer's kernel has by then.

    Whether its program reads them first is its own affair: many drop them with the connection.
    """

    at: int

    @override
    def answer(self, answer: Answer, offers: Offers) -> Answer:
        return answer.broken(self.at, Reset())


@dataclass(frozen=True, slots=True)
class CloseAfter(Fault):
    """A clean FIN after `at` bytes of the body."""

    at: int

    @override
    def answer(self, answer: Answer, offers: Offers) -> Answer:
        return answer.broken(self.at, Close())


@dataclass(frozen=True, slots=True)
class HangUp(Fault):
    """The request is read, and the connection ends without an answer."""

    reset: bool = False

    @override
    def answer(self, answer: Answer, offers: Offers) -> Answer:
        return answer.after(Reset() if self.reset else Close())


@dataclass(frozen=True, slots=True)
class Garbage(Fault):
    """These bytes instead of an answer, then a FIN: no HTTP, or the beginning of a head."""

    data: bytes = b"\x15\x03\x01 this is not HTTP\r\n\r\n"

    @override
    def answer(self, answer: Answer, offers: Offers) -> Answer:
        return answer.after(Say(self.data)).after(Close())
