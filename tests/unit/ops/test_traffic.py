"""What was served and fetched: counted once, and kept."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from cacheproxy.domain.events import Source, UpstreamPulled, UpstreamReceived
from cacheproxy.domain.traffic import HOUR, Hours, Totals, Traffic, folded, hour_of
from cacheproxy.ops.traffic_log import TrafficLog
from cacheproxy.ops.traffic_store import TrafficStore
from tests.support.clock import FakeClock
from tests.unit.ops.events import BLOB

NGINX = "docker.io", "library/nginx"
SERVED = replace(BLOB, outcome="hit", body_bytes=1000, source="store")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Of the store."""
    return tmp_path / "traffic.db"


@pytest.fixture
def clock() -> FakeClock:
    """Of the log."""
    return FakeClock()


@pytest.fixture
def log(path: Path, clock: FakeClock) -> Iterator[TrafficLog]:
    """A log that ends with the test."""
    with closing(TrafficLog(path, clock)) as log:
        yield log


def _kept(path: Path) -> tuple[Hours, Totals]:
    with closing(TrafficStore(path)) as store:
        return store.since(0), store.overall()


async def test_what_happens_is_counted_by_hour(
    log: TrafficLog, path: Path, clock: FakeClock
) -> None:
    """Bytes served and fetched are kept by hour and repository, and in all."""
    hour = hour_of(clock.now())
    for event in (SERVED, SERVED, UpstreamReceived("docker.io", 400, NGINX[1])):
        log.observe(event)
    clock.advance(HOUR)
    log.observe(SERVED)
    log.observe(UpstreamReceived("quay.io", 7, "team/app"))
    await log.flush()
    app = ("quay.io", "team/app")
    assert _kept(path) == (
        {
            (hour, *NGINX): Traffic(2, 2000, fetched=400),
            (hour + 1, *NGINX): Traffic(1, 1000),
            (hour + 1, *app): Traffic(fetched=7),
        },
        {NGINX: Traffic(3, 3000, fetched=400), app: Traffic(fetched=7)},
    )


async def test_each_source_has_a_sum_of_its_own(log: TrafficLog, path: Path) -> None:
    """Of what was served it is kept where it came from."""
    sources: tuple[Source, ...] = ("store", "fill", "peer", "upstream")
    for size, source in enumerate(sources, start=1):
        log.observe(replace(SERVED, source=source, body_bytes=size))
    await log.flush()
    assert _kept(path)[1] == {NGINX: Traffic(4, 1, 2, 3, 4)}


async def test_pulls_are_manifests_that_clients_get(log: TrafficLog, path: Path) -> None:
    """A GET of a manifest is a pull, as Docker Hub counts them; a HEAD and a blob are none."""
    log.observe(SERVED)
    asked = replace(SERVED.asked, operation="manifest")
    for method in ("GET", "GET", "GET", "HEAD"):
        log.observe(replace(SERVED, asked=replace(asked, method=method), body_bytes=0))
    log.observe(UpstreamPulled(*NGINX))
    await log.flush()
    sums = _kept(path)[1][NGINX]
    assert (sums.requests, sums.pulls, sums.upstream_pulls, sums.pulls_avoided) == (5, 3, 1, 2)


async def test_errors_serve_nothing(log: TrafficLog, path: Path) -> None:
    """What says that there is nothing to serve is no traffic."""
    log.observe(replace(SERVED, outcome="error", source="none"))
    await log.flush()
    assert _kept(path) == ({}, {})


def test_the_end_writes_the_last_of_it(path: Path, clock: FakeClock) -> None:
    """What was counted since the last time is not lost at an orderly end, nor over restarts."""
    for _ in range(2):
        with closing(TrafficLog(path, clock)) as log:
            log.observe(SERVED)
    assert _kept(path)[1] == {NGINX: Traffic(2, 2000)}


async def test_workers_add_up(path: Path, clock: FakeClock) -> None:
    """Two processes count into the same hours, and none of it twice."""
    with closing(TrafficLog(path, clock)) as one, closing(TrafficLog(path, clock)) as other:
        for _ in range(3):
            one.observe(SERVED)
            other.observe(SERVED)
            await one.flush()
            await other.flush()
    assert _kept(path)[1] == {NGINX: Traffic(6, 6000)}


