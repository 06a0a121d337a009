"""What is asked for, and what is given for it."""

import re
from dataclasses import dataclass
from typing import Literal

from cacheproxy.domain.routing import looks_like_host

_PORT = re.compile(r":[0-9]+\Z")


@dataclass(frozen=True, slots=True)
class Served:
    """A registry that the proxy serves.

    Attributes:
        name: its canonical name, such as `docker.io`.
        aliases: other names of it in image references.
    """

    name: str
    aliases: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """All names that images may have it by."""
        return (self.name, *self.aliases)


@dataclass(frozen=True, slots=True)
class Wish:
    """What a client is to be set up for.

    Attributes:
        url: of the proxy, as the client reaches it: scheme, host and port.
        served: what it serves.
        default: the registry of requests that name none; None: there is none.
        authority: PEM of who vouches for its certificate; None: the client knows already.
        falls_back: whether the registry itself is asked where the proxy fails.
        is_for_each: an entry for each registry, where one for all would do.
    """

    url: str
    served: tuple[Served, ...]
    default: str | None = None
    authority: str | None = None
    falls_back: bool = True
    is_for_each: bool = False

    @property
    def is_plain(self) -> bool:
        """Whether it speaks HTTP without TLS."""
        return self.url.startswith("http://")

    @property
    def host(self) -> str:
        """Host and port, as a URL has them."""
        return self.url.partition("://")[2]

    @property
    def registry(self) -> str:
        """The same as a registry's name: `cache` alone would be a directory of Docker Hub."""
        if looks_like_host(self.host):
            return self.host
        return f"{self.host}:{80 if self.is_plain else 443}"

    @property
    def is_here(self) -> bool:
        """Whether it is on the client's own machine, where engines do without TLS."""
        name = _PORT.sub("", self.host)
        return name in ("localhost", "[::1]") or name.startswith("127.")

    @property
    def names(self) -> tuple[str, ...]:
        """All names of all registries."""
        return tuple(name for served in self.served for name in served.names)


@dataclass(frozen=True, slots=True)
class ClientFile:
    """A file of the client's machine.

    Attributes:
        path: absolute.
        content: all of it.
        kind: `json` is taken into a file that is there; any other stands by itself.
    """

    path: str
    content: str
    kind: Literal["whole", "json"] = "whole"


@dataclass(frozen=True, slots=True)
class Setup:
    """What to do for a client.

    Attributes:
        files: to write.
        steps: to take afterwards, the last one being how to see that it works.
        warnings: what these files do not do.
    """

    files: tuple[ClientFile, ...]
    steps: tuple[str, ...]
    warnings: tuple[str, ...] = ()


def authority_file(wish: Wish, path: str) -> tuple[ClientFile, ...]:
    """The authority at a path; nothing where the client knows it already."""
    return () if wish.authority is None else (ClientFile(path, wish.authority),)


def probe_image(wish: Wish) -> str:
    """An image to try it with."""
    known = {
        "docker.io": "docker.io/library/hello-world:latest",
        "registry.k8s.io": "registry.k8s.io/pause:3.9",
        "gcr.io": "gcr.io/distroless/static:latest",
    }
    names = [served.name for served in wish.served]
    found = next((image for name, image in known.items() if name in names), None)
    return found or f"{names[0] if names else 'registry.example.com'}/REPOSITORY:TAG"


SEEN = "It went through the proxy if the proxy's log has `request` lines of this machine for it."
"""How to see for any client that it works: falling back hides that it does not."""
