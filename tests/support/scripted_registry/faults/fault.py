"""What a fault is, and how faults are put together."""

from dataclasses import dataclass
from typing import Protocol

from typing_extensions import override

from tests.support.scripted_registry.answer import Answer, Asked


class Offers(Protocol):
    """Where an answer can be left for whoever has the URL."""

    def offer(self, answer: Answer, *, uses: int | None, hops: int, relative: bool) -> str:
        """The URL under which the answer's body is found, after `hops - 1` further redirects."""


@dataclass(frozen=True, slots=True)
class Fault:
    """Changes what the server hears, or what it answers; as it stands, nothing."""

    def ask(self, asked: Asked) -> Asked:
        """The request as the server is to understand it."""
        return asked

    def answer(self, answer: Answer, offers: Offers) -> Answer:
        """The answer as it is to go out.

        Raises:
            ScriptError: the fault cannot happen to this answer.
        """
        return answer


@dataclass(frozen=True, slots=True)
class Well(Fault):
    """No fault: the place in a script of a request that goes well."""


@dataclass(frozen=True, slots=True)
class Always(Fault):
    """The fault for every further request; it is never used up."""

    fault: Fault

    @override
    def ask(self, asked: Asked) -> Asked:
        return self.fault.ask(asked)

    @override
    def answer(self, answer: Answer, offers: Offers) -> Answer:
        return self.fault.answer(answer, offers)


@dataclass(frozen=True, slots=True, init=False)
class Together(Fault):
    """Several faults in one answer, applied in their order."""

    faults: tuple[Fault, ...]

    def __init__(self, *faults: Fault) -> None:
        object.__setattr__(self, "faults", faults)

    @override
    def ask(self, asked: Asked) -> Asked:
        for fault in self.faults:
            asked = fault.ask(asked)
        return asked

    @override
    def answer(self, answer: Answer, offers: Offers) -> Answer:
        for fault in self.faults:
            answer = fault.answer(answer, offers)
        return answer
