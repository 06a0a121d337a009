"""Heads that say what is not so, and a server that does not hear what it was asked."""

import re
from dataclasses import dataclass, replace

from typing_extensions import override

from tests.support.images import sha256
from tests.support.scripted_registry.answer import Answer, Asked, ScriptError
from tests.support.scripted_registry.faults.fault import Fault, Offers

DIGEST = "Docker-Content-Digest"


@dataclass(frozen=True, slots=True)
class WithHeader(Fault):
    """One header set to this value, or (None) left out."""

    name: str
    value: str | None

    @override
    def answer(self, answer: Answer, offers: Offers) -> Answer:
        return answer.lacking(self.name) if self.value is None else answer.having(*self._pair())

    def _pair(self) -> tuple[str, str]:
        return self.name, self.value or ""


@dataclass(frozen=True, slots=True)
class OneMoreHeader(Fault):
    """One more header, beside any other of its name."""

    name: str
    value: str

    @override
    def answer(self, answer: Answer, offers: Offers) -> Answer:
        return replace(answer, headers=(*answer.headers, (self.name, self.value)))


@dataclass(frozen=True, slots=True)
class WrongContentType(Fault):
    """A Content-Type that is not the content's."""

    value: str = "text/html"

    @override
    def answer(self, answer: Answer, offers: Offers) -> Answer:
        return answer.having("Content-Type", self.value)


@dataclass(frozen=True, slots=True)
class NoDigestHeader(Fault):
    """No Docker-Content-Digest."""

    @override
    def answer(self, answer: Answer, offers: Offers) -> Answer:
        return answer.lacking(DIGEST)


@dataclass(frozen=True, slots=True)
class WrongDigestHeader(Fault):
    """The digest of something else."""

    value: str = sha256(b"something else")

    @override
    def answer(self, answer: Answer, offers: Offers) -> Answer:
        return answer.having(DIGEST, self.value)


@dataclass(frozen=True, slots=True)
class IgnoreRange(Fault):
    """The whole body and a 200, whatever Range was asked for."""

    @override
    def ask(self, asked: Asked) -> Asked:
        return asked.lacking("Range")


@dataclass(frozen=True, slots=True)
class WrongContentRange(Fault):
    """A 206 that names another range than it holds: `value`, or its own moved by one byte."""

    value: str | None = None

    @override
    def answer(self, answer: Answer, offers: Offers) -> Answer:
        found = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+)", answer.header("Content-Range") or "")
        if answer.status != 206 or found is None:
            raise ScriptError(f"{self} for a {answer.status}: match ranged requests only")
        first, last, size = (int(number) for number in found.groups())
        moved = f"bytes {first + 1}-{last + 1}/{size}"
        return answer.having("Content-Range", self.value or moved)
