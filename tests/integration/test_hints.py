"""Hints of upstream that are wrong: the digest decides."""

import contextlib
import json
import os
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from cacheproxy.domain.store_events import Damaged
from tests.support import images
from tests.support.hasty import HastyProxy, hasty_proxy
from tests.support.scripted_registry import (
    Always,
    CloseAfter,
    Fault,
    Match,
    NoContentLength,
    ScriptedRegistry,
    StatusFault,
    Together,
    WithHeader,
    WrongBytes,
    WrongContentLength,
)
from tests.support.seen import see, see_hit

_REPOSITORY = "team/app"
_IMAGE, _INDEX = images.simple(seed=171, size=20_000), images.multi_arch(seed=172)
_LAYER = _IMAGE.layers[0]
_SIZE = len(_LAYER.body)
_BY_TAG = f"/v2/{_REPOSITORY}/manifests/1"
_BY_DIGEST = f"/v2/{_REPOSITORY}/manifests/{_IMAGE.digest}"
_BY_BLOB = f"/v2/{_REPOSITORY}/blobs/{_LAYER.digest}"
_PATHS = {"tag": (_BY_TAG, _IMAGE.manifest), "digest": (_BY_DIGEST, _IMAGE.manifest)}
_PATHS |= {"blob": (_BY_BLOB, _LAYER.body)}
_WRONG_SIZES = [0, 1, _SIZE - 1, _SIZE + 1, 2 * _SIZE]
_CODINGS = ["gzip", "x-gzip", "", "identity", "aws-chunked", "zstd", "no such coding"]


def _manifest(size: int) -> bytes:
    """A manifest whose descriptor of the layer states this size."""
    document: dict[str, Any] = json.loads(_IMAGE.manifest)
    document["layers"][0]["size"] = size
    return json.dumps(document).encode()


# -- lengths ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fault", [WrongContentLength(-len(_IMAGE.manifest)), NoContentLength()], ids=["zero", "none"]
)
async def test_head_of_a_manifest_states_no_length(
    hub: ScriptedRegistry, proxy: HastyProxy, fault: Fault
) -> None:
    """A HEAD of a tag has the manifest's length, though upstream's HEAD states 0 or none."""
    hub.add_image(_REPOSITORY, "1", _IMAGE)
    hub.script(Match("HEAD"), Always(fault))
    answer = await see(proxy, _BY_TAG, method="HEAD")
    assert answer.headers["Content-Length"] == str(len(_IMAGE.manifest))


@pytest.mark.parametrize("fault", [WrongContentLength(-_SIZE), NoContentLength()])
async def test_head_of_a_blob_states_no_length(
    hub: ScriptedRegistry, proxy: HastyProxy, fault: Fault
) -> None:
    """A HEAD of a blob has no length if upstream's HEAD states 0, which is that of another blob."""
    hub.add_blob(_REPOSITORY, _LAYER.body)
    hub.script(Match("HEAD"), Always(fault))
    answer = await see(proxy, _BY_BLOB, method="HEAD")
    assert (answer.status, answer.headers.get("Content-Length")) == (200, None)
    assert (await see(proxy, _BY_BLOB)).body == _LAYER.body