async def test_a_disk_that_refuses_costs_nothing(
    log: TrafficLog, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What could not be written is written the next time, once."""
    log.observe(SERVED)

    def refuse(*_: object) -> None:
        raise sqlite3.OperationalError("disk I/O error")

    with monkeypatch.context() as patched:
        patched.setattr(TrafficStore, "add", refuse)
        with pytest.raises(sqlite3.OperationalError):
            await log.flush()
    log.observe(SERVED)
    await log.flush()
    assert _kept(path)[1] == {NGINX: Traffic(2, 2000)}


async def test_a_place_that_comes_later(tmp_path: Path, clock: FakeClock) -> None:
    """Where the store cannot be made yet, counting begins all the same."""
    path = tmp_path / "later" / "traffic.db"
    with closing(TrafficLog(path, clock)) as log:
        log.observe(SERVED)
        with pytest.raises(OSError, match="No such file"):
            await log.flush()
        path.parent.mkdir()
        await log.flush()
    assert _kept(path)[1] == {NGINX: Traffic(1, 1000)}


def test_old_hours_are_forgotten(path: Path) -> None:
    """As many hours are kept as were asked for, the latest; the sums are kept for ever."""
    with closing(TrafficStore(path)) as store:
        for hour in (2, 3, 5, 7, 11, 11):
            store.add({(hour, *NGINX): Traffic(1, 1000)}, 3)
    hours, totals = _kept(path)
    assert [hour for hour, _, _ in hours] == [5, 7, 11]
    assert totals == {NGINX: Traffic(6, 6000)}


async def test_a_clock_that_jumps_forgets_nothing(
    log: TrafficLog, path: Path, clock: FakeClock
) -> None:
    """A clock that is set forward by a year, and back, leaves every hour in its place."""
    begin, year = hour_of(clock.now()), 365 * 24
    for _ in range(3):
        log.observe(SERVED)
        await log.flush()
        clock.advance(HOUR)
    clock.set_back(-year * HOUR)
    log.observe(SERVED)
    await log.flush()
    clock.set_back(year * HOUR)
    log.observe(SERVED)
    await log.flush()
    hours, _ = _kept(path)
    assert {hour for hour, _, _ in hours} == {*range(begin, begin + 4), begin + 3 + year}


def test_a_directory_keeps_its_name(path: Path) -> None:
    """Its sums are told under one name, whatever process tells them."""
    with closing(TrafficStore(path)) as one, closing(TrafficStore(path)) as other:
        assert one.replica() == other.replica() == one.replica()


def test_what_was_saved_may_be_less_than_nothing() -> None:
    """More may have come than was asked for: a download that nobody followed to its end."""
    less = Traffic(1, 10, fetched=30)
    assert less.saved == -20
    assert (less + Traffic(2, 60, 30, 8, 2)).saved == 80


def test_only_so_many_repositories_are_named() -> None:
    """Those with the fewest bytes are added up as the rest, and no sum changes by that."""
    totals = {("docker.io", f"team/{size}"): Traffic(1, size) for size in range(1, 6)}
    totals |= {("quay.io", "app"): Traffic(1, fetched=4), ("docker.io", ""): Traffic(7, 70)}
    assert folded(totals, 3) == {
        ("docker.io", "team/5"): Traffic(1, 5),
        ("docker.io", "team/4"): Traffic(1, 4),
        ("quay.io", "app"): Traffic(1, fetched=4),
        ("docker.io", ""): Traffic(10, 76),
    }
    assert folded(totals, 6) == totals


def test_a_flood_of_repositories_is_bounded(path: Path) -> None:
    """However many there are, an hour has so many rows, and the sums are exact."""
    with closing(TrafficStore(path)) as store:
        for start in range(0, 3000, 30):
            numbers = range(start, start + 30)
            store.add({(9, "docker.io", f"r/{n}"): Traffic(1, n) for n in numbers}, 1)
        hours, overall = store.since(0), store.overall()
    assert len(hours) <= 101
    assert len(overall) <= 1001
    for rows in (hours.values(), overall.values()):
        assert sum(row.requests for row in rows) == 3000
        assert sum(row.served for row in rows) == sum(range(3000))
    assert hours[9, "docker.io", "r/2999"] == Traffic(1, 2999)


def test_what_the_first_version_wrote_is_taken_over(path: Path) -> None:
    """A store of before repositories were counted keeps its sums, as those of the rest."""
    with closing(sqlite3.connect(path)) as old:
        old.executescript(
            "CREATE TABLE traffic (hour, registry, requests, served, fetched);"
            "CREATE TABLE total (registry, requests, served, fetched);"
            "CREATE TABLE replica (name);"
            "INSERT INTO traffic VALUES (9, 'docker.io', 2, 30, 10);"
            "INSERT INTO total VALUES ('docker.io', 5, 70, 20);"
            "INSERT INTO replica VALUES ('abc');"
        )
    for _ in range(2):
        with closing(TrafficStore(path)) as store:
            assert store.since(0) == {(9, "docker.io", ""): Traffic(2, 30, fetched=10)}
            assert store.overall() == {("docker.io", ""): Traffic(5, 70, fetched=20)}
            assert store.replica() == "abc"


def test_what_a_later_version_wrote_is_left_alone(path: Path) -> None:
    """An older program does not touch it."""
    with closing(sqlite3.connect(path)) as later:
        later.execute("PRAGMA user_version = 3")
    with pytest.raises(sqlite3.DatabaseError, match="later version"):
        TrafficStore(path)
