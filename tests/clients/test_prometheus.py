"""A real Prometheus in front of a real proxy: what the rules and the dashboard make of it."""

import json
import re
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.clients import catalogue
from tests.clients.stage import HUB, Registries
from tests.support.images import OCI_MANIFEST
from tests.support.parts import exposition, wire
from tests.support.parts.crew import Crew, kill
from tests.support.parts.link import CountedLink, counted_link
from tests.support.parts.process import free_port, wait_until
from tests.support.parts.prometheus import Prometheus, prometheus
from tests.support.parts.proxy import Proxy, proxy
from tests.support.parts.redis import redis_server

pytestmark = pytest.mark.clients

CHART = Path(__file__).parents[2] / "helm/cacheproxy/files"
PROMPT = 60.0


@dataclass(frozen=True, slots=True)
class Scene:
    """A proxy with two workers and a Redis, its link, and a Prometheus that has seen it."""

    proxy: Proxy
    hub: CountedLink
    prometheus: Prometheus

    def pull(self) -> None:
        """An image, whole."""
        repository = f"{self.proxy.url}/v2/docker.io/{catalogue.APP.repository}"
        accepted = {"Accept": OCI_MANIFEST}
        assert wire.get(f"{repository}/manifests/1", headers=accepted).status == 200
        for blob in catalogue.APP.image.blobs:
            assert wire.get(f"{repository}/blobs/{blob.digest}").body == blob.body

    def is_recorded(self) -> bool:
        """Whether each number that is to be recorded has a value, a moment after a pull."""
        self.pull()
        time.sleep(0.3)
        recorded = [rule for rule in self.prometheus.rules() if rule["type"] == "recording"]
        return all(self.prometheus.query(rule["name"]) for rule in recorded)


@contextmanager
def replica(url: str, redis: str) -> Iterator[Proxy]:
    """One of several replicas, with two workers."""
    peers = f"127.0.0.1:{free_port()}"
    settings = {
        "server": {"workers": 2},
        "metadata": {"url": redis},
        "cluster": {"listen": peers, "advertise": peers, "secret": "shared by these replicas"},
    }
    upstream = {"url": url, "price_per_gb": 0.09}
    with proxy({HUB: upstream}, settings=settings) as running:
        yield running


@pytest.fixture
def scene(registries: Registries) -> Iterator[Scene]:
    """Prometheus has scraped the proxy before anything was pulled."""
    with ExitStack() as stack:
        redis = stack.enter_context(redis_server())
        hub = stack.enter_context(counted_link(registries.hub.port))
        running = stack.enter_context(replica(hub.url, redis.url))
        watching = stack.enter_context(prometheus(CHART / "rules.yaml", running.admin_url))
        seen = "count_over_time(cacheproxy_build_info[1m]) > 1"
        wait_until(lambda: bool(watching.query(seen)), PROMPT, "it was scraped")
        yield Scene(running, hub, watching)


def _asked() -> list[str]:
    """The dashboard's queries, as Grafana sends them."""
    dashboard: dict[str, Any] = json.loads((CHART / "dashboard.json").read_text())
    return [
        re.sub(r"\$\w+", ".*", re.sub(r"\$__\w+", "5m", target["expr"]))
        for panel in dashboard["panels"]
        for target in panel.get("targets", ())
    ]


def test_rules_and_dashboard_work_on_a_running_proxy(scene: Scene) -> None:
    """Rules record what crossed the link, no alert stirs until upstream goes, all queries work."""
    wait_until(scene.is_recorded, PROMPT, "all is recorded")
    rules = scene.prometheus.rules()
    assert {(rule["name"], rule["health"], rule.get("lastError")) for rule in rules} == {
        (rule["name"], "ok", None) for rule in rules
    }
    assert scene.prometheus.alerts() == set()
    empty = [expression for expression in _asked() if not scene.prometheus.query(expression)]
    # No rate limit, no failure, no bytes between replicas; and repositories take their time.
    rare = re.compile("ratelimit|failures|peer_bytes|cacheproxy_repository")
    assert [expression for expression in empty if not rare.search(expression)] == []

    (sample,) = scene.prometheus.query("upstream:cacheproxy_amplification:rate6h")
    assert sample["metric"]["upstream"] == HUB
    assert scene.hub.blob_bytes == catalogue.APP.blob_bytes
    crossed = scene.hub.body_bytes / scene.hub.blob_bytes
    assert float(sample["value"][1]) == pytest.approx(crossed, rel=0.001)

    scene.hub.cut()
    absent = f"{scene.proxy.url}/v2/docker.io/library/absent/manifests/1"
    assert wire.get(absent).status == 502
    wait_until(
        lambda: "CacheproxyUpstreamDown" in scene.prometheus.alerts(), PROMPT, "the alert is there"
    )


def test_replicas_are_counted_whichever_worker_knows(registries: Registries) -> None:
    """The page says how many replicas there are while they come and go, and workers die."""
    with redis_server() as redis, replica(registries.hub.url, redis.url) as one:

        def sees(count: int, who: Proxy = one) -> bool:
            return exposition.total(who.admin_url, "cacheproxy_replicas") == count

        wait_until(lambda: sees(1), PROMPT, "it is alone")
        with replica(registries.hub.url, redis.url) as other:
            wait_until(lambda: sees(2), PROMPT, "it sees the other")
            crew = Crew(one, Path(one.document["cache"]["directory"]))
            kill({min(crew.workers())})
            wait_until(lambda: len(crew.workers()) == 2, PROMPT, "a worker is replaced")
            # It may have been the only one that had seen the other yet.
            wait_until(lambda: sees(2), PROMPT, "it sees the other still")
            wait_until(lambda: sees(2, other), PROMPT, "the other sees it")
        wait_until(lambda: sees(1), PROMPT, "it is alone again")
