"""One copy of each blob, but only for those repositories that hold it."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from cacheproxy.domain.events import UpstreamAnswered
from tests.support import images
from tests.support.hasty import HastyProxy, Wanted, hasty_proxy
from tests.support.scripted_registry import (
    Always,
    Fault,
    HangUp,
    Match,
    NoAnswer,
    NoContentLength,
    ScriptedRegistry,
    StatusFault,
)
from tests.support.seen import Seen, see

_IMAGE = images.simple(seed=41)
_BLOB = _IMAGE.layers[0]
_INDEX = images.multi_arch(seed=42)
_A, _B = "team/a", "team/b"
_BLOB_OF_A = f"/v2/{_A}/blobs/{_BLOB.digest}"
_BLOB_OF_B = f"/v2/{_B}/blobs/{_BLOB.digest}"
_MANIFEST_OF_A = f"/v2/{_A}/manifests/{_IMAGE.digest}"
_MANIFEST_OF_B = f"/v2/{_B}/manifests/{_IMAGE.digest}"

# How an upstream says no, or nothing: none of it is a yes.
_NOS = [
    pytest.param(StatusFault(400), 502, id="400"),
    pytest.param(StatusFault(401), 403, id="401"),
    pytest.param(StatusFault(403), 403, id="403"),
    pytest.param(StatusFault(404), 404, id="404"),
    pytest.param(StatusFault(405), 502, id="405"),
    pytest.param(StatusFault(429), 429, id="429"),
    pytest.param(StatusFault(500), 502, id="500"),
    pytest.param(StatusFault(503), 502, id="503"),
    pytest.param(HangUp(), 502, id="hangs up"),
]


@pytest.fixture
async def warm(hub: ScriptedRegistry, tmp_path: Path) -> AsyncIterator[HastyProxy]:
    """A proxy that has pulled one image by way of repository A."""
    hub.add_image(_A, "1", _IMAGE)
    async with hasty_proxy({"docker.io": hub}, tmp_path / "cache") as proxy:
        assert (await see(proxy, f"/v2/{_A}/manifests/1")).body == _IMAGE.manifest
        assert (await see(proxy, _BLOB_OF_A)).body == _BLOB.body
        yield proxy


def _since(hub: ScriptedRegistry, count: int) -> list[tuple[str, str]]:
    return [(entry.method, entry.path) for entry in hub.requests()[count:]]


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_a_blob_that_upstream_confirms(
    hub: ScriptedRegistry, warm: HastyProxy, method: str
) -> None:
    """A cached blob is served under another repository once upstream has said that it is there."""
    hub.add_blob(_B, _BLOB.body)
    before = len(hub.requests())
    for _ in range(3):
        answer = await see(warm, _BLOB_OF_B, method=method)
        assert answer.status == 200
        assert answer.body == (_BLOB.body if method == "GET" else b"")
        assert int(answer.headers["Content-Length"]) == len(_BLOB.body)
    assert _since(hub, before) == [("HEAD", _BLOB_OF_B)]


async def test_a_blob_that_upstream_denies(hub: ScriptedRegistry, warm: HastyProxy) -> None:
    """A cached blob is no blob of a repository that upstream says it is not in."""
    for method in ("GET", "HEAD"):
        answer = await see(warm, _BLOB_OF_B, method=method)
        assert answer.status == 404
        assert _BLOB.body not in answer.body
    assert sum(entry.status == 200 for entry in hub.blob_gets(_BLOB.digest)) == 1
    assert (await see(warm, _BLOB_OF_A)).body == _BLOB.body


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize(("fault", "status"), _NOS)
async def test_a_blob_that_upstream_says_nothing_of(
    hub: ScriptedRegistry, warm: HastyProxy, fault: Fault, status: int, method: str
) -> None:
    """Where upstream does not confirm it, whatever the reason, a cached blob is not served."""
    hub.add_blob(_B, _BLOB.body)
    hub.script(Match(), Always(fault))
    answer = await see(warm, _BLOB_OF_B, method=method)
    assert answer.status == status
    assert _BLOB.body not in answer.body
    assert (await see(warm, _BLOB_OF_A)).body == _BLOB.body


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize(("fault", "status"), _NOS)
async def test_a_manifest_that_upstream_says_nothing_of(
    hub: ScriptedRegistry, warm: HastyProxy, fault: Fault, status: int, method: str
) -> None:
    """Likewise a cached manifest by digest."""
    hub.add_manifest(_B, None, _IMAGE.manifest, _IMAGE.media_type)
    hub.script(Match(), Always(fault))
    answer = await see(warm, _MANIFEST_OF_B, method=method)
    assert answer.status == status
    assert _IMAGE.manifest not in answer.body
    assert (await see(warm, _MANIFEST_OF_A)).body == _IMAGE.manifest


async def test_upstream_is_silent(hub: ScriptedRegistry, tmp_path: Path) -> None:
    """Silence is no yes either."""
    hub.add_image(_A, "1", _IMAGE)
    wanted = Wanted(upstream={"idle_timeout": 0.5})
    async with hasty_proxy({"docker.io": hub}, tmp_path, wanted) as proxy:
        await see(proxy, f"/v2/{_A}/manifests/1")
        await see(proxy, _BLOB_OF_A)
        hub.script(Match(), Always(NoAnswer()))
        assert (await see(proxy, _BLOB_OF_B)).status == 504
        assert (await see(proxy, _MANIFEST_OF_B)).status == 504


async def test_upstream_is_down(hub: ScriptedRegistry, warm: HastyProxy) -> None:
    """An outage opens nothing: what is proven is served, what is not is not."""
    hub.add_image(_B, "1", _IMAGE)
    await hub.stop()
    assert (await see(warm, _BLOB_OF_A)).body == _BLOB.body
    assert (await see(warm, _MANIFEST_OF_A)).body == _IMAGE.manifest
    assert (await see(warm, _BLOB_OF_B)).status == 502
    assert (await see(warm, _MANIFEST_OF_B)).status == 502


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_a_manifest_that_upstream_confirms(
    hub: ScriptedRegistry, warm: HastyProxy, method: str
) -> None:
    """A cached manifest is served under another repository for the price of one HEAD."""
    hub.add_manifest(_B, None, _IMAGE.manifest, _IMAGE.media_type)
    before = len(hub.requests())
    for _ in range(3):
        answer = await see(warm, _MANIFEST_OF_B, method=method)
        assert answer.status == 200
        assert answer.body == (_IMAGE.manifest if method == "GET" else b"")
        assert answer.headers["Content-Type"] == _IMAGE.media_type
    assert _since(hub, before) == [("HEAD", _MANIFEST_OF_B)]


async def test_many_ask_for_an_unproven_manifest(hub: ScriptedRegistry, warm: HastyProxy) -> None:
    """However many ask at once whether a manifest is in a repository, upstream is asked once."""
    hub.add_manifest(_B, None, _IMAGE.manifest, _IMAGE.media_type)
    before = len(hub.requests())
    answers = await asyncio.gather(*(see(warm, _MANIFEST_OF_B) for _ in range(30)))
    assert {answer.body for answer in answers} == {_IMAGE.manifest}
    assert _since(hub, before) == [("HEAD", _MANIFEST_OF_B)]


async def test_learned_from_a_manifest(hub: ScriptedRegistry, warm: HastyProxy) -> None:
    """Whatever a repository's manifest names is in that repository: no HEAD is needed."""
    hub.add_image(_B, "2", _IMAGE)
    assert (await see(warm, f"/v2/{_B}/manifests/2")).body == _IMAGE.manifest
    before = len(hub.requests())
    for blob in (_BLOB, _IMAGE.blobs[0]):
        assert (await see(warm, f"/v2/{_B}/blobs/{blob.digest}")).body == blob.body
    # The layer came by way of A; the config was never fetched.
    config = f"/v2/{_B}/blobs/{_IMAGE.blobs[0].digest}"
    assert _since(hub, before) == [("GET", config)]


