import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from cacheproxy.cli import progress
from cacheproxy.domain.accesses import Access, prefix_of
from cacheproxy.ops.access_records import MAGIC, encoded
from cacheproxy.ops.access_segments import SegmentWriter
from tests.support.accesses import access
from tests.support.cached import Cached
from tests.support.ledgers import NOW, digest_of

Run = Callable[..., Result]

MIB = 1024 * 1024
HOUR = 3600.0
LRU = ("--policy", "lru")
# Room for two: a, b, a, c, b. In two, a is a hit, c evicts b, and b is fetched again; three
# keep all; one keeps none.
PULLS = "abacb"
SIZES = "1MiB,2MiB,3MiB"
TODAY = {"CACHEPROXY__CACHE__MAX_SIZE": "2MiB", "CACHEPROXY__CACHE__POLICY": "lru"}


def _record(cache: Cached, accesses: list[tuple[str, Access]]) -> None:
    records = b"".join(encoded(made, prefix_of(digest_of(name))) for name, made in accesses)
    SegmentWriter(cache.layout.accesses, 64 * MIB).append(records)


def _pull(cache: Cached, names: str = PULLS, begin: float = 0.0, **fields: Any) -> None:
    """Pull blobs of 1 MiB, an hour apart."""
    _record(
        cache,
        [(n, access(n, begin + i * HOUR, **{"size": MIB, **fields})) for i, n in enumerate(names)],
    )


