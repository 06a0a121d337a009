"""Wrong lengths that upstream states: they are heard once, and do not spoil what comes later."""

import contextlib

import aiohttp
import pytest

from tests.support import images
from tests.support.hasty import HastyProxy
from tests.support.scripted_registry import Match, ScriptedRegistry, WrongContentLength
from tests.support.seen import Seen, see, see_hit

_IMAGE = images.simple(seed=161)
_BLOB = _IMAGE.layers[0]
_SIZE = len(_BLOB.body)
_A, _B = "team/a", "team/b"
_BY_TAG = f"/v2/{_A}/manifests/1"
_BY_DIGEST = f"/v2/{_A}/manifests/{_IMAGE.digest}"
_BY_BLOB = f"/v2/{_A}/blobs/{_BLOB.digest}"
# Some registries and storage hosts answer every HEAD with a length of 0.
_OF_A_HEAD = [
    pytest.param(-_SIZE, id="zero"),
    pytest.param(-1, id="shorter"),
    pytest.param(1, id="longer"),
    pytest.param(1_000_000, id="much longer"),
]
_OF_A_GET = [
    pytest.param(-_SIZE, id="zero"),
    pytest.param(1 - _SIZE, id="one"),
    pytest.param(-1, id="shorter"),
    pytest.param(1, id="longer"),
    pytest.param(1_000_000, id="much longer"),
]


def _is_right(answer: Seen, body: bytes, method: str = "GET") -> bool:
    return (
        answer.status == 200
        and answer.headers["Content-Length"] == str(len(body))
        and answer.body == (body if method == "GET" else b"")
    )


async def _is_well(proxy: HastyProxy, path: str, body: bytes) -> bool:
    """Whether it is served whole, and with its length, while it comes and when it is here."""
    answers = [await see(proxy, path), await see_hit(proxy, path)]
    head = await see(proxy, path, method="HEAD")
    return all(_is_right(answer, body) for answer in answers) and _is_right(head, body, "HEAD")


@pytest.mark.parametrize("delta", _OF_A_HEAD)
async def test_head_of_a_cold_blob(hub: ScriptedRegistry, proxy: HastyProxy, delta: int) -> None:
    """A HEAD's length is passed on if it can be so, and forgotten: the blob can be pulled."""
    hub.add_blob(_A, _BLOB.body)
    hub.script(Match("HEAD"), WrongContentLength(delta))
    answer = await see(proxy, _BY_BLOB, method="HEAD")
    stated = str(_SIZE + delta) if delta > -_SIZE else None
    assert (answer.status, answer.headers.get("Content-Length")) == (200, stated)
    assert _is_right(await see(proxy, _BY_BLOB, method="HEAD"), _BLOB.body, "HEAD")
    assert await _is_well(proxy, _BY_BLOB, _BLOB.body)


@pytest.mark.parametrize("delta", _OF_A_HEAD)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_head_of_a_cached_blob(
    hub: ScriptedRegistry, proxy: HastyProxy, delta: int, method: str
) -> None:
    """A HEAD that confirms a cached blob for another repository says nothing of its length."""
    for repository in (_A, _B):
        hub.add_blob(repository, _BLOB.body)
    await see_hit(proxy, _BY_BLOB)
    hub.script(Match("HEAD"), WrongContentLength(delta))
    path = f"/v2/{_B}/blobs/{_BLOB.digest}"
    assert _is_right(await see(proxy, path, method=method), _BLOB.body, method)
    assert await _is_well(proxy, path, _BLOB.body)
    hub.assert_spent()


@pytest.mark.parametrize("delta", [-len(_IMAGE.manifest), -1, 1, 1_000_000])
@pytest.mark.parametrize("path", [_BY_TAG, _BY_DIGEST], ids=["tag", "digest"])
async def test_head_of_a_manifest(
    hub: ScriptedRegistry, proxy: HastyProxy, path: str, delta: int
) -> None:
    """Nor is a manifest lost by the length that a HEAD of its tag had."""
    hub.add_image(_A, "1", _IMAGE)
    hub.script(Match("HEAD"), WrongContentLength(delta))
    assert (await see(proxy, _BY_TAG, method="HEAD")).status == 200
    hub.assert_spent()
    assert await _is_well(proxy, path, _IMAGE.manifest)


@pytest.mark.parametrize("delta", _OF_A_GET)
@pytest.mark.parametrize("named", [False, True], ids=["size unknown", "size known"])
async def test_get_of_a_blob(
    hub: ScriptedRegistry, proxy: HastyProxy, delta: int, named: bool
) -> None:
    """A GET of the wrong length never passes for the blob, and the next one gets the blob."""
    hub.add_image(_A, "1", _IMAGE)
    if named:
        await see(proxy, _BY_TAG)
    hub.script(Match.blob(), WrongContentLength(delta))
    with contextlib.suppress(aiohttp.ClientPayloadError):
        answer = await see(proxy, _BY_BLOB)
        assert answer.status == 502 or _is_right(answer, _BLOB.body)
    hub.assert_spent()
    assert await _is_well(proxy, _BY_BLOB, _BLOB.body)


@pytest.mark.parametrize("delta", [-len(_IMAGE.manifest), -1, 1, 1_000_000])
@pytest.mark.parametrize("path", [_BY_TAG, _BY_DIGEST], ids=["tag", "digest"])
async def test_get_of_a_manifest(
    hub: ScriptedRegistry, proxy: HastyProxy, path: str, delta: int
) -> None:
    """A manifest of the wrong length is a 502, and the next GET gets the manifest."""
    hub.add_image(_A, "1", _IMAGE)
    hub.script(Match("GET"), WrongContentLength(delta))
    answer = await see(proxy, path)
    assert answer.status == 502
    assert proxy.files("blobs") == []
    assert await _is_well(proxy, path, _IMAGE.manifest)
