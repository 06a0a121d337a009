import fcntl
import json
from collections.abc import Callable

import pytest
from click.testing import Result

from cacheproxy.domain.digest import Digest
from tests.support import images
from tests.support.cached import Cached

Run = Callable[..., Result]

BASE = images.layer(1, 5000)
ONE = images.image([BASE, images.layer(2, 3000)])
TWO = images.image([BASE, images.layer(3, 3000)])
OWN = [ONE.digest, ONE.blobs[0].digest, ONE.layers[1].digest]


@pytest.fixture(autouse=True)
def two_images(cache: Cached) -> None:
    """Two tags of one repository that share their base."""
    cache.image("docker.io/library/app:1", ONE)
    cache.image("docker.io/library/app:2", TWO)


def _all(*parts: images.Image) -> set[str]:
    return {digest for part in parts for digest in (part.digest, *part.all_blobs)}


def _here(cache: Cached, digests: set[str]) -> set[str]:
    return {digest for digest in digests if cache.has(digest)}


def test_a_tag_goes_with_what_is_its_alone(run: Run, cache: Cached) -> None:
    """Its manifest and parts go, but for those that another image has too; the tag is forgotten."""
    result = run("purge", "app:1")
    freed = sum(cache_size for cache_size in _sizes(ONE).values()) - len(BASE.body)
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        f"docker.io/library/app:1: freed {freed / 1024:.1f} KiB, 3 blobs",
        "  1 tag forgotten",
        f"  left: {len(BASE.body) / 1024:.1f} KiB, 1 blob that something else here refers to",
    ]
    assert _here(cache, _all(ONE, TWO)) == _all(TWO)
    assert [cache.entry(digest) for digest in OWN] == [None] * 3
    with cache.ledger() as ledger:
        assert list(ledger.relations().names) == ["docker.io/library/app:2"]
    assert run("explain", "app:1").exit_code == 1
    assert run("explain", "app:2").exit_code == 0


def _sizes(image: images.Image) -> dict[str, int]:
    blobs = {digest: len(blob.body) for digest, blob in image.all_blobs.items()}
    return {image.digest: len(image.manifest), **blobs}


def test_a_dry_run_changes_nothing(run: Run, cache: Cached) -> None:
    """With --dry-run the same is said, and all is still there."""
    before = json.loads(run("purge", "--json", "--dry-run", "app:1").stdout)
    assert "would free" in run("purge", "--dry-run", "app:1").stdout
    assert _here(cache, _all(ONE, TWO)) == _all(ONE, TWO)
    after = json.loads(run("purge", "--json", "app:1").stdout)
    assert (before.pop("dry_run"), after.pop("dry_run")) == (True, False)
    assert before == after


def test_json_lists_what_went(run: Run) -> None:
    """With --json there is one object with what went and what stays, for each target."""
    (done,) = json.loads(run("purge", "--json", "app:1").stdout)["targets"]
    assert done == {
        "target": "docker.io/library/app:1",
        "known": True,
        "freed_bytes": sum(_sizes(ONE).values()) - len(BASE.body),
        "removed": sorted(OWN),
        "shared": [BASE.digest],
        "shared_bytes": len(BASE.body),
        "in_use": [],
        "tags": ["docker.io/library/app:1"],
        "shared_records": 0,
    }


def test_a_manifest_with_another_tag_stays(run: Run, cache: Cached) -> None:
    """A tag whose manifest has another name is forgotten, and nothing is removed."""
    cache.image("quay.io/team/app:1", ONE)
    assert "freed 0 bytes, 0 blobs" in run("purge", "app:1").stdout
    assert _here(cache, _all(ONE)) == _all(ONE)
    assert run("explain", "app:1").exit_code == 1


def test_a_repository_goes_with_all_its_tags(run: Run, cache: Cached) -> None:
    """Tags, records, manifests and blobs go; what another repository has too stays."""
    cache.image("docker.io/library/apps:1", TWO)
    result = run("purge", "app")
    assert result.exit_code == 0
    assert result.stdout.startswith("docker.io/library/app: freed ")
    assert _here(cache, _all(ONE, TWO)) == _all(TWO)
    with cache.records() as records:
        assert records.below("docker.io/library/app ") == []
        assert records.below("docker.io/library/apps ") != []
    assert run("purge", "app").exit_code == 1


def test_what_was_pulled_by_digest_is_the_repository_s_too(run: Run, cache: Cached) -> None:
    """A manifest without a tag belongs to the repository by its link."""
    with cache.ledger() as ledger:
        ledger.forget_names(["docker.io/library/app:1", "docker.io/library/app:2"])
    run("purge", "app")
    assert _here(cache, _all(ONE, TWO)) == set()


