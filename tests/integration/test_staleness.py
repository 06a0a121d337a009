"""What is served of a tag that has aged when upstream does not answer, or not yet."""

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
    STALE_IF_ERROR,
    asked_of,
    is_stale,
    pull_old,
    serving,
)
from tests.support.hasty import HastyProxy
from tests.support.scripted_registry import (
    Always,
    Bearer,
    BigErrorBody,
    Fault,
    Garbage,
    Gate,
    HangUp,
    Match,
    NoAnswer,
    ScriptedRegistry,
    StatusFault,
)
from tests.support.seen import see

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


@pytest.fixture
async def warm(hub: ScriptedRegistry, tmp_path: Path) -> AsyncIterator[HastyProxy]:
    """A proxy that has just pulled the old image."""
    async with serving(hub, tmp_path) as proxy:
        await pull_old(proxy)
        yield proxy


@pytest.fixture
def stale(warm: HastyProxy) -> HastyProxy:
    """One that has pulled it some time ago."""
    warm.clock.advance(FRESH_FOR + 1)
    return warm


@pytest.mark.parametrize(("fault", "detail"), _OUTAGES)
async def test_outage(hub: ScriptedRegistry, stale: HastyProxy, fault: Fault, detail: str) -> None:
    """A stale tag is served, and said to be stale, whichever way upstream does not answer."""
    hub.script(Match(), Always(fault))
    for method in ("GET", "HEAD"):
        answer = await see(stale, BY_TAG, method=method)
        assert answer.status == 200
        assert answer.headers["Docker-Content-Digest"] == OLD.digest
        assert is_stale(answer, detail)


async def test_silence(hub: ScriptedRegistry, tmp_path: Path) -> None:
    """So it is when upstream takes requests and says nothing."""
    async with serving(hub, tmp_path, patience=0.5) as proxy:
        await pull_old(proxy)
        proxy.clock.advance(FRESH_FOR + 1)
        hub.script(Match(), Always(NoAnswer()))
        answer = await see(proxy, BY_TAG)
        assert answer.body == OLD.manifest
        assert is_stale(answer, "upstream-timeout")


@pytest.mark.parametrize("what", ["manifests/1", "tags/list", f"referrers/{OLD.digest}"])
async def test_a_silence_longer_than_clients_wait(
    hub: ScriptedRegistry, tmp_path: Path, what: str
) -> None:
    """What is stale is served before the client would be told that upstream is late."""
    path = f"/v2/{REPOSITORY}/{what}"
    wanted = {"response_timeout": 1.5}
    async with serving(hub, tmp_path, patience=60.0, server=wanted) as proxy:
        await pull_old(proxy)
        before = await see(proxy, path)
        proxy.clock.advance(FRESH_FOR + 1)
        hub.script(Match(), Always(NoAnswer()))
        answer = await see(proxy, path)
        assert (answer.status, answer.body) == (200, before.body)
        assert is_stale(answer, "upstream-timeout" if "manifests" in what else None)


async def test_down(hub: ScriptedRegistry, stale: HastyProxy) -> None:
    """So it is when upstream is down; and it is fresh again once that is back."""
    await hub.stop()
    answer = await see(stale, BY_TAG)
    assert answer.body == OLD.manifest
    assert is_stale(answer, "upstream-unavailable")
    await hub.start()
    hub.add_image(REPOSITORY, "1", NEW)
    assert (await see(stale, BY_TAG)).body == NEW.manifest


async def test_an_outage_for_many(hub: ScriptedRegistry, stale: HastyProxy) -> None:
    """Those who ask at once during an outage share one request to upstream."""
    gate, before = Gate(at=None), len(hub.requests())
    hub.script(Match("HEAD"), gate, Always(StatusFault(503)))
    asking = asyncio.gather(*(see(stale, BY_TAG) for _ in range(30)))
    await gate.reached()
    assert asked_of(hub, since=before) == [("HEAD", "1")]
    gate.release()
    assert {answer.body for answer in await asking} == {OLD.manifest}


@pytest.mark.parametrize(
    ("age", "served"),
    [
        pytest.param(FRESH_FOR + STALE_IF_ERROR - SLACK, True, id="within"),
        pytest.param(FRESH_FOR + STALE_IF_ERROR + 1, False, id="beyond"),
    ],
)
async def test_the_limit_of_staleness(
    hub: ScriptedRegistry, warm: HastyProxy, age: float, served: bool
) -> None:
    """A tag is served without upstream up to `stale_if_error`, and not beyond."""
    hub.script(Match(), Always(StatusFault(503)))
    warm.clock.advance(age)
    answer = await see(warm, BY_TAG)
    assert answer.status == (200 if served else 502)
    assert (answer.body == OLD.manifest) is served
    assert (await see(warm, BY_DIGEST)).body == OLD.manifest


async def test_no_staleness(hub: ScriptedRegistry, tmp_path: Path) -> None:
    """With a `stale_if_error` of 0 nothing stale is ever served."""
    async with serving(hub, tmp_path, stale_if_error=0.0) as proxy:
        await see(proxy, BY_TAG)
        proxy.clock.advance(FRESH_FOR + 1)
        hub.script(Match(), Always(StatusFault(429)))
        assert (await see(proxy, BY_TAG)).status == 429


@pytest.mark.parametrize("status", [401, 403])
async def test_refused(hub: ScriptedRegistry, stale: HastyProxy, status: int) -> None:
    """What we may no longer read is not served by tag, however recently we could."""
    hub.script(Match(), Always(StatusFault(status)))
    for method in ("GET", "HEAD"):
        answer = await see(stale, BY_TAG, method=method)
        assert answer.status == 403
        assert OLD.manifest not in answer.body


