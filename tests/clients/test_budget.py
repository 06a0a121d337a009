"""The disk budget of several workers on a real disk: never too much, never a client's error."""

import hashlib
import sqlite3
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from functools import cache
from pathlib import Path

import pytest

from tests.clients.catalogue import Entry
from tests.support import images
from tests.support.parts import wire
from tests.support.parts.disk import Disk
from tests.support.parts.link import CountedLink, counted_link
from tests.support.parts.process import wait_until
from tests.support.parts.proxy import Proxy, proxy
from tests.support.parts.registry import DockerRegistry, docker_registry
from tests.support.parts.scratch import scratch
from tests.support.parts.volume import small_volume

pytestmark = pytest.mark.clients

MIB = 1024 * 1024
BUDGET = 8 * MIB
SMALL_VOLUME = 24 * MIB
CLIENTS = 4  # whose downloads take less than the budget, so that what is hot can stay
WORKERS = {"server": {"workers": 4}}

HOT = Entry("library/hot", "1", images.image([images.layer(1, 300_000)]))
LARGE = Entry("library/large", "1", images.image([images.layer(2, BUDGET + MIB)]))


@cache
def _cold() -> list[Entry]:
    """Made when they are first needed: whoever only looks which tests there are waits for none."""
    return [
        Entry(f"library/cold-{n}", "1", images.image([images.layer(100 + n, 1_400_000)]))
        for n in range(60)
    ]


@pytest.fixture(scope="module")
def registry() -> Iterator[DockerRegistry]:
    """An upstream with ten times as much as the budget allows."""
    with docker_registry() as running:
        for entry in (HOT, LARGE, *_cold()):
            images.push(running.push_url, entry.repository, entry.image, entry.tag)
        yield running


def _pull(running: Proxy, entry: Entry) -> str | None:
    """Pull an image as a container engine does; what went wrong, if anything did."""
    base = f"{running.url}/v2/docker.io/{entry.repository}"
    targets = [f"{base}/manifests/{entry.tag}"]
    targets += [f"{base}/blobs/{digest}" for digest in entry.image.all_blobs]
    for target, digest in zip(targets, [entry.image.digest, *entry.image.all_blobs], strict=True):
        try:
            answer = wire.get(target)
        except Exception as error:  # noqa: BLE001  # whatever it is, a client has met it
            return f"{target}: {error!r}"
        found = "sha256:" + hashlib.sha256(answer.body).hexdigest()
        if (answer.status, found) != (200, digest):
            return f"{target}: {answer.status}, {len(answer.body)} bytes"
    return None


