"""The rules by which a record of a tag counts, is fresh, and is served when upstream fails.

Everything here is a function of records, the operator's policy, and the time.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Literal, Protocol, TypeVar

from cacheproxy.domain.digest import Digest
from cacheproxy.domain.errors import (
    CacheproxyError,
    ContentInvalid,
    Denied,
    NotFound,
    UpstreamError,
    UpstreamOffline,
    UpstreamTimeout,
    UpstreamUnavailable,
)
from cacheproxy.domain.patterns import Patterns

CLOCK_TOLERANCE = 1.0
"""Seconds by which the clocks of two replicas may differ; a record is no further ahead of now."""

_NEXT = 1e-6


class Stamped(Protocol):
    """A record that says when it was learnt."""

    @property
    def checked_at(self) -> float:
        """Seconds since the epoch, by the cluster's clock."""
        ...

    @property
    def epoch(self) -> int:
        """Number of the clock's epoch."""
        ...


S = TypeVar("S", bound=Stamped)


@dataclass(frozen=True, slots=True)
class TagPolicy:
    """How long a tag is believed. All in seconds.

    Attributes:
        fresh_for: served without asking upstream.
        stale_while_revalidate: after that, served while upstream is asked in the background.
        stale_if_error: after `fresh_for`, served when upstream cannot answer.
        stale_if_denied: so long, served too when upstream or its token server refuses us.
        on_not_found: what a 404 does to a tag that is cached: keep serving it, or drop it.
        not_found_for: a 404 is remembered so long.
        patience: upstream is waited for so long where something stale could be served.
        is_patient_offline: while upstream cannot be reached, nothing is too old to be served.
    """

    fresh_for: float = 60.0
    stale_while_revalidate: float = 0.0
    stale_if_error: float = 7 * 86400.0
    on_not_found: Literal["keep", "drop"] = "keep"
    not_found_for: float = 10.0
    patience: float = 3.0
    is_patient_offline: bool = False
    stale_if_denied: bool = False


@dataclass(frozen=True, slots=True)
class TagRules:
    """The policies of one upstream.

    Attributes:
        default: for all that no rule is for.
        rules: patterns, and the policy of what they match; the first that matches counts.
    """

    default: TagPolicy = field(default_factory=TagPolicy)
    rules: tuple[tuple[str, TagPolicy], ...] = ()

    def of(self, name: str, tag: str) -> TagPolicy:
        """The policy of a tag. A pattern with a colon is for `name:tag`, others for `tag`."""
        for pattern, policy in self.rules:
            if Patterns((pattern,)).accept(f"{name}:{tag}" if ":" in pattern else tag):
                return policy
        return self.default


@dataclass(frozen=True, slots=True)
class TagRecord:
    """What upstream last said of a tag.

    Attributes:
        digest: of the manifest that it named; None when there was no such tag.
        checked_at: when it was asked, in seconds since the epoch, by the cluster's clock.
        epoch: of that clock: times of a later one are later; 0: it was never measured.
        writer: the process that stamped the record; empty until it has.
    """

    digest: Digest | None
    checked_at: float
    epoch: int = field(default=0, compare=False)
    writer: str = field(default="", compare=False)


class Freshness(Enum):
    """What to do with a record before upstream is asked."""

    FRESH = auto()
    """Serve it."""
    REVALIDATE_BEHIND = auto()
    """Serve it, and ask upstream in the background."""
    REVALIDATE = auto()
    """Ask upstream first."""


def newest(records: Iterable[S | None], now: float) -> S | None:
    """Return the record that counts, the first one of equals; None if there is none.

    A later epoch counts before an earlier one. A record that lies in the future counts last: its
    clock was wrong, and when it was stamped in truth nobody knows.
    """

    def order(record: S) -> tuple[bool, int, float]:
        return record.checked_at <= now + CLOCK_TOLERANCE, record.epoch, record.checked_at

    return max((record for record in records if record is not None), key=order, default=None)


def moment_after(known: Stamped | None, now: float) -> float:
    """Return the time of an answer that is asked for now: later than that of what is known."""
    if known is None or known.checked_at > now + CLOCK_TOLERANCE:
        return now
    return max(now, known.checked_at + _NEXT)


def lifetime(record: TagRecord, policy: TagPolicy) -> float:
    """Seconds for which a record is fresh, from when it was checked."""
    return policy.fresh_for if record.digest is not None else policy.not_found_for


def ttl(record: TagRecord, policy: TagPolicy, now: float) -> float:
    """Return the seconds for which a record stays fresh; negative when it is stale.

    A record from the future has just expired: the clock was set back since, and how long ago
    it was checked nobody knows. Less than the difference of two clocks is no future.
    """
    age = now - record.checked_at
    return lifetime(record, policy) - max(age, 0.0) if age >= -CLOCK_TOLERANCE else 0.0


def judge(record: TagRecord, policy: TagPolicy, now: float) -> Freshness:
    """Say what to do with a record."""
    left = ttl(record, policy, now)
    if left > 0:
        return Freshness.FRESH
    if record.digest is not None and left + policy.stale_while_revalidate > 0:
        return Freshness.REVALIDATE_BEHIND
    return Freshness.REVALIDATE


def survives(
    record: TagRecord | None, policy: TagPolicy, now: float, error: CacheproxyError
) -> bool:
    """Whether a record may be served although asking upstream ended in `error`.

    A refusal (401, 403) is an answer, not an outage: what we may no longer read is not
    served, unless the operator allows it. A 404 is the operator's choice, too. Nothing else
    speaks against what we have.
    """
    if record is None or record.digest is None:
        return False
    if ttl(record, policy, now) + policy.stale_if_error <= 0 and not _is_ageless(policy, error):
        return False
    match error:
        case Denied():
            return policy.stale_if_denied
        case NotFound():
            return policy.on_not_found == "keep"
        case UpstreamError() | ContentInvalid():
            return True
        case _:
            return False


def _is_ageless(policy: TagPolicy, error: CacheproxyError) -> bool:
    """Whether nothing is too old to be served, since there will be nothing newer."""
    if isinstance(error, UpstreamOffline):
        return True
    return policy.is_patient_offline and is_unreachable(error)


def is_unreachable(error: CacheproxyError) -> bool:
    """Whether nothing at all can be had of upstream, as far as an error tells."""
    return isinstance(error, UpstreamTimeout | UpstreamUnavailable)
