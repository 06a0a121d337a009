"""The one place that wires adapters to the core, and runs what comes of it."""

from cacheproxy.bootstrap.serving import serve

__all__ = ["serve"]
