"""The metrics page of a proxy, read."""

from prometheus_client.parser import text_string_to_metric_families

from tests.support.hasty import HastyProxy


class Numbers:
    """The metrics page, read."""

    def __init__(self, page: str) -> None:
        self._samples = {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in text_string_to_metric_families(page)
            for sample in family.samples
        }

    def get(self, name: str, **labels: str) -> float | None:
        """One sample; None where there is none."""
        return self._samples.get((f"cacheproxy_{name}", frozenset(labels.items())))

    def served(self, *sources: str) -> float:
        """Bytes served of docker.io's, from these sources."""
        labels = {"upstream": "docker.io"}
        found = (self.get("served_bytes_total", source=source, **labels) for source in sources)
        return sum(value or 0.0 for value in found)

    def labels(self, name: str) -> list[dict[str, str]]:
        """The labels of all samples of a name."""
        return [dict(labels) for key, labels in self._samples if key == f"cacheproxy_{name}"]


async def numbers_of(proxy: HastyProxy) -> Numbers:
    """What its admin port says now."""
    async with proxy.client.get(f"{proxy.admin_url}/metrics") as response:
        assert response.status == 200
        assert response.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
        return Numbers(await response.text())
