"""When a tag is believed, when upstream is asked, and what is served when it does not answer."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support import images
from tests.support.hasty import HastyProxy, Wanted, hasty_proxy
from tests.support.scripted_registry import (
    Always,
    BigErrorBody,
    Fault,
    Garbage,
    Gate,
    HangUp,
    Match,
    NoAnswer,
    NoDigestHeader,
    ScriptedRegistry,
    StatusFault,
    WrongDigestHeader,
)
from tests.support.seen import Seen, see

_OLD, _NEW = images.simple(seed=51), images.simple(seed=52)
_REPOSITORY = "team/app"
_BY_TAG = f"/v2/{_REPOSITORY}/manifests/1"
_BY_DIGEST = f"/v2/{_REPOSITORY}/manifests/{_OLD.digest}"
_FRESH_FOR, _STALE_IF_ERROR = 1000.0, 5000.0
_TAGS = {"fresh_for": _FRESH_FOR, "stale_if_error": _STALE_IF_ERROR, "not_found_for": 500.0}
# Real time passes too, on a busy machine.
_SLACK = 60

# Each way not to answer, and the one word for it.
_OUTAGES = [
    pytest.param(StatusFault(408), "upstream-timeout", id="408"),
    pytest.param(StatusFault(429), "upstream-limited", id="429"),
    pytest.param(StatusFault(500), "upstream-unavailable", id="500"),
    pytest.param(StatusFault(502), "upstream-unavailable", id="502"),
    pytest.param(StatusFault(503), "upstream-unavailable", id="503"),
    pytest.param(StatusFault(504), "upstream-timeout", id="504"),
    pytest.param(StatusFault(400), "upstream-refused", id="400"),
    pytest.param(BigErrorBody(1_000_000), "upstream-unavailable", id="error page"),
    pytest.param(HangUp(), "upstream-unavailable", id="hangs up"),
    pytest.param(Garbage(), "upstream-unavailable", id="garbage"),
]


@asynccontextmanager
async def _serving(
    hub: ScriptedRegistry, directory: Path, *, patience: float = 5.0, **tags: Any
) -> AsyncIterator[HastyProxy]:
    """A proxy in front of an upstream that has the old image."""
    hub.add_image(_REPOSITORY, "1", _OLD)
    wanted = Wanted(upstream={"idle_timeout": patience}, tags={**_TAGS, **tags})
    async with hasty_proxy({"docker.io": hub}, directory, wanted) as proxy:
        yield proxy


@pytest.fixture
async def cold(hub: ScriptedRegistry, tmp_path: Path) -> AsyncIterator[HastyProxy]:
    """A proxy with nothing in it."""
    async with _serving(hub, tmp_path) as proxy:
        yield proxy


@pytest.fixture
async def warm(cold: HastyProxy) -> HastyProxy:
    """A proxy that has just pulled the old image's manifest."""
    assert (await see(cold, _BY_TAG)).body == _OLD.manifest
    return cold


@pytest.fixture
def stale(warm: HastyProxy) -> HastyProxy:
    """One that has pulled it some time ago."""
    warm.clock.advance(_FRESH_FOR + 1)
    return warm


def _asked(hub: ScriptedRegistry, since: int = 0) -> list[tuple[str, str]]:
    """Method and reference of each request to upstream."""
    return [(e.method, e.path.rpartition("/")[2]) for e in hub.requests()[since:]]


def _is_stale(answer: Seen, detail: str | None = None) -> bool:
    ttl = answer.cache["ttl"]
    assert isinstance(ttl, int)
    return answer.cache["hit"] is True and ttl < 0 and answer.cache.get("detail") == detail


async def _many(
    hub: ScriptedRegistry, proxy: HastyProxy, *, method: str = "GET", count: int = 50
) -> list[Seen]:
    """What many get who ask while upstream is being asked, which it is once for all of them."""
    before, gate = len(hub.requests()), Gate(at=None)
    hub.script(Match.manifest("1"), gate)
    asking = asyncio.gather(*(see(proxy, _BY_TAG, method=method) for _ in range(count)))
    await gate.reached()
    await asyncio.sleep(0.05)  # for most of them to have asked
    assert len(hub.requests()) == before + 1
    gate.release()
    return await asking


async def test_cold(hub: ScriptedRegistry, cold: HastyProxy) -> None:
    """The first pull of a tag is a miss that is stored, for the price of one GET."""
    answer = await see(cold, _BY_TAG)
    assert answer.cache == {"fwd": "miss", "fwd-status": 200, "stored": True}
    assert answer.headers["Docker-Content-Digest"] == _OLD.digest
    assert _asked(hub) == [("GET", "1")]


