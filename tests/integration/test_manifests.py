"""A manifest is served as upstream has it, bit for bit and under its own type; or none is."""

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from tests.support import images
from tests.support.hasty import HastyProxy, Wanted, hasty_proxy
from tests.support.scripted_registry import (
    Always,
    Fault,
    LongBody,
    Match,
    NoContentLength,
    NoDigestHeader,
    ScriptedRegistry,
    ShortBody,
    WithHeader,
    WrongBytes,
    WrongDigestHeader,
)
from tests.support.scripted_registry.contents import Manifest
from tests.support.seen import see, see_hit

_REPOSITORY = "team/app"
_IMAGE = images.simple(seed=91)
_BLOB = _IMAGE.layers[0]
_BY_TAG = f"/v2/{_REPOSITORY}/manifests/1"
_MIB = 1024 * 1024
_ARTIFACT = "application/vnd.oci.artifact.manifest.v1+json"


def _by_digest(body: bytes) -> str:
    return f"/v2/{_REPOSITORY}/manifests/{images.sha256(body)}"


def _document(**changes: Any) -> bytes:
    """A small manifest; a change to None leaves the member out."""
    document = {
        "schemaVersion": 2,
        "mediaType": images.OCI_MANIFEST,
        "config": _BLOB.descriptor(),
        "layers": [],
    }
    kept = {key: value for key, value in (document | changes).items() if value is not None}
    return json.dumps(kept).encode()


def _padded(size: int) -> bytes:
    body = _document()
    return body + b" " * (size - len(body))


_INDEX = _document(mediaType=None, config=None, layers=None, manifests=[])


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(_document() + b"\n\n", id="line feeds at the end"),
        pytest.param(b" \t\r\n" + _document(), id="white space first"),
        pytest.param(_document().replace(b'": ', b'" :\t '), id="white space within"),
        pytest.param(_document(annotations={"é": "\u2028"}), id="escapes"),
        pytest.param(_document().replace(b"2,", b"2.0e0,"), id="number"),
        pytest.param('{"layers":[],"a":"é","a":"€"}'.encode(), id="twice the same key"),
        pytest.param(_padded(4 * _MIB), id="4 MiB"),
    ],
)
async def test_manifests_are_verbatim(
    hub: ScriptedRegistry, proxy: HastyProxy, body: bytes
) -> None:
    """A manifest is served as it was written, cold and warm, by tag and by digest."""
    digest = hub.add_manifest(_REPOSITORY, "1", body, images.OCI_MANIFEST)
    for path in (_BY_TAG, _BY_TAG, _by_digest(body)):
        answer = await see(proxy, path)
        assert (answer.status, answer.body) == (200, body)
        assert answer.headers["Docker-Content-Digest"] == digest
        assert answer.headers["Content-Length"] == str(len(body))
    assert len(hub.requests()) == 1


