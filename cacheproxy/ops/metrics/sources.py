"""Numbers that nobody counts: read, or worked out, when the page is."""

import platform
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Protocol

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

import cacheproxy


class Source(Protocol):
    """Where numbers come from."""

    def collect(self) -> Iterable[Metric]:
        """The numbers, now."""
        ...


class StoreBytes:
    """What the store holds, and what it may: read when the page is."""

    def __init__(self, read: Callable[[], tuple[int, int, int]]) -> None:
        """Take how to read them.

        Args:
            read: tells the bytes stored, reserved for downloads, and allowed.
        """
        self._read = read

    def describe(self) -> Iterator[Metric]:
        """Their names, so that nothing has to be read to learn them."""
        return self._families(0, 0, 0)

    def collect(self) -> Iterator[Metric]:
        """The numbers, now."""
        return self._families(*self._read())

    @staticmethod
    def _families(stored: int, reserved: int, allowed: int) -> Iterator[Metric]:
        yield GaugeMetricFamily(
            "cacheproxy_store_bytes", "Room that blobs and downloads take.", stored + reserved
        )
        yield GaugeMetricFamily(
            "cacheproxy_store_reserved_bytes", "Of that, the room of downloads.", reserved
        )
        yield GaugeMetricFamily("cacheproxy_store_max_bytes", "Room that they may take.", allowed)


class BuildInfo:
    """Which version this is."""

    def collect(self) -> Iterator[Metric]:
        """One, with the version for a label."""
        family = GaugeMetricFamily(
            "cacheproxy_build_info",
            "Always 1; the labels say what runs.",
            labels=["version", "python"],
        )
        family.add_metric([cacheproxy.__version__, platform.python_version()], 1)
        yield family


class Prices:
    """What upstreams' bytes cost, so that whoever reads the page can tell money from bytes."""

    def __init__(self, read: Callable[[], tuple[str, Mapping[str, float]]]) -> None:
        """Take how to learn them.

        Args:
            read: tells the currency, and for each upstream with a price what 10^9 bytes cost.
        """
        self._read = read

    def collect(self) -> Iterator[Metric]:
        """The prices, now."""
        currency, prices = self._read()
        family = GaugeMetricFamily(
            "cacheproxy_price_per_gigabyte",
            "What 10^9 bytes over the upstream link cost.",
            labels=["upstream", "currency"],
        )
        for upstream, price in prices.items():
            family.add_metric([upstream, currency], price)
        yield family


class Reloads:
    """Whether a changed configuration was taken over when somebody last wanted that."""

    def __init__(self, started: float) -> None:
        """Begin with the start, which has taken one over.

        Args:
            started: when that was, in seconds since the epoch.
        """
        self._is_good = True
        self._at = started

    def succeeded(self, now: float) -> None:
        """A configuration was taken over."""
        self._is_good, self._at = True, now

    def failed(self) -> None:
        """It was not: the one before it is still in force."""
        self._is_good = False

    def collect(self) -> Iterator[Metric]:
        """How it stands."""
        yield GaugeMetricFamily(
            "cacheproxy_config_last_reload_success",
            "Whether the last configuration that was to be taken over was.",
            float(self._is_good),
        )
        yield GaugeMetricFamily(
            "cacheproxy_config_last_reload_success_timestamp_seconds",
            "When the configuration in force was taken over.",
            self._at,
        )


class SavedBytes:
    """What was served beyond what was fetched, of all workers together; it never goes back.

    While a blob is on its way in, more has been fetched than served, and a counter must wait
    for the rest. And one worker serves what another has fetched.
    """

    def __init__(self, counted: Source) -> None:
        self._counted = counted
        self._highest: dict[str, float] = {}

    def describe(self) -> Iterator[Metric]:
        """Its name, so that nothing has to be collected to learn it."""
        yield self._family()

    def collect(self) -> Iterator[Metric]:
        """The bytes saved, by upstream."""
        for upstream, saved in self._now().items():
            self._highest[upstream] = max(saved, self._highest.get(upstream, 0.0))
        family = self._family()
        for upstream, saved in self._highest.items():
            family.add_metric([upstream], saved)
        yield family

    def _now(self) -> dict[str, float]:
        signs = {"cacheproxy_served_bytes_total": 1, "cacheproxy_upstream_bytes_total": -1}
        saved: dict[str, float] = {}
        for metric in self._counted.collect():
            for sample in metric.samples:
                if sample.name in signs:
                    upstream = sample.labels["upstream"]
                    saved[upstream] = saved.get(upstream, 0) + signs[sample.name] * sample.value
        return saved

    @staticmethod
    def _family() -> CounterMetricFamily:
        return CounterMetricFamily(
            "cacheproxy_saved_bytes",
            "Body bytes sent to clients beyond those that crossed the upstream link.",
            labels=["upstream"],
        )