async def test_cold_for_many(hub: ScriptedRegistry, cold: HastyProxy) -> None:
    """Those who ask while it is being fetched are told that they were joined to that."""
    answers = await _many(hub, cold)
    assert {answer.body for answer in answers} == {_OLD.manifest}
    assert _asked(hub) == [("GET", "1")]
    forwarded = [answer for answer in answers if answer.cache.get("fwd") == "miss"]
    assert len([answer for answer in forwarded if "collapsed" not in answer.cache]) == 1
    assert len(forwarded) > 1


async def test_fresh(hub: ScriptedRegistry, warm: HastyProxy) -> None:
    """A fresh tag is a hit without a word to upstream, and says for how long it stays so."""
    for passed in (0, 400, 400):
        warm.clock.advance(passed)
        for method in ("GET", "HEAD"):
            answer = await see(warm, _BY_TAG, method=method)
            assert answer.status == 200
            assert set(answer.cache) == {"hit", "ttl"}
    ttl = (await see(warm, _BY_TAG)).cache["ttl"]
    assert isinstance(ttl, int)
    assert _FRESH_FOR - 800 - _SLACK <= ttl <= _FRESH_FOR - 800
    assert _asked(hub) == [("GET", "1")]


async def test_unchanged(hub: ScriptedRegistry, stale: HastyProxy) -> None:
    """A stale tag that has not changed costs one HEAD, however many ask, and is fresh again."""
    for answer in await _many(hub, stale):
        assert (answer.status, answer.body) == (200, _OLD.manifest)
        assert answer.cache.get("fwd", "stale") == "stale"
    assert set(_asked(hub, since=1)) == {("HEAD", "1")}
    asked = len(hub.requests())
    answer = await see(stale, _BY_TAG)
    assert set(answer.cache) == {"hit", "ttl"}
    ttl = answer.cache["ttl"]
    assert isinstance(ttl, int)
    assert _FRESH_FOR - _SLACK <= ttl <= _FRESH_FOR
    assert len(hub.requests()) == asked


async def test_unchanged_for_those_who_ask_head(hub: ScriptedRegistry, stale: HastyProxy) -> None:
    """So does one that is asked for by HEAD."""
    for answer in await _many(hub, stale, method="HEAD"):
        assert answer.headers["Docker-Content-Digest"] == _OLD.digest
    assert set(_asked(hub, since=1)) == {("HEAD", "1")}


async def test_changed(hub: ScriptedRegistry, stale: HastyProxy) -> None:
    """A tag that points elsewhere by now costs one HEAD and one GET, and all get the new image."""
    hub.add_image(_REPOSITORY, "1", _NEW)
    for answer in await _many(hub, stale):
        assert (answer.status, answer.body) == (200, _NEW.manifest)
        assert answer.headers["Docker-Content-Digest"] == _NEW.digest
    asked = _asked(hub, since=1)
    assert set(asked) == {("HEAD", "1"), ("GET", _NEW.digest)}
    assert asked.count(("GET", _NEW.digest)) == 1
    assert (await see(stale, _BY_DIGEST)).body == _OLD.manifest
    assert _asked(hub, since=1) == asked


async def test_changed_while_fresh(hub: ScriptedRegistry, warm: HastyProxy) -> None:
    """As long as a tag is fresh, what upstream has by now does not matter."""
    hub.add_image(_REPOSITORY, "1", _NEW)
    assert (await see(warm, _BY_TAG)).body == _OLD.manifest


async def test_changed_back(hub: ScriptedRegistry, stale: HastyProxy) -> None:
    """A tag that comes back to what is cached costs a HEAD only."""
    hub.add_image(_REPOSITORY, "1", _NEW)
    assert (await see(stale, _BY_TAG)).body == _NEW.manifest
    hub.add_image(_REPOSITORY, "1", _OLD)
    stale.clock.advance(_FRESH_FOR + 1)
    assert (await see(stale, _BY_TAG)).body == _OLD.manifest
    assert _asked(hub, since=3) == [("HEAD", "1")]


async def test_head_first(hub: ScriptedRegistry, cold: HastyProxy) -> None:
    """A client that asks HEAD and then GET, as containerd does, costs one of each upstream."""
    head = await see(cold, _BY_TAG, method="HEAD")
    assert (head.cache["fwd"], "stored" in head.cache) == ("miss", False)
    get = await see(cold, _BY_TAG)
    assert head.stable == get.stable
    assert get.body == _OLD.manifest
    assert _asked(hub) == [("HEAD", "1"), ("GET", _OLD.digest)]


