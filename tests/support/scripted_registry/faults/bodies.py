"""Bodies that are not what was asked for, or not as long as the head says."""

import gzip
from dataclasses import dataclass, replace

from typing_extensions import override

from tests.support.scripted_registry.answer import Answer, Framing, ScriptError
from tests.support.scripted_registry.faults.fault import Fault, Offers


@dataclass(frozen=True, slots=True)
class WrongBytes(Fault):
    """A body of the right length with one byte flipped."""

    at: int = 0

    @override
    def answer(self, answer: Answer, offers: Offers) -> Answer:
        if not 0 <= self.at < len(answer.body):
            raise ScriptError(f"{self} for a body of {len(answer.body)} bytes")
        body = bytearray(answer.body)
        body[self.at] ^= 0xFF
        return replace(answer, body=bytes(body))


@dataclass(frozen=True, slots=True)
class ShortBody(Fault):
    """A body that lacks its last bytes, with the Content-Length of what is left."""

    missing: int = 1

    @override
    def answer(self, answer: Answer, offers: Offers) -> Answer:
        if not 0 < self.missing <= len(answer.body):
            raise ScriptError(f"{self} for a body of {len(answer.body)} bytes")
        return replace(answer, body=answer.body[: len(answer.body) - self.missing])


@dataclass(frozen=True, slots=True)
class LongBody(Fault):
    """More bytes at the end; the Content-Length counts them, or (`announced=False`) does not."""

    extra: bytes = b"!"
    announced: bool = True

    @override
    def answer(self, answer: Answer, offers: Offers) -> Answer:
        claimed = answer.claimed if self.announced else len(answer.body)
        return replace(answer, body=answer.body + self.extra, claimed=claimed)


@dataclass(frozen=True, slots=True)
class WrongContentLength(Fault):
    """The right body under a Content-Length that is off by `delta`; a FIN ends it."""

    delta: int

    @override
    def answer(self, answer: Answer, offers: Offers) -> Answer:
        claimed = len(answer.body) + self.delta
        if claimed < 0:
            raise ScriptError(f"{self} for a body of {len(answer.body)} bytes")
        return replace(answer, claimed=claimed)


@dataclass(frozen=True, slots=True)
class NoContentLength(Fault):
    """A body in chunks, or (`chunked=False`) one that only the end of the connection ends."""

    chunked: bool = True

    @override
    def answer(self, answer: Answer, offers: Offers) -> Answer:
        framing = Framing.CHUNKED if self.chunked else Framing.UNTIL_CLOSE
        return replace(answer, framing=framing)


@dataclass(frozen=True, slots=True)
class GzipEncoded(Fault):
    """The body with a Content-Encoding that nobody asked for."""

    @override
    def answer(self, answer: Answer, offers: Offers) -> Answer:
        packed = replace(answer, body=gzip.compress(answer.body, mtime=0))
        return packed.having("Content-Encoding", "gzip")
