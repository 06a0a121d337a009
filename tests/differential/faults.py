"""Faults of all answers of a registry: each leaves alone what it does not fit."""

import base64
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import parse_qsl, quote, unquote

from multidict import CIMultiDict, CIMultiDictProxy, MultiDict, MultiDictProxy
from typing_extensions import override

from tests.support.scripted_registry import Fault
from tests.support.scripted_registry.answer import Answer, Asked, Close, Framing
from tests.support.scripted_registry.faults.fault import Offers

_LONG = 4096  # bytes; what is cut is longer


@dataclass(frozen=True, slots=True)
class OnSuccess(Fault):
    """A fault of answers that bring what was asked for."""

    fault: Fault

    @override
    def ask(self, asked: Asked) -> Asked:
        return self.fault.ask(asked)

    @override
    def answer(self, answer: Answer, offers: Offers) -> Answer:
        return self.fault.answer(answer, offers) if answer.status // 100 == 2 else answer


@dataclass(frozen=True, slots=True)
class Length(Fault):
    """A Content-Length of a HEAD's answer, or (None) no such field."""

    value: int | None = None

    @override
    def answer(self, answer: Answer, offers: Offers) -> Answer:
        if self.value is None:
            return replace(answer, framing=Framing.CHUNKED)
        return replace(answer, claimed=self.value)


@dataclass(frozen=True, slots=True)
class CutAtHalf(Fault):
    """A connection that ends in the middle of a long body."""

    @override
    def answer(self, answer: Answer, offers: Offers) -> Answer:
        if answer.status != 200 or len(answer.body) <= _LONG:
            return answer
        return answer.broken(len(answer.body) // 2, Close())


@dataclass(frozen=True, slots=True)
class OnlyClosedRanges(Fault):
    """A 416 to a range without an end."""

    @override
    def ask(self, asked: Asked) -> Asked:
        wanted = asked.headers.get("Range", "")
        if not re.fullmatch(r"bytes=\d+-", wanted):
            return asked
        headers = CIMultiDict(asked.headers)
        headers["Range"] = f"bytes={10**15}-"  # beyond any end
        return replace(asked, headers=CIMultiDictProxy(headers))


@dataclass(frozen=True, slots=True)
class EditedHeader(Fault):
    """A header with another value, where there is one."""

    name: str
    edit: Callable[[str], str]

    @override
    def answer(self, answer: Answer, offers: Offers) -> Answer:
        value = answer.header(self.name)
        return answer if value is None else answer.having(self.name, self.edit(value))


@dataclass(frozen=True, slots=True)
class EditedJson(Fault):
    """A JSON body with other members."""

    edit: Callable[[Any], Any]

    @override
    def answer(self, answer: Answer, offers: Offers) -> Answer:
        if answer.status != 200 or not answer.body:
            return answer
        return replace(answer, body=json.dumps(self.edit(json.loads(answer.body))).encode())


@dataclass(frozen=True, slots=True)
class OpaqueCursor(Fault):
    """Pages that go on by a parameter which only the registry can read."""

    name: str
    prefix: str = ""

    @override
    def ask(self, asked: Asked) -> Asked:
        cursor = asked.query.get(self.name)
        if cursor is None or not cursor.startswith(self.prefix):
            return asked
        query = base64.b64decode(cursor.removeprefix(self.prefix)).decode()
        return replace(asked, query=MultiDictProxy(MultiDict(parse_qsl(query))))

    @override
    def answer(self, answer: Answer, offers: Offers) -> Answer:
        def hidden(found: re.Match[str]) -> str:
            cursor = quote(base64.b64encode(unquote(found[1]).encode()).decode(), safe="")
            return f"?{self.name}={self.prefix}{cursor}>"

        return EditedHeader("Link", lambda link: re.sub(r"\?([^>]*)>", hidden, link)).answer(
            answer, offers
        )


@dataclass(frozen=True, slots=True)
class OtherRange(Fault):
    """A 206 that says, and has, other bytes than those that were asked for."""

    @override
    def answer(self, answer: Answer, offers: Offers) -> Answer:
        total = (answer.header("Content-Range") or "").rpartition("/")[2]
        if answer.status != 206:
            return answer
        moved = answer.having("Content-Range", f"bytes 0-{len(answer.body) - 1}/{total}")
        return replace(moved, body=b"\0" * len(answer.body))


@dataclass(frozen=True, slots=True)
class HiddenFrom(Fault):
    """A 404 to those who say that they are a certain program."""

    agent: str

    @override
    def ask(self, asked: Asked) -> Asked:
        is_meant = asked.headers.get("User-Agent", "").startswith(self.agent)
        return replace(asked, path="/v2/team/nothing/tags/list") if is_meant else asked
