"""Workers that are killed every now and then, under load: nothing wrong, nothing lost."""

import os
import random
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.support.images import OCI_MANIFEST, Blob
from tests.support.parts import wire
from tests.support.parts.crew import Crew, gone, kill
from tests.support.parts.distant import DistantRegistry, bulk, distant_registry
from tests.support.parts.process import wait_until
from tests.support.parts.proxy import Proxy, proxy
from tests.support.parts.resuming import Resuming

SECONDS = float(os.environ.get("CACHEPROXY_SOAK_SECONDS", "20"))

pytestmark = [pytest.mark.clients, pytest.mark.timeout(SECONDS * 2 + 120)]

REPOSITORY = "team/soak"
RATE = "200mbit"
SIZE = 2_500_000
# So many that there is always something cold: a tenth of a second each on this link.
COUNT = int(SECONDS * 10)
CLIENTS = 12
WORKERS = 4
PAUSES = (1.0, 3.0)  # seconds between two kills
SEED = 20_151


@dataclass(slots=True)
class Tally:
    """What the clients of the soak have met."""

    whole: int = 0
    resumed: int = 0
    wrong: list[str] = field(default_factory=list)


@pytest.fixture(scope="module")
def registry() -> Iterator[DistantRegistry]:
    with distant_registry(RATE) as running:
        running.hold(REPOSITORY, bulk(SEED, SIZE, COUNT))
        yield running


def test_workers_that_die_lose_nothing_and_spoil_nothing(
    registry: DistantRegistry, tmp_path: Path
) -> None:
    """Under load and kills no client gets a wrong byte, and every download comes to its end."""
    cache = tmp_path / "cache"
    settings = {"server": {"workers": WORKERS}, "cache": {"directory": str(cache)}}
    layers = bulk(SEED, SIZE, COUNT).layers
    with proxy({"docker.io": registry.url}, settings=settings) as running:
        crew = Crew(running, cache)
        manifest = f"{running.url}/v2/docker.io/{REPOSITORY}/manifests/1"
        wire.get(manifest, headers={"Accept": OCI_MANIFEST})
        killed, tally = _soak(running, crew, layers)
        _assert_all_can_be_had(running, layers)
        wait_until(lambda: not list((cache / "ingest").iterdir()), 30.0, "no part is left")
        everyone = crew.everyone()

    assert tally.wrong == []
    assert tally.whole > 0
    assert killed
    wait_until(lambda: gone(killed | everyone), 20.0, "all processes have ended")
    kept = {path.name for path in (cache / "blobs").rglob("*") if path.is_file()}
    assert {layer.digest.partition(":")[2] for layer in layers} <= kept


def _soak(running: Proxy, crew: Crew, layers: tuple[Blob, ...]) -> tuple[set[int], Tally]:
    """Load and kills for the time that was asked for; who was killed, and what clients met."""
    end, tally = time.monotonic() + SECONDS, Tally()
    with ThreadPoolExecutor(CLIENTS) as pool:
        clients = [pool.submit(_pull_on, running, layers, n, end) for n in range(CLIENTS)]
        killed = _kill_on(crew, end)
        for client in clients:
            seen = client.result()
            tally.whole += seen.whole
            tally.resumed += seen.resumed
            tally.wrong += seen.wrong
    return killed, tally


def _kill_on(crew: Crew, end: float) -> set[int]:
    """Kills a worker every now and then: rather one that writes than one that does not."""
    dice, killed = random.Random(SEED), set[int]()
    while (pause := dice.uniform(*PAUSES)) < end - time.monotonic():
        time.sleep(pause)
        workers = crew.workers()
        chosen = sorted(crew.writers() & workers or workers)
        if chosen:
            killed.add(victim := dice.choice(chosen))
            kill({victim})
    return killed


def _pull_on(running: Proxy, layers: tuple[Blob, ...], number: int, end: float) -> Tally:
    """Pulls one blob after the other; clients go the same way, so that many meet."""
    dice, tally, at = random.Random(number), Tally(), 0
    while time.monotonic() < end:
        layer = layers[at % len(layers)]
        at += dice.choice([0, 1, 1, 2])
        pull = Resuming(running.port, _target(layer), SIZE)
        pull.run(end + 30.0)
        tally.whole += pull.whole
        tally.resumed += pull.broke and pull.whole
        if pull.whole and pull.digest != layer.digest:
            tally.wrong.append(layer.digest)
    return tally


def _assert_all_can_be_had(running: Proxy, layers: tuple[Blob, ...]) -> None:
    """Also what was left in the middle: each is taken up again, and is right."""
    with ThreadPoolExecutor(CLIENTS) as pool:
        pulls = [Resuming(running.port, _target(layer), SIZE) for layer in layers]
        deadline = time.monotonic() + 60.0 + SECONDS
        list(pool.map(lambda pull: pull.run(deadline), pulls))
    assert [pull.digest for pull in pulls] == [layer.digest for layer in layers]


def _target(layer: Blob) -> str:
    return f"/v2/docker.io/{REPOSITORY}/blobs/{layer.digest}"
