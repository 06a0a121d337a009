"""Docker Engine and podman pull through the proxy as a mirror, and unpack what they get."""

import pytest

from tests.clients import catalogue
from tests.clients.stage import Stage
from tests.support.parts.dockerd import dockerd
from tests.support.parts.podman import podman
from tests.support.parts.unpacked import Unpacked

pytestmark = pytest.mark.clients

APP = Unpacked.of(catalogue.APP.image)
DOCKER = Unpacked.of(catalogue.DOCKER.image)
ZSTD = Unpacked.of(catalogue.ZSTD.image)
AMD64 = Unpacked.of(catalogue.INDEX.image.children[0], pulled_as=catalogue.INDEX.image.digest)


def test_docker_engine_pulls_from_its_mirror_also_without_upstream(stage: Stage) -> None:
    """Docker Engine gets Hub's images by their short names, and again when Hub is gone."""
    names = ("app", "multi", "docker")

    assert _docker_pulls(stage, *names) == [APP, AMD64, DOCKER]
    stage.cut()
    assert _docker_pulls(stage, *names) == [APP, AMD64, DOCKER]


def test_podman_pulls_from_its_mirror_also_without_upstream(stage: Stage) -> None:
    """Podman gets images from the mirror in registries.conf, and again when upstream is gone."""
    names = ("app", "multi", "zstd")

    assert _podman_pulls(stage, *names) == [APP, AMD64, ZSTD]
    stage.cut()
    assert _podman_pulls(stage, *names) == [APP, AMD64, ZSTD]


def _docker_pulls(stage: Stage, *names: str) -> list[Unpacked]:
    with dockerd(stage.proxy.url) as engine:
        return [engine.pull(name, "1") for name in names]


def _podman_pulls(stage: Stage, *names: str) -> list[Unpacked]:
    with podman(stage.proxy.host) as engine:
        return [engine.pull(f"docker.io/library/{name}:1") for name in names]
