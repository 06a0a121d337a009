"""Optional features of the protocol that upstream lacks: a pull does without them."""

from pathlib import Path

import pytest

from cacheproxy.domain.events import UpstreamPaused
from tests.integration.fills import (
    BODY,
    DIGEST,
    REPOSITORY,
    SIZE,
    cold,
    is_stored,
    pull,
    until,
)
from tests.integration.tags import BY_TAG, FRESH_FOR, NEW, OLD, asked_of, serving
from tests.integration.tags import REPOSITORY as TEAM
from tests.support.hasty import HastyProxy, Wanted
from tests.support.scripted_registry import (
    Always,
    CloseAfter,
    Match,
    Redirect,
    ScriptedRegistry,
    StallAfter,
    StatusFault,
)
from tests.support.scripted_registry.server import ScriptedServer
from tests.support.seen import see

_HALF = SIZE // 2
_HEADS = Match("HEAD", path_regex="/manifests/")
_HEAD_REFUSED = [400, 404, 405, 501]
_RANGE_REFUSED = [403, 416, 500, 501, 503, 504]
_FEW_RETRIES = Wanted(upstream={"retries": 2, "idle_timeout": 0.2})
_EMPTY = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


# -- HEAD of manifests -----------------------------------------------------------------


@pytest.mark.parametrize("status", _HEAD_REFUSED)
async def test_head_of_manifests_is_missing(
    hub: ScriptedRegistry, tmp_path: Path, status: int
) -> None:
    """A HEAD that upstream refuses is answered by a GET, and a cached tag is renewed by one."""
    hub.script(_HEADS, Always(StatusFault(status)))
    async with serving(hub, tmp_path) as proxy:
        head = await see(proxy, BY_TAG, method="HEAD")
        assert (head.status, head.headers["Docker-Content-Digest"]) == (200, OLD.digest)
        assert head.headers["Content-Length"] == str(len(OLD.manifest))
        hub.add_image(TEAM, "1", NEW)
        proxy.clock.advance(FRESH_FOR + 1)
        answer = await see(proxy, BY_TAG)
        assert answer.body == NEW.manifest


@pytest.mark.parametrize("status", _HEAD_REFUSED)
async def test_a_missing_head_is_remembered_for_a_while(
    hub: ScriptedRegistry, tmp_path: Path, status: int
) -> None:
    """After a refused HEAD and a GET that works, no HEAD of a manifest is sent for ten minutes."""
    hub.script(_HEADS, Always(StatusFault(status)))
    async with serving(hub, tmp_path) as proxy:
        for tag in ("1", "2", "3"):
            hub.add_image(TEAM, tag, NEW)
            path = f"/v2/{TEAM}/manifests/{tag}"
            assert (await see(proxy, path, method="HEAD")).status == 200
        assert asked_of(hub) == [("HEAD", "1"), ("GET", "1"), ("GET", "2"), ("GET", "3")]
        hub.add_image(TEAM, "4", NEW)
        proxy.clock.advance(601)
        await see(proxy, f"/v2/{TEAM}/manifests/4", method="HEAD")
        assert asked_of(hub, since=4) == [("HEAD", "4"), ("GET", "4")]


async def test_a_refused_head_of_nothing_is_not_evidence(
    hub: ScriptedRegistry, tmp_path: Path
) -> None:
    """A tag that upstream has neither by HEAD nor by GET leaves HEAD in use."""
    async with serving(hub, tmp_path) as proxy:
        for tag in ("none", "neither"):
            path = f"/v2/{TEAM}/manifests/{tag}"
            assert (await see(proxy, path, method="HEAD")).status == 404
        methods = [method for method, _ in asked_of(hub)]
        assert methods == ["HEAD", "GET", "HEAD", "GET"]


@pytest.mark.parametrize("status", _HEAD_REFUSED)
async def test_a_missing_feature_opens_no_circuit_breaker(
    hub: ScriptedRegistry, tmp_path: Path, status: int
) -> None:
    """However many HEADs upstream refuses, it stays in use for everything else."""
    hub.script(_HEADS, Always(StatusFault(status)))
    async with serving(hub, tmp_path) as proxy:
        for number in range(10):
            path = f"/v2/{TEAM}/manifests/none-{number}"
            assert (await see(proxy, path, method="HEAD")).status == 404
        assert (await see(proxy, BY_TAG)).body == OLD.manifest
        assert (await see(proxy, f"/v2/{TEAM}/tags/list")).status == 200
        assert not proxy.events.of(UpstreamPaused)


@pytest.mark.parametrize("status", _HEAD_REFUSED)
async def test_a_manifest_of_two_repositories_without_head(
    hub: ScriptedRegistry, proxy: HastyProxy, status: int
) -> None:
    """A cached manifest is confirmed for another repository by a GET where HEAD is refused."""
    hub.script(_HEADS, Always(StatusFault(status)))
    for name in ("team/a", "team/b"):
        hub.add_image(name, "1", OLD)
        answer = await see(proxy, f"/v2/{name}/manifests/{OLD.digest}")
        assert (answer.status, answer.body) == (200, OLD.manifest)
    answer = await see(proxy, f"/v2/team/c/manifests/{OLD.digest}")
    assert answer.status == 404


