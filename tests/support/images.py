"""OCI and Docker content built in memory, the same for the same seed, and pushed by plain HTTP."""

import base64
import gzip
import hashlib
import http.client
import io
import json
import random
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any
from urllib.parse import urljoin, urlsplit

import zstandard

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar"
HELM_CONFIG = "application/vnd.cncf.helm.config.v1+json"
HELM_CHART = "application/vnd.cncf.helm.chart.content.v1.tar+gzip"
COSIGN_PAYLOAD = "application/vnd.dev.cosign.simplesigning.v1+json"
IN_TOTO = "application/vnd.in-toto+json"
EMPTY = "application/vnd.oci.empty.v1+json"

_PUSH_TIMEOUT = 60.0  # seconds for one request of a push


class Format(Enum):
    """Whose media types an image is written with: manifest, index, config, layer."""

    OCI = (OCI_MANIFEST, OCI_INDEX, OCI_CONFIG, OCI_LAYER)
    DOCKER = (DOCKER_MANIFEST, DOCKER_LIST, DOCKER_CONFIG, DOCKER_LAYER)


@dataclass(frozen=True, slots=True)
class Blob:
    """Bytes and the name they go by."""

    digest: str
    body: bytes
    media_type: str

    @classmethod
    def of(cls, body: bytes, media_type: str) -> "Blob":
        """The blob that holds `body`."""
        return cls(sha256(body), body, media_type)

    def descriptor(self) -> dict[str, Any]:
        """How a manifest refers to this blob."""
        return _descriptor(self.media_type, self.digest, self.body)


@dataclass(frozen=True, slots=True)
class Image:
    """A manifest with all that it refers to: an image, an artifact, or an index of images."""

    manifest: bytes
    media_type: str
    digest: str
    blobs: tuple[Blob, ...]
    children: tuple["Image", ...] = ()

    @classmethod
    def of(
        cls,
        document: dict[str, Any],
        *,
        blobs: Sequence[Blob] = (),
        children: Sequence["Image"] = (),
    ) -> "Image":
        """The image whose manifest is `document`, which names its own media type."""
        manifest = _json(document)
        return cls(manifest, document["mediaType"], sha256(manifest), tuple(blobs), tuple(children))

    def descriptor(self) -> dict[str, Any]:
        """How an index, or a referrer's `subject`, refers to this manifest."""
        return _descriptor(self.media_type, self.digest, self.manifest)

    def walk(self) -> Iterator["Image"]:
        """This manifest after all its children: the order in which a registry takes them."""
        for child in self.children:
            yield from child.walk()
        yield self

    @property
    def all_blobs(self) -> dict[str, Blob]:
        """Each distinct blob of this manifest and its children, by digest."""
        return {blob.digest: blob for image in self.walk() for blob in image.blobs}

    @property
    def layers(self) -> tuple[Blob, ...]:
        """The blobs without the config, lowest first."""
        return self.blobs[1:]


def sha256(body: bytes) -> str:
    """The digest of `body`, as registries write it."""
    return "sha256:" + hashlib.sha256(body).hexdigest()


def layer(seed: int, size: int, *, zstd: bool = False, kind: Format = Format.OCI) -> Blob:
    """A compressed tarball with one file of `size` bytes that do not compress.

    zstd layers exist as OCI only.
    """
    tarball = _tarball(f"content/{seed}.bin", random.Random(seed).randbytes(size))
    media_type = kind.value[3]
    if zstd:
        body = zstandard.ZstdCompressor(level=3).compress(tarball)
        return Blob.of(body, media_type + "+zstd")
    body = gzip.compress(tarball, compresslevel=1, mtime=0)
    return Blob.of(body, media_type + (".gzip" if kind is Format.DOCKER else "+gzip"))


def uncompressed(blob: Blob) -> bytes:
    """The tarball inside a layer, whose digest is the layer's diff ID."""
    if blob.media_type.endswith("zstd"):
        return zstandard.ZstdDecompressor().decompressobj().decompress(blob.body)
    return gzip.decompress(blob.body)


