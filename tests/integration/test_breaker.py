"""What clients see of an upstream that fails, is given a rest, and comes back."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from cacheproxy.domain.events import UpstreamPaused, UpstreamResumed
from cacheproxy.settings.secret import Secret
from cacheproxy.settings.upstream_model import BreakerSettings, CredentialsSettings
from tests.integration.fills import BODY, DIGEST, SIZE, pull
from tests.integration.fills import REPOSITORY as OF_BLOB
from tests.integration.tags import (
    BY_DIGEST,
    BY_TAG,
    FRESH_FOR,
    NEW,
    OLD,
    REPOSITORY,
    asked_of,
    is_stale,
    pull_old,
)
from tests.support.hasty import HastyProxy, Wanted, hasty_proxy
from tests.support.scripted_registry import (
    Always,
    Basic,
    Bearer,
    CloseAfter,
    Fault,
    Gate,
    HangUp,
    Match,
    NoAnswer,
    Redirect,
    ScriptedRegistry,
    SlowHeaders,
    StatusFault,
    Together,
    rate_limited,
)
from tests.support.seen import see

_FAILURES, _PAUSE = 3, 100.0
_BREAKER = BreakerSettings(failures=_FAILURES, pause=_PAUSE, longest_pause=400.0)
_ONE_FAILURE = BreakerSettings(failures=1, pause=_PAUSE, longest_pause=400.0)
_FOREVER = 1e6  # seconds for which a tag is fresh, where staleness is not the point


@asynccontextmanager
async def _serving(
    hub: ScriptedRegistry, directory: Path, *, fresh_for: float = FRESH_FOR, **upstream: Any
) -> AsyncIterator[HastyProxy]:
    """A proxy in front of an upstream that has the old image."""
    hub.add_image(REPOSITORY, "1", OLD)
    wanted = Wanted(
        upstream={"breaker": _BREAKER, **upstream},
        tags={"fresh_for": fresh_for, "stale_if_error": _FOREVER},
    )
    async with hasty_proxy({"docker.io": hub}, directory, wanted) as proxy:
        yield proxy


@pytest.fixture
async def warm(hub: ScriptedRegistry, tmp_path: Path) -> AsyncIterator[HastyProxy]:
    """A proxy that has pulled the old image."""
    async with _serving(hub, tmp_path) as proxy:
        await pull_old(proxy)
        yield proxy


def _uncached(number: int | str) -> str:
    return f"/v2/{REPOSITORY}/manifests/uncached-{number}"


_DOWN = f"/v2/{REPOSITORY}/manifests/down"


async def _open(hub: ScriptedRegistry, proxy: HastyProxy, fault: Fault) -> None:
    """Have it fail so often that it is given a rest, and no more often."""
    hub.script(Match.manifest("down"), Always(fault))
    for _ in range(_FAILURES):
        assert (await see(proxy, _DOWN)).status == 502


@pytest.mark.parametrize(
    "fault", [StatusFault(500), StatusFault(503), HangUp()], ids=["500", "503", "hangs up"]
)
async def test_it_opens_and_closes(hub: ScriptedRegistry, warm: HastyProxy, fault: Fault) -> None:
    """After so many failures uncached pulls get a 503 unasked; after the pause all is as before."""
    hub.add_image(REPOSITORY, "uncached-new", NEW)
    await _open(hub, warm, fault)
    asked = len(hub.requests())
    for _ in range(3):
        answer = await see(warm, _uncached("new"))
        assert (answer.status, answer.code) == (503, "UNAVAILABLE")
        assert 0.7 * _PAUSE < int(answer.headers["Retry-After"]) <= 1.25 * _PAUSE
    assert (await see(warm, f"/v2/{REPOSITORY}/blobs/{NEW.layers[0].digest}")).status == 503
    assert len(hub.requests()) == asked
    warm.clock.advance(1.25 * _PAUSE)
    assert (await see(warm, _uncached("new"))).body == NEW.manifest
    assert (await see(warm, _uncached("none"))).status == 404
    assert len(warm.events.of(UpstreamPaused)) == len(warm.events.of(UpstreamResumed)) == 1


async def test_cached_pulls_go_on(hub: ScriptedRegistry, warm: HastyProxy) -> None:
    """While it rests, all that is cached is served, stale or not, without a word to upstream."""
    await _open(hub, warm, HangUp())
    assert (await see(warm, BY_TAG)).cache["hit"] is True
    warm.clock.advance(FRESH_FOR + 1)
    assert (await see(warm, _DOWN)).status == 502
    asked = len(hub.requests())
    for method in ("GET", "HEAD"):
        answer = await see(warm, BY_TAG, method=method)
        assert answer.status == 200
        assert is_stale(answer, "upstream-resting")
    assert (await see(warm, BY_DIGEST)).body == OLD.manifest
    for digest, blob in OLD.all_blobs.items():
        assert await warm.body(f"/v2/{REPOSITORY}/blobs/{digest}") == blob.body
    assert len(hub.requests()) == asked


async def test_one_probe(hub: ScriptedRegistry, warm: HastyProxy) -> None:
    """After the pause one of many is let through; the others need not wait for what it finds."""
    hub.add_image(REPOSITORY, "uncached-new", NEW)
    await _open(hub, warm, StatusFault(500))
    warm.clock.advance(1.25 * _PAUSE)
    before, gate = len(hub.requests()), Gate(at=None)
    hub.script(Match.manifest("uncached-new"), gate)

    async def meanwhile() -> None:
        await gate.reached()
        others = await asyncio.gather(*(see(warm, _uncached(f"x{n}")) for n in range(20)))
        assert {(each.status, each.headers["Retry-After"]) for each in others} == {(503, "1")}
        assert len(hub.requests()) == before + 1
        gate.release()

    probe, _ = await asyncio.gather(see(warm, _uncached("new")), meanwhile())
    assert probe.body == NEW.manifest
    assert (await see(warm, _uncached("x0"))).status == 404


async def test_a_probe_that_fails_doubles_the_pause(
    hub: ScriptedRegistry, warm: HastyProxy
) -> None:
    """Each probe that fails costs one request, and the pause after it is twice as long."""
    await _open(hub, warm, StatusFault(500))
    for _ in range(3):
        warm.clock.advance(_BREAKER.longest_pause * 1.25)
        assert (await see(warm, _DOWN)).status == 502
        assert (await see(warm, _DOWN)).status == 503
    assert len(hub.requests("GET", "/down")) == _FAILURES + 3
    pauses = [paused.seconds for paused in warm.events.of(UpstreamPaused)]
    for pause, expected in zip(pauses, (100, 200, 400, 400), strict=True):
        assert 0.75 * expected <= pause <= 1.25 * expected


async def test_clients_that_leave_leave_no_probe(hub: ScriptedRegistry, warm: HastyProxy) -> None:
    """If whoever probes hangs up, the next one is not told that somebody else does for ever."""
    hub.add_image(REPOSITORY, "uncached-new", NEW)
    await _open(hub, warm, StatusFault(500))
    warm.clock.advance(1.25 * _PAUSE)
    gate = Gate(at=None)
    hub.script(Match.manifest("uncached-new"), gate)
    short = aiohttp.ClientTimeout(total=0.1)
    with pytest.raises(TimeoutError):
        await warm.body(_uncached("new"), timeout=short)
    await gate.reached()
    gate.release()
    await hub.quiet()
    assert (await see(warm, _uncached("new"))).body == NEW.manifest
    assert (await see(warm, _uncached("other"))).status == 404


@pytest.mark.parametrize("fault", [StatusFault(status) for status in (404, 401, 403, 400, 405)])
async def test_refusals_never_open_it(
    hub: ScriptedRegistry, tmp_path: Path, fault: StatusFault
) -> None:
    """Whoever says no is there."""
    async with _serving(hub, tmp_path, breaker=_ONE_FAILURE) as proxy:
        hub.script(Match.manifest(), *[fault] * 10)
        for number in range(10):
            answer = await see(proxy, _uncached(number))
            assert answer.status in (404, 403, 502)
        assert len([entry for entry in hub.requests() if entry.path != "/v2/"]) == 10
        assert (await see(proxy, BY_TAG)).body == OLD.manifest
        assert not proxy.events.of(UpstreamPaused)


async def test_a_limit_never_opens_it(hub: ScriptedRegistry, tmp_path: Path) -> None:
    """Nor does a 429, which is about its own kind of request alone."""
    async with _serving(hub, tmp_path, breaker=_ONE_FAILURE, fresh_for=_FOREVER) as proxy:
        await pull_old(proxy)
        hub.script(Match.manifest(), rate_limited(100))
        answer = await see(proxy, _uncached(1))
        assert (answer.status, answer.code) == (429, "TOOMANYREQUESTS")
        blob = hub.add_blob(REPOSITORY, b"another")
        assert await proxy.body(f"/v2/{REPOSITORY}/blobs/{blob}") == b"another"
        assert not proxy.events.of(UpstreamPaused)


async def test_where_it_redirects_to_is_another_matter(
    hub: ScriptedRegistry, tmp_path: Path
) -> None:
    """A CDN that is down fails its blobs, and does not give the registry a rest."""
    async with _serving(hub, tmp_path, breaker=_ONE_FAILURE, retries=0) as proxy:
        assert (await see(proxy, BY_TAG)).body == OLD.manifest
        hub.script(Match.blob(), Always(Redirect()))
        await hub.cdn.stop()
        blobs = [f"/v2/{REPOSITORY}/blobs/{digest}" for digest in OLD.all_blobs]
        answers = await asyncio.gather(*(see(proxy, blob) for blob in blobs))
        assert {answer.status for answer in answers} == {502}
        assert (await see(proxy, _uncached(1))).status == 404
        assert not proxy.events.of(UpstreamPaused)
        await hub.cdn.start()
        assert (await see(proxy, blobs[0])).status == 200


@pytest.mark.parametrize("fault", [StatusFault(500), rate_limited(100)], ids=["500", "429"])
async def test_what_a_cdn_answers_is_its_own(
    hub: ScriptedRegistry, tmp_path: Path, fault: Fault
) -> None:
    """A CDN's 500 gives the registry no rest, and its 429 holds no other blob."""
    async with _serving(hub, tmp_path, breaker=_ONE_FAILURE, retries=0) as proxy:
        assert (await see(proxy, BY_TAG)).body == OLD.manifest
        hub.script(Match.blob(), Always(Redirect()))
        hub.cdn.script(Match(), fault)
        first, second, *_ = [f"/v2/{REPOSITORY}/blobs/{digest}" for digest in OLD.all_blobs]
        assert (await see(proxy, first)).status in (502, 429)
        assert (await see(proxy, second)).status == 200
        assert not proxy.events.of(UpstreamPaused)