@pytest.mark.parametrize(
    ("body", "sent", "served"),
    [
        pytest.param(_IMAGE.manifest, images.OCI_MANIFEST, images.OCI_MANIFEST, id="its own"),
        pytest.param(_IMAGE.manifest, "text/plain", images.OCI_MANIFEST, id="text"),
        pytest.param(
            _IMAGE.manifest,
            "text/plain; charset=utf-8",
            images.OCI_MANIFEST,
            id="text with charset",
        ),
        pytest.param(_IMAGE.manifest, "application/octet-stream", images.OCI_MANIFEST, id="octets"),
        pytest.param(_IMAGE.manifest, "application/json", images.OCI_MANIFEST, id="JSON"),
        pytest.param(_IMAGE.manifest, None, images.OCI_MANIFEST, id="none"),
        pytest.param(_IMAGE.manifest, "", images.OCI_MANIFEST, id="empty"),
        pytest.param(
            _IMAGE.manifest,
            f"{images.OCI_MANIFEST}; charset=utf-8",
            images.OCI_MANIFEST,
            id="charset",
        ),
        pytest.param(
            _IMAGE.manifest, images.OCI_MANIFEST.upper(), images.OCI_MANIFEST, id="capitals"
        ),
        pytest.param(
            _document(mediaType=None),
            images.DOCKER_MANIFEST,
            images.DOCKER_MANIFEST,
            id="sent only",
        ),
        pytest.param(_document(mediaType=None), "text/plain", images.OCI_MANIFEST, id="layers"),
        pytest.param(
            _document(mediaType=None, layers=None), None, images.OCI_MANIFEST, id="config"
        ),
        pytest.param(_INDEX, "text/plain", images.OCI_INDEX, id="index"),
        pytest.param(_INDEX, images.DOCKER_LIST, images.DOCKER_LIST, id="list sent only"),
        pytest.param(
            _document(mediaType=None, config=None, layers=None, blobs=[]),
            None,
            _ARTIFACT,
            id="artifact",
        ),
        pytest.param(
            _document(mediaType="application/vnd.new+json"),
            "application/vnd.new+json",
            "application/vnd.new+json",
            id="a type of tomorrow",
        ),
    ],
)
async def test_content_type(
    hub: ScriptedRegistry, proxy: HastyProxy, body: bytes, sent: str | None, served: str
) -> None:
    """A manifest has the type that it says, else that upstream says, else that it looks like."""
    hub.add_manifest(_REPOSITORY, "1", body, images.OCI_MANIFEST)
    hub.script(Match(), Always(WithHeader("Content-Type", sent)))
    for path in (_BY_TAG, _BY_TAG, _by_digest(body)):
        for method in ("GET", "HEAD"):
            answer = await see(proxy, path, method=method)
            assert (answer.status, answer.headers["Content-Type"]) == (200, served)


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param("text/plain", id="text"),
        pytest.param("application/octet-stream", id="octets"),
        pytest.param("application/json", id="JSON"),
        pytest.param("text/html; charset=utf-8", id="HTML"),
        pytest.param(None, id="none"),
    ],
)
async def test_content_type_of_a_cold_head(
    hub: ScriptedRegistry, proxy: HastyProxy, sent: str | None
) -> None:
    """A type that is no manifest's is not passed on to a HEAD either, before there is a body."""
    hub.add_image(_REPOSITORY, "1", _IMAGE)
    hub.script(Match(), Always(WithHeader("Content-Type", sent)))
    answer = await see(proxy, _BY_TAG, method="HEAD")
    assert (answer.status, answer.headers["Content-Type"]) == (200, images.OCI_MANIFEST)


async def test_content_type_is_remembered(hub: ScriptedRegistry, tmp_path: Path) -> None:
    """What only upstream said of a manifest's type is still known after a restart."""
    body = _document(mediaType=None)
    hub.add_manifest(_REPOSITORY, "1", body, images.DOCKER_MANIFEST)
    for _ in range(2):
        async with hasty_proxy({"docker.io": hub}, tmp_path) as proxy:
            answer = await see(proxy, _BY_TAG)
            assert answer.headers["Content-Type"] == images.DOCKER_MANIFEST
    assert len(hub.requests()) == 1


@pytest.mark.parametrize("path", ["tag", "digest"])
@pytest.mark.parametrize(
    "body",
    [
        pytest.param(_padded(4 * _MIB + 1), id="a byte too large"),
        pytest.param(_padded(5_000_000), id="5 MB"),
        pytest.param(_document(manifests=[]), id="index and image"),
        pytest.param(_document(layers=None, manifests=[]), id="index with a config"),
        pytest.param(b"", id="empty"),
        pytest.param(b"<html>Sign in</html>", id="HTML"),
        pytest.param(b"{}", id="empty object"),
        pytest.param(b'{"schemaVersion": 2}', id="only a version"),
        pytest.param(b"[]", id="list"),
        pytest.param(b"null", id="null"),
        pytest.param(b'{"layers": [', id="cut short"),
        pytest.param(b"\xff\xfe{}", id="no UTF-8"),
        pytest.param(b"[" * 100_000, id="nested"),
        pytest.param(b'{"layers":' + b"[" * 100_000, id="nested within"),
        pytest.param(_document(layers={}), id="layers are no list"),
        pytest.param(_document(layers=[{}]), id="layer without a digest"),
        pytest.param(_document(layers=["sha256:0"]), id="layer is a string"),
        pytest.param(_document(mediaType=5), id="type is a number"),
        pytest.param(_document(mediaType=images.OCI_INDEX), id="image that says it is an index"),
        pytest.param(
            _document(layers=[{"digest": _BLOB.digest, "size": -1}]), id="layer of negative size"
        ),
        pytest.param(_document(layers=[{"digest": _BLOB.digest, "size": "1"}]), id="size is text"),
    ],
)
async def test_what_is_no_manifest(
    hub: ScriptedRegistry, proxy: HastyProxy, body: bytes, path: str
) -> None:
    """What cannot be a manifest is a 502, and nothing of it is kept."""
    hub.add_manifest(_REPOSITORY, "1", body, images.OCI_MANIFEST)
    answer = await see(proxy, _BY_TAG if path == "tag" else _by_digest(body))
    assert (answer.status, answer.code) == (502, "MANIFEST_INVALID")
    assert proxy.files("blobs") == []
    assert proxy.files("ingest") == []


