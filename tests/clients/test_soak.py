"""Workers that are killed, and an upstream that fails, under load: nothing wrong, nothing lost."""

import os
import random
import sqlite3
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest

from tests.support.images import OCI_MANIFEST, Blob
from tests.support.parts import wire
from tests.support.parts.crew import Crew, gone, kill
from tests.support.parts.disk import Disk
from tests.support.parts.distant import bulk
from tests.support.parts.faulty import FaultyRegistry, faulty_registry
from tests.support.parts.process import wait_until
from tests.support.parts.proxy import Proxy, proxy
from tests.support.parts.reading import Read, read

SECONDS = float(os.environ.get("CACHEPROXY_SOAK_SECONDS", "20"))

pytestmark = [pytest.mark.clients, pytest.mark.timeout(SECONDS * 2 + 300)]

SEED = 20_151
SIZE = 500_000
WORKING_SET, KEPT = "team/soak", "team/kept"
COUNT, KEPT_COUNT = 120, 3
# A tenth of the working set, beside the images that are pinned.
BUDGET = COUNT * SIZE // 10 + (KEPT_COUNT + 1) * SIZE
CLIENTS, KEPT_CLIENTS = 8, 2
WORKERS = 4
PAUSES = (1.0, 5.0)  # seconds between two kills
SETTLED = 60.0  # seconds

IMAGE = bulk(SEED, SIZE, COUNT)
PINNED = bulk(SEED + 1, SIZE, KEPT_COUNT)
# Upstream sends wrong bytes of these. Parts of them cannot be verified while they come in.
SPOILABLE = frozenset(layer.digest for layer in IMAGE.layers[::8])


@dataclass(slots=True)
class Tally:
    """The result of each pull, and the pulls that must not have ended as they did."""

    results: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)

    def add(self, result: str, fault: str | None = None) -> None:
        """Count a pull; with a fault, one that must not be."""
        self.results[result] += 1
        if fault is not None:
            self.faults.append(fault)


class Killer:
    """Kills a random worker every few seconds, and remembers when."""

    def __init__(self, crew: Crew) -> None:
        self._crew = crew
        self._moments: list[tuple[float, float]] = []
        self.killed: set[int] = set()

    def run(self, end: float) -> None:
        """Kill until a moment of the monotonic clock."""
        dice = random.Random(SEED)
        while (pause := dice.uniform(*PAUSES)) < end - time.monotonic():
            time.sleep(pause)
            if workers := sorted(self._crew.workers()):
                self._kill(dice.choice(workers))

    def excuses(self, begun: float, ended: float) -> bool:
        """Whether a worker was killed between two moments, so that a connection may be cut."""
        return any(before <= ended and after >= begun for before, after in self._moments)

    def _kill(self, worker: int) -> None:
        before = time.monotonic()
        # Clients that are cut meanwhile must find the moment.
        self._moments.append((before, before + 1.0))
        with suppress(ProcessLookupError):
            kill({worker})
        wait_until(lambda: gone({worker}), SETTLED, "the worker is dead")
        # Its other threads may hold its port open for a moment longer.
        self._moments[-1] = (before, time.monotonic() + 0.5)
        self.killed.add(worker)


class Client:
    """Pulls whole blobs and ranges, and hangs up, over and over."""

    def __init__(self, port: int, killer: Killer, number: int) -> None:
        self._port = port
        self._killer = killer
        self._dice = random.Random(number)
        self.tally = Tally()

    def pull_working_set(self, end: float) -> None:
        """Pull what is cached now and then; failures are upstream's, wrong bytes never."""
        at = 0
        while time.monotonic() < end:
            at = (at + self._dice.choice([0, 1, 1, 2])) % COUNT
            layer = IMAGE.layers[at]
            got = self._read(WORKING_SET, layer)
            self.tally.add(got.result, _wrong(got, layer))

    def pull_kept(self, end: float) -> None:
        """Pull what is always cached; nothing may fail but a connection to a killed worker."""
        while time.monotonic() < end:
            layer = self._dice.choice(PINNED.layers)
            begun = time.monotonic()
            got = self._read(KEPT, layer)
            fault = _wrong(got, layer)
            if got.result not in {"whole", "part", "left"}:
                is_excused = got.was_cut and self._killer.excuses(begun, time.monotonic())
                fault = fault or (None if is_excused else f"{got.result} of {layer.digest}")
            self.tally.add(f"kept: {got.result}", fault)
            time.sleep(0.01)

    def _read(self, repository: str, layer: Blob) -> Read:
        start, stop, leave = 0, None, None
        way = self._dice.random()
        if way < 0.2 and layer.digest not in SPOILABLE:
            start = self._dice.randrange(SIZE)
            stop = self._dice.randrange(start, SIZE) + 1
        elif way < 0.4:
            leave = self._dice.randrange(1, SIZE)
        return read(self._port, _target(repository, layer), start, stop, leave)


@pytest.fixture(scope="module")
def registry() -> Iterator[FaultyRegistry]:
    """An upstream that is well until it is told to fail."""
    with faulty_registry(SEED) as running:
        running.hold(WORKING_SET, IMAGE, SPOILABLE)
        running.hold(KEPT, PINNED)
        yield running


