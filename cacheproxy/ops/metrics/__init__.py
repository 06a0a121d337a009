"""Prometheus metrics. Labels are bounded: upstreams are configured, the rest are enumerations.

Repositories are the exception, and of them the largest few are shown by name.

With several workers each counts into files of its own (prometheus_client's multiprocess mode,
chosen by an environment variable when it is imported), and the supervisor's page adds them up.
"""

from cacheproxy.ops.metrics.counting import Metrics
from cacheproxy.ops.metrics.page import CONTENT_TYPE, Page
from cacheproxy.ops.metrics.repositories import RepositoryBytes
from cacheproxy.ops.metrics.sources import (
    BuildInfo,
    Prices,
    Reloads,
    SavedBytes,
    Source,
    StoreBytes,
)

__all__ = [
    "CONTENT_TYPE",
    "BuildInfo",
    "Metrics",
    "Page",
    "Prices",
    "Reloads",
    "RepositoryBytes",
    "SavedBytes",
    "Source",
    "StoreBytes",
]