def image(
    layers: Sequence[Blob], *, architecture: str = "amd64", kind: Format = Format.OCI
) -> Image:
    """An image of these layers that a container engine can unpack (it has nothing to run)."""
    manifest_type, _, config_type, _ = kind.value
    config = Blob.of(_json(_config(layers, architecture)), config_type)
    return _manifest(config, layers, media_type=manifest_type)


def simple(seed: int, size: int = 4096, *, count: int = 2, kind: Format = Format.OCI) -> Image:
    """An image of `count` layers, `size` bytes in each."""
    return image([layer(seed * 1000 + n, size, kind=kind) for n in range(count)], kind=kind)


def multi_arch(seed: int, size: int = 4096) -> Image:
    """An index for amd64 and arm64, with a build attestation beside the first."""
    shared = layer(seed * 1000, size)
    amd64 = image([shared, layer(seed * 1000 + 1, size)])
    arm64 = image([shared, layer(seed * 1000 + 2, size)], architecture="arm64")
    proof = _attestation(amd64)
    unknown = {
        "platform": {"architecture": "unknown", "os": "unknown"},
        "annotations": {
            "vnd.docker.reference.digest": amd64.digest,
            "vnd.docker.reference.type": "attestation-manifest",
        },
    }
    entries = [_for_platform(amd64, "amd64"), _for_platform(arm64, "arm64")]
    entries.append(proof.descriptor() | unknown)
    return _index(OCI_INDEX, entries, [amd64, arm64, proof])


def docker_list(seed: int, size: int = 4096) -> Image:
    """A Docker manifest list for amd64 and arm64: what Hub still serves for older images."""
    kinds = Format.DOCKER
    amd64 = simple(seed, size, kind=kinds)
    arm64 = image([layer(seed * 1000 + 9, size, kind=kinds)], architecture="arm64", kind=kinds)
    entries = [_for_platform(amd64, "amd64"), _for_platform(arm64, "arm64")]
    return _index(DOCKER_LIST, entries, [amd64, arm64])


def zstd_image(seed: int, size: int = 4096) -> Image:
    """An image with a gzip layer under a zstd layer."""
    return image([layer(seed * 1000, size), layer(seed * 1000 + 1, size, zstd=True)])


def helm_chart(seed: int) -> Image:
    """A Helm chart as `helm push` stores it."""
    meta = {"name": "chart", "version": f"0.1.{seed}", "apiVersion": "v2"}
    archive = gzip.compress(_tarball("chart/Chart.yaml", _json(meta)), mtime=0)
    config = Blob.of(_json(meta), HELM_CONFIG)
    return _manifest(config, [Blob.of(archive, HELM_CHART)])


def signature(signed: Image) -> Image:
    """A cosign signature of `signed`; its tag is `attached_tag(signed.digest, ".sig")`."""
    payload = {"critical": {"image": {"docker-manifest-digest": signed.digest}}, "optional": None}
    body = Blob.of(_json(payload), COSIGN_PAYLOAD)
    return _manifest(Blob.of(_json(_config((), "")), OCI_CONFIG), [body])


def referrer(subject: Image, artifact_type: str = "application/vnd.example.sbom.v1") -> Image:
    """An artifact that says with `subject` what it belongs to."""
    body = Blob.of(_json({"describes": subject.digest}), artifact_type)
    extra = {"artifactType": artifact_type, "subject": subject.descriptor()}
    return _manifest(Blob.of(b"{}", EMPTY), [body], extra=extra)


def referrers_index(referrers: Sequence[Image]) -> Image:
    """The index that stands at `attached_tag(digest)` where a registry has no referrers API."""
    entries = []
    for item in referrers:
        artifact_type = json.loads(item.manifest)["artifactType"]
        entries.append(item.descriptor() | {"artifactType": artifact_type})
    return _index(OCI_INDEX, entries, referrers)


def attached_tag(digest: str, suffix: str = "") -> str:
    """The tag under which something about `digest` is found: `sha256-<hex>`, plus a suffix."""
    return digest.replace(":", "-") + suffix


def push(
    base_url: str, repository: str, pushed: Image, tag: str, *, token: str | None = None
) -> None:
    """Stores `pushed` in the registry at `base_url` (user and password may stand in the URL).

    Raises:
        AssertionError: the registry refused a part of it.
        OSError: the registry did not answer.
    """
    registry = _Registry(base_url, token)
    for blob in pushed.all_blobs.values():
        registry.put_blob(repository, blob)
    for part in pushed.walk():
        registry.put_manifest(repository, part, tag if part is pushed else part.digest)


