"""Answers that are no success."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from email.utils import format_datetime

from typing_extensions import override

from tests.support.scripted_registry.answer import Answer
from tests.support.scripted_registry.faults.fault import Fault, Offers
from tests.support.scripted_registry.oci_errors import oci_error

_CODES = {
    400: "UNSUPPORTED",
    401: "UNAUTHORIZED",
    403: "DENIED",
    404: "NAME_UNKNOWN",
    429: "TOOMANYREQUESTS",
    503: "UNAVAILABLE",
}


@dataclass(frozen=True, slots=True)
class StatusFault(Fault):
    """This status with these headers; a body of None stands for the OCI error of that status."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None

    @override
    def answer(self, answer: Answer, offers: Offers) -> Answer:
        if self.body is None:
            failed = oci_error(self.status, _CODES.get(self.status, "UNKNOWN"), "as scripted")
        else:
            failed = Answer(self.status, body=self.body)
        for name, value in self.headers.items():
            failed = failed.having(name, value)
        return failed


@dataclass(frozen=True, slots=True)
class BigErrorBody(Fault):
    """An error page of `size` bytes."""

    size: int
    status: int = 500

    @override
    def answer(self, answer: Answer, offers: Offers) -> Answer:
        return Answer(self.status, (("Content-Type", "text/html"),), b"<" * self.size)


def rate_limited(retry_after: int | str | datetime | None = None) -> StatusFault:
    """A 429; `retry_after` is seconds, a moment in UTC, any text as it stands, or left out."""
    match retry_after:
        case None:
            return StatusFault(429)
        case datetime():
            return StatusFault(429, {"Retry-After": format_datetime(retry_after, usegmt=True)})
        case _:
            return StatusFault(429, {"Retry-After": str(retry_after)})