def test_workers_that_die_lose_nothing_and_spoil_nothing(
    registry: FaultyRegistry, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """No client gets a wrong byte, no pull of what is cached fails, and nothing leaks."""
    cache = tmp_path / "cache"
    with proxy({"docker.io": _upstream(registry)}, settings=_settings(cache)) as running:
        crew = Crew(running, cache)
        killer = Killer(crew)
        _warm(running)
        registry.break_down()
        with Disk(cache, pause=0.05) as disk:
            tally = _soak(running, killer)
            registry.heal()
            _assert_all_can_be_had(running)
        most = disk.most
        wait_until(lambda: not list((cache / "ingest").iterdir()), SETTLED, "no part is left")
        wait_until(lambda: not _open_content(crew, cache), SETTLED, "no blob is open")
        everyone = crew.everyone()
    with capsys.disabled():
        print(  # noqa: T201  # the summary of a long run is for a person
            f"\nsoak of {SECONDS:g} s: {len(killer.killed)} workers killed, "
            f"{most:,} of {BUDGET:,} bytes on disk at most, pulls {dict(tally.results)}, "
            f"upstream {dict(registry.met)}, faults {tally.faults[:10]}"
        )
    assert tally.faults == []
    assert tally.results["whole"] > 0
    assert tally.results["kept: whole"] > 0
    assert killer.killed
    assert most <= BUDGET
    wait_until(lambda: gone(killer.killed | everyone), SETTLED, "all processes have ended")
    _assert_ledger_is_true(cache)


def _upstream(registry: FaultyRegistry) -> dict[str, object]:
    """Times that are short, so that each fault is met often."""
    breaker = {"pause": "100ms", "longest_pause": "500ms"}
    return {"url": registry.url, "idle_timeout": "1s", "breaker": breaker}


def _settings(cache: Path) -> dict[str, object]:
    directory = {"directory": str(cache), "min_free": "1B", "max_size": str(BUDGET)}
    return {
        "server": {"workers": WORKERS},
        "cache": directory | {"pins": [f"docker.io/{KEPT}:*"]},
        "logging": {"level": "error"},
    }


def _warm(running: Proxy) -> None:
    """Pull the manifests, by which blobs are known, and all that is pinned."""
    for repository in (WORKING_SET, KEPT):
        manifest = f"{running.url}/v2/docker.io/{repository}/manifests/1"
        assert wire.get(manifest, headers={"Accept": OCI_MANIFEST}).status == 200
    for blob in PINNED.blobs:
        target = _target(KEPT, blob)
        assert read(running.port, target).body == blob.body
        wait_until(partial(_is_hit, running, target), SETTLED, "it is in the store")


def _is_hit(running: Proxy, target: str) -> bool:
    return "hit" in (wire.get(running.url + target).headers["Cache-Status"] or "")


def _soak(running: Proxy, killer: Killer) -> Tally:
    """Put on load, kill, and return what the clients have met."""
    end, total = time.monotonic() + SECONDS, Tally()
    clients = [Client(running.port, killer, number) for number in range(CLIENTS + KEPT_CLIENTS)]
    with ThreadPoolExecutor(len(clients)) as pool:
        under_way = [pool.submit(client.pull_working_set, end) for client in clients[:CLIENTS]]
        under_way += [pool.submit(client.pull_kept, end) for client in clients[CLIENTS:]]
        killer.run(end)
        for each in under_way:
            each.result()
    for client in clients:
        total.results += client.tally.results
        total.faults += client.tally.faults
    return total


def _wrong(got: Read, layer: Blob) -> str | None:
    """What is wrong with the bytes that came, if they pass for the blob's."""
    if got.result == "500":
        return f"500 for {layer.digest}"
    if got.result not in {"whole", "part"} and layer.digest in SPOILABLE:
        return None  # cut before the end, which is how wrong bytes of upstream end
    expected = layer.body[got.start : got.start + len(got.body)]
    return None if got.body == expected else f"wrong bytes of {layer.digest}, {got.result}"


def _assert_all_can_be_had(running: Proxy) -> None:
    """Pull each blob once more, also those that were left in the middle."""
    for repository, image in ((WORKING_SET, IMAGE), (KEPT, PINNED)):
        for layer in image.layers:
            is_had = partial(_is_had, running, repository, layer)
            wait_until(is_had, SETTLED, f"{layer.digest} can be had")


def _is_had(running: Proxy, repository: str, layer: Blob) -> bool:
    return read(running.port, _target(repository, layer)).body == layer.body


def _open_content(crew: Crew, cache: Path) -> list[str]:
    """The blobs and parts of blobs that a process of the proxy has open."""
    found = []
    for pid in crew.everyone():
        with suppress(FileNotFoundError, ProcessLookupError):
            for descriptor in Path(f"/proc/{pid}/fd").iterdir():
                with suppress(FileNotFoundError):
                    found.append(str(descriptor.readlink()))
    places = tuple(f"{cache / below}/" for below in ("blobs", "ingest"))
    return [path for path in found if path.startswith(places)]


def _assert_ledger_is_true(cache: Path) -> None:
    """No reservation is left, and the ledger has what is on the disk."""
    with closing(sqlite3.connect(cache / "ledger.db")) as ledger:
        reserved = ledger.execute("SELECT digest FROM reservation").fetchall()
        listed = {row[0].partition(":")[2] for row in ledger.execute("SELECT digest FROM blob")}
    stored = {path.name for path in (cache / "blobs").rglob("*") if path.is_file()}
    assert reserved == []
    assert listed == stored
    assert {blob.digest.partition(":")[2] for blob in PINNED.blobs} <= stored


def _target(repository: str, layer: Blob) -> str:
    return f"/v2/docker.io/{repository}/blobs/{layer.digest}"
