"""The one place that wires adapters to the core, and runs what comes of it."""

from cacheproxy.bootstrap.running import serve

__all__ = ["serve"]