async def test_learned_from_an_index(hub: ScriptedRegistry, proxy: HastyProxy) -> None:
    """So it is for the manifests that an index names; and no blob is fetched twice."""
    for repository in (_A, _B):
        hub.add_image(repository, "1", _INDEX)
    child = _INDEX.children[0]
    blob = child.layers[0]
    for repository in (_A, _B):
        assert (await see(proxy, f"/v2/{repository}/manifests/1")).body == _INDEX.manifest
        answer = await see(proxy, f"/v2/{repository}/manifests/{child.digest}")
        assert answer.body == child.manifest
    for repository in (_A, _B):
        answer = await see(proxy, f"/v2/{repository}/blobs/{blob.digest}")
        assert answer.body == blob.body
    assert hub.requests("HEAD", child.digest) == ()
    assert len(hub.requests("GET", child.digest)) == 1
    assert len(hub.blob_gets(blob.digest)) == 1


@pytest.mark.parametrize("how", ["named by an index", "confirmed", "forgotten"])
async def test_learned_from_a_manifest_that_others_pulled(
    hub: ScriptedRegistry, tmp_path: Path, how: str
) -> None:
    """What a cached manifest names is in each repository that it was served under since."""
    child = _INDEX.children[0]
    paths = [f"manifests/{child.digest}", f"blobs/{child.layers[0].digest}"]
    for repository in (_A, _B):
        hub.add_image(repository, "1", _INDEX)
    async with hasty_proxy({"docker.io": hub}, tmp_path) as proxy:
        for path in paths:
            assert (await see(proxy, f"/v2/{_A}/{path}")).status == 200
    if how == "forgotten":
        shutil.rmtree(tmp_path / "metadata")
    async with hasty_proxy({"docker.io": hub}, tmp_path) as proxy:
        if how == "named by an index":
            await see(proxy, f"/v2/{_B}/manifests/1")
        assert (await see(proxy, f"/v2/{_B}/{paths[0]}")).body == child.manifest
        await hub.stop()
        assert (await see(proxy, f"/v2/{_B}/{paths[1]}")).body == child.layers[0].body


