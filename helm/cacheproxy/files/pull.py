"""Pull an image through the proxy, as `helm test` does: manifest, configuration, smallest layer.

    pull.py URL REFERENCE

They are pulled until each blob was a hit. Each pull may come to another replica, so that takes as
many rounds as there are replicas, and one. Bytes that are not what their digest says end it with 1.
"""

import hashlib
import json
import sys
import urllib.error
import urllib.request
from typing import Any

_ROUNDS = 50
_TIMEOUT = 60  # seconds
_ACCEPT = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)


def main(url: str, reference: str) -> str:
    """Pull it until it is a hit; return what to say."""
    repository, tag = _split(reference)
    base = f"{url.rstrip('/')}/v2/{repository}"
    waiting = _blobs(base, tag)
    count = 0
    for _ in range(_ROUNDS):
        waiting = [blob for blob in waiting if not _is_hit(f"{base}/blobs/{blob}", blob)]
        count += 1
        if not waiting:
            return f"{reference} came through {url} whole; each blob was a hit within {count} pulls"
    raise SystemExit(f"no hit in {count} pulls: {', '.join(waiting)}")


def _split(reference: str) -> tuple[str, str]:
    """Repository with its registry, and tag or digest."""
    if "@" in reference:
        repository, _, digest = reference.partition("@")
        return repository, digest
    repository, _, tag = reference.rpartition(":")
    if not repository or "/" in tag:
        return reference, "latest"
    return repository, tag


def _blobs(base: str, tag: str) -> list[str]:
    """The digests of the configuration and of the smallest layer."""
    manifest = _manifest(f"{base}/manifests", tag)
    layers = sorted(manifest["layers"], key=lambda layer: int(layer["size"]))
    return [blob["digest"] for blob in [manifest["config"], *layers[:1]]]


def _manifest(place: str, tag: str) -> dict[str, Any]:
    """The manifest; of an index, that of its first platform."""
    body, _ = _get(f"{place}/{tag}")
    document: dict[str, Any] = json.loads(body)
    if "manifests" not in document:
        return document
    digest = document["manifests"][0]["digest"]
    body, _ = _get(f"{place}/{digest}")
    _verify(body, digest)
    inner: dict[str, Any] = json.loads(body)
    return inner


def _is_hit(url: str, digest: str) -> bool:
    body, status = _get(url)
    _verify(body, digest)
    return "; hit" in status


def _get(url: str) -> tuple[bytes, str]:
    """A body, and what the proxy says that it did."""
    request = urllib.request.Request(url, headers={"Accept": ", ".join(_ACCEPT)})
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT) as response:
            return response.read(), response.headers.get("Cache-Status", "")
    except urllib.error.HTTPError as error:
        said = error.read(2000).decode(errors="replace")
        raise SystemExit(f"{url}: {error.code} {said}") from None
    except OSError as error:
        raise SystemExit(f"{url}: {error}") from None


def _verify(body: bytes, digest: str) -> None:
    algorithm, _, expected = digest.partition(":")
    found = hashlib.new(algorithm, body).hexdigest()
    if found != expected:
        raise SystemExit(f"{digest} has other bytes: {algorithm}:{found}")


if __name__ == "__main__":
    print(main(*sys.argv[1:]))
