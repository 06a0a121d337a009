"""From settings to what the store may hold."""

import structlog

from cacheproxy.domain.budget import Budget
from cacheproxy.ops.metrics import StoreBytes
from cacheproxy.settings.model import Settings
from cacheproxy.storage.layout import Layout
from cacheproxy.storage.usage import usage_reader


def store_bytes(settings: Settings) -> StoreBytes:
    """The store's numbers for the metrics page.

    Raises:
        StartError: the cache directory cannot be used.
    """
    layout = Layout(settings.cache.directory)
    layout.prepare()
    return StoreBytes(usage_reader(layout, make_budget(settings, layout)))


def make_budget(settings: Settings, layout: Layout) -> Budget:
    """The budget, on the volume that the cache is on."""
    volume = layout.volume_bytes()
    budget = budget_on(settings, volume)
    if budget.max_size > volume:
        structlog.get_logger("cacheproxy").warning(
            "cache.max_size is larger than its volume, whose end bounds the cache then",
            max_size=budget.max_size,
            volume=volume,
        )
    return budget


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
