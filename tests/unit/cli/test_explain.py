import json
from collections.abc import Callable

import pytest
from click.testing import Result

from cacheproxy.cli import words
from cacheproxy.domain.digest import Digest
from tests.support import images
from tests.support.cached import AT, Cached

Run = Callable[..., Result]

APP = images.simple(seed=1, size=10_000)


def _fact(text: str, label: str) -> str:
    """What stands behind a label."""
    (line,) = [line for line in text.splitlines() if line.startswith(f"  {label} ")]
    return line.removeprefix(f"  {label}").strip()


@pytest.mark.parametrize(
    "name",
    [
        "app:1",
        "library/app:1",
        "docker.io/app:1",
        "docker.io/library/app:1",
        "index.docker.io/library/app:1",
    ],
)
def test_an_image_is_found_by_all_its_names(run: Run, cache: Cached, name: str) -> None:
    """A name without registry or namespace means what it means to container engines."""
    cache.image("docker.io/library/app:1", APP)
    result = run("explain", name)
    assert result.exit_code == 0
    assert result.stdout.splitlines()[0] == "docker.io/library/app:1"
    assert _fact(result.stdout, "digest") == APP.digest


def test_a_name_without_tag_means_latest(run: Run, cache: Cached) -> None:
    """As for `docker pull`."""
    cache.image("docker.io/library/app:latest", APP)
    assert run("explain", "app").stdout.splitlines()[0] == "docker.io/library/app:latest"


def test_an_image_is_explained(run: Run, cache: Cached) -> None:
    """Type, size, age, uses, names, holders, and the parts that are here or not."""
    cache.image("docker.io/library/app:1", APP)
    cache.path(APP.layers[1].digest).unlink()
    text = run("explain", "app:1").stdout
    assert _fact(text, "type") == images.OCI_MANIFEST
    assert _fact(text, "tag").startswith("upstream named it 2023-11-14 22:13:20 UTC (")
    assert _fact(text, "cached").startswith("since 2023-11-14 22:13:20 UTC (")
    assert _fact(text, "last used").startswith("2023-11-14 22:13:20 UTC (")
    assert _fact(text, "from") == "docker.io"
    assert _fact(text, "tags") == "docker.io/library/app:1"
    assert _fact(text, "held by") == "docker.io/library/app"
    assert _fact(text, "parts") == "2 of 3 are here"
    here = len(APP.manifest) + sum(len(blob.body) for blob in (APP.blobs[0], APP.layers[0]))
    assert _fact(text, "size") == (
        f"{len(APP.manifest)} bytes; with all its parts that are here {words.size(here)}"
    )
    assert f"    + {APP.layers[0].digest}  " in text
    assert f"    - {APP.layers[1].digest}  " in text


def test_an_index_shows_its_platforms(run: Run, cache: Cached) -> None:
    """The manifests of an index are named by platform, each with its own parts below it."""
    index = images.multi_arch(seed=3)
    cache.image("docker.io/library/multi:1", index)
    for part in index.children[1:]:
        cache.path(part.digest).unlink()
    report = json.loads(run("explain", "multi:1", "--json").stdout)
    parts = report["content"]["parts"]
    assert [(p["platform"], p["is_here"]) for p in parts] == [
        ("linux/amd64", True),
        ("linux/arm64", False),
        ("unknown/unknown", False),
    ]
    assert {p["digest"] for p in parts[0]["parts"]} == {b.digest for b in index.children[0].blobs}
    assert parts[1]["parts"] == []


def test_a_layer_says_what_it_is_part_of(run: Run, cache: Cached) -> None:
    """A blob is explained by its digest: the manifests that refer to it, and who holds it."""
    cache.image("docker.io/library/app:1", APP)
    cache.image("quay.io/team/app:2", APP)
    report = json.loads(run("explain", "--json", APP.layers[0].digest).stdout)
    assert report["part_of"] == [APP.digest]
    assert report["repositories"] == ["docker.io/library/app", "quay.io/team/app"]
    assert report["tags"] == []
    assert report["entry"]["last_used"] == AT
    assert report["content"]["size"] == len(APP.layers[0].body)
    tags = json.loads(run("explain", "--json", f"quay.io/team/app@{APP.digest}").stdout)["tags"]
    assert tags == ["docker.io/library/app:1", "quay.io/team/app:2"]


def test_what_would_go_before_it_is_counted(run: Run, cache: Cached) -> None:
    """Bytes before a blob are those of all that today's policy evicts first."""
    used, unused = cache.blob(b"a" * 5000), cache.blob(b"b" * 5000)
    with cache.ledger() as ledger:
        ledger._db.execute("UPDATE blob SET heat = 1e300 WHERE digest = ?", (used,))
    report = json.loads(run("explain", "--json", used).stdout)
    assert report["fate"]["bytes_before"] == 8192
    assert report["fate"]["room"] == 1024**3 - 2 * 8192
    assert _fact(run("explain", used).stdout, "goes") == (
        "after 8.0 KiB of others, when room is needed"
    )
    assert _fact(run("explain", unused).stdout, "goes") == "first, when room is needed"
    text = run("explain", used, CACHEPROXY__CACHE__POLICY="lru").stdout
    assert _fact(text, "policy") == "lru: what was asked for longest ago goes first"