@pytest.mark.parametrize("fault", [NoDigestHeader(), WrongDigestHeader("nonsense")])
async def test_head_without_a_digest(
    hub: ScriptedRegistry, stale: HastyProxy, fault: Fault
) -> None:
    """An upstream whose HEAD says no digest is asked by GET."""
    hub.add_image(_REPOSITORY, "1", _NEW)
    hub.script(Match("HEAD"), fault)
    answer = await see(stale, _BY_TAG)
    assert answer.body == _NEW.manifest
    assert _asked(hub, since=1) == [("HEAD", "1"), ("GET", "1")]


@pytest.mark.parametrize(("fault", "detail"), _OUTAGES)
async def test_outage(hub: ScriptedRegistry, stale: HastyProxy, fault: Fault, detail: str) -> None:
    """A stale tag is served, and said to be stale, whichever way upstream does not answer."""
    hub.script(Match(), Always(fault))
    for method in ("GET", "HEAD"):
        answer = await see(stale, _BY_TAG, method=method)
        assert answer.status == 200
        assert answer.headers["Docker-Content-Digest"] == _OLD.digest
        assert _is_stale(answer, detail)


async def test_silence(hub: ScriptedRegistry, tmp_path: Path) -> None:
    """So it is when upstream takes requests and says nothing."""
    async with _serving(hub, tmp_path, patience=0.5) as proxy:
        await see(proxy, _BY_TAG)
        proxy.clock.advance(_FRESH_FOR + 1)
        hub.script(Match(), Always(NoAnswer()))
        answer = await see(proxy, _BY_TAG)
        assert answer.body == _OLD.manifest
        assert _is_stale(answer, "upstream-timeout")


async def test_down(hub: ScriptedRegistry, stale: HastyProxy) -> None:
    """So it is when upstream is down; and it is fresh again once that is back."""
    await hub.stop()
    answer = await see(stale, _BY_TAG)
    assert answer.body == _OLD.manifest
    assert _is_stale(answer, "upstream-unavailable")
    await hub.start()
    hub.add_image(_REPOSITORY, "1", _NEW)
    assert (await see(stale, _BY_TAG)).body == _NEW.manifest


async def test_an_outage_for_many(hub: ScriptedRegistry, stale: HastyProxy) -> None:
    """Those who ask at once during an outage share one request to upstream."""
    gate = Gate(at=None)
    hub.script(Match("HEAD"), gate, Always(StatusFault(503)))
    asking = asyncio.gather(*(see(stale, _BY_TAG) for _ in range(30)))
    await gate.reached()
    assert _asked(hub, since=1) == [("HEAD", "1")]
    gate.release()
    assert {answer.body for answer in await asking} == {_OLD.manifest}


@pytest.mark.parametrize(
    ("age", "served"),
    [
        pytest.param(_FRESH_FOR + _STALE_IF_ERROR - _SLACK, True, id="within"),
        pytest.param(_FRESH_FOR + _STALE_IF_ERROR + 1, False, id="beyond"),
    ],
)
async def test_the_limit_of_staleness(
    hub: ScriptedRegistry, warm: HastyProxy, age: float, served: bool
) -> None:
    """A tag is served without upstream up to `stale_if_error`, and not beyond."""
    hub.script(Match(), Always(StatusFault(503)))
    warm.clock.advance(age)
    answer = await see(warm, _BY_TAG)
    assert answer.status == (200 if served else 502)
    assert (answer.body == _OLD.manifest) is served
    assert (await see(warm, _BY_DIGEST)).body == _OLD.manifest


async def test_no_staleness(hub: ScriptedRegistry, tmp_path: Path) -> None:
    """With a `stale_if_error` of 0 nothing stale is ever served."""
    async with _serving(hub, tmp_path, stale_if_error=0.0) as proxy:
        await see(proxy, _BY_TAG)
        proxy.clock.advance(_FRESH_FOR + 1)
        hub.script(Match(), Always(StatusFault(429)))
        assert (await see(proxy, _BY_TAG)).status == 429


@pytest.mark.parametrize("status", [401, 403])
async def test_refused(hub: ScriptedRegistry, stale: HastyProxy, status: int) -> None:
    """What we may no longer read is not served by tag, however recently we could."""
    hub.script(Match(), Always(StatusFault(status)))
    for method in ("GET", "HEAD"):
        answer = await see(stale, _BY_TAG, method=method)
        assert answer.status == 403
        assert _OLD.manifest not in answer.body


