"""A store that the disk has damaged: what scrub takes out is fetched again, and is right."""

import asyncio
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from cacheproxy.domain.digest import Digest
from cacheproxy.domain.events import FillEnded, FillStarted
from cacheproxy.storage.layout import Layout
from tests.integration.fills import until
from tests.support import images
from tests.support.hasty import HastyProxy
from tests.support.scripted_registry import ScriptedRegistry

_SIZE = 300_000
_COMMAND = "from cacheproxy.cli import main; main()"


@dataclass(frozen=True, slots=True)
class Scene:
    """A proxy that has pulled an image, and what is needed to run commands beside it."""

    hub: ScriptedRegistry
    proxy: HastyProxy
    image: images.Image
    configuration: Path

    def path(self, digest: str) -> Path:
        """Of a stored blob."""
        return Path(Layout(self.proxy.directory).blob(Digest(digest)))

    def part(self, name: str) -> str:
        """The digest of a part of the image."""
        config, *layers = self.image.blobs
        parts = {"layer": layers[0], "config": config}
        return parts[name].digest if name in parts else self.image.digest

    async def pull(self) -> dict[str, bytes]:
        """All of the image, as a client gets it, by digest."""
        got = {self.image.digest: await self.proxy.body("/v2/app/manifests/1")}
        for digest in self.image.all_blobs:
            got[digest] = await self.proxy.body(f"/v2/app/blobs/{digest}")
        # A client has the last byte before the blob has its name.
        await until(lambda: len(self.proxy.files("blobs")) == len(got))
        await until(lambda: not self.proxy.files("ingest"))
        # Who asks in the moment between commit and end would follow what has just come.
        events = self.proxy.events
        await until(lambda: len(events.of(FillStarted)) == len(events.of(FillEnded)))
        return got

    async def run(self, *arguments: str) -> tuple[int, str]:
        """A command, in a process of its own, as an operator runs it; code and output."""
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-c", _COMMAND, *arguments, "--config", str(self.configuration)),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        output, _ = await process.communicate()
        assert process.returncode is not None
        return process.returncode, output.decode()

    def right(self) -> dict[str, bytes]:
        """What a pull must bring."""
        blobs = {digest: blob.body for digest, blob in self.image.all_blobs.items()}
        return {self.image.digest: self.image.manifest, **blobs}


@pytest.fixture
async def scene(hub: ScriptedRegistry, proxy: HastyProxy, tmp_path: Path) -> Scene:
    """All of the image is cached."""
    image = images.simple(seed=7, size=_SIZE)
    hub.add_image("library/app", "1", image)
    configuration = tmp_path / "cacheproxy.yaml"
    configuration.write_text(
        f"cache: {{directory: {proxy.directory}}}\n"
        "default_upstream: docker.io\n"
        "upstreams: {docker.io: {}}\n",
        encoding="utf-8",
    )
    made = Scene(hub, proxy, image, configuration)
    assert await made.pull() == made.right()
    return made