def test_what_is_pinned_never_goes(run: Run, cache: Cached) -> None:
    """The pattern that pins an image is named, for its parts as well."""
    cache.image("docker.io/library/app:1", APP)
    pins = {"CACHEPROXY__CACHE__PINS": "docker.io/library/app**"}
    for asked in ("app:1", APP.layers[0].digest):
        text = run("explain", asked, **pins).stdout
        assert _fact(text, "goes") == "never: pinned by docker.io/library/app**"


def test_when_it_goes_idle_and_from_a_share(run: Run, cache: Cached) -> None:
    """The time by which nobody may have asked, and the upstream's own bound, are said."""
    digest = cache.blob(b"x")
    environ = {
        "CACHEPROXY__CACHE__IDLE_FOR": "36500d",
        "CACHEPROXY__UPSTREAMS__docker.io__MAX_SIZE": "1MiB",
    }
    result = run("explain", "--json", digest, **environ)
    fate = json.loads(result.stdout)["fate"]
    assert fate["idle_at"] == AT + 36500 * 86400
    assert fate["share"] == {
        "registry": "docker.io",
        "bytes_before": 0,
        "room": 1024**2 - 4096,
    }
    text = run("explain", digest, **environ).stdout
    assert "of docker.io's share: first; 1020.0 KiB more may come" in text
    assert "if nobody asks for it until 2123-" in text


def test_what_is_evicted_is_still_explained(run: Run, cache: Cached) -> None:
    """A part that is not here is explained by what refers to it."""
    cache.image("docker.io/library/app:1", APP)
    digest = Digest(APP.layers[0].digest)
    with cache.ledger() as ledger:
        ledger.purge([digest])
    result = run("explain", digest)
    assert result.exit_code == 0
    assert _fact(result.stdout, "size") == "not here"
    assert _fact(result.stdout, "part of") == APP.digest


def test_a_file_that_only_the_ledger_knows(run: Run, cache: Cached) -> None:
    """A row without a file, and a file without a row, are told apart."""
    gone, new = cache.blob(b"gone"), Digest.of(b"new")
    cache.path(gone).unlink()
    cache.write(new, b"new")
    assert "cacheproxy scrub" in _fact(run("explain", gone).stdout, "ledger")
    assert "does not list it yet" in _fact(run("explain", new).stdout, "ledger")


@pytest.mark.parametrize("asked", ["nginx:1.25", "quay.io/a/b", "sha256:" + "0" * 64])
def test_what_is_not_known_is_code_1(run: Run, cache: Cached, asked: str) -> None:
    """Something of which there is nothing is said in a sentence, with code 1."""
    result = run("explain", asked)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("cacheproxy: nothing is known of ")


def test_other_tags_are_offered(run: Run, cache: Cached) -> None:
    """Whoever asks for a tag that is not here learns which are."""
    cache.image("docker.io/library/app:1", APP)
    assert run("explain", "app:2").stderr == (
        "cacheproxy: nothing is known of docker.io/library/app:2 in cache; "
        "of that repository there is docker.io/library/app:1\n"
    )


@pytest.mark.parametrize("asked", ["App:1", "app:", "sha256:12", "app@sha256:12", "a/b:c/d", ""])
def test_what_is_no_name_is_code_2(run: Run, cache: Cached, asked: str) -> None:
    """What cannot be a name is a mistake of the command line."""
    result = run("explain", asked)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "Error: " in result.stderr


def test_a_damaged_manifest_is_no_stack_trace(run: Run, cache: Cached) -> None:
    """A manifest that is none is explained as far as it goes."""
    cache.image("docker.io/library/app:1", APP)
    cache.write(APP.digest, b'{"layers": [{"digest": 7')
    result = run("explain", "app:1")
    assert result.exit_code == 0
    assert "  parts" not in result.stdout


def test_without_metadata_the_ledger_answers(run: Run, cache: Cached) -> None:
    """Where metadata is not kept in the directory, tags are known from the ledger."""
    cache.image("docker.io/library/app:1", APP)
    report = json.loads(
        run("explain", "--json", "app:1", CACHEPROXY__METADATA__URL="memory:").stdout
    )
    assert report["digest"] == APP.digest
    assert report["repositories"] is None
    assert report["checked_at"] is None


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0, "0 seconds"),
        (1, "1 second"),
        (119, "119 seconds"),
        (120, "2 minutes"),
        (7200, "2 hours"),
        (86400 * 3.5, "3 days"),
        (-5, "0 seconds"),
    ],
)
def test_spans_are_short(seconds: float, said: str) -> None:
    """A duration is written in its largest unit that says enough."""
    assert words.span(seconds) == said


@pytest.mark.parametrize(
    ("count", "said"),
    [
        (0, "0 bytes"),
        (1, "1 byte"),
        (1023, "1,023 bytes"),
        (1024, "1.0 KiB"),
        (1024**2 - 1, "1.0 MiB"),
        (5 * 1024**3, "5.0 GiB"),
        (2**70, "1048576.0 PiB"),
    ],
)
def test_sizes_are_short(count: int, said: str) -> None:
    """A size is written with one digit behind the point."""
    assert words.size(count) == said


def test_a_time_that_is_none_is_said() -> None:
    """A time that no calendar has is no error."""
    assert words.moment(1e30, 0.0) == "at a time that is none"
