"""From settings to what the store may hold."""

import structlog

from cacheproxy.domain.budget import Budget
from cacheproxy.ops.metrics import StoreBytes
from cacheproxy.settings.model import Settings
from cacheproxy.storage.layout import Layout
from cacheproxy.storage.usage import usage_reader


class StoreNumbers:
    """The store's numbers for the metrics page; `apply` tells it of another budget.

    Raises:
        StartError: the cache directory cannot be used.
    """

    def __init__(self, settings: Settings) -> None:
        self._layout = Layout(settings.cache.directory)
        self._layout.prepare()
        self.apply(settings)
        self.source = StoreBytes(usage_reader(self._layout, lambda: self._budget))

    def apply(self, settings: Settings) -> None:
        """Go by other settings."""
        self._budget = make_budget(settings, self._layout)
        volume = self._layout.volume_bytes()
        # Here, since each proxy has one of these, however many workers it has.
        if self._budget.max_size > volume:
            structlog.get_logger("cacheproxy").warning(
                "cache.max_size is larger than its volume, whose end bounds the cache then",
                max_size=self._budget.max_size,
                volume=volume,
            )


def make_budget(settings: Settings, layout: Layout) -> Budget:
    """The budget, on the volume that the cache is on."""
    return budget_on(settings, layout.volume_bytes())


def budget_on(settings: Settings, volume: int) -> Budget:
    """The budget, on a volume of so many bytes."""
    cache = settings.cache
    shares = {
        name: upstream.max_size.resolve(volume)
        for name, upstream in settings.upstreams.items()
        if upstream.max_size is not None
    }
    return Budget(
        max_size=cache.max_size.resolve(volume),
        min_free=cache.min_free.resolve(volume),
        policy=cache.policy,
        idle_for=cache.idle_for,
        shares=tuple(shares.items()),
        pins=cache.pins,
    )
