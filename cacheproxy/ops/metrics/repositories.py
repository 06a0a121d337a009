"""The repositories with the most bytes: how many were served, fetched and saved, of all time."""

import contextlib
import sqlite3
from collections.abc import Callable, Iterator
from math import inf

from prometheus_client.core import GaugeMetricFamily, Metric

from cacheproxy.domain.traffic import REST, Totals, Traffic, folded
from cacheproxy.ports import Clock

# By name; whoever pulls cannot make the page longer than that.
_SHOWN = 20
# No repository can be called so.
_OTHERS = "(other)"
# So long the numbers are as good as new: they are written down every few seconds only.
_FRESH_SECONDS = 10.0

_NUMBERS: tuple[tuple[str, str, Callable[[Traffic], int]], ...] = (
    (
        "cacheproxy_repository_served_bytes",
        "Body bytes sent to clients since the cache was made.",
        lambda traffic: traffic.served,
    ),
    (
        "cacheproxy_repository_fetched_bytes",
        "Body bytes that crossed the upstream link since the cache was made.",
        lambda traffic: traffic.fetched,
    ),
    (
        "cacheproxy_repository_saved_bytes",
        "Body bytes sent to clients beyond those fetched, since the cache was made.",
        lambda traffic: traffic.saved,
    ),
)


class RepositoryBytes:
    """Those numbers, of the largest repositories by name and of all others together.

    Gauges, for a repository that is not among the largest any more goes from the page.
    """

    def __init__(self, read: Callable[[], Totals], clock: Clock) -> None:
        """Take how to read them.

        Args:
            read: tells the traffic of all time, or raises `sqlite3.Error`.
            clock: for how old what was read is.
        """
        self._read = read
        self._clock = clock
        self._totals: Totals = {}
        self._stale_at = -inf

    def describe(self) -> Iterator[Metric]:
        """Their names, so that nothing has to be read to learn them."""
        return self._families({})

    def collect(self) -> Iterator[Metric]:
        """The numbers, of a moment ago."""
        now = self._clock.monotonic()
        if now >= self._stale_at:
            self._stale_at = now + _FRESH_SECONDS
            with contextlib.suppress(sqlite3.Error):  # what was read last is better than nothing
                self._totals = folded(self._read(), _SHOWN)
        return self._families(self._totals)

    @staticmethod
    def _families(totals: Totals) -> Iterator[Metric]:
        for name, text, number in _NUMBERS:
            family = GaugeMetricFamily(name, text, labels=["upstream", "repository"])
            for (upstream, repository), traffic in totals.items():
                shown = _OTHERS if repository == REST else repository
                family.add_metric([upstream, shown], number(traffic))
            yield family