def test_an_upstream_goes(run: Run, cache: Cached) -> None:
    """All of an upstream goes, by any of its names; what another upstream has too stays."""
    lone = cache.blob(b"of no manifest")
    other = images.simple(seed=9)
    cache.image("quay.io/team/other:1", other)
    cache.image("quay.io/team/app:1", TWO)
    assert run("purge", "index.docker.io").stdout.startswith("docker.io: freed ")
    assert not cache.has(lone)
    assert _here(cache, _all(ONE, TWO, other)) == _all(TWO, other)
    with cache.ledger() as ledger:
        assert sorted(ledger.relations().names) == ["quay.io/team/app:1", "quay.io/team/other:1"]


def test_an_upstream_that_is_no_longer_configured_goes(run: Run, cache: Cached) -> None:
    """What is cached of an upstream can be removed after its section was."""
    image = images.simple(seed=8)
    cache.image("old.example.com/team/app:1", image)
    assert run("purge", "old.example.com").exit_code == 0
    assert _here(cache, _all(image)) == set()


def test_a_digest_goes_whoever_refers_to_it(run: Run, cache: Cached) -> None:
    """A digest that is named goes, though a manifest refers to it; the manifest stays."""
    assert run("purge", BASE.digest).exit_code == 0
    assert _here(cache, _all(ONE, TWO)) == _all(ONE, TWO) - {BASE.digest}


def test_a_manifest_goes_with_what_is_its_alone(run: Run, cache: Cached) -> None:
    """The digest of a manifest takes its own parts along; its tag stays, for it still names it."""
    assert run("purge", ONE.digest).exit_code == 0
    assert _here(cache, _all(ONE, TWO)) == _all(TWO)
    assert run("explain", "app:1").exit_code == 0


def test_what_is_being_read_is_left(run: Run, cache: Cached) -> None:
    """A blob that a client reads is left and named, and the code is 1; the rest goes."""
    with cache.path(ONE.layers[1].digest).open("rb") as reader:
        fcntl.flock(reader, fcntl.LOCK_SH)
        result = run("purge", "app:1")
    assert result.exit_code == 1
    assert result.stdout.splitlines()[-1] == (
        f"  left: {ONE.layers[1].digest}, which is being read, or cannot be removed"
    )
    assert _here(cache, set(OWN)) == {ONE.layers[1].digest}
    assert cache.entry(ONE.layers[1].digest) is not None
    assert run("purge", ONE.layers[1].digest).exit_code == 0


def test_several_at_once(run: Run, cache: Cached) -> None:
    """Each is removed for itself; one that is not known is code 1, and does not stop the rest."""
    result = run("purge", "app:1", "nope:1", "app:2")
    assert result.exit_code == 1
    assert result.stderr == "docker.io/library/nope:1: nothing is known of it\n"
    assert _here(cache, _all(ONE, TWO)) == set()


def test_nothing_goes_if_one_of_them_is_no_name(run: Run, cache: Cached) -> None:
    """The command line is read to its end before anything is removed."""
    assert run("purge", "app:1", "App:2").exit_code == 2
    assert run("purge").exit_code == 2
    assert _here(cache, _all(ONE, TWO)) == _all(ONE, TWO)


def test_what_is_not_ours_is_left_alone(run: Run, cache: Cached) -> None:
    """Links, directories and other names among the blobs are never removed."""
    layer = cache.path(ONE.layers[1].digest)
    beside = layer.parent / "README"
    beside.write_text("hello", encoding="utf-8")
    layer.unlink()
    layer.symlink_to("README")
    folder = cache.path("sha256:" + "ab" * 32)
    folder.mkdir(parents=True)
    run("purge", "docker.io")
    assert layer.is_symlink()
    assert beside.read_text(encoding="utf-8") == "hello"
    assert folder.is_dir()


def test_pins_do_not_protect(run: Run, cache: Cached) -> None:
    """Who names a pinned image means it."""
    environ = {"CACHEPROXY__CACHE__PINS": "docker.io/library/app**"}
    assert run("purge", "app:1", **environ).exit_code == 0
    assert not cache.has(ONE.digest)


def test_a_partial_download_is_left(run: Run, cache: Cached) -> None:
    """A download under way is not purged: it is not cached yet."""
    partial = cache.layout.ingest(Digest(ONE.layers[1].digest))
    partial.write_bytes(b"some")
    run("purge", "app")
    assert partial.exists()
