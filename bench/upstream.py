"""The registry that all subjects stand in front of."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from bench.measured import settled
from tests.support import images
from tests.support.parts import distant, namespace
from tests.support.parts.registry import docker_registry
from tests.support.parts.swarm import Address, Pull, pull_all

REPOSITORY = "bench/image"
RATE = "800mbit"


@dataclass(frozen=True, slots=True)
class Upstream:
    """A registry with one image, whose layers are fetched one after the other.

    Attributes:
        address: of the registry.
        image: what it holds, under tag 1.
        link: the namespace it is in; None on loopback, where no bytes are counted.
        about: how far it is, for a reader.
    """

    address: Address
    image: images.Image
    link: namespace.Namespace | None
    about: str

    @property
    def url(self) -> str:
        """Of the registry."""
        return f"http://{self.address[0]}:{self.address[1]}"

    def received(self) -> int:
        """Bytes that came from it so far; 0 on loopback."""
        return self.link.received() if self.link else 0

    def settle(self) -> None:
        """Waits until nothing comes any more: some subjects fetch on behind their clients."""
        settled(self.received)

    def direct(self, target: str) -> tuple[Pull, int]:
        """One download past all subjects, and what crossed the link for it."""
        before = self.received()
        (pull,) = pull_all(self.address, [Pull(target, hashed=False)])
        return pull, self.received() - before


@contextmanager
def upstream(size: int, count: int) -> Iterator[Upstream]:
    """A registry with `count` layers of `size` bytes, behind the link where one is possible."""
    image = distant.bulk(1, size, count)
    reason = namespace.unavailable()
    if reason is None:
        with distant.distant_registry(RATE) as far:
            far.hold(REPOSITORY, image)
            yield Upstream(far.address, image, far.link, f"behind a link of {RATE}/s")
        return
    with docker_registry() as near:
        images.push(near.push_url, REPOSITORY, image, "1")
        yield Upstream(("127.0.0.1", near.port), image, None, f"on loopback ({reason})")


def blob_target(image: images.Image, number: int) -> str:
    """The path of a layer."""
    return f"/v2/{REPOSITORY}/blobs/{image.layers[number].digest}"
