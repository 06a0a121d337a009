"""When a tag is believed, when upstream is asked, and what that costs."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.integration.tags import (
    BY_DIGEST,
    BY_TAG,
    FRESH_FOR,
    NEW,
    OLD,
    REPOSITORY,
    SLACK,
    asked_of,
    serving,
)
from tests.support.hasty import HastyProxy
from tests.support.scripted_registry import (
    Always,
    Fault,
    Gate,
    Match,
    NoDigestHeader,
    ScriptedRegistry,
    StatusFault,
    WrongDigestHeader,
)
from tests.support.seen import Seen, see


@pytest.fixture
async def cold(hub: ScriptedRegistry, tmp_path: Path) -> AsyncIterator[HastyProxy]:
    """A proxy with nothing in it."""
    async with serving(hub, tmp_path) as proxy:
        yield proxy


@pytest.fixture
async def warm(cold: HastyProxy) -> HastyProxy:
    """A proxy that has just pulled the old image's manifest."""
    assert (await see(cold, BY_TAG)).body == OLD.manifest
    return cold


@pytest.fixture
def stale(warm: HastyProxy) -> HastyProxy:
    """One that has pulled it some time ago."""
    warm.clock.advance(FRESH_FOR + 1)
    return warm


async def _many(
    hub: ScriptedRegistry, proxy: HastyProxy, *, method: str = "GET", count: int = 50
) -> list[Seen]:
    """What many get who ask while upstream is being asked, which it is once for all of them."""
    before, gate = len(hub.requests()), Gate(at=None)
    hub.script(Match.manifest("1"), gate)
    asking = asyncio.gather(*(see(proxy, BY_TAG, method=method) for _ in range(count)))
    await gate.reached()
    await asyncio.sleep(0.05)  # for most of them to have asked
    assert len(hub.requests()) == before + 1
    gate.release()
    return await asking


async def test_cold(hub: ScriptedRegistry, cold: HastyProxy) -> None:
    """The first pull of a tag is a miss that is stored, for the price of one GET."""
    answer = await see(cold, BY_TAG)
    assert answer.cache == {"fwd": "miss", "fwd-status": 200, "stored": True}
    assert answer.headers["Docker-Content-Digest"] == OLD.digest
    assert asked_of(hub) == [("GET", "1")]


async def test_cold_for_many(hub: ScriptedRegistry, cold: HastyProxy) -> None:
    """Those who ask while it is being fetched are told that they were joined to that."""
    answers = await _many(hub, cold)
    assert {answer.body for answer in answers} == {OLD.manifest}
    assert asked_of(hub) == [("GET", "1")]
    forwarded = [answer for answer in answers if answer.cache.get("fwd") == "miss"]
    assert len([answer for answer in forwarded if "collapsed" not in answer.cache]) == 1
    assert len(forwarded) > 1


async def test_fresh(hub: ScriptedRegistry, warm: HastyProxy) -> None:
    """A fresh tag is a hit without a word to upstream, and says for how long it stays so."""
    for passed in (0, 400, 400):
        warm.clock.advance(passed)
        for method in ("GET", "HEAD"):
            answer = await see(warm, BY_TAG, method=method)
            assert answer.status == 200
            assert set(answer.cache) == {"hit", "ttl"}
    ttl = (await see(warm, BY_TAG)).cache["ttl"]
    assert isinstance(ttl, int)
    assert FRESH_FOR - 800 - SLACK <= ttl <= FRESH_FOR - 800
    assert asked_of(hub) == [("GET", "1")]


async def test_unchanged(hub: ScriptedRegistry, stale: HastyProxy) -> None:
    """A stale tag that has not changed costs one HEAD, however many ask, and is fresh again."""
    for answer in await _many(hub, stale):
        assert (answer.status, answer.body) == (200, OLD.manifest)
        assert answer.cache.get("fwd", "stale") == "stale"
    assert asked_of(hub, since=1) == [("HEAD", "1")]
    answer = await see(stale, BY_TAG)
    assert set(answer.cache) == {"hit", "ttl"}
    ttl = answer.cache["ttl"]
    assert isinstance(ttl, int)
    assert FRESH_FOR - SLACK <= ttl <= FRESH_FOR
    assert asked_of(hub, since=1) == [("HEAD", "1")]


