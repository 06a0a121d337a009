"""Long work on the cache directory: what is asked for, and what is told while it is done.

Told as lines of JSON: an object with one key, which says what its value is.
"""

from dataclasses import dataclass, field
from typing import Any

from cacheproxy.domain.digest import Digest
from cacheproxy.ops.api.model import Failure
from cacheproxy.ops.api.reports import PlanReport
from cacheproxy.storage.scrub import Finding

DEFAULT_RATE = "100MiB"


@dataclass(frozen=True, slots=True)
class PlanRequest:
    """What to plan.

    Attributes:
        max_size: sizes, or shares of the volume, as the configuration has them.
        policy: names of policies; empty: all.
        since: count only what was served in this time, such as `7d`; None: all.
    """

    max_size: list[str] = field(default_factory=list)
    policy: list[str] = field(default_factory=list)
    since: str | None = None


@dataclass(frozen=True, slots=True)
class PlanProgress:
    """How far a plan is.

    Attributes:
        bytes: of the record that have been gone through.
        total_bytes: that will be.
    """

    bytes: int
    total_bytes: int


@dataclass(frozen=True, slots=True)
class ScrubRequest:
    """What to read again.

    Attributes:
        rate: read so much in a second, such as `20MiB`.
        after: leave out what comes before this digest, and it.
    """

    rate: str = DEFAULT_RATE
    after: str | None = None


@dataclass(frozen=True, slots=True)
class ScrubBegun:
    """What there is to read.

    Attributes:
        total_bytes: of all blobs.
        quarantine: the directory where what is wrong goes.
    """

    total_bytes: int
    quarantine: str


@dataclass(frozen=True, slots=True)
class ScrubProgress:
    """How far a scrub is.

    Attributes:
        checked: blobs that were read to their end.
        bytes: that were read.
        last: the last one of those blobs.
    """

    checked: int = 0
    bytes: int = 0
    last: Digest | None = None


@dataclass(frozen=True, slots=True)
class ScrubSummary:
    """What it came to.

    Attributes:
        ok: everything is right now.
        checked: blobs that were read.
        bytes: of them.
    """

    ok: bool
    checked: int
    bytes: int


Work = PlanRequest | ScrubRequest
PlanStep = PlanProgress | PlanReport
ScrubStep = ScrubBegun | ScrubProgress | Finding | ScrubSummary
Step = PlanStep | ScrubStep

PLAN_LINES: dict[str, type[PlanStep]] = {"progress": PlanProgress, "plan": PlanReport}
SCRUB_LINES: dict[str, type[ScrubStep]] = {
    "begun": ScrubBegun,
    "progress": ScrubProgress,
    "finding": Finding,
    "summary": ScrubSummary,
}
_KEYS: dict[type[Step], str] = {
    kind: key for lines in (PLAN_LINES, SCRUB_LINES) for key, kind in lines.items()
}


def line(step: Step) -> dict[str, Any]:
    """As a line of the answer."""
    return {_KEYS[type(step)]: step}


def last_line(failure: Failure) -> dict[str, Any]:
    """Where it went wrong after it had begun: the end of an answer that has none."""
    return {"error": failure.error}
