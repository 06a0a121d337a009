"""What a scripted registry holds."""

import hashlib
import json
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Manifest:
    """A manifest's bytes and the type they were stored with."""

    body: bytes
    media_type: str
    digest: str

    @property
    def document(self) -> dict[str, Any]:
        """The manifest as JSON; empty if it is none."""
        try:
            document = json.loads(self.body)
        except ValueError:
            return {}
        return document if isinstance(document, dict) else {}


@dataclass(slots=True)
class Repository:
    """One repository; a blob of one is not in any other."""

    blobs: dict[str, bytes] = field(default_factory=dict)
    manifests: dict[str, Manifest] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)

    def manifest(self, reference: str) -> Manifest | None:
        """The manifest of a tag or a digest."""
        return self.manifests.get(self.tags.get(reference, reference))

    def referrers(self, digest: str) -> list[dict[str, Any]]:
        """The descriptors of the manifests that name this one as their subject."""
        return [
            _descriptor(manifest)
            for manifest in self.manifests.values()
            if (manifest.document.get("subject") or {}).get("digest") == digest
        ]


class Contents:
    """Repositories by name, each made when something is first put into it."""

    def __init__(self) -> None:
        self._repositories: dict[str, Repository] = {}

    def find(self, name: str) -> Repository | None:
        """The repository, if there is anything in it."""
        return self._repositories.get(name)

    def of(self, name: str) -> Repository:
        """The repository, made if need be."""
        return self._repositories.setdefault(name, Repository())


def digest_of(body: bytes, algorithm: str = "sha256") -> str:
    """The digest of some bytes."""
    return f"{algorithm}:{hashlib.new(algorithm, body).hexdigest()}"


def _descriptor(manifest: Manifest) -> dict[str, Any]:
    document = manifest.document
    descriptor = {
        "mediaType": manifest.media_type,
        "digest": manifest.digest,
        "size": len(manifest.body),
        "artifactType": document.get("artifactType") or document["config"]["mediaType"],
    }
    if "annotations" in document:
        descriptor["annotations"] = document["annotations"]
    return descriptor