@pytest.mark.parametrize("faults", [(), (NoContentLength(),), (CloseAfter(_SIZE // 2),)])
@pytest.mark.parametrize("size", _WRONG_SIZES)
async def test_a_descriptor_states_a_wrong_size(
    hub: ScriptedRegistry, proxy: HastyProxy, size: int, faults: tuple[Fault, ...]
) -> None:
    """A blob is served whole whatever size a manifest states of it, and so is its next HEAD."""
    hub.add_image(_REPOSITORY, "good", _IMAGE)
    hub.add_manifest(_REPOSITORY, "1", _manifest(size), images.OCI_MANIFEST)
    assert (await see(proxy, _BY_TAG)).status == 200
    hub.script(Match.blob(_LAYER.digest), *faults)
    answer = await see(proxy, _BY_BLOB)
    assert (answer.status, answer.body) == (200, _LAYER.body)
    assert (await see_hit(proxy, _BY_BLOB)).body == _LAYER.body
    head = await see(proxy, _BY_BLOB, method="HEAD")
    assert head.headers["Content-Length"] == str(_SIZE)
    assert (await see(proxy, f"/v2/{_REPOSITORY}/manifests/good")).status == 200
    assert (await see(proxy, _BY_BLOB)).body == _LAYER.body


async def test_the_right_size_is_remembered(hub: ScriptedRegistry, tmp_path: Path) -> None:
    """A download corrects the size that a descriptor stated, also for when the blob is gone."""
    hub.add_image(_REPOSITORY, "good", _IMAGE)
    hub.add_manifest(_REPOSITORY, "1", _manifest(_SIZE + 1), images.OCI_MANIFEST)
    async with hasty_proxy({"docker.io": hub}, tmp_path) as proxy:
        await see(proxy, _BY_TAG)
        await see_hit(proxy, _BY_BLOB)
        for file in proxy.files("blobs"):
            if file.stat().st_size == _SIZE:
                file.unlink()
        head = await see(proxy, _BY_BLOB, method="HEAD")
        assert (head.headers["Content-Length"], head.cache["detail"]) == (str(_SIZE), "size")


@pytest.mark.parametrize("size", _WRONG_SIZES)
async def test_a_wrong_size_damages_no_stored_blob(
    hub: ScriptedRegistry, proxy: HastyProxy, size: int
) -> None:
    """A stored blob that must be read again is right if its digest is, whatever size is stated."""
    hub.add_image(_REPOSITORY, "good", _IMAGE)
    hub.add_manifest(_REPOSITORY, "1", _manifest(size), images.OCI_MANIFEST)
    await see_hit(proxy, _BY_BLOB)
    await see(proxy, _BY_TAG)
    for file in proxy.files("blobs"):
        os.utime(file, (1, 1))
    assert (await see(proxy, _BY_BLOB)).body == _LAYER.body
    assert not proxy.events.of(Damaged)
    assert len(hub.blob_gets(_LAYER.digest)) == 1


# -- codings and types -----------------------------------------------------------------


@pytest.mark.parametrize("what", _PATHS)
@pytest.mark.parametrize("coding", _CODINGS)
async def test_a_content_encoding_is_a_label(
    hub: ScriptedRegistry, proxy: HastyProxy, coding: str, what: str
) -> None:
    """Bytes that the digest names are served, without the coding that upstream labels them with."""
    path, body = _PATHS[what]
    hub.add_image(_REPOSITORY, "1", _IMAGE)
    hub.script(Match(), Always(WithHeader("Content-Encoding", coding)))
    head = await see(proxy, path, method="HEAD")
    assert head.headers.get("Content-Length") in (None, str(len(body)))
    answer = await see(proxy, path)
    assert (answer.status, answer.body) == (200, body)


@pytest.mark.parametrize("coding", _CODINGS)
async def test_a_content_encoding_excuses_no_wrong_bytes(
    hub: ScriptedRegistry, proxy: HastyProxy, coding: str
) -> None:
    """Bytes that the digest does not name are not served, whatever coding upstream states."""
    hub.add_image(_REPOSITORY, "1", _IMAGE)
    wrong = Together(WrongBytes(), WithHeader("Content-Encoding", coding))
    hub.script(Match(), Always(wrong))
    for path in (_BY_DIGEST, _BY_BLOB):
        with contextlib.suppress(aiohttp.ClientPayloadError):
            assert (await see(proxy, path)).status == 502
    assert proxy.files("blobs") == []


@pytest.mark.parametrize("sent", [images.OCI_INDEX, images.DOCKER_LIST, images.DOCKER_MANIFEST])
@pytest.mark.parametrize("path", [_BY_TAG, _BY_DIGEST], ids=["tag", "digest"])
async def test_a_manifest_is_sent_with_another_type(
    hub: ScriptedRegistry, proxy: HastyProxy, path: str, sent: str
) -> None:
    """A manifest has the type that it states, whatever Content-Type upstream sends it with."""
    hub.add_image(_REPOSITORY, "1", _IMAGE)
    hub.script(Match(), Always(WithHeader("Content-Type", sent)))
    for _ in range(2):
        answer = await see(proxy, path)
        assert (answer.status, answer.body) == (200, _IMAGE.manifest)
        assert answer.headers["Content-Type"] == images.OCI_MANIFEST


async def test_an_index_states_a_wrong_type(hub: ScriptedRegistry, proxy: HastyProxy) -> None:
    """A stored manifest keeps the type that it states, whatever an index says of it later."""
    hub.add_image(_REPOSITORY, "1", _IMAGE)
    entry = _IMAGE.descriptor() | {"mediaType": images.DOCKER_MANIFEST, "size": 7}
    document = {"schemaVersion": 2, "mediaType": images.OCI_INDEX, "manifests": [entry]}
    hub.add_manifest(_REPOSITORY, "index", json.dumps(document).encode(), images.OCI_INDEX)
    assert (await see(proxy, _BY_DIGEST)).status == 200
    assert (await see(proxy, f"/v2/{_REPOSITORY}/manifests/index")).status == 200
    answer = await see(proxy, _BY_DIGEST)
    assert answer.headers["Content-Type"] == images.OCI_MANIFEST
    assert answer.headers["Content-Length"] == str(len(_IMAGE.manifest))


# -- the wrong kind --------------------------------------------------------------------


async def test_a_manifest_as_a_blob(hub: ScriptedRegistry, proxy: HastyProxy) -> None:
    """A manifest that nobody has fetched is answered for as a blob by upstream alone."""
    hub.add_image(_REPOSITORY, "1", _INDEX)
    child = _INDEX.children[0]
    path = f"/v2/{_REPOSITORY}/blobs/{child.digest}"
    assert (await see(proxy, _BY_TAG)).status == 200
    assert (await see(proxy, path, method="HEAD")).status == 404
    hub.add_blob(_REPOSITORY, child.manifest)
    for method in ("HEAD", "GET"):
        answer = await see(proxy, path, method=method)
        assert answer.status == 200
        assert answer.headers["Content-Type"] == child.media_type
    hub.script(Match(), Always(StatusFault(503)))
    other = f"/v2/{_REPOSITORY}/blobs/{_INDEX.children[1].digest}"
    assert (await see(proxy, other, method="HEAD")).status == 502


@pytest.mark.parametrize("media_type", [None, "application/vnd.example.new+json"])
async def test_an_unknown_kind_as_a_blob(
    hub: ScriptedRegistry, proxy: HastyProxy, media_type: str | None
) -> None:
    """What an index names is no blob of the stated size, whatever type the index states."""
    child = _INDEX.children[0]
    entry = child.descriptor() | {"mediaType": media_type}
    document = {"schemaVersion": 2, "mediaType": images.OCI_INDEX, "manifests": [entry]}
    hub.add_manifest(_REPOSITORY, "1", json.dumps(document).encode(), images.OCI_INDEX)
    assert (await see(proxy, _BY_TAG)).status == 200
    answer = await see(proxy, f"/v2/{_REPOSITORY}/blobs/{child.digest}", method="HEAD")
    assert answer.status == 404


async def test_a_blob_that_reads_like_a_manifest(hub: ScriptedRegistry, proxy: HastyProxy) -> None:
    """A stored blob is served as a manifest only if upstream has it as one."""
    body = json.dumps({"schemaVersion": 2, "layers": []}).encode()
    config = images.Blob.of(body, images.OCI_CONFIG)
    document = {"schemaVersion": 2, "config": config.descriptor(), "layers": []}
    hub.add_blob(_REPOSITORY, body)
    hub.add_manifest(_REPOSITORY, "1", json.dumps(document).encode(), images.OCI_MANIFEST)
    await see(proxy, _BY_TAG)
    await see_hit(proxy, f"/v2/{_REPOSITORY}/blobs/{config.digest}")
    path = f"/v2/{_REPOSITORY}/manifests/{config.digest}"
    assert (await see(proxy, path)).status == 404
    hub.add_manifest(_REPOSITORY, None, body, images.OCI_MANIFEST)
    assert (await see(proxy, path)).body == body