async def test_a_large_manifest_of_unknown_length(hub: ScriptedRegistry, proxy: HastyProxy) -> None:
    """The limit holds where upstream does not say how much will come."""
    hub.add_manifest(_REPOSITORY, "1", _padded(20 * _MIB), images.OCI_MANIFEST)
    hub.script(Match(), NoContentLength())
    answer = await see(proxy, _BY_TAG)
    assert (answer.status, answer.code) == (502, "MANIFEST_INVALID")
    await hub.quiet()
    assert hub.body_bytes < 15 * _MIB


@pytest.mark.parametrize("reference", ["1", _IMAGE.digest])
@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(NoDigestHeader(), id="none"),
        pytest.param(WrongDigestHeader(), id="of something else"),
        pytest.param(WrongDigestHeader("sha256:short"), id="malformed"),
        pytest.param(WrongDigestHeader("md5:" + "0" * 32), id="of an algorithm of old"),
        pytest.param(WithHeader("Docker-Content-Digest", "../../etc/passwd"), id="a path"),
    ],
)
async def test_digest_header(
    hub: ScriptedRegistry, proxy: HastyProxy, fault: Fault, reference: str
) -> None:
    """What a GET's answer says its digest is does not matter: the body has one of its own."""
    hub.add_image(_REPOSITORY, "1", _IMAGE)
    hub.script(Match(), fault)
    answer = await see(proxy, f"/v2/{_REPOSITORY}/manifests/{reference}")
    assert (answer.status, answer.body) == (200, _IMAGE.manifest)
    assert answer.headers["Docker-Content-Digest"] == _IMAGE.digest
    assert (await see(proxy, f"/v2/{_REPOSITORY}/manifests/{_IMAGE.digest}")).cache == {"hit": True}


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(WrongBytes(), id="wrong bytes"),
        pytest.param(LongBody(b" "), id="more bytes"),
        pytest.param(ShortBody(), id="fewer bytes than were announced"),
    ],
)
async def test_another_manifest_than_was_asked_for(
    hub: ScriptedRegistry, proxy: HastyProxy, fault: Fault
) -> None:
    """A manifest by digest that is not what the digest names is a 502, and is not kept."""
    hub.add_image(_REPOSITORY, "1", _IMAGE)
    hub.script(Match(), Always(fault))
    answer = await see(proxy, f"/v2/{_REPOSITORY}/manifests/{_IMAGE.digest}")
    assert answer.status == 502
    assert proxy.files("blobs") == []