def _flip(path: Path) -> None:
    body = bytearray(path.read_bytes())
    body[len(body) // 2] ^= 1
    _overwrite(path, bytes(body))


def _truncate(path: Path) -> None:
    _overwrite(path, path.read_bytes()[:-100])


def _empty(path: Path) -> None:
    _overwrite(path, b"")


def _delete(path: Path) -> None:
    path.unlink()


def _overwrite(path: Path, body: bytes) -> None:
    """Within the file, as a disk does it: the same inode has other bytes."""
    path.chmod(0o644)
    path.write_bytes(body)
    path.chmod(0o444)


_DAMAGES = [
    ("layer", _flip),
    ("layer", _truncate),
    ("layer", _empty),
    ("layer", _delete),
    ("config", _flip),
    ("manifest", _flip),
    ("manifest", _truncate),
    ("manifest", _delete),
]


@pytest.mark.parametrize(("part", "damage"), _DAMAGES)
async def test_what_is_damaged_is_never_served(
    scene: Scene, part: str, damage: Callable[[Path], None]
) -> None:
    """A pull of what was damaged a moment ago brings the right bytes, fetched in that pull."""
    digest = scene.part(part)
    damage(scene.path(digest))
    is_bad = scene.path(digest).exists()
    fetched = len(scene.hub.requests("GET"))
    assert await scene.pull() == scene.right()
    assert len(scene.hub.requests("GET")) == fetched + 1
    assert len(scene.proxy.files("quarantine")) == is_bad
    assert await scene.pull() == scene.right()
    assert len(scene.hub.requests("GET")) == fetched + 1


async def test_what_is_damaged_is_fetched_once_for_all(scene: Scene) -> None:
    """Many who want a damaged layer at once get the right one, for one request to upstream."""
    digest = scene.part("layer")
    _flip(scene.path(digest))
    fetched = len(scene.hub.requests())
    bodies = await asyncio.gather(*(scene.proxy.body(f"/v2/app/blobs/{digest}") for _ in range(16)))
    assert set(bodies) == {scene.right()[digest]}
    assert len(scene.hub.requests()) == fetched + 1


async def test_swapped_blobs_are_never_served(scene: Scene) -> None:
    """Two blobs under each other's names, moved there whole with their times, are found out."""
    one, two = (scene.path(layer.digest) for layer in scene.image.layers)
    aside = one.with_name("aside")
    one.rename(aside)
    two.rename(one)
    aside.rename(two)
    fetched = len(scene.hub.requests("GET"))
    assert await scene.pull() == scene.right()
    assert len(scene.hub.requests("GET")) == fetched + 2
    # One that a client still had open is written over instead.
    assert len(scene.proxy.files("quarantine")) <= 2


async def test_a_copy_of_the_store_is_served(scene: Scene) -> None:
    """Files that somebody has put back are read again once, and cost upstream nothing."""
    for digest in scene.right():
        path = scene.path(digest)
        body = path.read_bytes()
        path.unlink()
        path.write_bytes(body)
    fetched = len(scene.hub.requests())
    assert await scene.pull() == scene.right()
    assert await scene.pull() == scene.right()
    assert len(scene.hub.requests()) == fetched
    assert not scene.proxy.files("quarantine")


@pytest.mark.parametrize(("part", "damage"), _DAMAGES)
async def test_what_was_damaged_is_right_again(
    scene: Scene, part: str, damage: Callable[[Path], None]
) -> None:
    """After a scrub beside the running proxy, a pull brings the right bytes, fetched anew."""
    digest = scene.part(part)
    damage(scene.path(digest))
    code, output = await scene.run("scrub")
    assert code == 0, output
    assert digest in output
    fetched = len(scene.hub.requests("GET"))
    assert await scene.pull() == scene.right()
    assert len(scene.hub.requests("GET")) == fetched + 1
    assert await scene.pull() == scene.right()
    assert len(scene.hub.requests("GET")) == fetched + 1


async def test_swapped_blobs_are_right_again(scene: Scene) -> None:
    """Two blobs under each other's names, both whole, are both fetched anew."""
    one, two = (scene.path(layer.digest) for layer in scene.image.layers)
    bodies = one.read_bytes(), two.read_bytes()
    _overwrite(one, bodies[1])
    _overwrite(two, bodies[0])
    code, output = await scene.run("scrub")
    assert code == 0, output
    assert await scene.pull() == scene.right()
    assert len(scene.proxy.files("quarantine")) == 2
    code, output = await scene.run("scrub")
    assert (code, output.splitlines()[-1]) == (0, "all are what their digests say")


async def test_a_scrub_of_what_is_pulled_meanwhile(scene: Scene) -> None:
    """Pulls that go on during scrubs bring right bytes, and cost upstream nothing."""
    fetched = len(scene.hub.requests())
    scrubbing = asyncio.gather(*(scene.run("scrub", "--rate", "1MiB") for _ in range(2)))
    while not scrubbing.done():
        assert await scene.pull() == scene.right()
        await asyncio.sleep(0.01)
    assert [code for code, _ in await scrubbing] == [0, 0]
    assert len(scene.hub.requests()) == fetched


async def test_a_purge_beside_the_proxy(scene: Scene) -> None:
    """What is purged is a miss for the running proxy, and its next pull is right."""
    code, output = await scene.run("purge", "app:1")
    assert code == 0, output
    assert scene.proxy.files("blobs") == []
    # For some seconds it remembers what the tag named, and could fetch that by its digest.
    scene.proxy.clock.advance(3600)
    assert await scene.pull() == scene.right()
    code, output = await scene.run("explain", "app:1")
    assert code == 0, output
    assert output.splitlines()[0] == "docker.io/library/app:1"