async def test_it_may_ask_for_a_longer_rest(hub: ScriptedRegistry, warm: HastyProxy) -> None:
    """A 503 that says when to come back is heeded, within the longest pause."""
    await _open(hub, warm, StatusFault(503, {"Retry-After": "300"}))
    (paused,) = warm.events.of(UpstreamPaused)
    assert 0.75 * 300 <= paused.seconds <= 1.25 * 300


@pytest.mark.parametrize("at", ["token server", "registry"])
async def test_a_probe_that_is_refused_ends_the_rest(tmp_path: Path, at: str) -> None:
    """A 401 or 403 is an answer, whichever of the two it comes from."""
    login = CredentialsSettings("ada", Secret("secret"))
    async with (
        ScriptedRegistry(auth=Bearer({"ada": "secret"})) as hub,
        _serving(hub, tmp_path, credentials=login, breaker=_ONE_FAILURE) as proxy,
    ):
        await hub.tokens.stop()
        assert (await see(proxy, BY_TAG)).status == 502
        await hub.tokens.start()
        proxy.clock.advance(1.25 * _PAUSE)
        if at == "registry":
            challenge = f'Bearer realm="{hub.tokens.url}/token",service="registry.test"'
            refusal = StatusFault(401, {"WWW-Authenticate": challenge})
            hub.script(Match.manifest(), refusal, refusal)
        else:
            hub.tokens.script(Match(), StatusFault(403))
        assert (await see(proxy, BY_TAG)).status == 403
        assert len(proxy.events.of(UpstreamResumed)) == 1