async def test_a_valid_manifest_in_anothers_place(hub: ScriptedRegistry, proxy: HastyProxy) -> None:
    """Nor is a manifest that is good, but another: neither under the one digest nor the other."""
    other = images.simple(seed=92)
    place = hub._contents.of(_REPOSITORY)
    place.manifests[_IMAGE.digest] = Manifest(other.manifest, other.media_type, _IMAGE.digest)
    answer = await see(proxy, f"/v2/{_REPOSITORY}/manifests/{_IMAGE.digest}")
    assert (answer.status, answer.code) == (502, "UNKNOWN")
    assert (await see(proxy, f"/v2/{_REPOSITORY}/manifests/{other.digest}")).status == 404
    assert proxy.files("blobs") == []


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("blob", [_IMAGE.blobs[0], _BLOB], ids=["config", "layer"])
async def test_a_blob_as_a_manifest(
    hub: ScriptedRegistry, proxy: HastyProxy, blob: images.Blob, method: str
) -> None:
    """The digest of a blob names no manifest, whether the blob is cached or not."""
    hub.add_image(_REPOSITORY, "1", _IMAGE)
    path = f"/v2/{_REPOSITORY}/manifests/{blob.digest}"
    assert (await see(proxy, path, method=method)).status == 404
    await see(proxy, _BY_TAG)
    await see_hit(proxy, f"/v2/{_REPOSITORY}/blobs/{blob.digest}")
    answer = await see(proxy, path, method=method)
    assert answer.status == 404
    assert method == "HEAD" or answer.code == "MANIFEST_UNKNOWN"


async def test_foreign_layers_are_not_fetched_elsewhere(
    hub: ScriptedRegistry, tmp_path: Path
) -> None:
    """The URLs that a manifest names for a layer are nobody's business here (ContainerDrip)."""
    async with ScriptedRegistry() as evil:
        layer = {**_BLOB.descriptor(), "urls": [f"{evil.url}/layer"]}
        hub.add_manifest(_REPOSITORY, "1", _document(layers=[layer]), images.OCI_MANIFEST)
        async with hasty_proxy({"docker.io": hub}, tmp_path, Wanted()) as proxy:
            assert (await see(proxy, _BY_TAG)).status == 200
            answer = await see(proxy, f"/v2/{_REPOSITORY}/blobs/{_BLOB.digest}")
            assert (answer.status, answer.code) == (404, "BLOB_UNKNOWN")
        assert evil.requests() == ()


async def test_an_unknown_algorithm_in_a_manifest(hub: ScriptedRegistry, proxy: HastyProxy) -> None:
    """A manifest that names a layer which we cannot verify is served; the layer is not."""
    digest = "blake3:" + "0" * 64
    body = _document(layers=[{"digest": digest, "size": 1, "mediaType": images.OCI_LAYER}])
    hub.add_manifest(_REPOSITORY, "1", body, images.OCI_MANIFEST)
    assert (await see(proxy, _BY_TAG)).body == body
    answer = await see(proxy, f"/v2/{_REPOSITORY}/blobs/{digest}")
    assert (answer.status, answer.code) == (400, "DIGEST_INVALID")


_PAYLOAD = b'{\n   "schemaVersion": 1,\n   "name": "a",\n   "tag": "1",\n   "fsLayers": []\n}'


def _schema1(*, signed: bool) -> bytes:
    """A manifest of schema 1; the signature covers the payload, and stands in front of its end."""
    if not signed:
        return _PAYLOAD
    protected = {"formatLength": len(_PAYLOAD) - 2, "formatTail": _base64(b"\n}")}
    signature = {"protected": _base64(json.dumps(protected).encode()), "signature": "x"}
    return _PAYLOAD[:-2] + f',\n   "signatures": {json.dumps([signature])}\n}}'.encode()


def _base64(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).decode().rstrip("=")


@pytest.mark.parametrize("signed", [False, True])
async def test_schema_1(hub: ScriptedRegistry, proxy: HastyProxy, signed: bool) -> None:
    """A manifest of schema 1 is passed through by tag, with its payload's digest, and not kept."""
    body = _schema1(signed=signed)
    kind = "prettyjws" if signed else "json"
    media_type = f"application/vnd.docker.distribution.manifest.v1+{kind}"
    hub.add_manifest(_REPOSITORY, "1", body, media_type)
    hub.script(Match(), Always(WithHeader("Docker-Content-Digest", images.sha256(_PAYLOAD))))
    for method in ("HEAD", "GET", "GET"):
        answer = await see(proxy, _BY_TAG, method=method)
        assert (answer.status, answer.headers["Content-Type"]) == (200, media_type)
        assert answer.headers["Docker-Content-Digest"] == images.sha256(_PAYLOAD)
        assert answer.headers["Content-Length"] == str(len(body))
        assert answer.body == (body if method == "GET" else b"")
    assert proxy.files("blobs") == []