def _planned(run: Run, *arguments: str, **environ: str) -> Any:
    result = run("plan", "--json", *arguments, **{**TODAY, **environ})
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def _rows(report: Any, key: str) -> dict[tuple[int, str], Any]:
    return {(row["max_size"] // MIB, row["policy"]): row[key] for row in report["rows"]}


def test_a_small_trace_comes_to_what_a_hand_computes(run: Run, cache: Cached) -> None:
    """Each size's upstream bytes, hits, and what it saves against today's."""
    _pull(cache)
    report = _planned(run, "--max-size", SIZES, *LRU)
    assert _rows(report, "upstream_bytes") == {
        (1, "lru"): 5 * MIB,
        (1, "foresight"): 4 * MIB,
        (2, "lru"): 4 * MIB,
        (2, "foresight"): 3 * MIB,
        (3, "lru"): 3 * MIB,
        (3, "foresight"): 3 * MIB,
    }
    assert _rows(report, "hits") == {
        (1, "lru"): 0,
        (1, "foresight"): 1,
        (2, "lru"): 1,
        (2, "foresight"): 2,
        (3, "lru"): 2,
        (3, "foresight"): 2,
    }
    assert _rows(report, "saved_bytes")[3, "lru"] == MIB
    assert _rows(report, "saved_bytes")[1, "lru"] == -MIB
    assert _rows(report, "byte_hit_ratio")[2, "lru"] == pytest.approx(0.2)
    assert _rows(report, "hit_ratio")[3, "lru"] == pytest.approx(0.4)
    assert [key for key, is_today in _rows(report, "is_today").items() if is_today] == [(2, "lru")]
    assert report["everything_kept"]["upstream_bytes"] == 3 * MIB
    assert report["basis"] == {
        "accesses": 5,
        "blobs": 3,
        "blob_bytes": 3 * MIB,
        "served_bytes": 5 * MIB,
        "since": NOW,
        "until": NOW + 4 * HOUR,
        "accesses_before": 0,
        "newer_segments": 0,
        "foreign_segments": 0,
        "is_weak": True,
    }


def test_a_plan_is_a_table(run: Run, cache: Cached) -> None:
    """What it is based on, a row for each size and policy, and today's marked."""
    _pull(cache)
    result = run("plan", "--max-size", SIZES, *LRU, **TODAY)
    assert result.exit_code == 0
    basis, begin, end, *_ = text = result.stdout.splitlines()
    assert basis == "5 accesses to 3 blobs of 3.0 MiB; clients got 5.0 MiB"
    assert begin.startswith("  from 2023-11-14 22:13:20 UTC (")
    assert end.startswith("  to   2023-11-15 02:13:20 UTC (")
    assert text[3:5] == [
        "  a weak base: it spans 4 hours, so what is pulled once a week says little in it",
        "  a weak base: it has only 5 accesses",
    ]
    assert [line.rstrip() for line in text[6:14]] == [
        "     max_size  policy     byte hits    hits     upstream  than today",
        "      1.0 MiB  lru             0.0%    0.0%      5.0 MiB  1.0 MiB more (25.0%)",
        "               foresight      20.0%   20.0%      4.0 MiB  the same",
        "*     2.0 MiB  lru            20.0%   20.0%      4.0 MiB",
        "               foresight      40.0%   40.0%      3.0 MiB  1.0 MiB less (25.0%)",
        "      3.0 MiB  lru            40.0%   40.0%      3.0 MiB  1.0 MiB less (25.0%)",
        "               foresight      40.0%   40.0%      3.0 MiB  1.0 MiB less (25.0%)",
        "  all is kept                 40.0%   40.0%      3.0 MiB  1.0 MiB less (25.0%)",
    ]


def test_by_default_all_policies_in_half_to_four_times(run: Run, cache: Cached) -> None:
    """Without options there is a choice to look at."""
    _pull(cache)
    rows = _rows(_planned(run), "is_today")
    policies = ("lru", "lfu-decay", "gdsf-decay", "foresight")
    assert list(rows) == [(size, policy) for size in (1, 2, 4, 8) for policy in policies]


def test_today_is_always_among_them(run: Run, cache: Cached) -> None:
    """What is asked for is compared with what is configured, whatever was asked for."""
    _pull(cache)
    rows = _rows(_planned(run, "--max-size", "3MiB", "--policy", "gdsf-decay"), "is_today")
    assert list(rows.items()) == [
        ((2, "gdsf-decay"), False),
        ((2, "lru"), True),
        ((2, "foresight"), False),
        ((3, "gdsf-decay"), False),
        ((3, "foresight"), False),
    ]


def test_a_share_is_of_the_volume(run: Run, cache: Cached) -> None:
    """Sizes are written as in the configuration; one beyond the volume is said to be."""
    _pull(cache)
    report = _planned(run, "--max-size", "50%", *LRU)
    assert report["rows"][-1]["max_size"] == report["volume_bytes"] // 2
    text = run("plan", "--max-size", "4096TiB", **TODAY).stdout
    assert text.splitlines()[-1].endswith(", less than 4.0 PiB.")


def test_since_counts_the_last_ones(run: Run, cache: Cached) -> None:
    """What came before fills the cache, so that what is asked for again is a hit."""
    now = time.time()
    _pull(cache, "ab", begin=now - NOW - 30 * HOUR)
    _pull(cache, "ac", begin=now - NOW - 10 * HOUR)
    report = _planned(run, "--since", "20h", "--max-size", "3MiB", *LRU)
    assert report["basis"]["accesses"] == 2
    assert report["basis"]["accesses_before"] == 2
    assert _rows(report, "upstream_bytes")[3, "lru"] == MIB
    text = run("plan", "--since", "20h", **TODAY).stdout
    assert "  2 accesses before that fill the caches, and do not count" in text.splitlines()


def test_what_is_pinned_today_stays(run: Run, cache: Cached) -> None:
    """Pins are known by what their tags name now, with all that it refers to."""
    _pull(cache)
    with cache.ledger() as ledger:
        ledger.name("docker.io/library/app:1", digest_of("b"))
    pins = {"CACHEPROXY__CACHE__PINS": "docker.io/library/app:*"}
    assert _rows(_planned(run, *LRU, **pins), "hits")[2, "lru"] == 2


def test_what_is_idle_goes(run: Run, cache: Cached) -> None:
    """With `cache.idle_for`, the plan's caches forget as the server does."""
    _pull(cache)
    idle = {"CACHEPROXY__CACHE__IDLE_FOR": "90m"}
    assert _rows(_planned(run, *LRU, **idle), "hits")[8, "lru"] == 0


def test_segments_that_were_left_out_are_said(run: Run, cache: Cached) -> None:
    """What a later version has written, or nobody knows what, is no error."""
    _pull(cache)
    for number, content in ((7, MAGIC + bytes(8)), (8, b"?" * 100), (9, b"?" * 100)):
        Path(cache.layout.accesses / f"{number:010}.log").write_bytes(content)
    text = run("plan", **TODAY).stdout.splitlines()
    assert "  left out: 1 segment of a later version of cacheproxy" in text
    assert "  left out: 2 segments that cannot be read" in text


def test_a_long_record_is_no_weak_base(run: Run, cache: Cached) -> None:
    """A week of a thousand accesses is worth a look."""
    _pull(cache, "ab" * 500)
    assert _planned(run, *LRU)["basis"]["is_weak"] is False
    assert "weak" not in run("plan", *LRU, **TODAY).stdout


def test_nothing_is_recorded_yet(run: Run, cache: Cached) -> None:
    """Without accesses the code is 1, and it says where they would be and what to do."""
    result = run("plan")
    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr == (
        "cacheproxy: there is nothing to plan with: no access is recorded in cache/accesses; the "
        "server records what it serves, unless cache.access_log is 0. Some days of pulls are "
        "worth waiting for\n"
    )


def test_nothing_in_that_time(run: Run, cache: Cached) -> None:
    """With --since, what is older is said to be there."""
    _pull(cache)
    result = run("plan", "--since", "7d")
    assert result.exit_code == 1
    assert "nothing was served in that time; 5 accesses before it" in result.stderr


def test_all_of_it_is_of_a_later_version(run: Run, cache: Cached) -> None:
    """After a downgrade, that is the reason that is given."""
    cache.layout.accesses.mkdir()
    (cache.layout.accesses / "0000000001.log").write_bytes(MAGIC + bytes(8))
    result = run("plan")
    assert result.exit_code == 1
    assert "was written by a later version of cacheproxy" in result.stderr


def test_there_is_no_cache(run: Run) -> None:
    """As for the other commands."""
    result = run("plan", CACHEPROXY__CACHE__DIRECTORY="nowhere")
    assert result.exit_code == 1
    assert "there is no cache in " in result.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--max-size", "100G"), "ambiguous"),
        (("--max-size", "1GiB,,2GiB"), "is not a size"),
        (("--max-size", "120%"), "at most 100%"),
        (("--policy", "fifo"), "'fifo' is not one of"),
        (("--since", "7"), "has no unit"),
        (("--since", "0s"), "must be longer than 0s"),
    ],
)
def test_a_wrong_option_is_code_2(
    run: Run, cache: Cached, arguments: tuple[str, ...], said: str
) -> None:
    """What is wrong is said, before anything is read."""
    result = run("plan", *arguments)
    assert result.exit_code == 2
    assert said in result.stderr


def test_progress_goes_to_standard_error(
    run: Run, cache: Cached, monkeypatch: pytest.MonkeyPatch
) -> None:
    """How far it is comes to the log's bytes, once to read it and once for each replay."""
    monkeypatch.setattr(progress, "_LINE_SECONDS", 0.0)
    _pull(cache, "ab" * 10_000)
    result = run("plan", "--max-size", "2MiB", *LRU, **TODAY)
    lines = result.stderr.splitlines()
    assert lines[0] == "390.6 KiB of 2.3 MiB"
    assert lines[-1] == "2.3 MiB of 2.3 MiB"
    assert len(lines) >= 6
