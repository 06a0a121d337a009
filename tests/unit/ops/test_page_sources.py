"""Numbers on the page of metrics that nobody counts."""

import sqlite3
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path

import pytest
from prometheus_client.core import Metric

import cacheproxy
from cacheproxy.domain.traffic import REST, Totals, Traffic
from cacheproxy.ops.metrics import BuildInfo, Prices, Reloads, RepositoryBytes
from cacheproxy.ops.traffic_store import TrafficStore, overall_in
from tests.support.clock import FakeClock

NGINX = ("docker.io", "library/nginx")


def _samples(families: Iterable[Metric]) -> dict[tuple[str, ...], float]:
    return {
        (sample.name.removeprefix("cacheproxy_"), *sample.labels.values()): sample.value
        for family in families
        for sample in family.samples
    }


class Book:
    """Traffic of all time, and how often somebody has read it."""

    def __init__(self) -> None:
        self.totals: Totals = {}
        self.is_locked = False
        self.reads = 0

    def read(self) -> Totals:
        """As the store does."""
        self.reads += 1
        if self.is_locked:
            raise sqlite3.OperationalError("database is locked")
        return dict(self.totals)


@pytest.fixture
def book() -> Book:
    """An empty one."""
    return Book()


@pytest.fixture
def clock() -> FakeClock:
    """Of the page."""
    return FakeClock()


@pytest.fixture
def repositories(book: Book, clock: FakeClock) -> RepositoryBytes:
    """What the page says of that book."""
    return RepositoryBytes(book.read, clock)


def test_a_repository_has_its_three_numbers(book: Book, repositories: RepositoryBytes) -> None:
    """Served, fetched and saved; what is not listed by name is listed as such."""
    book.totals = {
        NGINX: Traffic(from_store=700, from_fill=200, from_peer=60, from_upstream=40, fetched=300),
        ("quay.io", REST): Traffic(from_store=5, fetched=9),
    }
    assert _samples(repositories.collect()) == {
        ("repository_served_bytes", *NGINX): 1000,
        ("repository_fetched_bytes", *NGINX): 300,
        ("repository_saved_bytes", *NGINX): 700,
        ("repository_served_bytes", "quay.io", "(other)"): 5,
        ("repository_fetched_bytes", "quay.io", "(other)"): 9,
        ("repository_saved_bytes", "quay.io", "(other)"): -4,
    }


def test_the_page_stays_short(book: Book, repositories: RepositoryBytes) -> None:
    """Of very many repositories the twenty largest are named, and no byte is left out."""
    book.totals = {("docker.io", f"app/{n}"): Traffic(from_store=n) for n in range(1, 501)}
    served = {
        key[2]: value
        for key, value in _samples(repositories.collect()).items()
        if key[0] == "repository_served_bytes"
    }
    assert served.keys() == {"(other)", *(f"app/{n}" for n in range(481, 501))}
    assert sum(served.values()) == sum(range(1, 501))


def test_the_store_is_not_read_for_each_page(
    book: Book, repositories: RepositoryBytes, clock: FakeClock
) -> None:
    """Within ten seconds the page says again what it said; then it looks."""
    assert not _samples(repositories.collect())
    book.totals = {NGINX: Traffic(from_store=1)}
    clock.advance(9.9)
    assert not _samples(repositories.collect())
    assert book.reads == 1
    clock.advance(0.2)
    assert _samples(repositories.collect())
    assert book.reads == 2


def test_a_store_that_cannot_be_read_costs_nothing(
    book: Book, repositories: RepositoryBytes, clock: FakeClock
) -> None:
    """The page goes on with what was read last, and does not try again at once."""
    book.totals = {NGINX: Traffic(from_store=1)}
    before = _samples(repositories.collect())
    book.totals, book.is_locked = {}, True
    clock.advance(11)
    for _ in range(2):
        assert _samples(repositories.collect()) == before
    assert book.reads == 2


def test_names_are_known_without_reading(book: Book, repositories: RepositoryBytes) -> None:
    """What is asked for its names only reads nothing."""
    assert len(list(repositories.describe())) == 3
    assert book.reads == 0


def test_another_process_reads_what_is_stored(tmp_path: Path) -> None:
    """While one process counts into the store, another one reads it, and changes nothing."""
    path = tmp_path / "traffic.db"
    with pytest.raises(sqlite3.Error):
        overall_in(path)
    assert not path.exists()
    with closing(TrafficStore(path)) as store:
        assert overall_in(path) == {}
        counted = Traffic(2, from_store=9, fetched=4, pulls=1)
        store.add({(7, *NGINX): counted}, 1)
        assert overall_in(path) == {NGINX: counted}
        writing = sqlite3.connect(path, isolation_level=None)
        with closing(writing):
            writing.execute("BEGIN IMMEDIATE")
            assert overall_in(path) == {NGINX: counted}
    assert overall_in(path) == {NGINX: counted}


def test_a_price_is_that_of_today() -> None:
    """Prices are read when the page is, and upstreams without one have none."""
    known = {"docker.io": 0.09}
    prices = Prices(lambda: ("EUR", known))
    assert _samples(prices.collect()) == {("price_per_gigabyte", "docker.io", "EUR"): 0.09}
    known.clear()
    assert _samples(prices.collect()) == {}


def test_a_reload_that_failed_shows_until_one_succeeds() -> None:
    """The last reload's success is shown, and the time of the configuration in force."""
    success = ("config_last_reload_success",)
    since = ("config_last_reload_success_timestamp_seconds",)
    reloads = Reloads(100.0)
    assert _samples(reloads.collect()) == {success: 1, since: 100}
    reloads.failed()
    assert _samples(reloads.collect()) == {success: 0, since: 100}
    reloads.succeeded(300.0)
    assert _samples(reloads.collect()) == {success: 1, since: 300}


def test_the_version_is_a_label() -> None:
    """What runs can be joined to any number of it."""
    ((name, version, _),) = _samples(BuildInfo().collect())
    assert (name, version) == ("build_info", cacheproxy.__version__)
