"""What a client can see of a registry: the scripted one must be taken for a real one.

The real one is Debian's docker-registry, which is distribution 2.8.
"""

import json
import re
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from urllib.parse import urljoin

import pytest
from aiohttp import ClientSession, hdrs
from multidict import CIMultiDictProxy

from tests.support import images
from tests.support.parts.registry import docker_registry
from tests.support.scripted_registry import ScriptedRegistry

_NAME = "team/app"
_OTHER = "team/other"
_OCI = images.simple(1)
_INDEX = images.multi_arch(2)
_DOCKER = images.simple(3, kind=images.Format.DOCKER)
_LIST = images.docker_list(4)
_TAGGED = {"oci": _OCI, "index": _INDEX, "docker": _DOCKER, "list": _LIST}
_BLOB = _OCI.layers[0]
_SIZE = len(_BLOB.body)
_ABSENT = images.sha256(b"what no registry holds")
_TYPES = (images.OCI_INDEX, images.OCI_MANIFEST, images.DOCKER_LIST, images.DOCKER_MANIFEST)
_ALL_TYPES = ", ".join(_TYPES)


@dataclass(frozen=True, slots=True)
class Seen:
    """A response as a client sees it."""

    status: int
    headers: CIMultiDictProxy[str]
    body: bytes

    @property
    def code(self) -> str:
        """The code of the one OCI error that the body holds."""
        assert self.headers["Content-Type"].startswith("application/json")
        (error,) = json.loads(self.body)["errors"]
        assert error["message"]
        return str(error["code"])

    def named(self, *names: str) -> dict[str, str | None]:
        """Some of the headers."""
        return {name: self.headers.get(name) for name in names}