@pytest.mark.parametrize("status", [401, 403])
async def test_refused_and_kept(hub: ScriptedRegistry, tmp_path: Path, status: int) -> None:
    """With `stale_if_denied` a refusal is outlived as an outage is."""
    async with serving(hub, tmp_path, stale_if_denied=True) as proxy:
        await pull_old(proxy)
        proxy.clock.advance(FRESH_FOR + 1)
        hub.script(Match(), Always(StatusFault(status)))
        for method in ("GET", "HEAD"):
            assert is_stale(await see(proxy, BY_TAG, method=method), "denied")
        proxy.clock.advance(STALE_IF_ERROR)
        assert (await see(proxy, BY_TAG)).status == 403


@pytest.mark.parametrize("kept", [False, True])
async def test_refused_by_the_token_server(tmp_path: Path, kept: bool) -> None:
    """A token server's 401 is a refusal: `stale_if_denied` says whether a cached tag is served."""
    async with (
        ScriptedRegistry(auth=Bearer()) as registry,
        serving(registry, tmp_path, stale_if_denied=kept) as proxy,
    ):
        await pull_old(proxy)
        proxy.clock.advance(FRESH_FOR + 1)
        registry.revoke_tokens()
        registry.tokens.script(Match(), Always(StatusFault(401)))
        answer = await see(proxy, BY_TAG)
        assert answer.status == (200 if kept else 403)


async def test_kept_when_not_found(hub: ScriptedRegistry, stale: HastyProxy) -> None:
    """By default a tag that was deleted upstream is kept, and said to be stale."""
    hub.remove_tag(REPOSITORY, "1")
    for _ in range(2):
        answer = await see(stale, BY_TAG)
        assert answer.body == OLD.manifest
        assert is_stale(answer, "manifest-unknown")


async def test_dropped_when_not_found(hub: ScriptedRegistry, tmp_path: Path) -> None:
    """Where the operator says so, it is gone; its manifest is not, nor is it if it comes back."""
    async with serving(hub, tmp_path, on_not_found="drop") as proxy:
        await see(proxy, BY_TAG)
        proxy.clock.advance(FRESH_FOR + 1)
        hub.remove_tag(REPOSITORY, "1")
        answer = await see(proxy, BY_TAG)
        assert (answer.status, answer.code) == (404, "MANIFEST_UNKNOWN")
        assert (await see(proxy, BY_DIGEST)).body == OLD.manifest
        await hub.stop()
        proxy.clock.advance(501)
        assert (await see(proxy, BY_TAG)).status == 502
        await hub.start()
        hub.add_image(REPOSITORY, "1", NEW)
        assert (await see(proxy, BY_TAG)).body == NEW.manifest


class TestBehind:
    """`stale_while_revalidate`."""

    @pytest.fixture
    async def stale(self, hub: ScriptedRegistry, tmp_path: Path) -> AsyncIterator[HastyProxy]:
        """A proxy whose tag is stale, but not for so long that a client would have to wait."""
        async with serving(hub, tmp_path, stale_while_revalidate=300.0) as proxy:
            await see(proxy, BY_TAG)
            proxy.clock.advance(FRESH_FOR + 1)
            yield proxy

    async def test_at_once(self, hub: ScriptedRegistry, stale: HastyProxy) -> None:
        """A stale tag is answered while upstream is still silent, and is the new one later."""
        hub.add_image(REPOSITORY, "1", NEW)
        gate = Gate(at=None)
        hub.script(Match("HEAD"), gate)
        for _ in range(10):
            answer = await see(stale, BY_TAG)
            assert answer.body == OLD.manifest
            assert is_stale(answer)
        await gate.reached()
        gate.release()
        async with asyncio.timeout(60):
            while (await see(stale, BY_TAG)).body != NEW.manifest:
                pass  # the answer to the HEAD is on its way to the record
        assert asked_of(hub, since=1) == [("HEAD", "1"), ("GET", NEW.digest)]

    @pytest.mark.parametrize("fault", [StatusFault(503), StatusFault(404), HangUp()])
    async def test_a_failure_changes_nothing(
        self, hub: ScriptedRegistry, stale: HastyProxy, fault: Fault
    ) -> None:
        """Where upstream fails behind the client's back, the client still has its answer."""
        hub.script(Match(), Always(fault))
        for _ in range(3):
            answer = await see(stale, BY_TAG)
            assert answer.body == OLD.manifest
            await hub.quiet()
        assert len(hub.requests("HEAD")) >= 1

    async def test_not_for_ever(self, hub: ScriptedRegistry, stale: HastyProxy) -> None:
        """Beyond that time upstream is asked first."""
        hub.add_image(REPOSITORY, "1", NEW)
        stale.clock.advance(300)
        assert (await see(stale, BY_TAG)).body == NEW.manifest


async def test_tags_survive_a_restart(hub: ScriptedRegistry, tmp_path: Path) -> None:
    """A tag is as fresh after a restart as before, and as stale."""
    async with serving(hub, tmp_path) as proxy:
        await pull_old(proxy)
    await hub.stop()
    async with serving(hub, tmp_path) as proxy:
        answer = await see(proxy, BY_TAG)
        assert (answer.body, answer.cache["hit"]) == (OLD.manifest, True)
        assert "detail" not in answer.cache
        proxy.clock.advance(FRESH_FOR + 1)
        assert is_stale(await see(proxy, BY_TAG), "upstream-unavailable")