async def test_unchanged_for_those_who_ask_head(hub: ScriptedRegistry, stale: HastyProxy) -> None:
    """So does one that is asked for by HEAD."""
    for answer in await _many(hub, stale, method="HEAD"):
        assert answer.headers["Docker-Content-Digest"] == OLD.digest
    assert asked_of(hub, since=1) == [("HEAD", "1")]


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_what_was_revalidated_was_forwarded(stale: HastyProxy, method: str) -> None:
    """An answer for which upstream was asked is no hit, although all of it was here."""
    answer = await see(stale, BY_TAG, method=method)
    assert answer.cache == {"fwd": "stale", "fwd-status": 200, "ttl": FRESH_FOR}


async def test_changed(hub: ScriptedRegistry, stale: HastyProxy) -> None:
    """A tag that points elsewhere by now costs one HEAD and one GET, and all get the new image."""
    hub.add_image(REPOSITORY, "1", NEW)
    for answer in await _many(hub, stale):
        assert (answer.status, answer.body) == (200, NEW.manifest)
        assert answer.headers["Docker-Content-Digest"] == NEW.digest
    asked = asked_of(hub, since=1)
    assert asked == [("HEAD", "1"), ("GET", NEW.digest)]
    assert (await see(stale, BY_DIGEST)).body == OLD.manifest
    assert asked_of(hub, since=1) == asked


async def test_changed_while_fresh(hub: ScriptedRegistry, warm: HastyProxy) -> None:
    """As long as a tag is fresh, what upstream has by now does not matter."""
    hub.add_image(REPOSITORY, "1", NEW)
    assert (await see(warm, BY_TAG)).body == OLD.manifest


async def test_changed_back(hub: ScriptedRegistry, stale: HastyProxy) -> None:
    """A tag that comes back to what is cached costs a HEAD only."""
    hub.add_image(REPOSITORY, "1", NEW)
    assert (await see(stale, BY_TAG)).body == NEW.manifest
    hub.add_image(REPOSITORY, "1", OLD)
    stale.clock.advance(FRESH_FOR + 1)
    assert (await see(stale, BY_TAG)).body == OLD.manifest
    assert asked_of(hub, since=3) == [("HEAD", "1")]


async def test_head_first(hub: ScriptedRegistry, cold: HastyProxy) -> None:
    """A client that asks HEAD and then GET, as containerd does, costs one of each upstream."""
    head = await see(cold, BY_TAG, method="HEAD")
    assert (head.cache["fwd"], "stored" in head.cache) == ("miss", False)
    get = await see(cold, BY_TAG)
    assert head.stable == get.stable
    assert get.body == OLD.manifest
    assert asked_of(hub) == [("HEAD", "1"), ("GET", OLD.digest)]


@pytest.mark.parametrize("fault", [NoDigestHeader(), WrongDigestHeader("nonsense")])
async def test_head_without_a_digest(
    hub: ScriptedRegistry, stale: HastyProxy, fault: Fault
) -> None:
    """An upstream whose HEAD says no digest is asked by GET."""
    hub.add_image(REPOSITORY, "1", NEW)
    hub.script(Match("HEAD"), fault)
    answer = await see(stale, BY_TAG)
    assert answer.body == NEW.manifest
    assert asked_of(hub, since=1) == [("HEAD", "1"), ("GET", "1")]


async def test_not_found_is_remembered(hub: ScriptedRegistry, cold: HastyProxy) -> None:
    """A tag that upstream does not have is a 404 for a while, whoever asks, without upstream."""
    path = f"/v2/{REPOSITORY}/manifests/sha256-{'0' * 64}.sig"
    for method in ("GET", "HEAD", "GET"):
        answer = await see(cold, path, method=method)
        assert answer.status == 404
    assert len(hub.requests()) == 1
    hub.add_image(REPOSITORY, path.rpartition("/")[2], NEW)
    assert (await see(cold, path)).status == 404
    cold.clock.advance(501)
    assert (await see(cold, path)).body == NEW.manifest