async def test_kept_when_not_found(hub: ScriptedRegistry, stale: HastyProxy) -> None:
    """By default a tag that was deleted upstream is kept, and said to be stale."""
    hub.remove_tag(_REPOSITORY, "1")
    for _ in range(2):
        answer = await see(stale, _BY_TAG)
        assert answer.body == _OLD.manifest
        assert _is_stale(answer, "manifest-unknown")


async def test_dropped_when_not_found(hub: ScriptedRegistry, tmp_path: Path) -> None:
    """Where the operator says so, it is gone; its manifest is not, nor is it if it comes back."""
    async with _serving(hub, tmp_path, on_not_found="drop") as proxy:
        await see(proxy, _BY_TAG)
        proxy.clock.advance(_FRESH_FOR + 1)
        hub.remove_tag(_REPOSITORY, "1")
        answer = await see(proxy, _BY_TAG)
        assert (answer.status, answer.code) == (404, "MANIFEST_UNKNOWN")
        assert (await see(proxy, _BY_DIGEST)).body == _OLD.manifest
        await hub.stop()
        proxy.clock.advance(501)
        assert (await see(proxy, _BY_TAG)).status == 502
        await hub.start()
        hub.add_image(_REPOSITORY, "1", _NEW)
        assert (await see(proxy, _BY_TAG)).body == _NEW.manifest


async def test_not_found_is_remembered(hub: ScriptedRegistry, cold: HastyProxy) -> None:
    """A tag that upstream does not have is a 404 for a while, whoever asks, without upstream."""
    path = f"/v2/{_REPOSITORY}/manifests/sha256-{'0' * 64}.sig"
    for method in ("GET", "HEAD", "GET"):
        answer = await see(cold, path, method=method)
        assert answer.status == 404
    assert len(hub.requests()) == 1
    hub.add_image(_REPOSITORY, path.rpartition("/")[2], _NEW)
    assert (await see(cold, path)).status == 404
    cold.clock.advance(501)
    assert (await see(cold, path)).body == _NEW.manifest


async def test_not_found_by_digest_is_not_remembered(
    hub: ScriptedRegistry, cold: HastyProxy
) -> None:
    """A digest may appear at any moment, while its image is being pushed."""
    path = f"/v2/{_REPOSITORY}/manifests/{_NEW.digest}"
    assert (await see(cold, path)).status == 404
    hub.add_image(_REPOSITORY, None, _NEW)
    assert (await see(cold, path)).body == _NEW.manifest


async def test_errors_are_not_remembered(hub: ScriptedRegistry, cold: HastyProxy) -> None:
    """Only a 404 is remembered: any other failure is asked again."""
    hub.script(Match(), StatusFault(403), StatusFault(500), StatusFault(429))
    assert [(await see(cold, _BY_TAG)).status for _ in range(4)] == [403, 502, 429, 200]


async def test_by_digest(hub: ScriptedRegistry, warm: HastyProxy) -> None:
    """What has a digest never changes: once cached, upstream is never asked for it again."""
    warm.clock.advance(10 * 365 * 86_400)
    for method in ("GET", "HEAD"):
        answer = await see(warm, _BY_DIGEST, method=method)
        assert answer.status == 200
        assert answer.cache == {"hit": True}
    assert _asked(hub) == [("GET", "1")]


async def test_by_digest_when_upstream_has_removed_it(
    hub: ScriptedRegistry, warm: HastyProxy
) -> None:
    """It outlives the original."""
    hub.remove_tag(_REPOSITORY, "1")
    hub.remove_manifest(_REPOSITORY, _OLD.digest)
    assert (await see(warm, _BY_DIGEST)).body == _OLD.manifest


@pytest.mark.parametrize("fresh_for", [0.0, _FRESH_FOR])
async def test_what_clients_may_keep(
    hub: ScriptedRegistry, tmp_path: Path, fresh_for: float
) -> None:
    """A cache behind ours is to ask for tags each time, and never for digests again."""
    async with _serving(hub, tmp_path, fresh_for=fresh_for) as proxy:
        by_tag, by_digest = await see(proxy, _BY_TAG), await see(proxy, _BY_DIGEST)
    assert "no-cache" in by_tag.headers["Cache-Control"]
    assert "immutable" in by_digest.headers["Cache-Control"]
    assert "max-age=31536000" in by_digest.headers["Cache-Control"]
    for answer in (by_tag, by_digest):
        assert "no-transform" in answer.headers["Cache-Control"]


