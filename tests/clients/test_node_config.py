"""containerd goes by what the node's script writes: through the proxy, and past it when it is gone.

containerd 2.1 and newer know `dial_timeout`; with an older one, the last test shows what it is for.
"""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.nodes.node import Node
from tests.support.images import Image, push, simple
from tests.support.parts.containerd import containerd
from tests.support.parts.distant import DistantRegistry, distant_registry
from tests.support.parts.lan import Seat, lan, seat
from tests.support.parts.process import free_port, require
from tests.support.parts.proxy import Proxy
from tests.support.parts.registry import docker_registry

pytestmark = pytest.mark.clients

_DIAL_TIMEOUT = 1.0
# Of a pull that waits one after another: for the tag, the manifest, and what that names.
_DIALS = 3
_BUSY = 4.0  # seconds that all else may take on a busy machine
_KNOWS_DIAL_TIMEOUT = (2, 1)
_IMAGE = simple(seed=77)


@dataclass(frozen=True, slots=True)
class Scene:
    """A node, the proxy that it is configured for, and the registry behind that.

    Attributes:
        node: has its `hosts.toml` from the script.
        proxy: at a machine of its own.
        place: that machine.
        registry: at another one.
    """

    node: Node
    proxy: Proxy
    place: Seat
    registry: DistantRegistry

    @property
    def reference(self) -> str:
        host, port = self.registry.address
        return f"{host}:{port}/team/app:1"

    def pull(self) -> float:
        """Pull the image with an empty containerd, and say how many seconds that took.

        Raises:
            AssertionError: it could not be pulled, or is not what was pushed.
        """
        with containerd(self.node.certs) as client:
            begun = time.monotonic()
            client.fetch(self.reference)
            took = time.monotonic() - begun
            assert client.content() == _contents(_IMAGE)
        return took


def _contents(image: Image) -> dict[str, bytes]:
    blobs = {digest: blob.body for digest, blob in image.all_blobs.items()}
    return {image.digest: image.manifest, **blobs}


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    with ExitStack() as stack:
        network = stack.enter_context(lan())
        far, place = (stack.enter_context(seat(network)) for _ in range(2))
        registry = stack.enter_context(distant_registry(place=far))
        registry.hold("team/app", _IMAGE)
        host, port = registry.address
        output = tmp_path / "proxy"
        output.mkdir()
        settings = {
            "cache": {"directory": str(tmp_path / "cache"), "min_free": "1B"},
            "upstreams": {f"{host}:{port}": {"url": registry.url}},
        }
        proxy = Proxy(output, settings, place=place)
        stack.callback(proxy.abandon)
        node = _node(tmp_path)
        node.want(f"{host}_{port}_", text=f'server = "{registry.url}"\n\n' + _mirror(proxy.url))
        node.install()
        yield Scene(node, proxy, place, registry)


def _node(directory: Path) -> Node:
    made = Node(directory / "host", directory / "wanted", [require("dash", "dash")])
    made.wanted.mkdir()
    (made.root / "etc/containerd").mkdir(parents=True)
    return made


def _mirror(url: str) -> str:
    return (
        f'[host."{url}"]\n  capabilities = ["pull", "resolve"]\n'
        f'  dial_timeout = "{_DIAL_TIMEOUT:g}s"\n'
    )


def test_a_node_pulls_through(scene: Scene) -> None:
    """What the script wrote leads to the proxy, which alone asks the registry."""
    scene.pull()
    before = scene.registry.blob_requests()
    scene.pull()
    assert scene.registry.blob_requests() == before == len(_IMAGE.all_blobs)


@pytest.mark.alone
def test_a_proxy_that_is_down(scene: Scene) -> None:
    """Where nobody listens any more, the registry itself is asked at once."""
    scene.proxy.stop()
    took = scene.pull()
    print(f"with nobody listening: {took:.2f} s")  # noqa: T201  # what was measured is to be seen
    assert scene.registry.blob_requests() == len(_IMAGE.all_blobs)
    assert took < _BUSY


def test_a_registry_that_is_asked_directly(scene: Scene) -> None:
    """One whose own file names no mirror is asked without the proxy, whatever `_default` says."""
    host, port = scene.registry.address
    own = scene.node.wanted / f"{host}_{port}_.toml"
    own.rename(scene.node.wanted / "_default.toml")
    own.write_text(f'server = "{scene.registry.url}"\n\n[host]\n')
    scene.node.install()
    scene.pull()
    assert not [line for line in scene.proxy.log_lines() if line["event"] == "request"]
    assert scene.registry.blob_requests() == len(_IMAGE.all_blobs)


def test_a_file_for_all_registries(tmp_path: Path) -> None:
    """What is written for all names no last host: for each it is the registry itself."""
    node = _node(tmp_path)
    node.want("_default", text=_mirror(f"http://127.0.0.1:{free_port()}"))
    node.install()
    with docker_registry() as registry, containerd(node.certs) as client:
        push(registry.push_url, "team/app", _IMAGE, "1")
        client.fetch(f"{registry.host}/team/app:1")
        assert client.content() == _contents(_IMAGE)


@pytest.mark.alone
def test_a_proxy_that_is_a_black_hole(scene: Scene) -> None:
    """Where packets vanish, each wait is as long as `dial_timeout`, by a containerd that knows it.

    An older one is still waiting when the packets come through again, and loses nothing.
    """
    scene.place.cut()
    with containerd(scene.node.certs) as client:
        version = client.version()
    if version >= _KNOWS_DIAL_TIMEOUT:
        took = scene.pull()
        assert scene.registry.blob_requests() == len(_IMAGE.all_blobs)
        assert _DIAL_TIMEOUT < took < _DIALS * _DIAL_TIMEOUT + _BUSY
    else:
        with ThreadPoolExecutor(1) as pool:
            pulling = pool.submit(scene.pull)
            time.sleep(2 * _DIAL_TIMEOUT)
            assert not pulling.done()
            assert scene.registry.blob_requests() == 0
            scene.place.mend()
            took = pulling.result()
    print(f"containerd {version}, with packets dropped: {took:.2f} s")  # noqa: T201