async def test_not_found_by_digest_is_not_remembered(
    hub: ScriptedRegistry, cold: HastyProxy
) -> None:
    """A digest may appear at any moment, while its image is being pushed."""
    path = f"/v2/{REPOSITORY}/manifests/{NEW.digest}"
    assert (await see(cold, path)).status == 404
    hub.add_image(REPOSITORY, None, NEW)
    assert (await see(cold, path)).body == NEW.manifest


async def test_errors_are_not_remembered(hub: ScriptedRegistry, cold: HastyProxy) -> None:
    """Only a 404 is remembered, and a 429 for as long as it says: else upstream is asked again."""
    hub.script(Match.manifest(), StatusFault(403), StatusFault(500), StatusFault(429))
    assert [(await see(cold, BY_TAG)).status for _ in range(4)] == [403, 502, 429, 429]
    cold.clock.advance(31)
    assert (await see(cold, BY_TAG)).status == 200
    assert len(hub.requests("GET", "/1")) == 4


async def test_by_digest(hub: ScriptedRegistry, warm: HastyProxy) -> None:
    """What has a digest never changes: once cached, upstream is never asked for it again."""
    warm.clock.advance(10 * 365 * 86_400)
    for method in ("GET", "HEAD"):
        answer = await see(warm, BY_DIGEST, method=method)
        assert answer.status == 200
        assert answer.cache == {"hit": True}
    assert asked_of(hub) == [("GET", "1")]


async def test_by_digest_when_upstream_has_removed_it(
    hub: ScriptedRegistry, warm: HastyProxy
) -> None:
    """It outlives the original."""
    hub.remove_tag(REPOSITORY, "1")
    hub.remove_manifest(REPOSITORY, OLD.digest)
    assert (await see(warm, BY_DIGEST)).body == OLD.manifest


@pytest.mark.parametrize("fresh_for", [0.0, FRESH_FOR])
async def test_what_clients_may_keep(
    hub: ScriptedRegistry, tmp_path: Path, fresh_for: float
) -> None:
    """A cache behind ours is to ask for tags each time, and never for digests again."""
    async with serving(hub, tmp_path, fresh_for=fresh_for) as proxy:
        by_tag, by_digest = await see(proxy, BY_TAG), await see(proxy, BY_DIGEST)
    assert "no-cache" in by_tag.headers["Cache-Control"]
    assert "immutable" in by_digest.headers["Cache-Control"]
    assert "max-age=31536000" in by_digest.headers["Cache-Control"]
    for answer in (by_tag, by_digest):
        assert "no-transform" in answer.headers["Cache-Control"]


async def test_never_fresh(hub: ScriptedRegistry, tmp_path: Path) -> None:
    """With a `fresh_for` of 0 each pull asks, and still costs a HEAD only."""
    async with serving(hub, tmp_path, fresh_for=0.0) as proxy:
        for _ in range(3):
            assert (await see(proxy, BY_TAG)).body == OLD.manifest
    assert asked_of(hub) == [("GET", "1"), ("HEAD", "1"), ("HEAD", "1")]


async def test_the_clock_is_set_back(hub: ScriptedRegistry, warm: HastyProxy) -> None:
    """A tag from the future is not believed for longer than from now."""
    warm.clock.advance(-1_000_000)
    ttl = (await see(warm, BY_TAG)).cache["ttl"]
    assert isinstance(ttl, int)
    assert ttl <= FRESH_FOR


async def test_without_the_manifest_a_tag_is_nothing(
    hub: ScriptedRegistry, warm: HastyProxy
) -> None:
    """A tag whose manifest is gone from disk is fetched again, and during an outage an error."""
    for file in warm.files("blobs"):
        file.unlink()
    assert (await see(warm, BY_TAG)).body == OLD.manifest
    assert asked_of(hub, since=1) == [("GET", OLD.digest)]
    for file in warm.files("blobs"):
        file.unlink()
    warm.clock.advance(FRESH_FOR + 1)
    hub.script(Match(), Always(StatusFault(503)))
    assert (await see(warm, BY_TAG)).status == 502
