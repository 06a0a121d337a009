"""What /metrics says: the samples by name and labels."""

from prometheus_client.parser import text_string_to_metric_families

from tests.support.parts import wire

# A sample's name with its labels, sorted.
Key = tuple[str, tuple[tuple[str, str], ...]]


def samples(admin_url: str) -> dict[Key, float]:
    """Every sample of the page."""
    text = wire.get(f"{admin_url}/metrics").body.decode()
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def counters(admin_url: str) -> dict[Key, float]:
    """Those that never go back."""
    monotonic = ("_total", "_count", "_bucket", "_sum")
    return {key: value for key, value in samples(admin_url).items() if key[0].endswith(monotonic)}


def total(admin_url: str, name: str) -> float:
    """The sum of a metric over all its labels."""
    return sum(value for (found, _), value in samples(admin_url).items() if found == name)
