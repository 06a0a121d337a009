"""An upstream that is had from a mirror first: what the mirror lacks, breaks or forges."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from cacheproxy.domain.events import UpstreamPaused
from cacheproxy.settings.secret import Secret
from cacheproxy.settings.upstream_model import CredentialsSettings
from tests.integration.fills import BODY, DIGEST, SIZE, is_stored, pull, until
from tests.integration.fills import REPOSITORY as OF_BLOB
from tests.integration.tags import (
    BY_DIGEST,
    BY_TAG,
    FRESH_FOR,
    NEW,
    OLD,
    REPOSITORY,
    is_stale,
    pull_old,
)
from tests.support.hasty import HastyProxy, Wanted, hasty_proxy
from tests.support.scripted_registry import (
    Always,
    Anonymous,
    Auth,
    Basic,
    CloseAfter,
    Fault,
    Garbage,
    HangUp,
    LongBody,
    Match,
    NoAnswer,
    ResetAfter,
    ScriptedRegistry,
    StallAfter,
    StatusFault,
    WrongBytes,
    rate_limited,
)
from tests.support.seen import see

_MIDDLE = 1_500_000


@asynccontextmanager
async def _between(
    directory: Path, *faults: Fault, auth: Auth | None = None, **upstream: Any
) -> AsyncIterator[tuple[ScriptedRegistry, ScriptedRegistry, HastyProxy]]:
    """A mirror with these faults, its registry, and a proxy that asks them in this order."""
    login = CredentialsSettings("ada", Secret("secret"))
    async with (
        ScriptedRegistry(auth=auth or Anonymous()) as mirror,
        ScriptedRegistry(auth=auth or Anonymous()) as hub,
    ):
        for registry in (mirror, hub):
            registry.add_image(REPOSITORY, "1", OLD)
            registry.add_blob(OF_BLOB, BODY)
        if faults:
            mirror.script(Match(), *faults)
        settings = {"mirrors": (mirror.url,), "credentials": login, **upstream}
        wanted = Wanted(upstream=settings, tags={"fresh_for": FRESH_FOR})
        async with hasty_proxy({"docker.io": hub}, directory, wanted) as proxy:
            yield mirror, hub, proxy


async def test_a_mirror_is_asked_first(tmp_path: Path) -> None:
    """What the mirror has is had from there; the registry hears nothing."""
    async with _between(tmp_path) as (mirror, hub, proxy):
        await pull_old(proxy)
        assert (await pull(proxy)).right
        proxy.clock.advance(FRESH_FOR + 1)
        assert (await see(proxy, BY_TAG)).cache["fwd-status"] == 200
        assert len(mirror.requests()) == 2 + len(OLD.all_blobs) + 1
        assert not hub.requests()


_ELSEWHERE = [
    pytest.param(StatusFault(404), id="lacks it"),
    pytest.param(StatusFault(401), id="401"),
    pytest.param(StatusFault(403), id="403"),
    pytest.param(StatusFault(400), id="400"),
    pytest.param(rate_limited(60), id="429"),
    pytest.param(StatusFault(500), id="500"),
    pytest.param(HangUp(), id="hangs up"),
    pytest.param(Garbage(), id="garbage"),
    pytest.param(NoAnswer(), id="slow"),
]


@pytest.mark.parametrize("fault", [*_ELSEWHERE, pytest.param(WrongBytes(), id="lies")])
@pytest.mark.parametrize("path", [BY_TAG, BY_DIGEST], ids=["tag", "digest"])
async def test_a_manifest_that_a_mirror_does_not_give(
    tmp_path: Path, path: str, fault: Fault
) -> None:
    """Whatever a mirror does instead of giving a manifest, the registry gives it."""
    async with _between(tmp_path, Always(fault), answer_timeout=1.5) as (_, hub, proxy):
        answer = await see(proxy, path)
        assert (answer.status, answer.body) == (200, OLD.manifest)
        assert len(hub.requests("GET")) == 1


async def test_a_forged_manifest_is_not_believed(tmp_path: Path) -> None:
    """A manifest that a mirror gives for another one's digest is passed over, however good."""
    async with _between(tmp_path) as (mirror, hub, proxy):
        mirror.script(Match.manifest(OLD.digest), Always(LongBody(b"\n")))
        answer = await see(proxy, BY_DIGEST)
        assert (answer.status, answer.body) == (200, OLD.manifest)
        assert len(hub.requests("GET")) == 1


@pytest.mark.parametrize("fault", _ELSEWHERE)
async def test_a_blob_that_a_mirror_does_not_give(tmp_path: Path, fault: Fault) -> None:
    """So it is with blobs."""
    async with _between(tmp_path, Always(fault), answer_timeout=1.5) as (_, hub, proxy):
        assert (await pull(proxy)).right
        assert len(hub.blob_gets(DIGEST)) == 1