def _pull_all(running: Proxy, entries: list[Entry]) -> list[str]:
    """What went wrong for several clients that pull all these, and a hot one in between."""

    def client(number: int) -> list[str | None]:
        start = number * len(entries) // CLIENTS
        mine = [*entries[start:], *entries[:start]][: 2 * len(entries) // CLIENTS]
        return [_pull(running, entry) for cold in mine for entry in (cold, HOT)]

    with ThreadPoolExecutor(CLIENTS) as pool:
        met = [problem for problems in pool.map(client, range(CLIENTS)) for problem in problems]
    assert len(met) >= 4 * len(entries) - 4 * CLIENTS
    return [problem for problem in met if problem is not None]


@contextmanager
def _behind(link: CountedLink, directory: Path, **cache: str) -> Iterator[Proxy]:
    """A proxy of four workers with its cache in a directory."""
    settings = WORKERS | {"cache": {"directory": str(directory), "min_free": "1B", **cache}}
    with proxy({"docker.io": link.url}, settings=settings) as running:
        yield running


def _heat(directory: Path, digest: str) -> float:
    """How hot a blob is, as far as it is written down."""
    with closing(sqlite3.connect(directory / "ledger.db")) as ledger:
        row = ledger.execute("SELECT heat FROM blob WHERE digest = ?", (digest,)).fetchone()
    return row[0] if row else 0.0


def _gets(link: CountedLink, digest: str) -> int:
    return sum(c.method == "GET" and c.target.endswith(digest) for c in link.crossings)


def test_the_disk_never_holds_more_than_it_may(registry: DockerRegistry) -> None:
    """Ten times the budget is pulled: the disk stays within, what is hot stays, no pull fails."""
    with scratch() as directory, counted_link(registry.port) as link:
        with (
            _behind(link, directory / "cache", max_size=str(BUDGET)) as running,
            Disk(directory / "cache") as disk,
        ):
            assert [_pull(running, HOT) for _ in range(30)] == [None] * 30
            (layer,) = HOT.image.layers
            wait_until(
                lambda: _heat(directory / "cache", layer.digest) > 10, 15.0, "uses are written"
            )
            assert _pull_all(running, _cold()) == []
            assert _pull(running, LARGE) is None
            evicted = running.log().count('"event":"evicted"')
        assert BUDGET / 2 < disk.most <= BUDGET
        assert disk.looks > 100
        assert evicted > len(_cold()) / 2
        assert _gets(link, layer.digest) == 1


@contextmanager
def _somebody_fills(volume: Path) -> Iterator[None]:
    """Another program takes all that is left of a volume, and gives it back, over and over."""
    ended = threading.Event()

    def fill() -> None:
        while not ended.is_set():
            with suppress(OSError), (volume / "filler").open("wb", buffering=0) as file:
                while not ended.is_set():
                    file.write(bytes(65536))
            time.sleep(0.1)
            (volume / "filler").unlink(missing_ok=True)
            time.sleep(0.2)

    filling = threading.Thread(target=fill, name="filler")
    filling.start()
    try:
        yield
    finally:
        ended.set()
        filling.join()
        (volume / "filler").unlink(missing_ok=True)


@pytest.mark.parametrize("shared", [False, True], ids=["alone", "shared with another program"])
def test_a_full_volume_is_no_clients_error(registry: DockerRegistry, shared: bool) -> None:
    """On a volume that is full, by our doing or another's, each client gets all of its bytes."""
    with (
        scratch() as directory,
        counted_link(registry.port) as link,
        small_volume(directory / "volume", SMALL_VOLUME) as volume,
        _behind(link, volume / "cache", max_size="1GiB") as running,
    ):
        if shared:
            with _somebody_fills(volume):
                assert _pull_all(running, _cold()) == []
        else:
            assert _pull_all(running, _cold()) == []
        assert _pull_all(running, [*_cold()[:10], LARGE]) == []
        wait_until(lambda: _is_served_from_the_store(running), 10.0, "the cache caches again")


def _is_served_from_the_store(running: Proxy) -> bool:
    """Whether an image that is pulled twice comes from the disk the second time."""
    assert _pull(running, HOT) is None
    (layer,) = HOT.image.layers
    url = f"{running.url}/v2/docker.io/{HOT.repository}/blobs/{layer.digest}"
    return "hit" in (wire.get(url).headers["Cache-Status"] or "")


def test_the_budget_is_true_of_what_is_there_after_a_restart(registry: DockerRegistry) -> None:
    """Four workers that start at once on a full cache with a smaller budget keep to it."""
    with scratch() as directory, counted_link(registry.port) as link:
        with _behind(link, directory / "cache", max_size=str(4 * BUDGET)) as running:
            assert _pull_all(running, _cold()[:12]) == []
        with _behind(link, directory / "cache", max_size=str(BUDGET)) as running:
            assert _pull_all(running, _cold()[12:18]) == []
            with Disk(directory / "cache") as disk:
                assert _pull_all(running, _cold()[18:24]) == []
        assert disk.most <= BUDGET


def test_configured_sizes_are_shown(registry: DockerRegistry) -> None:
    """What the cache may hold and holds is on the metrics page of all workers together."""
    with (
        scratch() as directory,
        counted_link(registry.port) as link,
        _behind(link, directory / "cache", max_size="8MiB") as running,
    ):
        assert _pull(running, _cold()[0]) is None
        page = wire.get(running.admin_url + "/metrics").body.decode()
    shown = dict(line.rsplit(" ", 1) for line in page.splitlines() if not line.startswith("#"))
    assert float(shown["cacheproxy_store_max_bytes"]) == BUDGET
    assert 1_400_000 < float(shown["cacheproxy_store_bytes"]) < BUDGET
