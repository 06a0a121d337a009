"""The page that Prometheus reads."""

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from cacheproxy.ops.metrics.sources import SavedBytes, Source

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Page:
    """All metrics in the text format, of one process or of several."""

    def __init__(self, *sources: Source) -> None:
        self._registry = CollectorRegistry()
        for source in sources:
            self._registry.register(source)

    @classmethod
    def of(cls, counted: Source, *others: Source) -> "Page":
        """What this process has counted, and other numbers, such as the store's."""
        return cls(counted, SavedBytes(counted), *others)

    @classmethod
    def of_workers(cls, directory: str, *others: Source) -> "Page":
        """What the workers have counted, added up, the dead ones' too; and other numbers."""
        workers = CollectorRegistry()
        MultiProcessCollector(workers, directory)  # type: ignore[no-untyped-call]  # not annotated
        return cls.of(workers, *others)

    def render(self) -> bytes:
        """The page."""
        return generate_latest(self._registry)
