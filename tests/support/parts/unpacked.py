"""What an engine holds of an image: it keeps layers uncompressed, and can give them back."""

import gzip
import io
import json
import tarfile
from dataclasses import dataclass
from pathlib import Path

from tests.support import images


@dataclass(frozen=True, slots=True)
class Unpacked:
    """An image as an engine exports it; the manifest is known by its digest only."""

    manifest_digest: str
    config: bytes
    layers: tuple[bytes, ...]

    @classmethod
    def of(cls, image: images.Image, *, pulled_as: str = "") -> "Unpacked":
        """What an engine must hold of `image`, if it was pulled through the index `pulled_as`."""
        layers = tuple(images.uncompressed(blob) for blob in image.layers)
        return cls(pulled_as or image.digest, image.blobs[0].body, layers)

    @classmethod
    def read_archive(cls, archive: bytes, manifest_digest: str) -> "Unpacked":
        """Reads a `docker save` archive of one image."""
        with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
            (listed,) = json.loads(_member(tar, "manifest.json"))
            layers = tuple(_member(tar, name) for name in listed["Layers"])
            return cls(manifest_digest, _member(tar, listed["Config"]), layers)

    @classmethod
    def read_layout(cls, directory: Path, manifest_digest: str) -> "Unpacked":
        """Reads an OCI layout of one image; its layers are gzipped, by whoever wrote it."""
        (listed,) = json.loads((directory / "index.json").read_bytes())["manifests"]
        manifest = json.loads(_blob(directory, listed))
        layers = tuple(gzip.decompress(_blob(directory, item)) for item in manifest["layers"])
        return cls(manifest_digest, _blob(directory, manifest["config"]), layers)


def _blob(directory: Path, descriptor: dict[str, str]) -> bytes:
    algorithm, _, encoded = descriptor["digest"].partition(":")
    return (directory / "blobs" / algorithm / encoded).read_bytes()


def _member(tar: tarfile.TarFile, name: str) -> bytes:
    found = tar.extractfile(name)
    assert found is not None, f"{name} is not a file"
    return found.read()