class _Registry:
    """The push half of the distribution API, for one registry."""

    def __init__(self, base_url: str, token: str | None) -> None:
        parts = urlsplit(base_url)
        assert parts.hostname is not None
        assert parts.port is not None
        self._address = (parts.hostname, parts.port)
        self._headers: dict[str, str] = {}
        if parts.username is not None:
            login = f"{parts.username}:{parts.password}".encode()
            self._headers["Authorization"] = "Basic " + base64.b64encode(login).decode()
        if token is not None:
            self._headers["Authorization"] = f"Bearer {token}"

    def put_blob(self, repository: str, blob: Blob) -> None:
        start = f"/v2/{repository}/blobs/uploads/"
        location = urljoin(start, self._send("POST", start, expect=202))
        parts = urlsplit(location)
        query = f"{parts.query}&digest={blob.digest}".lstrip("&")
        kind = "application/octet-stream"
        self._send("PUT", f"{parts.path}?{query}", body=blob.body, kind=kind, expect=201)

    def put_manifest(self, repository: str, part: Image, reference: str) -> None:
        path = f"/v2/{repository}/manifests/{reference}"
        self._send("PUT", path, body=part.manifest, kind=part.media_type, expect=201)

    def _send(
        self, method: str, path: str, *, body: bytes = b"", kind: str = "", expect: int
    ) -> str:
        """One request; returns the answer's Location."""
        headers = self._headers | ({"Content-Type": kind} if kind else {})
        connection = http.client.HTTPConnection(*self._address, timeout=_PUSH_TIMEOUT)
        try:
            connection.request(method, path, body=body, headers=headers)
            answer = connection.getresponse()
            text = answer.read()
            assert answer.status == expect, f"{method} {path}: {answer.status} {text!r}"
            return answer.headers.get("Location", "")
        finally:
            connection.close()


def _attestation(subject: Image) -> Image:
    statement = Blob.of(_json({"subject": [{"digest": subject.digest}]}), IN_TOTO)
    rootfs = {"type": "layers", "diff_ids": [statement.digest]}
    platform = {"architecture": "unknown", "os": "unknown", "config": {}}
    config = Blob.of(_json(platform | {"rootfs": rootfs}), OCI_CONFIG)
    return _manifest(config, [statement])


def _manifest(
    config: Blob,
    layers: Sequence[Blob],
    *,
    media_type: str = OCI_MANIFEST,
    extra: dict[str, Any] | None = None,
) -> Image:
    document = {
        "schemaVersion": 2,
        "mediaType": media_type,
        "config": config.descriptor(),
        "layers": [blob.descriptor() for blob in layers],
    }
    return Image.of(document | (extra or {}), blobs=(config, *layers))


def _index(media_type: str, entries: list[dict[str, Any]], children: Sequence[Image]) -> Image:
    document = {"schemaVersion": 2, "mediaType": media_type, "manifests": entries}
    return Image.of(document, children=children)


def _for_platform(child: Image, architecture: str) -> dict[str, Any]:
    return child.descriptor() | {"platform": {"architecture": architecture, "os": "linux"}}


def _config(layers: Sequence[Blob], architecture: str) -> dict[str, Any]:
    return {
        "architecture": architecture,
        "os": "linux",
        "created": "2020-01-01T00:00:00Z",
        "config": {"Cmd": ["/bin/true"]},
        "rootfs": {"type": "layers", "diff_ids": [sha256(uncompressed(item)) for item in layers]},
        "history": [{"created_by": "tests"} for _ in layers],
    }


def _descriptor(media_type: str, digest: str, body: bytes) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": digest, "size": len(body)}


def _json(document: dict[str, Any]) -> bytes:
    # Indented, as real manifests are: re-serialising one would change its digest.
    return json.dumps(document, indent=3).encode()


def _tarball(name: str, body: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        entry = tarfile.TarInfo(name)
        entry.size = len(body)
        entry.mode = 0o644
        tar.addfile(entry, io.BytesIO(body))
    return buffer.getvalue()
