"""`python -m demo`: see the package's description."""

import signal
import sys
import time
from collections.abc import Callable
from functools import partial

import click

from demo.crossings import Measured, table
from demo.pulling import client
from tests.support import images
from tests.support.parts.link import CountedLink, counted_link
from tests.support.parts.process import find
from tests.support.parts.proxy import proxy
from tests.support.parts.registry import PACKAGE, DockerRegistry, docker_registry

_RATE = 20_000_000.0  # bytes per second and connection, as of a registry that is far away
_LAYERS, _LAYER_SIZE = 3, 8_000_000
_REPOSITORY, _TAG = "team/app", "1"
# So that the second pull shows what revalidating costs; by default a tag stays fresh for a while.
_TAGS = {"fresh_for": "0s", "stale_if_error": "1h"}

_INTRODUCTION = """\
A real registry, a counted link of {rate:.0f} MB/s a connection, cacheproxy, and a client: {client}.
The image has {layers} layers and {size:,} bytes. This is what crosses the upstream link:
"""
_CONCLUSION = """
Each pull brought the same {size:,} bytes, checked against their digests.
The second asked upstream only whether the tag had moved; the third had no upstream to ask.
"""


def main() -> int:
    """Runs the demo; returns the exit code."""
    if find("docker-registry") is None:
        click.echo(
            "The demo needs a real registry: install docker-registry "
            f"(Debian and Ubuntu: apt-get install {PACKAGE}).",
            err=True,
        )
        return 1
    # Ending by SIGTERM must stop what was started, as Ctrl-C does.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        with docker_registry() as registry, counted_link(registry.port, _RATE) as link:
            _play(registry, link)
    except KeyboardInterrupt:
        return 130
    return 0


def _play(registry: DockerRegistry, link: CountedLink) -> None:
    image = images.simple(1, _LAYER_SIZE, count=_LAYERS)
    images.push(registry.push_url, _REPOSITORY, image, _TAG)
    size = sum(len(blob.body) for blob in image.blobs) + len(image.manifest)
    name, pull = client()
    click.echo(_INTRODUCTION.format(rate=_RATE / 1e6, client=name, layers=_LAYERS, size=size))
    with proxy({"docker.io": {"url": link.url, "tags": _TAGS}}) as running:
        measure = partial(
            _measure, link, image, lambda: pull(running.host, f"docker.io/{_REPOSITORY}", _TAG)
        )
        rows = [measure("first pull"), measure("second pull")]
        registry.stop()
        link.cut()
        rows.append(measure("third pull, the upstream is stopped"))
    click.echo(table(rows))
    click.echo(_CONCLUSION.format(size=size))


def _measure(
    link: CountedLink, image: images.Image, pull: Callable[[], dict[str, bytes]], title: str
) -> Measured:
    """Pulls once and says what it cost.

    Raises:
        SystemExit: what arrived is not what the registry holds.
    """
    link.forget()
    start = time.monotonic()
    pulled = pull()
    seconds = time.monotonic() - start
    if set(pulled) != {image.digest, *image.all_blobs}:
        sys.exit(f"{title}: what arrived is not the image")
    return Measured.at(link, title, seconds)


if __name__ == "__main__":
    sys.exit(main())