async def test_a_manifest_says_nothing_of_other_repositories(
    hub: ScriptedRegistry, warm: HastyProxy
) -> None:
    """A manifest of B that names another blob proves nothing for the cached one."""
    hub.add_image(_B, "1", images.simple(seed=43))
    assert (await see(warm, f"/v2/{_B}/manifests/1")).status == 200
    assert (await see(warm, _BLOB_OF_B)).status == 404


@pytest.mark.parametrize("refusal", [401, 403, 400, 405])
async def test_an_upstream_that_refuses_head(
    hub: ScriptedRegistry, warm: HastyProxy, refusal: int
) -> None:
    """An upstream that answers no HEAD of a blob is asked for one byte instead."""
    hub.add_blob(_B, _BLOB.body)
    hub.script(Match("HEAD"), Always(StatusFault(refusal)))
    before = len(hub.journal)
    answer = await see(warm, _BLOB_OF_B)
    assert (answer.status, answer.body) == (200, _BLOB.body)
    asked = [entry for entry in hub.journal[before:] if entry.path != "/v2/"]
    assert [entry.method for entry in asked] == ["HEAD", "GET"]
    assert asked[1].headers["Range"] == "bytes=0-0"
    assert asked[1].body_bytes_sent == 1
    answer = await see(warm, _BLOB_OF_B, method="HEAD")
    assert int(answer.headers["Content-Length"]) == len(_BLOB.body)


async def test_an_upstream_that_refuses_head_of_what_it_lacks(
    hub: ScriptedRegistry, warm: HastyProxy
) -> None:
    """And where that byte is a 404 the blob is not there."""
    hub.script(Match("HEAD"), Always(StatusFault(401)))
    answer = await see(warm, _BLOB_OF_B)
    assert (answer.status, answer.code) == (404, "BLOB_UNKNOWN")


async def test_head_of_a_cold_blob(hub: ScriptedRegistry, proxy: HastyProxy) -> None:
    """A HEAD of a blob that is not cached fetches no body, and its answer is no cached blob."""
    hub.add_blob(_A, _BLOB.body)
    answer = await see(proxy, _BLOB_OF_A, method="HEAD")
    assert int(answer.headers["Content-Length"]) == len(_BLOB.body)
    assert answer.headers["Docker-Content-Digest"] == _BLOB.digest
    assert hub.body_bytes == 0
    assert proxy.files("blobs") == []


async def test_head_of_a_blob_of_unknown_length(hub: ScriptedRegistry, proxy: HastyProxy) -> None:
    """Where upstream says no length, a HEAD says none; least of all 0."""
    hub.add_blob(_A, _BLOB.body)
    hub.script(Match("HEAD"), Always(NoContentLength()))
    answer = await see(proxy, _BLOB_OF_A, method="HEAD")
    assert answer.status == 200
    assert answer.headers.get("Content-Length") in (None, str(len(_BLOB.body)))