# -- a digest that is not there yet ----------------------------------------------------


async def test_a_tag_is_there_and_its_digest_is_not(hub: ScriptedRegistry, tmp_path: Path) -> None:
    """A manifest is fetched by tag if the digest that a HEAD named is not found."""
    async with serving(hub, tmp_path, on_not_found="drop") as proxy:
        assert (await see(proxy, BY_TAG)).body == OLD.manifest
        hub.add_image(TEAM, "1", NEW)
        hub.script(Match.manifest(NEW.digest), Always(StatusFault(404)))
        proxy.clock.advance(FRESH_FOR + 1)
        assert (await see(proxy, BY_TAG)).body == NEW.manifest
        assert asked_of(hub, since=1) == [("HEAD", "1"), ("GET", NEW.digest), ("GET", "1")]


async def test_a_head_named_a_digest_that_is_not_there(
    hub: ScriptedRegistry, tmp_path: Path
) -> None:
    """A fresh tag that only a HEAD has named is fetched by tag if its digest is not found."""
    hub.script(Match.manifest(OLD.digest), Always(StatusFault(404)))
    async with serving(hub, tmp_path) as proxy:
        assert (await see(proxy, BY_TAG, method="HEAD")).status == 200
        assert (await see(proxy, BY_TAG)).body == OLD.manifest


# -- ranges ----------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["registry", "storage"])
@pytest.mark.parametrize("status", _RANGE_REFUSED)
async def test_ranges_are_refused(tmp_path: Path, status: int, where: str) -> None:
    """A download that broke gets the whole again, and skips what is on disk."""
    async with cold(tmp_path, wanted=_FEW_RETRIES) as (hub, proxy):
        server: ScriptedServer = hub
        if where == "storage":
            hub.script(Match.blob(DIGEST), Always(Redirect()))
            server = hub.cdn
        server.script(Match("GET", ranged=True), Always(StatusFault(status)))
        server.script(Match("GET"), CloseAfter(_HALF))
        assert (await pull(proxy)).right
        await until(lambda: is_stored(proxy))


@pytest.mark.parametrize("where", ["registry", "storage"])
@pytest.mark.parametrize("status", _RANGE_REFUSED)
async def test_ranges_are_refused_after_a_restart(tmp_path: Path, status: int, where: str) -> None:
    """What an earlier process left is completed from the whole, in the first pull."""
    async with (
        cold(tmp_path, StallAfter(_HALF)) as (hub, proxy),
        proxy.get(f"/v2/app/blobs/{DIGEST}") as response,
    ):
        await response.content.readexactly(_HALF)
    async with cold(tmp_path, wanted=_FEW_RETRIES) as (hub, proxy):
        server: ScriptedServer = hub
        if where == "storage":
            hub.script(Match.blob(DIGEST), Always(Redirect()))
            server = hub.cdn
        server.script(Match("GET", ranged=True), Always(StatusFault(status)))
        assert (await pull(proxy)).right
        await until(lambda: is_stored(proxy))


async def test_a_server_error_costs_no_byte_twice(tmp_path: Path) -> None:
    """One server error says nothing of ranges: the next attempt still asks for the rest."""
    async with cold(tmp_path, CloseAfter(_HALF), StatusFault(503)) as (hub, proxy):
        assert (await pull(proxy)).right
        ranges = [get.headers.get("Range") for get in hub.blob_gets(DIGEST)]
        assert ranges == [None, *[f"bytes={_HALF}-{SIZE - 1}"] * 2]


# -- confirming a blob -----------------------------------------------------------------


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 501])
@pytest.mark.parametrize("ranged", [None, 400, 416, 501])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_a_blob_is_confirmed_without_head_and_ranges(
    hub: ScriptedRegistry, proxy: HastyProxy, status: int, ranged: int | None, method: str
) -> None:
    """A GET confirms that another repository holds a cached blob, if HEAD and range are refused."""
    hub.add_blob(REPOSITORY, BODY)
    hub.add_blob("team/b", BODY)
    assert (await pull(proxy)).right
    hub.script(Match("HEAD"), Always(StatusFault(status)))
    if ranged is not None:
        hub.script(Match.blob(ranged=True), Always(StatusFault(ranged)))
    answer = await see(proxy, f"/v2/team/b/blobs/{DIGEST}", method=method)
    assert answer.status == 200
    assert answer.body == (BODY if method == "GET" else b"")
    assert (await see(proxy, f"/v2/team/c/blobs/{DIGEST}", method=method)).status == 404


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_an_empty_blob_is_confirmed_without_head(
    hub: ScriptedRegistry, proxy: HastyProxy, method: str
) -> None:
    """A blob that has no first byte is confirmed all the same, cold and warm."""
    hub.script(Match("HEAD"), Always(StatusFault(401)))
    for name in ("team/a", "team/b"):
        hub.add_blob(name, b"")
        path = f"/v2/{name}/blobs/{_EMPTY}"
        answer = await see(proxy, path, method=method)
        assert (answer.status, answer.headers["Content-Length"]) == (200, "0")
        assert (await see(proxy, path)).status == 200
