"""The rows of the OCI conformance suite for pull and content discovery, asked both ways.

Source: distribution-spec, `conformance/`: what a run without push requests, and the ranges that
one with push does.
"""

from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import pytest
from yarl import URL

from tests.support import images
from tests.support.hasty import hasty_proxy
from tests.support.scripted_registry import Behaviour, ScriptedRegistry

_REPOSITORY = "/v2/team/app"
_IMAGE = images.simple(seed=71)
_REFERRER = images.referrer(_IMAGE)
_BLOB = _IMAGE.layers[0]
_NOTHING = images.sha256(b"nothing")
_ACCEPT = {"Accept": f"{images.OCI_MANIFEST}, {images.OCI_INDEX}"}
# Fields that are the same wherever the registry itself sends them; a type without parameters.
_FIELDS = ("Content-Range", "Content-Length", "Docker-Content-Digest", "OCI-Filters-Applied")


@dataclass(frozen=True, slots=True)
class _Answer:
    """What a row says of an answer: of a refusal only the status."""

    status: int
    media_type: str = ""
    fields: dict[str, str] = field(default_factory=dict)
    body: bytes = b""


_ROWS = {
    "ping": ("GET", "/v2/"),
    "tags": ("GET", f"{_REPOSITORY}/tags/list"),
    "tags, limited": ("GET", f"{_REPOSITORY}/tags/list?n=2"),
    "tags, none": ("GET", f"{_REPOSITORY}/tags/list?n=0"),
    "tags after one": ("GET", f"{_REPOSITORY}/tags/list?last=1"),
    "tags, next page": ("GET", f"{_REPOSITORY}/tags/list?n=1&last=1"),
    "tags of no repository": ("GET", "/v2/team/absent/tags/list"),
    "manifest by tag, head": ("HEAD", f"{_REPOSITORY}/manifests/1"),
    "manifest by tag": ("GET", f"{_REPOSITORY}/manifests/1"),
    "manifest by digest, head": ("HEAD", f"{_REPOSITORY}/manifests/{_IMAGE.digest}"),
    "manifest by digest": ("GET", f"{_REPOSITORY}/manifests/{_IMAGE.digest}"),
    "manifest of no tag": ("GET", f"{_REPOSITORY}/manifests/missing-tag"),
    "manifest of no tag, head": ("HEAD", f"{_REPOSITORY}/manifests/missing-tag"),
    "manifest of no digest": ("GET", f"{_REPOSITORY}/manifests/{_NOTHING}"),
    "manifest of a bad digest": ("GET", f"{_REPOSITORY}/manifests/sha256:baddigeststring"),
    "manifest of a bad name": ("GET", f"{_REPOSITORY}/manifests/.INVALID_MANIFEST_NAME"),
    "blob, head": ("HEAD", f"{_REPOSITORY}/blobs/{_BLOB.digest}"),
    "blob": ("GET", f"{_REPOSITORY}/blobs/{_BLOB.digest}"),
    "no blob": ("GET", f"{_REPOSITORY}/blobs/{_NOTHING}"),
    "no blob, head": ("HEAD", f"{_REPOSITORY}/blobs/{_NOTHING}"),
    "referrers": ("GET", f"{_REPOSITORY}/referrers/{_IMAGE.digest}"),
    "referrers, filtered": (
        "GET",
        f"{_REPOSITORY}/referrers/{_IMAGE.digest}?artifactType=application/vnd.example.sbom.v1",
    ),
    "referrers of another type": (
        "GET",
        f"{_REPOSITORY}/referrers/{_IMAGE.digest}?artifactType=a/b",
    ),
    "referrers of nothing": ("GET", f"{_REPOSITORY}/referrers/{_NOTHING}"),
}
_RANGES = ("500-1499", "500-", "-500", "2000-50000", "500-0", "50000-100000")


async def _asked(base: str, method: str, target: str, **headers: str) -> _Answer:
    async with (
        aiohttp.ClientSession(auto_decompress=False) as session,
        session.request(
            method, URL(base + target, encoded=True), headers={**_ACCEPT, **headers}
        ) as response,
    ):
        body = await response.read()
        if response.status // 100 != 2:
            return _Answer(response.status)
        fields = {name: response.headers[name] for name in _FIELDS if name in response.headers}
        return _Answer(response.status, response.content_type, fields, body)


async def _compare(directory: Path, method: str, target: str, **headers: str) -> None:
    """Ask upstream, and the proxy twice: cold and warm."""
    async with ScriptedRegistry(behaviour=Behaviour()) as registry:
        for tag in ("1", "2", "latest"):
            registry.add_image("team/app", tag, _IMAGE)
        registry.add_image("team/app", None, _REFERRER)
        async with hasty_proxy({"docker.io": registry}, directory) as proxy:
            directly = await _asked(registry.url, method, target, **headers)
            for _ in range(2):
                assert await _asked(proxy.url, method, target, **headers) == directly


@pytest.mark.parametrize(("method", "target"), _ROWS.values(), ids=_ROWS)
async def test_a_row(method: str, target: str, tmp_path: Path) -> None:
    """A row of the suite comes out through the proxy as it does at upstream."""
    await _compare(tmp_path, method, target)


@pytest.mark.parametrize("wanted", _RANGES)
async def test_a_range(wanted: str, tmp_path: Path) -> None:
    """A range of a blob is answered through the proxy as it is at upstream."""
    await _compare(tmp_path, "GET", f"{_REPOSITORY}/blobs/{_BLOB.digest}", Range=f"bytes={wanted}")
