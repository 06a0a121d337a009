"""Where the scenes of this folder play: a proxy with a counted link to each of two registries."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from tests.clients.catalogue import Entry
from tests.support import images
from tests.support.parts.link import CountedLink, counted_link
from tests.support.parts.proxy import Proxy, proxy
from tests.support.parts.registry import DockerRegistry, docker_registry

HUB = "docker.io"
EXAMPLE = "registry.example.com"


@dataclass(frozen=True, slots=True)
class Registries:
    """The two upstreams; nothing changes in them."""

    hub: DockerRegistry
    example: DockerRegistry


@dataclass(frozen=True, slots=True)
class Stage:
    """A proxy with its two upstream links."""

    proxy: Proxy
    hub: CountedLink
    example: CountedLink

    def cut(self) -> None:
        """Takes both upstreams away."""
        self.hub.cut()
        self.example.cut()

    def forget(self) -> None:
        """Starts counting anew on both links."""
        self.hub.forget()
        self.example.forget()

    @property
    def blob_bytes(self) -> int:
        """Bytes of blobs that crossed either link."""
        return self.hub.blob_bytes + self.example.blob_bytes


@contextmanager
def staged(
    registries: Registries,
    *,
    settings: Mapping[str, Any] | None = None,
    upstream: Mapping[str, Any] | None = None,
) -> Iterator[Stage]:
    """A proxy with an empty cache before both registries.

    Args:
        registries: the upstreams.
        settings: further sections of its configuration.
        upstream: further settings of each upstream.
    """
    with (
        counted_link(registries.hub.port) as hub,
        counted_link(registries.example.port) as example,
    ):
        urls = {HUB: hub.url, EXAMPLE: example.url}
        upstreams = {name: {"url": url, **(upstream or {})} for name, url in urls.items()}
        with proxy(upstreams, settings=settings) as running:
            yield Stage(running, hub, example)


@contextmanager
def stocked(hub: Iterable[Entry], example: Iterable[Entry]) -> Iterator[Registries]:
    """Both registries, with what they hold."""
    with ExitStack() as stack:
        registries = Registries(*(stack.enter_context(docker_registry()) for _ in range(2)))
        for registry, entries in ((registries.hub, hub), (registries.example, example)):
            for entry in entries:
                images.push(registry.push_url, entry.repository, entry.image, entry.tag)
        yield registries
