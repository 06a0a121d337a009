"""Reading all that is stored again, once, because somebody asked for it."""

import time
from collections.abc import Callable

from cacheproxy.bootstrap.offline import Cache
from cacheproxy.domain.digest import Digest
from cacheproxy.domain.errors import RequestError
from cacheproxy.ops.api.work import (
    ScrubBegun,
    ScrubProgress,
    ScrubRequest,
    ScrubStep,
    ScrubSummary,
)
from cacheproxy.settings.sizes import parse_bytes
from cacheproxy.storage.inventory import stored
from cacheproxy.storage.pace import Pace
from cacheproxy.storage.scrub import Checked, Finding, Hashed, Scrub, Step, Waited

# Within a large blob it is told how far it is so often, in seconds.
_TELL_SECONDS = 0.2

Told = Callable[[ScrubStep], None]


def scrub(cache: Cache, asked: ScrubRequest, told: Told) -> ScrubSummary:
    """Read each blob, and take out what is not what its digest says.

    It can be left after each step that is told: what was found until then is mended.

    Raises:
        RequestError: the rate or the digest is none.
    """
    pace = Pace(_rate(asked.rate), time.monotonic, time.sleep)
    after = None if asked.after is None else Digest.parse(asked.after)
    layout, ledger = cache.layout, cache.ledger
    pass_ = Scrub(layout, lambda digests: ledger.strike(digests, layout.holds), pace)
    blobs = [(digest, size) for digest, size in stored(layout) if not after or digest > after]
    known = [entry.digest for entry in ledger.entries()]
    told(ScrubBegun(sum(size for _, size in blobs), str(layout.root / "quarantine")))
    report = _Report(told)
    for step in pass_.run((digest for digest, _ in blobs), known):
        report.hear(step)
    return report.summary()


class _Report:
    """Adds up what was done."""

    def __init__(self, told: Told) -> None:
        self._told = told
        self._checked = self._bytes = 0
        self._last: Digest | None = None
        self._said = time.monotonic()
        self._is_mended: dict[Digest, bool] = {}

    def hear(self, step: Step) -> None:
        """Take note of a step, and tell it."""
        match step:
            case Hashed(count):
                self._bytes += count
                if time.monotonic() - self._said >= _TELL_SECONDS:
                    self._tell()
            case Checked(digest):
                self._checked += 1
                self._last = digest
                self._tell()
            case Finding():
                self._is_mended[step.digest] = step.is_mended
                self._told(step)
            case Waited():
                pass

    def summary(self) -> ScrubSummary:
        """What it came to."""
        return ScrubSummary(all(self._is_mended.values()), self._checked, self._bytes)

    def _tell(self) -> None:
        self._said = time.monotonic()
        self._told(ScrubProgress(self._checked, self._bytes, self._last))


def _rate(written: str) -> int:
    try:
        return parse_bytes(written.removesuffix("/s"))
    except ValueError as error:
        raise RequestError(f"rate: {error}") from None
