"""What caches of other sizes, and with other policies, would have had to fetch."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from cacheproxy.bootstrap.accesses import access_reader
from cacheproxy.bootstrap.offline import Cache
from cacheproxy.domain.accesses import Access, child_keys, keys_of
from cacheproxy.domain.budget import PolicyName
from cacheproxy.domain.foresight import Foresight
from cacheproxy.domain.model_store import ModelStore
from cacheproxy.domain.replay import Tally, everything_kept, run
from cacheproxy.domain.trace import Trace
from cacheproxy.ops.access_records import RECORD_BYTES
from cacheproxy.ops.api.reports import (
    LONG_ENOUGH,
    MANY_ENOUGH,
    Basis,
    Foreseen,
    PlanReport,
    PlanRow,
    PlanTally,
)

_BLOCK = 10_000
_DEFAULT_FACTORS = (0.5, 1, 2, 4)


@dataclass(frozen=True, slots=True)
class Record:
    """What was recorded.

    Attributes:
        trace: all accesses.
        counted_from: the number of the first one that counts.
        newer: segments of the log that a later version has written.
        foreign: segments that are none.
    """

    trace: Trace
    counted_from: int
    newer: int
    foreign: int

    def __len__(self) -> int:
        return len(self.trace) - self.counted_from


def log_bytes(cache: Cache) -> int:
    """How much there is to read: so many bytes each time that all of it is gone through."""
    return access_reader(cache.layout, cache.routes).size()


def default_sizes(cache: Cache) -> list[int]:
    """Sizes to look at where none are named: half, once, twice and four times today's."""
    return [max(1, int(cache.budget.max_size * factor)) for factor in _DEFAULT_FACTORS]


def nothing(cache: Cache, record: Record) -> str:
    """Why there is nothing to plan with, and what to do."""
    begin = "there is nothing to plan with: "
    if len(record.trace):
        return f"{begin}nothing was served in that time; {len(record.trace):,} accesses before it"
    if record.newer:
        return f"{begin}{cache.layout.accesses} was written by a later version of cacheproxy"
    return (
        f"{begin}no access is recorded in {cache.layout.accesses}; the server records what it "
        "serves, unless cache.access_log is 0. Some days of pulls are worth waiting for"
    )


def recorded(cache: Cache, counted_since: float, advance: Callable[[int], None]) -> Record:
    """Read the log. What is older than `counted_since` only fills the caches.

    Args:
        cache: whose log.
        counted_since: seconds since the epoch.
        advance: is told now and then how many bytes more are read.
    """
    reader = access_reader(cache.layout, cache.routes)

    def told() -> Iterable[Access]:
        for number, access in enumerate(reader.accesses(), 1):
            if number % _BLOCK == 0:
                advance(_BLOCK * RECORD_BYTES)
            yield access

    trace = Trace(told())
    skipped = reader.skipped
    return Record(trace, trace.since(counted_since), skipped.newer, skipped.foreign)


def cases(
    cache: Cache, sizes: Iterable[int], policies: Sequence[PolicyName]
) -> list[tuple[int, PolicyName | Foreseen]]:
    """What is replayed: each size with each policy and with foresight; and today's cache."""
    today = cache.budget
    chosen: list[tuple[int, PolicyName | Foreseen]] = []
    for size in sorted({*sizes, today.max_size}):
        names: list[PolicyName | Foreseen] = list(dict.fromkeys(policies))
        if size == today.max_size and today.policy not in names:
            names.append(today.policy)
        chosen += [(size, name) for name in (*names, "foresight")]
    return chosen


def planned(
    cache: Cache,
    record: Record,
    chosen: Iterable[tuple[int, PolicyName | Foreseen]],
    advance: Callable[[int], None],
) -> PlanReport:
    """Replay what was recorded; `advance` is told as while it is read."""
    replayer = _Replayer(cache, record, advance)
    rows = [replayer.row(size, policy) for size, policy in chosen]
    bound = everything_kept(record.trace, counted_from=record.counted_from)
    (today,) = [row.tally for row in rows if row.is_today]
    return PlanReport(
        _basis(record, bound),
        [_compared(row, today) for row in rows],
        _told(bound),
        cache.layout.volume_bytes(),
    )


def _compared(row: "_Replayed", today: Tally) -> PlanRow:
    tally = row.tally
    return PlanRow(
        max_size=row.max_size,
        policy=row.policy,
        is_today=row.is_today,
        saved_bytes=today.fetched - tally.fetched,
        byte_hit_ratio=tally.byte_hit_ratio,
        hit_ratio=tally.hit_ratio,
        upstream_bytes=tally.fetched,
        uses=tally.uses,
        hits=tally.hits,
    )


def _told(tally: Tally) -> PlanTally:
    return PlanTally(tally.byte_hit_ratio, tally.hit_ratio, tally.fetched, tally.uses, tally.hits)


@dataclass(frozen=True, slots=True)
class _Replayed:
    max_size: int
    policy: PolicyName | Foreseen
    tally: Tally
    is_today: bool = False


class _Replayer:
    def __init__(self, cache: Cache, record: Record, advance: Callable[[int], None]) -> None:
        self._budget = cache.budget
        self._record = record
        self._advance = advance
        self._pinned = keys_of(cache.ledger.pinned(cache.budget.pins))
        self._children = child_keys(cache.ledger.relations().children)

    def row(self, size: int, policy: PolicyName | Foreseen) -> _Replayed:
        trace, budget = self._record.trace, self._budget
        if policy == "foresight":
            return _Replayed(size, policy, self._run(Foresight(trace, size)))
        store = ModelStore(
            replace(budget, max_size=size, policy=policy),
            pinned=self._pinned,
            children=self._children,
        )
        is_today = (size, policy) == (budget.max_size, budget.policy)
        return _Replayed(size, policy, self._run(store), is_today)

    def _run(self, store: ModelStore | Foresight) -> Tally:
        return run(
            self._record.trace,
            store.ask,
            counted_from=self._record.counted_from,
            advance=lambda count: self._advance(count * RECORD_BYTES),
        )


def _basis(record: Record, bound: Tally) -> Basis:
    trace, begin = record.trace, record.counted_from
    asked = set(trace.which[begin:])
    since, until = trace.times[begin], trace.times[-1]
    return Basis(
        accesses=len(record),
        blobs=len(asked),
        blob_bytes=sum(trace.contents[number].size for number in asked),
        served_bytes=bound.served,
        since=since,
        until=until,
        accesses_before=begin,
        newer_segments=record.newer,
        foreign_segments=record.foreign,
        is_weak=until - since < LONG_ENOUGH or len(record) < MANY_ENOUGH,
    )