class TestTwoUpstreams:
    """The same rules between registries."""

    @pytest.fixture
    async def other(self) -> AsyncIterator[ScriptedRegistry]:
        """A second upstream, quay.io."""
        async with ScriptedRegistry() as registry:
            yield registry

    @pytest.fixture
    async def both(
        self, hub: ScriptedRegistry, other: ScriptedRegistry, tmp_path: Path
    ) -> AsyncIterator[HastyProxy]:
        """A proxy in front of both that has pulled by way of the first."""
        hub.add_image(_A, "1", _IMAGE)
        upstreams = {"docker.io": hub, "quay.io": other}
        async with hasty_proxy(upstreams, tmp_path / "cache") as proxy:
            await see(proxy, f"/v2/{_A}/manifests/1")
            await see(proxy, _BLOB_OF_A)
            yield proxy

    async def _of_other(self, proxy: HastyProxy, what: str) -> Seen:
        return await see(proxy, f"/v2/{_A}/{what}?ns=quay.io")

    async def test_confirmed(self, other: ScriptedRegistry, both: HastyProxy) -> None:
        """What both hold is fetched from one of them only."""
        other.add_image(_A, "1", _IMAGE)
        answer = await self._of_other(both, f"blobs/{_BLOB.digest}")
        assert answer.body == _BLOB.body
        answer = await self._of_other(both, f"manifests/{_IMAGE.digest}")
        assert answer.body == _IMAGE.manifest
        assert [entry.method for entry in other.requests()] == ["HEAD", "HEAD"]
        assert other.body_bytes == 0

    async def test_denied(self, other: ScriptedRegistry, both: HastyProxy) -> None:
        """What one holds is not the other's, although the repository is called the same."""
        for what in (f"blobs/{_BLOB.digest}", f"manifests/{_IMAGE.digest}", "manifests/1"):
            answer = await self._of_other(both, what)
            assert answer.status == 404
        assert {entry.status for entry in other.requests()} == {404}

    async def test_down(self, other: ScriptedRegistry, both: HastyProxy) -> None:
        """Nor while the other is down."""
        await other.stop()
        answer = await self._of_other(both, f"blobs/{_BLOB.digest}")
        assert answer.status == 502
        asked = {event.registry for event in both.events.of(UpstreamAnswered)[2:]}
        assert asked == {"quay.io"}


async def test_what_is_excluded_is_not_served(hub: ScriptedRegistry, tmp_path: Path) -> None:
    """Repositories that the operator's rules exclude are refused, what is cached of them too."""
    hub.add_image(_A, "1", _IMAGE)
    async with hasty_proxy({"docker.io": hub}, tmp_path) as proxy:
        await see(proxy, f"/v2/{_A}/manifests/1")
        await see(proxy, _BLOB_OF_A)
    before = len(hub.requests())
    wanted = Wanted(upstream={"allow": ("team/**",), "deny": (_A,)})
    async with hasty_proxy({"docker.io": hub}, tmp_path, wanted) as proxy:
        for path in (f"/v2/{_A}/manifests/1", _BLOB_OF_A, f"/v2/{_A}/tags/list", "/v2/x/tags/list"):
            answer = await see(proxy, path)
            assert (answer.status, answer.code) == (403, "DENIED")
    assert len(hub.requests()) == before


async def test_links_survive_a_restart(hub: ScriptedRegistry, tmp_path: Path) -> None:
    """What was proven once is proven after a restart, with upstream down."""
    hub.add_image(_A, "1", _IMAGE)
    async with hasty_proxy({"docker.io": hub}, tmp_path) as proxy:
        await see(proxy, f"/v2/{_A}/manifests/1")
        await see(proxy, _BLOB_OF_A)
    await hub.stop()
    async with hasty_proxy({"docker.io": hub}, tmp_path) as proxy:
        assert (await see(proxy, _BLOB_OF_A)).body == _BLOB.body
        assert (await see(proxy, f"/v2/{_A}/manifests/1")).body == _IMAGE.manifest
        assert (await see(proxy, _BLOB_OF_B)).status == 502
