"""The admin API of a supervisor, whose workers serve the pulls."""

import json
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.parts.crew import Crew, kill
from tests.support.parts.distant import DistantRegistry, bulk, distant_registry
from tests.support.parts.process import wait_until
from tests.support.parts.proxy import Proxy, proxy
from tests.support.parts.scratch import scratch
from tests.support.parts.swarm import Pull, pull_all

pytestmark = pytest.mark.clients

SIZE = 8_000_000
IMAGE = bulk(11, SIZE)
(LAYER,) = IMAGE.layers
WORKERS = 2
PROMPT = 60.0
TOKEN = "s3cret"
TARGET = f"/v2/team/large/blobs/{LAYER.digest}"


@pytest.fixture(scope="module")
def registry() -> Iterator[DistantRegistry]:
    """Far away: the blob takes a second."""
    with distant_registry("64mbit") as running:
        running.hold("team/large", IMAGE)
        yield running


@pytest.fixture
def crew(registry: DistantRegistry) -> Iterator[tuple[Proxy, Crew]]:
    """A supervisor with two workers."""
    settings = {"server": {"workers": WORKERS}, "admin": {"token": TOKEN}}
    with (
        scratch() as directory,
        proxy(
            {"docker.io": registry.url},
            settings=settings | {"cache": {"directory": str(directory)}},
        ) as running,
    ):
        yield running, Crew(running, directory)


def _ask(proxy: Proxy, path: str, body: object = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    headers = {"Authorization": f"Bearer {TOKEN}"}
    request = urllib.request.Request(f"{proxy.admin_url}/api/v1{path}", data, headers)
    with urllib.request.urlopen(request, timeout=PROMPT) as response:
        return [json.loads(line) for line in response.read().splitlines()]


def test_workers_are_summed(crew: tuple[Proxy, Crew]) -> None:
    """What each worker served and fetched is in one sum, to the byte; also after one has died."""
    proxy, workers = crew
    pulls = pull_all(("127.0.0.1", proxy.port), [Pull(TARGET) for _ in range(6)])
    assert [pull.error for pull in pulls] == [None] * 6
    (savings,) = _ask(proxy, "/savings?period=today")
    assert savings["all"]["served_bytes"] == 6 * SIZE
    assert savings["all"]["fetched_bytes"] == SIZE
    kill({min(workers.workers())})
    wait_until(lambda: _ask(proxy, "/status")[0]["workers"] == WORKERS, PROMPT, "it answers")
    (savings,) = _ask(proxy, "/savings?period=all")
    assert savings["all"]["saved_bytes"] == 5 * SIZE


def test_a_fill_is_told_of_once(crew: tuple[Proxy, Crew]) -> None:
    """A download that all workers follow is one, with its progress; warmed by one, it is here."""
    proxy, _ = crew
    seen: list[dict[str, Any]] = []

    def is_growing() -> bool:
        fills = _ask(proxy, "/status")[0]["fills"]
        assert len(fills) <= 1
        seen.extend(fills)
        return len({fill["received_bytes"] for fill in seen}) > 2

    pull_all(("127.0.0.1", proxy.port), [Pull(TARGET, leave_at=1) for _ in range(6)])
    wait_until(is_growing, PROMPT, "its progress is told")
    assert {(fill["digest"], fill["size_bytes"]) for fill in seen} == {(LAYER.digest, SIZE)}
    lines = _ask(proxy, "/warm", {"images": ["team/large:1"], "platforms": ["all"]})
    assert lines[-1]["summary"]["done"] == 1
    assert _ask(proxy, "/status")[0]["fills"] == []


def test_what_a_scrub_finds_is_counted(crew: tuple[Proxy, Crew]) -> None:
    """Damage that a scrub by the API has found is in the metrics and the log, as any other is."""
    proxy, workers = crew
    pull_all(("127.0.0.1", proxy.port), [Pull(TARGET)])
    path = workers.cache / "blobs" / "sha256" / LAYER.digest[7:9] / LAYER.digest[7:]
    wait_until(path.exists, PROMPT, "it is stored")
    path.write_bytes(b"x" * SIZE)
    lines = _ask(proxy, "/scrub", {})
    assert [line["finding"]["outcome"] for line in lines if "finding" in line] == ["quarantined"]
    with urllib.request.urlopen(f"{proxy.admin_url}/metrics", timeout=PROMPT) as page:
        assert b'cacheproxy_damaged_blobs_total{problem="damaged"} 1.0' in page.read()
    (told,) = [line for line in proxy.log().splitlines() if "stored blob damaged" in line]
    assert json.loads(told)["digest"] == LAYER.digest
