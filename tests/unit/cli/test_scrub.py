import fcntl
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from cacheproxy.cli.progress import ProgressLines
from cacheproxy.storage import scrub as scrubbing
from cacheproxy.storage.open_file import OpenFile
from tests.support.cached import Cached
from tests.support.clock import FakeClock

Run = Callable[..., Result]


def test_all_is_well(run: Run, cache: Cached) -> None:
    """A store that is right is counted, and the code is 0."""
    cache.blob(b"a" * 2048)
    cache.blob(b"b")
    result = run("scrub")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == (
        "2 blobs checked, 2.0 KiB, 0 seconds\nall are what their digests say\n"
    )


def test_what_is_mended_is_said(run: Run, cache: Cached) -> None:
    """Each finding has its line as it comes, the summary adds up, and the code is 0."""
    damaged, missing = cache.blob(b"right"), cache.blob(b"missing")
    cache.write(damaged, b"wrong")
    cache.path(missing).unlink()
    result = run("scrub")
    lines = result.stdout.splitlines()
    assert result.exit_code == 0
    assert lines[0].startswith(f"{damaged}: damaged, quarantined: its 5 bytes are sha256:")
    assert lines[1] == f"{missing}: missing, struck out: the file was gone"
    assert lines[3:] == ["1 moved to cache/quarantine", "1 struck out of the ledger"]
    assert run("scrub").stdout.splitlines()[1] == "all are what their digests say"


def test_what_cannot_be_mended_is_code_1(
    run: Run, cache: Cached, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A damaged blob that clients go on reading is left, and the code is 1."""
    monkeypatch.setattr(scrubbing, "_TRIES", 2)
    path = cache.write(cache.blob(b"right"), b"wrong")
    with path.open("rb") as reader:
        fcntl.flock(reader, fcntl.LOCK_SH)
        result = run("scrub")
    assert result.exit_code == 1
    assert result.stdout.splitlines()[-1] == (
        "1 left, because clients are reading them; scrub again later"
    )
    assert path.exists()


def test_json_is_one_object(run: Run, cache: Cached) -> None:
    """With --json there is one object on standard output, and nothing else."""
    digest = cache.blob(b"right")
    cache.write(digest, b"wrong")
    result = run("scrub", "--json")
    assert result.exit_code == 0
    report = json.loads(result.stdout)
    assert [(f["digest"], f["problem"], f["outcome"]) for f in report.pop("findings")] == [
        (digest, "damaged", "quarantined")
    ]
    assert report == {
        "ok": True,
        "checked": 1,
        "bytes": 5,
        "quarantine": "cache/quarantine",
        "stopped_after": None,
    }


def test_it_can_be_stopped_and_taken_up(
    run: Run, cache: Cached, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C ends it with what it has, and where to go on; --after goes on from there."""
    digests = sorted(cache.blob(bytes([n])) for n in range(4))
    reads = iter(range(10))

    read = OpenFile.read_uncached

    def interrupted(file: OpenFile, offset: int, length: int) -> bytes:
        if next(reads) == 4:  # each blob is read twice: its byte, and its end
            raise KeyboardInterrupt
        return read(file, offset, length)

    monkeypatch.setattr(OpenFile, "read_uncached", interrupted)
    result = run("scrub")
    monkeypatch.undo()
    assert result.exit_code == 130
    assert result.stdout.splitlines() == [
        "2 blobs checked, 2 bytes, 0 seconds",
        "stopped; what was found until then is mended",
        f"to go on from here: cacheproxy scrub --after {digests[1]}",
    ]


def test_after_leaves_out_what_comes_before(run: Run, cache: Cached) -> None:
    """Blobs up to the one that is named are not read again."""
    digests = sorted(cache.blob(bytes([n])) for n in range(4))
    assert run("scrub", "--after", digests[1]).stdout.startswith("2 blobs checked, 2 bytes")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--rate", "fast"), "is not a size"),
        (("--rate", "0"), "at least one byte"),
        (("--after", "sha256:12"), "is not a sha256 or sha512 digest"),
    ],
)
def test_a_wrong_value_is_code_2(
    run: Run, cache: Cached, arguments: tuple[str, ...], said: str
) -> None:
    """What cannot be a rate or a digest is refused before anything is read."""
    result = run("scrub", *arguments)
    assert result.exit_code == 2
    assert said in result.stderr


def test_the_rate_may_be_written_per_second(run: Run, cache: Cached) -> None:
    """100MiB/s is what 100MiB means."""
    assert run("scrub", "--rate", "100MiB/s").exit_code == 0


@pytest.mark.parametrize("command", [("scrub",), ("explain", "nginx"), ("purge", "nginx")])
def test_a_cache_that_is_not_there_is_not_made(run: Run, command: tuple[str, ...]) -> None:
    """A directory without a cache is a sentence with code 1, and stays as it is."""
    Path("a.yaml").write_text("cache: {directory: nowhere}\n", encoding="utf-8")
    result = run(*command, "--config", "a.yaml")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("cacheproxy: there is no cache in /")
    assert not Path("nowhere").exists()


@pytest.mark.parametrize("command", [("scrub",), ("explain", "nginx"), ("purge", "nginx")])
def test_a_ledger_that_is_none_is_said(run: Run, cache: Cached, command: tuple[str, ...]) -> None:
    """A damaged ledger is a sentence with code 1, no stack trace."""
    for path in cache.layout.root.glob("ledger.db*"):
        path.unlink()
    cache.layout.ledger.write_bytes(b"not a database" * 100)
    result = run(*command)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("cacheproxy: the ledger cache/ledger.db cannot be used: ")


@pytest.mark.parametrize("command", [("scrub",), ("explain", "nginx"), ("purge", "nginx")])
def test_a_wrong_configuration_is_code_2(run: Run, cache: Cached, command: tuple[str, ...]) -> None:
    """A configuration that cannot be used is reported as by check."""
    result = run(*command, CACHEPROXY__CACHE__POLICY="best")
    assert result.exit_code == 2
    assert result.stderr.startswith("$CACHEPROXY__CACHE__POLICY: ")


def test_progress_is_a_line_now_and_then(capsys: pytest.CaptureFixture[str]) -> None:
    """Without a terminal, progress is one line every half minute, on standard error."""
    clock = FakeClock()
    progress = ProgressLines(4096, clock.monotonic)
    for _ in range(8):
        clock.advance(10)
        progress.advance(512)
    captured = capsys.readouterr()
    assert captured.err.splitlines() == ["1.5 KiB of 4.0 KiB", "3.0 KiB of 4.0 KiB"]
    assert captured.out == ""
