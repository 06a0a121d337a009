"""Manifests, read just enough to know their type and what they refer to.

The bytes themselves are sacred: they are stored and served as they came, never re-serialised.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from cacheproxy.domain import media_types
from cacheproxy.domain.digest import Digest
from cacheproxy.domain.errors import DigestInvalid, ManifestInvalid
from cacheproxy.domain.platforms import Platform

# The distribution spec asks for support of 4 MiB at least; clients accept no more than that.
SIZE_LIMIT = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Descriptor:
    """What a manifest says of something that it refers to (OCI image spec, descriptor.md).

    Attributes:
        digest: of it.
        size: in bytes, where it is said and can be so; a hint.
        media_type: likewise.
        has_urls: it can be had elsewhere, where registries often lack it (foreign layers).
        platform: what it is for, where an index says so.
    """

    digest: Digest
    size: int | None
    media_type: str | None
    has_urls: bool = False
    platform: Platform | None = None


@dataclass(frozen=True, slots=True)
class Manifest:
    """A verified manifest.

    Attributes:
        body: the bytes as upstream sent them.
        digest: of the body.
        media_type: what to send as Content-Type.
        children: everything that the repository must hold for this manifest to be of use:
            config and layers of an image, manifests of an index.
    """

    body: bytes
    digest: Digest
    media_type: str
    children: tuple[Descriptor, ...]


def parse(body: bytes, content_type: str | None, digest: Digest | None = None) -> Manifest:
    """Read a manifest.

    Args:
        body: as it came.
        content_type: of upstream's response, if any: a hint, for documents that state no type.
            Several registries send `text/plain` or `application/octet-stream`.
        digest: what it was asked by; None computes the sha256.

    Raises:
        DigestMismatch: not raised here; whoever asked by digest compares.
        ManifestInvalid: too large, not JSON, neither index nor image, or both.
    """
    if len(body) > SIZE_LIMIT:
        raise ManifestInvalid(f"the manifest is larger than {SIZE_LIMIT} bytes")
    document = _document(body)
    media_type = _media_type(document, media_types.essence(content_type))
    return Manifest(body, digest or Digest.of(body), media_type, tuple(_children(document)))


def _document(body: bytes) -> dict[str, Any]:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise ManifestInvalid("the manifest is not JSON") from error
    if not isinstance(document, dict):
        raise ManifestInvalid("the manifest is not a JSON object")
    return document


def _media_type(document: dict[str, Any], sent: str | None) -> str:
    is_index = "manifests" in document
    if not is_index and not {"layers", "config", "blobs"} & document.keys():
        raise ManifestInvalid("the document is neither an index nor an image manifest")
    # A document that is both reads differently by its Content-Type (CVE-2021-41190).
    if is_index and ("layers" in document or "config" in document):
        raise ManifestInvalid("the manifest is both an index and an image")
    stated = document.get("mediaType")
    if stated is not None and not (isinstance(stated, str) and media_types.is_valid(stated)):
        raise ManifestInvalid("the manifest's mediaType is no media type")
    known = media_types.INDEXES if is_index else media_types.MANIFESTS
    opposite = media_types.MANIFESTS if is_index else media_types.INDEXES
    if stated in opposite:
        raise ManifestInvalid("the manifest is not of the type that it claims to be")
    if stated is not None:
        return stated
    return sent if sent in known else _inferred(document, is_index=is_index)


def _inferred(document: dict[str, Any], *, is_index: bool) -> str:
    if is_index:
        return media_types.OCI_INDEX
    if "layers" in document or "config" in document:
        return media_types.OCI_MANIFEST
    if "blobs" in document:
        return media_types.OCI_ARTIFACT_MANIFEST
    raise ManifestInvalid("the document is neither an index nor an image manifest")


def _children(document: dict[str, Any]) -> Iterator[Descriptor]:
    for key in ("manifests", "layers", "blobs"):
        entries = document.get(key)
        if entries is None:
            continue
        if not isinstance(entries, list):
            raise ManifestInvalid(f"the manifest's {key} is not a list")
        for entry in entries:
            yield from _descriptor(entry)
    if "config" in document:
        yield from _descriptor(document["config"])


def _descriptor(entry: object) -> Iterator[Descriptor]:
    """A descriptor; nothing for one of an algorithm that we cannot verify, so never serve."""
    if not isinstance(entry, dict) or not isinstance(entry.get("digest"), str):
        raise ManifestInvalid("a descriptor of the manifest has no digest")
    size = entry.get("size")
    if size is not None and (not isinstance(size, int) or isinstance(size, bool) or size < 0):
        raise ManifestInvalid("a descriptor of the manifest has a size that is no size")
    media_type = entry.get("mediaType")
    try:
        digest = Digest.parse(entry["digest"])
    except DigestInvalid:
        return
    if size == 0 and not digest.names(b""):
        size = None
    has_urls = isinstance(entry.get("urls"), list) and bool(entry["urls"])
    said = media_type if isinstance(media_type, str) else None
    yield Descriptor(digest, size, said, has_urls, _platform(entry.get("platform")))


def _platform(stated: object) -> Platform | None:
    """What an index states; None where that is nothing to be understood."""
    if not isinstance(stated, dict):
        return None
    match [stated.get(key) for key in ("os", "architecture", "variant")]:
        case [str() as os, str() as architecture, variant]:
            return Platform.of(os, architecture, variant if isinstance(variant, str) else None)
        case _:
            return None