async def test_never_fresh(hub: ScriptedRegistry, tmp_path: Path) -> None:
    """With a `fresh_for` of 0 each pull asks, and still costs a HEAD only."""
    async with _serving(hub, tmp_path, fresh_for=0.0) as proxy:
        for _ in range(3):
            assert (await see(proxy, _BY_TAG)).body == _OLD.manifest
    assert _asked(hub) == [("GET", "1"), ("HEAD", "1"), ("HEAD", "1")]


async def test_the_clock_is_set_back(hub: ScriptedRegistry, warm: HastyProxy) -> None:
    """A tag from the future is not believed for longer than from now."""
    warm.clock.advance(-1_000_000)
    ttl = (await see(warm, _BY_TAG)).cache["ttl"]
    assert isinstance(ttl, int)
    assert ttl <= _FRESH_FOR


class TestBehind:
    """`stale_while_revalidate`."""

    @pytest.fixture
    async def stale(self, hub: ScriptedRegistry, tmp_path: Path) -> AsyncIterator[HastyProxy]:
        """A proxy whose tag is stale, but not for so long that a client would have to wait."""
        async with _serving(hub, tmp_path, stale_while_revalidate=300.0) as proxy:
            await see(proxy, _BY_TAG)
            proxy.clock.advance(_FRESH_FOR + 1)
            yield proxy

    async def test_at_once(self, hub: ScriptedRegistry, stale: HastyProxy) -> None:
        """A stale tag is answered while upstream is still silent, and is the new one later."""
        hub.add_image(_REPOSITORY, "1", _NEW)
        gate = Gate(at=None)
        hub.script(Match("HEAD"), gate)
        for _ in range(10):
            answer = await see(stale, _BY_TAG)
            assert answer.body == _OLD.manifest
            assert _is_stale(answer)
        await gate.reached()
        gate.release()
        async with asyncio.timeout(5):
            while (await see(stale, _BY_TAG)).body != _NEW.manifest:
                pass  # the answer to the HEAD is on its way to the record
        assert _asked(hub, since=1) == [("HEAD", "1"), ("GET", _NEW.digest)]

    @pytest.mark.parametrize("fault", [StatusFault(503), StatusFault(404), HangUp()])
    async def test_a_failure_changes_nothing(
        self, hub: ScriptedRegistry, stale: HastyProxy, fault: Fault
    ) -> None:
        """Where upstream fails behind the client's back, the client still has its answer."""
        hub.script(Match(), Always(fault))
        for _ in range(3):
            answer = await see(stale, _BY_TAG)
            assert answer.body == _OLD.manifest
            await hub.quiet()
        assert len(hub.requests("HEAD")) >= 1

    async def test_not_for_ever(self, hub: ScriptedRegistry, stale: HastyProxy) -> None:
        """Beyond that time upstream is asked first."""
        hub.add_image(_REPOSITORY, "1", _NEW)
        stale.clock.advance(300)
        assert (await see(stale, _BY_TAG)).body == _NEW.manifest


async def test_tags_survive_a_restart(hub: ScriptedRegistry, tmp_path: Path) -> None:
    """A tag is as fresh after a restart as before, and as stale."""
    async with _serving(hub, tmp_path) as proxy:
        await see(proxy, _BY_TAG)
    await hub.stop()
    async with _serving(hub, tmp_path) as proxy:
        answer = await see(proxy, _BY_TAG)
        assert (answer.body, answer.cache["hit"]) == (_OLD.manifest, True)
        assert "detail" not in answer.cache
        proxy.clock.advance(_FRESH_FOR + 1)
        assert _is_stale(await see(proxy, _BY_TAG), "upstream-unavailable")


async def test_without_the_manifest_a_tag_is_nothing(
    hub: ScriptedRegistry, warm: HastyProxy
) -> None:
    """A tag whose manifest is gone from disk is fetched again, and during an outage an error."""
    for file in warm.files("blobs"):
        file.unlink()
    assert (await see(warm, _BY_TAG)).body == _OLD.manifest
    assert _asked(hub, since=1) == [("GET", _OLD.digest)]
    for file in warm.files("blobs"):
        file.unlink()
    warm.clock.advance(_FRESH_FOR + 1)
    hub.script(Match(), Always(StatusFault(503)))
    assert (await see(warm, _BY_TAG)).status == 502
