"""docker-registry on the far side of a slow link, and content that is worth a slow link."""

import random
import re
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

from tests.support import images
from tests.support.parts import wire
from tests.support.parts.namespace import Namespace, namespace
from tests.support.parts.process import Daemon, require, wait_until
from tests.support.parts.program import run
from tests.support.parts.registry import PACKAGE
from tests.support.parts.scratch import scratch

_PORT = 5000  # of a network where nobody else is
_START = 60.0  # seconds
_ACCESS = re.compile(r'"GET (?P<target>\S*/blobs/\S+) [^"]*" 20[06] (?P<size>\d+)')

_CONFIG = """\
version: 0.1
log: {{level: info}}
storage: {{filesystem: {{rootdirectory: {root}}}}}
http: {{addr: "{address}:{port}", secret: tests}}
"""


class DistantRegistry:
    """A registry that the link keeps from being fast."""

    def __init__(self, link: Namespace, daemon: Daemon) -> None:
        self.link = link
        self.address = (link.address, _PORT)
        self.url = f"http://{link.address}:{_PORT}"
        self._daemon = daemon

    def blob_requests(self) -> int:
        """How many requests for a blob's bytes it has answered."""
        return len(_ACCESS.findall(self._daemon.stdout()))

    def wait_until_alone(self) -> None:
        """Waits until no connection is left of which a packet could still come.

        Raises:
            NotReadyError: one is, for long.
        """
        ours = ["ss", "--no-header", "--tcp", "state", "connected", "exclude", "time-wait"]
        look = self.link.inside([*ours, f"sport = :{_PORT}"])
        wait_until(lambda: not run(look), _START, "all connections are closed")

    def hold(self, repository: str, image: images.Image) -> None:
        """Stores an image; what goes up the link is not slow."""
        images.push(self.url, repository, image, "1")


@contextmanager
def distant_registry(
    rate: str = "800mbit", place: Namespace | None = None
) -> Iterator[DistantRegistry]:
    """A running registry behind a link of this rate; or in a place that is there already."""
    program = require("docker-registry", PACKAGE)
    with (
        scratch() as directory,
        namespace(rate) if place is None else nullcontext(place) as link,
    ):
        path = directory / "config.yml"
        root = directory / "storage"
        path.write_text(_CONFIG.format(root=root, address=link.address, port=_PORT))
        daemon = Daemon(link.inside([program, "serve", str(path)]), directory)
        try:
            registry = DistantRegistry(link, daemon)
            daemon.ready(lambda: wire.answers(f"{registry.url}/v2/"), _START)
            yield registry
        finally:
            daemon.stop()


def bulk(seed: int, size: int, count: int = 1) -> images.Image:
    """An image whose layers are `count` times `size` bytes of noise."""
    noise = random.Random(seed)
    config = images.Blob.of(b"{}", images.OCI_CONFIG)
    layers = [
        images.Blob.of(noise.randbytes(size), images.OCI_LAYER + "+gzip") for _ in range(count)
    ]
    document = {
        "schemaVersion": 2,
        "mediaType": images.OCI_MANIFEST,
        "config": config.descriptor(),
        "layers": [layer.descriptor() for layer in layers],
    }
    return images.Image.of(document, blobs=[config, *layers])