async def test_who_has_no_login_says_nothing_of_upstream(tmp_path: Path) -> None:
    """A credential helper that fails is no failure of the registry's: it gets no rest for it."""
    helper = CredentialsSettings(provider="exec", command=("false",))
    async with (
        ScriptedRegistry(auth=Basic("ada", "secret")) as hub,
        _serving(hub, tmp_path, credentials=helper, breaker=_ONE_FAILURE) as proxy,
    ):
        for number in range(3):
            assert (await see(proxy, _uncached(number))).status not in (200, 503)
        assert not proxy.events.of(UpstreamPaused)


async def test_waiting_for_other_blobs_is_no_silence(hub: ScriptedRegistry, tmp_path: Path) -> None:
    """While blobs wait for a connection of ours, tags are still looked up and found changed."""
    tags = {"fresh_for": FRESH_FOR, "patience": 0.2}
    hub.add_image(REPOSITORY, "1", OLD)
    gate, wanted = Gate(at=1), Wanted(upstream={"max_connections": 1}, tags=tags)
    async with hasty_proxy({"docker.io": hub}, tmp_path, wanted) as proxy:
        await pull_old(proxy)
        hub.add_image("team/other", "1", NEW)
        hub.script(Match.blob(), gate)
        first, second = [f"/v2/team/other/blobs/{layer.digest}" for layer in NEW.layers]

        async def then_second() -> bytes:
            await gate.reached()
            body, _ = await asyncio.gather(proxy.body(second), meanwhile())
            return body

        async def meanwhile() -> None:
            await asyncio.sleep(0.4)  # which is longer than the patience
            proxy.clock.advance(FRESH_FOR + 1)
            hub.add_image(REPOSITORY, "1", NEW)
            assert (await see(proxy, BY_TAG)).body == NEW.manifest
            gate.release()

        bodies = await asyncio.gather(proxy.body(first), then_second())
        assert list(bodies) == [layer.body for layer in NEW.layers]