async def test_a_mirror_that_is_down(tmp_path: Path) -> None:
    """It is asked once, and then left alone for a while; it is named as what it is."""
    async with _between(tmp_path) as (mirror, hub, proxy):
        await mirror.stop()
        assert (await see(proxy, BY_TAG)).body == OLD.manifest
        (paused,) = proxy.events.of(UpstreamPaused)
        assert paused.registry == f"docker.io (mirror 127.0.0.1:{mirror.port})"
        await mirror.start()
        assert (await pull(proxy)).right
        assert not mirror.requests()
        assert len(hub.blob_gets(DIGEST)) == 1
        proxy.clock.advance(FRESH_FOR + 1)
        assert (await see(proxy, BY_TAG)).body == OLD.manifest
        assert len(mirror.requests()) == 1


async def test_nobody_is_there(tmp_path: Path) -> None:
    """Without mirror and registry the registry's error is told, and what is here is served."""
    async with _between(tmp_path) as (mirror, hub, proxy):
        await pull_old(proxy)
        await mirror.stop()
        await hub.stop()
        assert (await see(proxy, f"/v2/{REPOSITORY}/manifests/other")).status == 502
        proxy.clock.advance(FRESH_FOR + 1)
        assert is_stale(await see(proxy, BY_TAG), "upstream-unavailable")


@pytest.mark.alone
async def test_a_silent_registry_behind_a_mirror_that_is_down(tmp_path: Path) -> None:
    """Cached pulls wait for neither of them, once both are known for what they are."""
    async with _between(tmp_path, answer_timeout=1.5) as (mirror, hub, proxy):
        await pull_old(proxy)
        await mirror.stop()
        hub.script(Match(), Always(NoAnswer()))
        proxy.clock.advance(FRESH_FOR + 1)
        assert is_stale(await see(proxy, BY_TAG), "upstream-timeout")
        loop = asyncio.get_running_loop()
        begun = loop.time()
        for _ in range(20):
            assert is_stale(await see(proxy, BY_TAG), "upstream-timeout")
        assert loop.time() - begun < 20 * 1.5 / 2


async def test_credentials_are_the_registrys_alone(tmp_path: Path) -> None:
    """A mirror that asks for a login is shown none, and asked no more than anybody else would."""
    async with _between(tmp_path, auth=Basic("ada", "secret")) as (mirror, hub, proxy):
        await pull_old(proxy)
        assert (await pull(proxy)).right
        assert mirror.requests()
        assert not [each for each in mirror.journal if "Authorization" in each.headers]
        assert [each for each in hub.journal if "Authorization" in each.headers]


@pytest.mark.parametrize(
    "fault",
    [CloseAfter(_MIDDLE), ResetAfter(_MIDDLE), StallAfter(_MIDDLE)],
    ids=["closes", "resets", "stalls"],
)
async def test_a_mirror_that_dies_in_the_middle_of_a_blob(tmp_path: Path, fault: Fault) -> None:
    """The download goes on from the registry, no byte comes twice, and the client sees nothing."""
    async with _between(tmp_path, idle_timeout=1.0) as (mirror, hub, proxy):
        mirror.script(Match.blob(DIGEST), Always(fault))
        assert (await pull(proxy)).right
        await until(lambda: is_stored(proxy))
        (first,), (second,) = mirror.blob_gets(DIGEST), hub.blob_gets(DIGEST)
        assert second.headers["Range"].startswith("bytes=")
        assert second.status == 206
        # What a reset took with it may be asked for again; nothing else is.
        lost = first.body_bytes_sent + second.body_bytes_sent - SIZE
        assert lost == 0 or isinstance(fault, ResetAfter)


async def test_a_mirror_that_forges_a_blob(tmp_path: Path) -> None:
    """Wrong bytes reach no client whole, and the next pull has the right ones of the registry."""
    async with _between(tmp_path) as (mirror, hub, proxy):
        mirror.script(Match.blob(DIGEST), Always(WrongBytes(_MIDDLE)))
        assert (await pull(proxy)).harmless
        assert (await pull(proxy)).right
        assert len(hub.blob_gets(DIGEST)) == 1
        await until(lambda: is_stored(proxy))


async def test_a_tag_of_a_mirror_is_believed(tmp_path: Path) -> None:
    """What a tag names is the mirror's word: it may be older than the registry's."""
    async with _between(tmp_path) as (_, hub, proxy):
        hub.add_image(REPOSITORY, "1", NEW)
        assert (await see(proxy, BY_TAG)).body == OLD.manifest