class Client:
    """Asks one registry, and believes nothing that it was not told."""

    def __init__(self, session: ClientSession) -> None:
        self._session = session

    async def ask(self, path: str, *, method: str = "GET", **headers: str) -> Seen:
        """One request; the body of a 416 is not read, as distribution gets its length wrong."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        async with self._session.request(
            method, path, headers=sent, allow_redirects=False
        ) as answer:
            body = b"" if answer.status == 416 else await answer.read()
            return Seen(answer.status, answer.headers, body)

    async def manifest(self, reference: str, *, method: str = "GET", **headers: str) -> Seen:
        """Asks for a manifest of the repository, in any type unless the headers say otherwise."""
        path = f"/v2/{_NAME}/manifests/{reference}"
        return await self.ask(path, method=method, **({"Accept": _ALL_TYPES} | headers))

    async def blob(self, *, method: str = "GET", **headers: str) -> Seen:
        """Asks for the blob."""
        return await self.ask(f"/v2/{_NAME}/blobs/{_BLOB.digest}", method=method, **headers)


@pytest.fixture(scope="module")
def distribution() -> Iterator[str]:
    with docker_registry() as registry:
        for tag, image in _TAGGED.items():
            images.push(registry.push_url, _NAME, image, tag)
        images.push(registry.push_url, _OTHER, _DOCKER, "docker")
        yield registry.url


@pytest.fixture
async def scripted() -> AsyncIterator[str]:
    async with ScriptedRegistry() as registry:
        for tag, image in _TAGGED.items():
            registry.add_image(_NAME, tag, image)
        registry.add_image(_OTHER, "docker", _DOCKER)
        yield registry.url


@pytest.fixture(params=["scripted", pytest.param("distribution", marks=pytest.mark.clients)])
async def client(request: pytest.FixtureRequest, scripted: str) -> AsyncIterator[Client]:
    url = scripted if request.param == "scripted" else request.getfixturevalue("distribution")
    skipped = [hdrs.ACCEPT, hdrs.ACCEPT_ENCODING]
    async with ClientSession(url, auto_decompress=False, skip_auto_headers=skipped) as session:
        yield Client(session)


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_ping(client: Client, method: str) -> None:
    """The ping is an empty JSON object, and says which API this is."""
    seen = await client.ask("/v2/", method=method)
    assert (seen.status, seen.body) == (200, b"{}" if method == "GET" else b"")
    assert seen.headers["Docker-Distribution-Api-Version"] == "registry/2.0"
    assert seen.headers["Content-Type"].startswith("application/json")
    assert seen.headers["Content-Length"] == "2"


@pytest.mark.parametrize("by", ["tag", "digest"])
@pytest.mark.parametrize("tag", _TAGGED)
async def test_manifest(client: Client, tag: str, by: str) -> None:
    """A manifest comes byte for byte, under its own type, with its digest and its length."""
    image = _TAGGED[tag]
    seen = await client.manifest(tag if by == "tag" else image.digest)
    assert (seen.status, seen.body) == (200, image.manifest)
    assert seen.named("Content-Type", "Docker-Content-Digest", "Content-Length", "ETag") == {
        "Content-Type": image.media_type,
        "Docker-Content-Digest": image.digest,
        "Content-Length": str(len(image.manifest)),
        "ETag": f'"{image.digest}"',
    }


@pytest.mark.parametrize("reference", ["oci", _LIST.digest, "absent", _ABSENT])
async def test_head_of_a_manifest(client: Client, reference: str) -> None:
    """HEAD is GET without the body: same status, same type, digest and length."""
    names = ("Content-Type", "Docker-Content-Digest", "Content-Length", "ETag")
    got, head = [await client.manifest(reference, method=method) for method in ("GET", "HEAD")]
    assert head.body == b""
    assert (head.status, head.named(*names)) == (got.status, got.named(*names))
    assert head.headers["Content-Length"] == str(len(got.body))


@pytest.mark.parametrize("accept", ["*/*", images.DOCKER_MANIFEST])
@pytest.mark.parametrize("reference", ["oci", "index", _OCI.digest, _INDEX.digest])
async def test_oci_types_must_be_accepted(client: Client, reference: str, accept: str) -> None:
    """An OCI manifest or index is not found by those who do not name its type."""
    seen = await client.manifest(reference, Accept=accept)
    assert (seen.status, seen.code) == (404, "MANIFEST_UNKNOWN")


async def test_accept_with_parameters(client: Client) -> None:
    """A type in Accept counts with its parameters."""
    seen = await client.manifest("oci", Accept=f"text/html, {images.OCI_MANIFEST};q=0.5")
    assert seen.body == _OCI.manifest


async def test_list_by_tag(client: Client) -> None:
    """Those who do not name Docker's lists get the linux/amd64 manifest in place of a tag's."""
    seen = await client.manifest("list", Accept=images.DOCKER_MANIFEST)
    child = _LIST.children[0]
    assert (seen.status, seen.body) == (200, child.manifest)
    assert seen.headers["Docker-Content-Digest"] == child.digest


async def test_list_by_digest(client: Client) -> None:
    """A list that is asked for by digest is a list, whatever Accept names."""
    seen = await client.manifest(_LIST.digest, Accept=images.DOCKER_MANIFEST)
    assert (seen.status, seen.body) == (200, _LIST.manifest)


async def test_ranges_of_manifests(client: Client) -> None:
    """A manifest comes whole, whatever Range is asked for."""
    seen = await client.manifest("oci", Range="bytes=0-9")
    assert (seen.status, seen.body) == (200, _OCI.manifest)


async def test_blob(client: Client) -> None:
    """A blob comes byte for byte, as a stream of octets, with its digest and its length."""
    seen = await client.blob()
    assert (seen.status, seen.body) == (200, _BLOB.body)
    assert seen.named("Content-Type", "Docker-Content-Digest", "Content-Length", "ETag") == {
        "Content-Type": "application/octet-stream",
        "Docker-Content-Digest": _BLOB.digest,
        "Content-Length": str(_SIZE),
        "ETag": f'"{_BLOB.digest}"',
    }
    assert seen.headers["Accept-Ranges"] == "bytes"
    assert seen.headers["Cache-Control"] == "max-age=31536000"


@pytest.mark.parametrize("wanted", [None, "bytes=5-14"])
async def test_head_of_a_blob(client: Client, wanted: str | None) -> None:
    """HEAD is GET without the body, also of a range."""
    names = ("Content-Type", "Docker-Content-Digest", "Content-Length", "ETag", "Content-Range")
    headers = {"Range": wanted} if wanted else {}
    got, head = [await client.blob(method=method, **headers) for method in ("GET", "HEAD")]
    assert head.body == b""
    assert (head.status, head.named(*names)) == (got.status, got.named(*names))


@pytest.mark.parametrize(
    ("wanted", "first", "last"),
    [
        ("bytes=0-0", 0, 0),
        ("bytes=0-", 0, _SIZE - 1),
        ("bytes=10-19", 10, 19),
        ("bytes=500-", 500, _SIZE - 1),
        ("bytes=-10", _SIZE - 10, _SIZE - 1),
        ("bytes=-1000000", 0, _SIZE - 1),
        ("bytes=10-1000000", 10, _SIZE - 1),
        (f"bytes={_SIZE - 1}-", _SIZE - 1, _SIZE - 1),
    ],
)
async def test_range(client: Client, wanted: str, first: int, last: int) -> None:
    """A range of a blob comes as a 206 that says which one it is."""
    seen = await client.blob(Range=wanted)
    assert seen.status == 206
    assert seen.headers["Content-Range"] == f"bytes {first}-{last}/{_SIZE}"
    assert seen.headers["Content-Length"] == str(last - first + 1)
    assert seen.body == _BLOB.body[first : last + 1]
    assert seen.headers["Docker-Content-Digest"] == _BLOB.digest


@pytest.mark.parametrize("wanted", [f"bytes={_SIZE}-", "bytes=1000000-1000001"])
async def test_range_behind_the_end(client: Client, wanted: str) -> None:
    """A range behind the end is a 416 that says how long the blob is."""
    seen = await client.blob(Range=wanted)
    assert (seen.status, seen.headers["Content-Range"]) == (416, f"bytes */{_SIZE}")


@pytest.mark.parametrize("wanted", ["bytes=9-5", "bytes=a-b", "bytes=-", "items=0-1"])
async def test_range_that_is_none(client: Client, wanted: str) -> None:
    """A range that cannot be read is a 416 without more."""
    seen = await client.blob(Range=wanted)
    assert (seen.status, seen.headers.get("Content-Range")) == (416, None)


@pytest.mark.parametrize("path", [f"manifests/{_OCI.digest}", "manifests/oci"])
async def test_manifest_that_is_known(client: Client, path: str) -> None:
    """Those who have the manifest already are told so, by tag and by digest."""
    known = f'"{_OCI.digest}"'
    seen = await client.ask(f"/v2/{_NAME}/{path}", Accept=images.OCI_MANIFEST, If_None_Match=known)
    assert (seen.status, seen.body) == (304, b"")


async def test_blob_that_is_known(client: Client) -> None:
    """Those who have the blob already are told so."""
    seen = await client.blob(If_None_Match=f'"{_BLOB.digest}"')
    assert (seen.status, seen.body) == (304, b"")
    assert (await client.blob(If_None_Match='"another"')).status == 200


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        (f"{_NAME}/manifests/absent", 404, "MANIFEST_UNKNOWN"),
        (f"{_NAME}/manifests/{_ABSENT}", 404, "MANIFEST_UNKNOWN"),
        ("none/such/manifests/oci", 404, "MANIFEST_UNKNOWN"),
        (f"{_OTHER}/manifests/{_OCI.digest}", 404, "MANIFEST_UNKNOWN"),
        (f"{_NAME}/blobs/{_ABSENT}", 404, "BLOB_UNKNOWN"),
        (f"none/such/blobs/{_BLOB.digest}", 404, "BLOB_UNKNOWN"),
        (f"{_OTHER}/blobs/{_BLOB.digest}", 404, "BLOB_UNKNOWN"),
        (f"{_NAME}/blobs/sha256:bad", 400, "DIGEST_INVALID"),
        ("none/such/tags/list", 404, "NAME_UNKNOWN"),
    ],
)
async def test_errors(client: Client, path: str, status: int, code: str) -> None:
    """What is not there is an error in the spec's shape, and HEAD is the same without a body."""
    seen = await client.ask(f"/v2/{path}", Accept=_ALL_TYPES)
    assert (seen.status, seen.code) == (status, code)
    if not path.endswith("/tags/list"):
        head = await client.ask(f"/v2/{path}", method="HEAD", Accept=_ALL_TYPES)
        assert (head.status, head.body) == (status, b"")