async def test_a_missing_manifest_is_asked_for(hub: ScriptedRegistry, tmp_path: Path) -> None:
    """A silent upstream is asked for a cached tag whose manifest is gone, and may be back."""
    async with _serving(hub, tmp_path, answer_timeout=1.0) as proxy:
        await pull_old(proxy)
        for file in proxy.files("blobs"):
            if file.read_bytes() == OLD.manifest:
                file.unlink()
        proxy.clock.advance(FRESH_FOR + 1)
        hub.script(Match("HEAD"), NoAnswer())
        assert (await see(proxy, BY_TAG)).status == 504
        answer = await see(proxy, BY_TAG)
        assert (answer.status, answer.cache["fwd-status"]) == (200, 200)


async def test_a_silent_cdn_is_no_silent_registry(hub: ScriptedRegistry, tmp_path: Path) -> None:
    """While blobs wait in vain for a CDN, tags are still looked up and found changed."""
    async with _serving(
        hub, tmp_path, breaker=_ONE_FAILURE, retries=0, answer_timeout=1.0
    ) as proxy:
        assert (await see(proxy, BY_TAG)).body == OLD.manifest
        hub.script(Match.blob(), Always(Redirect()))
        hub.cdn.script(Match(), NoAnswer())
        layer = next(iter(OLD.all_blobs))
        assert (await see(proxy, f"/v2/{REPOSITORY}/blobs/{layer}")).status == 504
        proxy.clock.advance(FRESH_FOR + 1)
        hub.add_image(REPOSITORY, "1", NEW)
        assert (await see(proxy, BY_TAG)).body == NEW.manifest


@pytest.mark.alone
async def test_a_queue_for_connections_is_nobodys_failure(
    hub: ScriptedRegistry, tmp_path: Path
) -> None:
    """Requests that wait for a connection of ours have all of their time left when they get it."""
    upstream = {"max_connections": 1, "answer_timeout": 1.0}
    async with _serving(hub, tmp_path, **upstream) as proxy:
        hub.script(Match("HEAD"), Always(SlowHeaders(0.25)))
        # Together they take longer than one of them may.
        heads = [see(proxy, _uncached(number), method="HEAD") for number in range(12)]
        answers = await asyncio.gather(*heads)
        assert {answer.status for answer in answers} == {404}
        assert not proxy.events.of(UpstreamPaused)


