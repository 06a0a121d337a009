"""The one place that wires adapters to the core, and runs what comes of it."""

from cacheproxy.bootstrap.notifying import ServiceManager
from cacheproxy.bootstrap.reloading import Source
from cacheproxy.bootstrap.running import serve

__all__ = ["ServiceManager", "Source", "serve"]
