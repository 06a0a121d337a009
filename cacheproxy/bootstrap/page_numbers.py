"""From settings to what the page of metrics says beside what is counted."""

from collections.abc import Mapping
from functools import partial

from cacheproxy.bootstrap.budget import StoreNumbers
from cacheproxy.ops.metrics import BuildInfo, Prices, Reloads, RepositoryBytes, Source
from cacheproxy.ops.traffic_store import overall_in
from cacheproxy.ports import Clock
from cacheproxy.settings.model import Settings
from cacheproxy.storage.layout import Layout


class PageNumbers:
    """The numbers of one proxy, however many workers it has; `apply` tells of other settings.

    Attributes:
        sources: of the numbers.
        reloads: is to be told how a change of the configuration went.

    Raises:
        StartError: the cache directory cannot be used.
    """

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self._settings = settings
        self._store = StoreNumbers(settings)
        self.reloads = Reloads(clock.now())
        read = partial(overall_in, Layout(settings.cache.directory).traffic)
        self.sources: tuple[Source, ...] = (
            self._store.source,
            RepositoryBytes(read, clock),
            Prices(self._prices),
            BuildInfo(),
            self.reloads,
        )

    def apply(self, settings: Settings) -> None:
        """Go by other settings."""
        self._settings = settings
        self._store.apply(settings)

    def _prices(self) -> tuple[str, Mapping[str, float]]:
        upstreams = self._settings.upstreams.items()
        return self._settings.admin.currency, {
            name: upstream.price_per_gb
            for name, upstream in upstreams
            if upstream.price_per_gb is not None
        }
