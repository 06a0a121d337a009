"""What is served is what upstream has, bit for bit and under its own name; or nothing is."""

import contextlib
import hashlib

import aiohttp
import pytest

from tests.support import images
from tests.support.hasty import HastyProxy
from tests.support.scripted_registry import (
    Always,
    GzipEncoded,
    Match,
    NoContentLength,
    ScriptedRegistry,
    WrongBytes,
    WrongContentType,
)
from tests.support.scripted_registry.contents import Manifest
from tests.support.seen import see, see_hit

_REPOSITORY = "team/app"
_IMAGE = images.simple(seed=91)
_BLOB = _IMAGE.layers[0]
_BY_TAG = f"/v2/{_REPOSITORY}/manifests/1"


@pytest.mark.parametrize("what", ["tag", "digest", "blob"])
async def test_encoded_by_upstream(hub: ScriptedRegistry, proxy: HastyProxy, what: str) -> None:
    """Encoded bytes are not those that the digest names, so they are not served, and not kept."""
    hub.add_image(_REPOSITORY, "1", _IMAGE)
    hub.script(Match(), Always(GzipEncoded()))
    paths = {
        "tag": _BY_TAG,
        "digest": f"/v2/{_REPOSITORY}/manifests/{_IMAGE.digest}",
        "blob": f"/v2/{_REPOSITORY}/blobs/{_BLOB.digest}",
    }
    with contextlib.suppress(aiohttp.ClientPayloadError):
        assert (await see(proxy, paths[what])).status == 502
    assert proxy.files("blobs") == []


@pytest.mark.parametrize("accepted", ["gzip", "zstd;q=1.0, gzip;q=0.8, deflate;q=0.5", "*"])
async def test_never_encoded_by_us(hub: ScriptedRegistry, proxy: HastyProxy, accepted: str) -> None:
    """No response is encoded, whatever the client could decode: it would, and miss the digest."""
    hub.add_image(_REPOSITORY, "1", _IMAGE)
    blob = f"/v2/{_REPOSITORY}/blobs/{_BLOB.digest}"
    for path in (_BY_TAG, blob, blob, f"/v2/{_REPOSITORY}/tags/list", "/v2/", "/v2/a/"):
        answer = await see(proxy, path, headers={"Accept-Encoding": accepted})
        assert "Content-Encoding" not in answer.headers
        assert "Vary" not in answer.headers


class TestSha512:
    """Digests of the other algorithm."""

    async def test_blob(self, hub: ScriptedRegistry, proxy: HastyProxy) -> None:
        """A blob by sha512 is verified, kept and served under that name."""
        digest = hub.add_blob(_REPOSITORY, _BLOB.body, algorithm="sha512")
        path = f"/v2/{_REPOSITORY}/blobs/{digest}"
        for answer in (await see(proxy, path), await see_hit(proxy, path)):
            assert answer.body == _BLOB.body
            assert answer.headers["Docker-Content-Digest"] == digest
        assert len(hub.requests()) == 1
        assert [file.name for file in proxy.files("blobs")] == [digest.partition(":")[2]]

    async def test_wrong_blob(self, hub: ScriptedRegistry, proxy: HastyProxy) -> None:
        """A small blob whose sha512 is wrong never has its end served."""
        digest = hub.add_blob(_REPOSITORY, _BLOB.body, algorithm="sha512")
        hub.script(Match(), Always(WrongBytes()))
        statuses = []
        with contextlib.suppress(aiohttp.ClientPayloadError):
            statuses.append((await see(proxy, f"/v2/{_REPOSITORY}/blobs/{digest}")).status)
        assert statuses in ([], [502])
        assert proxy.files("blobs") == []

    async def test_manifest(self, hub: ScriptedRegistry, proxy: HastyProxy) -> None:
        """A manifest by sha512 keeps that name; by tag it goes by its sha256."""
        digest = "sha512:" + hashlib.sha512(_IMAGE.manifest).hexdigest()
        place = hub._contents.of(_REPOSITORY)
        place.manifests[digest] = Manifest(_IMAGE.manifest, _IMAGE.media_type, digest)
        place.tags["1"] = digest
        for _ in range(2):
            answer = await see(proxy, f"/v2/{_REPOSITORY}/manifests/{digest}")
            assert answer.body == _IMAGE.manifest
            assert answer.headers["Docker-Content-Digest"] == digest
        answer = await see(proxy, _BY_TAG)
        assert answer.body == _IMAGE.manifest
        assert answer.headers["Docker-Content-Digest"] == _IMAGE.digest
        assert len(hub.requests()) == 2


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_an_empty_blob(hub: ScriptedRegistry, proxy: HastyProxy, method: str) -> None:
    """A blob without any bytes is a blob, cold and warm."""
    digest = hub.add_blob(_REPOSITORY, b"")
    path = f"/v2/{_REPOSITORY}/blobs/{digest}"
    for _ in range(2):
        answer = await see(proxy, path, method=method)
        assert (answer.status, answer.body) == (200, b"")
        assert answer.headers["Content-Length"] == "0"
        assert answer.headers["Docker-Content-Digest"] == digest
        await see(proxy, path)


@pytest.mark.parametrize("warm", [False, True])
async def test_a_blobs_fields(hub: ScriptedRegistry, proxy: HastyProxy, warm: bool) -> None:
    """A blob's fields are its own, whatever upstream says of it."""
    hub.add_blob(_REPOSITORY, _BLOB.body)
    hub.script(Match(), WrongContentType("text/html"))
    path = f"/v2/{_REPOSITORY}/blobs/{_BLOB.digest}"
    if warm:
        await see(proxy, path)
    answer = await see(proxy, path)
    assert answer.headers["Content-Type"] == "application/octet-stream"
    assert answer.headers["Docker-Content-Digest"] == _BLOB.digest
    assert answer.headers["ETag"] == f'"{_BLOB.digest}"'
    assert answer.headers["Accept-Ranges"] == "bytes"
    assert answer.headers["Content-Length"] == str(len(_BLOB.body))
    assert answer.headers["Cache-Control"] == "max-age=31536000, immutable, no-transform"


async def test_a_blob_of_no_announced_length(hub: ScriptedRegistry, proxy: HastyProxy) -> None:
    """A blob whose length nobody says is served whole, and with its length once it is known."""
    hub.add_blob(_REPOSITORY, _BLOB.body)
    hub.script(Match(), NoContentLength())
    path = f"/v2/{_REPOSITORY}/blobs/{_BLOB.digest}"
    assert (await see(proxy, path)).body == _BLOB.body
    answer = await see_hit(proxy, path)
    assert answer.headers["Content-Length"] == str(len(_BLOB.body))


async def test_a_manifest_as_a_blob(hub: ScriptedRegistry, proxy: HastyProxy) -> None:
    """A cached manifest that is pulled as a blob is sent with its own type."""
    hub.add_image(_REPOSITORY, "1", _IMAGE)
    hub.add_blob(_REPOSITORY, _IMAGE.manifest)
    assert (await see(proxy, _BY_TAG)).status == 200
    answer = await see(proxy, f"/v2/{_REPOSITORY}/blobs/{_IMAGE.digest}")
    assert (answer.status, answer.body) == (200, _IMAGE.manifest)
    assert answer.headers["Content-Type"] == _IMAGE.media_type
