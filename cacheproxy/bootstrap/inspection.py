"""The cache directory, as the commands and the admin API read and change it (`Contents`)."""

import time
from collections.abc import Callable, Sequence
from typing import cast, get_args

from cacheproxy.bootstrap import explaining, planning, purging, scrubbing
from cacheproxy.bootstrap.offline import Cache, open_cache
from cacheproxy.domain.budget import Entry, PolicyName, evictable
from cacheproxy.domain.digest import Digest
from cacheproxy.domain.errors import BlobUnknown, RequestError
from cacheproxy.domain.image import Image, parse_image
from cacheproxy.ops.api.model import Candidate, Eviction, PurgeRequest, StoreStatus
from cacheproxy.ops.api.reports import Explanation, PlanReport, PurgeReport
from cacheproxy.ops.api.work import (
    PlanProgress,
    PlanRequest,
    PlanStep,
    ScrubRequest,
    ScrubStep,
    ScrubSummary,
)
from cacheproxy.settings.durations import parse_positive_duration
from cacheproxy.settings.model import Settings
from cacheproxy.settings.sizes import parse_size
from cacheproxy.storage.ledger import Ledger

_POLICIES: tuple[PolicyName, ...] = get_args(PolicyName)
_MOST_SIZES = 16
_MOST_TAGS = 3
_MOST_OTHERS = 10
_DIGESTS = ("sha256:", "sha512:")


class Inspection:
    """One cache directory, opened anew for each question: nothing is held between them."""

    def __init__(self, settings: Settings) -> None:
        """Know where it is.

        Args:
            settings: of the server whose it is.
        """
        self.settings = settings

    def store(self) -> StoreStatus:
        """The room that is taken."""
        with open_cache(self.settings, with_metadata=False) as cache:
            usage = cache.ledger.usage()
            return StoreStatus(
                bytes=usage.total,
                reserved_bytes=usage.reserved,
                max_bytes=cache.budget.max_size,
                free_bytes=cache.layout.free_bytes(),
                blobs=cache.ledger.count(),
            )

    def eviction(self, limit: int) -> Eviction:
        """What would go next."""
        now = time.time()
        with open_cache(self.settings, with_metadata=False) as cache:
            policy, ledger = cache.budget.policy, cache.ledger
            pinned = ledger.pinned(cache.budget.pins)
            first = evictable(ledger.entries(), policy, pinned, now)[:limit]
            return Eviction(policy, [_candidate(entry, ledger, now) for entry in first])

    def explain(self, asked: str) -> Explanation:
        """All that is known of an image or digest."""
        with open_cache(self.settings) as cache:
            is_digest = asked.startswith(_DIGESTS)
            image = Digest.parse(asked) if is_digest else parse_image(asked, cache.routes)
            explanation = explaining.explain(cache, image, time.time())
            if not explanation.is_known:
                raise BlobUnknown(_unknown(cache, explanation, image))
        return explanation

    def purge(self, asked: PurgeRequest) -> PurgeReport:
        """Remove what is named."""
        with open_cache(self.settings) as cache:
            return purging.purge(cache, asked.targets, dry_run=asked.dry_run)

    def plan(self, asked: PlanRequest, told: Callable[[PlanStep], None]) -> PlanReport:
        """What other sizes and policies would have had to fetch."""
        begin = 0.0 if asked.since is None else time.time() - _duration(asked.since)
        with open_cache(self.settings, with_metadata=False) as cache:
            cases = planning.cases(cache, _sizes(cache, asked.max_size), _policies(asked.policy))
            # Once to read the log, and once through it for each size and policy.
            advance = _Advance(planning.log_bytes(cache) * (1 + len(cases)), told)
            record = planning.recorded(cache, begin, advance)
            if not len(record):
                raise BlobUnknown(planning.nothing(cache, record))
            return planning.planned(cache, record, cases, advance)

    def scrub(self, asked: ScrubRequest, told: Callable[[ScrubStep], None]) -> ScrubSummary:
        """Read again all that is stored, and take out what is wrong."""
        with open_cache(self.settings, with_metadata=False) as cache:
            return scrubbing.scrub(cache, asked, told)


class _Advance:
    """Tells how far a plan is."""

    def __init__(self, total: int, told: Callable[[PlanStep], None]) -> None:
        self._done = 0
        self._total = total
        self._told = told

    def __call__(self, count: int) -> None:
        self._done += count
        self._told(PlanProgress(self._done, self._total))


def _unknown(cache: Cache, explanation: Explanation, image: Image | Digest) -> str:
    said = f"nothing is known of {explanation.asked} in {cache.layout.root}"
    tags = [] if isinstance(image, Digest) else explaining.cached_tags(cache, image)
    shown = ", ".join(tags[:_MOST_OTHERS]) + (", …" if len(tags) > _MOST_OTHERS else "")
    return f"{said}; of that repository there is {shown}" if tags else said


def _candidate(entry: Entry, ledger: Ledger, now: float) -> Candidate:
    return Candidate(
        digest=entry.digest,
        size=entry.size,
        kind=entry.kind,
        upstream=entry.registry,
        last_used=entry.last_used,
        heat=entry.heat_at(now),
        tags=ledger.tags_leading_to(entry.digest, _MOST_TAGS),
    )


def _sizes(cache: Cache, written: Sequence[str]) -> list[int]:
    if len(written) > _MOST_SIZES:
        raise RequestError(f"at most {_MOST_SIZES} sizes at once")
    volume = cache.layout.volume_bytes()
    try:
        sizes = [parse_size(part) for text in written for part in text.split(",")]
    except ValueError as error:
        raise RequestError(f"max_size: {error}") from None
    return [size.resolve(volume) for size in sizes] or planning.default_sizes(cache)


def _policies(written: Sequence[str]) -> Sequence[PolicyName]:
    unknown = [name for name in written if name not in _POLICIES]
    if unknown:
        raise RequestError(f"policy is one of {', '.join(_POLICIES)}")
    return [cast("PolicyName", name) for name in written] or _POLICIES


def _duration(written: str) -> float:
    try:
        return parse_positive_duration(written)
    except ValueError as error:
        raise RequestError(f"since: {error}") from None