async def test_the_probe_owns_a_connection(hub: ScriptedRegistry, tmp_path: Path) -> None:
    """A blob that waits for other blobs to end is no probe: a tag's lookup is, meanwhile."""
    hub.add_image("team/other", "1", NEW)
    gate = Gate(at=1)
    hub.script(Match.blob(), gate)
    first, second = [f"/v2/team/other/blobs/{layer.digest}" for layer in NEW.layers]
    async with _serving(hub, tmp_path, max_connections=1) as proxy:

        async def then_second() -> bytes:
            await gate.reached()
            await _open(hub, proxy, StatusFault(500))
            proxy.clock.advance(1.25 * _PAUSE)
            body, _ = await asyncio.gather(proxy.body(second), meanwhile())
            return body

        async def meanwhile() -> None:
            await asyncio.sleep(0.1)  # by now the second is in the queue
            assert (await see(proxy, BY_TAG)).body == OLD.manifest
            gate.release()

        bodies = await asyncio.gather(proxy.body(first), then_second())
        assert list(bodies) == [layer.body for layer in NEW.layers]


async def test_a_login_that_is_refused_closes_no_breaker(tmp_path: Path) -> None:
    """A registry that is down stays so, whatever its token service says of a login."""
    login = CredentialsSettings("ada", Secret("secret"))
    async with (
        ScriptedRegistry(auth=Bearer({"ada": "secret"})) as hub,
        _serving(hub, tmp_path, credentials=login, breaker=_ONE_FAILURE) as proxy,
    ):
        assert (await see(proxy, BY_TAG)).body == OLD.manifest
        await hub.stop()
        assert (await see(proxy, _DOWN)).status == 502
        hub.tokens.script(Match(), Always(StatusFault(401)))
        proxy.clock.advance(1.25 * _PAUSE)
        for status in (502, 503, 503):  # without a token the registry is asked, and still down
            assert (await see(proxy, "/v2/team/other/manifests/1")).status == status
        assert not proxy.events.of(UpstreamResumed)
        first, second = proxy.events.of(UpstreamPaused)
        assert first.registry == second.registry == "docker.io"
        assert second.seconds > 1.25 * _PAUSE, "it is the same outage"


async def test_a_token_server_that_is_down_rests_alone(tmp_path: Path) -> None:
    """While tokens cannot be had, pulls that have one go on."""
    login = CredentialsSettings("ada", Secret("secret"))
    async with (
        ScriptedRegistry(auth=Bearer({"ada": "secret"})) as hub,
        _serving(hub, tmp_path, credentials=login) as proxy,
    ):
        assert (await see(proxy, BY_TAG)).body == OLD.manifest
        await hub.tokens.stop()
        for number in range(_FAILURES + 1):
            assert (await see(proxy, f"/v2/team/x{number}/manifests/1")).status in (502, 503)
        assert (await see(proxy, _uncached("none"))).status == 404
        (paused,) = proxy.events.of(UpstreamPaused)
        assert paused.registry == "docker.io (tokens)"


async def test_a_token_server_that_is_down_is_left_alone(tmp_path: Path) -> None:
    """Nobody waits for a token server that is down; the registry is asked once, without a token."""
    login = CredentialsSettings("ada", Secret("secret"))
    async with (
        ScriptedRegistry(auth=Bearer({"ada": "secret"})) as hub,
        _serving(hub, tmp_path, credentials=login) as proxy,
    ):
        await hub.tokens.stop()
        for number in range(_FAILURES):
            assert (await see(proxy, _uncached(number))).status == 502
        asked = len(hub.requests())
        assert (await see(proxy, _uncached("new"))).status == 503
        assert len(hub.requests()) == asked + 1
        await hub.tokens.start()
        proxy.clock.advance(1.25 * _PAUSE)
        assert (await see(proxy, BY_TAG)).body == OLD.manifest