@pytest.mark.parametrize(
    "path", ["/v1/", "/v2/UPPER/tags/list", "/v2/a/manifests/.hidden", "/v2/a//tags/list"]
)
async def test_paths_of_no_api(client: Client, path: str) -> None:
    """What is no path of the API is not answered with content."""
    assert (await client.ask(path)).status in (301, 404)


@pytest.mark.parametrize("query", ["", "?n=1", "?n=3"])
async def test_tags(client: Client, query: str) -> None:
    """All tags are found by following the links, whether or not there are pages."""
    path, tags = f"/v2/{_NAME}/tags/list{query}", list[str]()
    while path:
        seen = await client.ask(path)
        assert seen.status == 200
        assert seen.headers["Content-Type"].startswith("application/json")
        page = json.loads(seen.body)
        assert page["name"] == _NAME
        tags += page["tags"]
        link = re.fullmatch(r'<(.+)>; rel="next"', seen.headers.get("Link", ""))
        path = urljoin(path, link[1]) if link else ""
    assert sorted(tags) == sorted(_TAGGED)


async def test_other_methods(client: Client) -> None:
    """What the path does not offer is a 405 that names what it does."""
    posted = await client.ask(f"/v2/{_NAME}/manifests/oci", method="POST")
    assert posted.status == 405
    assert {"GET", "HEAD"} <= set(posted.headers["Allow"].split(", "))
    head = await client.ask(f"/v2/{_NAME}/tags/list", method="HEAD")
    assert (head.status, head.headers["Allow"]) == (405, "GET")
