"""The contents that are pulled: an index with images for two platforms, tags, and referrers."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace

from tests.differential.quirk import Document, Edit, Quirk
from tests.support import images
from tests.support.images import Blob, Image
from tests.support.scripted_registry import ScriptedRegistry

REPOSITORY = "team/app"
TAG, OTHER_TAG = "1", "latest"
_MORE_TAGS = ("2", "3")
_SIZE = 20_000  # bytes of a layer: more than a download holds back
_LAYERS = {seed: images.layer(seed, _SIZE) for seed in (1, 2, 3, 4)}
_TYPES = ("application/vnd.example.sbom.v1", "application/vnd.example.signature.v1")


@dataclass(frozen=True, slots=True)
class Content:
    """The image that a tag names at a time.

    Attributes:
        index: what the tag names.
        image: the first of its images, which is pulled.
    """

    index: Image
    image: Image

    @classmethod
    def of(cls, version: int, quirks: Sequence[Quirk]) -> "Content":
        """Return a version of the content, as registries with these quirks have it."""
        layers = [_LAYERS[2 * version + 1], _LAYERS[2 * version + 2]]
        if any(quirk.has_empty_layer for quirk in quirks):
            layers.append(Blob.of(b"", images.OCI_LAYER))
        children = [
            _edited(_image(layers, architecture), "manifest", quirks)
            for architecture in ("amd64", "arm64")
        ]
        entries = [child.descriptor() for child in children]
        document = {"schemaVersion": 2, "mediaType": images.OCI_INDEX, "manifests": entries}
        index = _edited(Image.of(document, children=children), "index", quirks)
        return cls(index, children[0])

    def store(self, registry: ScriptedRegistry, fallback: str) -> None:
        """Store it, let the tags name it, and attach referrers to it."""
        for tag in (TAG, OTHER_TAG, *_MORE_TAGS):
            registry.add_image(REPOSITORY, tag, self.index)
        attached = [images.referrer(self.index, kind) for kind in _TYPES]
        for referrer in attached:
            registry.add_image(REPOSITORY, None, referrer)
        listed = images.referrers_index(attached) if fallback == "list" else self.index
        registry.add_image(REPOSITORY, images.attached_tag(self.index.digest), listed)


def _image(layers: Sequence[Blob], architecture: str) -> Image:
    """An image; a layer without bytes is no tarball, so its config does not count it."""
    whole = images.image([each for each in layers if each.body], architecture=architecture)
    document = json.loads(whole.manifest)
    document["layers"] = [layer.descriptor() for layer in layers]
    return Image.of(document, blobs=(whole.blobs[0], *layers))


def _edited(image: Image, kind: str, quirks: Sequence[Quirk]) -> Image:
    edits: list[Edit] = [quirk.edits[kind] for quirk in quirks if kind in quirk.edits]
    if not edits:
        return image
    document: Document = json.loads(image.manifest)
    for edit in edits:
        document = edit(document)
    body = json.dumps(document, indent=3).encode()
    return replace(image, manifest=body, digest=images.sha256(body))