async def test_a_download_goes_on_after_the_rest(hub: ScriptedRegistry, tmp_path: Path) -> None:
    """A blob that is cut while upstream rests is waited for, and no byte of it comes twice."""
    middle, breaker = SIZE // 2, BreakerSettings(_FAILURES, 2.0, 3.0)
    hub.add_blob(OF_BLOB, BODY)
    gate = Gate(at=middle)
    hub.script(Match.blob(DIGEST), Together(gate, CloseAfter(middle)))
    async with _serving(hub, tmp_path, breaker=breaker) as proxy:

        async def meanwhile() -> None:
            await gate.reached()
            await _open(hub, proxy, StatusFault(500))
            gate.release()

        pulled, _ = await asyncio.gather(pull(proxy), meanwhile())
        assert pulled.right
        assert sum(entry.body_bytes_sent for entry in hub.blob_gets(DIGEST)) == SIZE
        assert proxy.events.of(UpstreamResumed)


@pytest.mark.alone
async def test_silence_costs_cached_pulls_nothing(hub: ScriptedRegistry, tmp_path: Path) -> None:
    """Once upstream has let one wait, cached tags are served at once, however many and which."""
    async with _serving(hub, tmp_path, answer_timeout=1.5) as proxy:
        for number in range(20):
            hub.add_image(f"team/many-{number}", "1", OLD)
            await see(proxy, f"/v2/team/many-{number}/manifests/1")
        await pull_old(proxy)
        proxy.clock.advance(FRESH_FOR + 1)
        hub.script(Match(), Always(NoAnswer()))
        assert is_stale(await see(proxy, BY_TAG), "upstream-timeout")
        loop = asyncio.get_running_loop()
        begun = loop.time()
        for number in range(20):
            answer = await see(proxy, f"/v2/team/many-{number}/manifests/1")
            assert answer.body == OLD.manifest
            assert is_stale(answer, "upstream-timeout")
        # One after another they would wait twenty deadlines; they wait for none.
        assert loop.time() - begun < 20 * 1.5 / 2


@pytest.mark.alone
async def test_a_deadline_need_not_be_over_for_that(hub: ScriptedRegistry, tmp_path: Path) -> None:
    """While the first who ask still wait, who comes after `tags.patience` does not."""
    tags = {"fresh_for": FRESH_FOR, "stale_if_error": _FOREVER, "patience": 0.4}
    hub.add_image(REPOSITORY, "1", OLD)
    async with hasty_proxy({"docker.io": hub}, tmp_path, Wanted(tags=tags)) as proxy:
        await pull_old(proxy)
        proxy.clock.advance(FRESH_FOR + 1)
        hub.script(Match(), Always(NoAnswer()))
        assert is_stale(await see(proxy, BY_TAG), "upstream-timeout")
        loop = asyncio.get_running_loop()
        begun = loop.time()
        for _ in range(20):
            assert is_stale(await see(proxy, BY_TAG), "upstream-timeout")
        assert loop.time() - begun < 20 * 0.4 / 2
        assert asked_of(hub)[-1] == ("HEAD", "1")


async def test_cached_pulls_alone_find_out_that_it_is_back(
    hub: ScriptedRegistry, tmp_path: Path
) -> None:
    """While they are served at once one of them asks behind its client's back, till all is well."""
    async with _serving(hub, tmp_path, answer_timeout=1.0) as proxy:
        await pull_old(proxy)
        proxy.clock.advance(FRESH_FOR + 1)
        silence = Gate(at=None)
        hub.script(Match(), Always(silence))
        async with asyncio.timeout(60):
            while not proxy.events.of(UpstreamPaused):
                assert is_stale(await see(proxy, BY_TAG), "upstream-timeout")
        silence.release()
        hub.add_image(REPOSITORY, "1", NEW)
        proxy.clock.advance(1.25 * _PAUSE)
        async with asyncio.timeout(60):
            while (await see(proxy, BY_TAG)).body != NEW.manifest:
                pass  # the answer to the HEAD is on its way to the record
        assert len(proxy.events.of(UpstreamResumed)) == 1
