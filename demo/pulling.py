"""A client: skopeo where there is one, else the few requests that a pull consists of."""

import hashlib
import json
from collections.abc import Callable

from tests.support import images
from tests.support.parts import wire
from tests.support.parts.process import find
from tests.support.parts.skopeo import Skopeo

# From HOST, repository and tag to the contents by digest.
Pull = Callable[[str, str, str], dict[str, bytes]]


def client() -> tuple[str, Pull]:
    """The client's name for a reader, and how to pull with it."""
    if find("skopeo") is None:
        return "plain HTTP requests (skopeo is not installed)", _plain
    return "skopeo", _skopeo


def _skopeo(host: str, repository: str, tag: str) -> dict[str, bytes]:
    return Skopeo().pull(f"{host}/{repository}:{tag}")


def _plain(host: str, repository: str, tag: str) -> dict[str, bytes]:
    base = f"http://{host}/v2/{repository}"
    manifest = _body(f"{base}/manifests/{tag}")
    document = json.loads(manifest)
    named = [document["config"], *document["layers"]]
    bodies = [manifest, *(_body(f"{base}/blobs/{blob['digest']}") for blob in named)]
    return {f"sha256:{hashlib.sha256(body).hexdigest()}": body for body in bodies}


def _body(url: str) -> bytes:
    answer = wire.get(url, headers={"Accept": images.OCI_MANIFEST})
    if answer.status != 200:
        raise OSError(f"{url}: {answer.status} {answer.body.decode(errors='replace')}")
    return answer.body
