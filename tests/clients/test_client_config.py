"""What `cacheproxy client-config` writes, as it is written, in the hands of real clients."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme
from click.testing import CliRunner

from cacheproxy.cli import commands
from tests.clients import catalogue
from tests.clients.stage import Registries, Stage, staged
from tests.support.parts.containerd import containerd
from tests.support.parts.dockerd import dockerd
from tests.support.parts.podman import podman_with
from tests.support.parts.unpacked import Unpacked

pytestmark = pytest.mark.clients

APP = Unpacked.of(catalogue.APP.image)
TEAM_APP = Unpacked.of(catalogue.TEAM_APP.image)


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    """Who vouches for the proxy's certificate; no client knows it by itself."""
    return trustme.CA()


@pytest.fixture
def secure(registries: Registries, authority: trustme.CA, tmp_path: Path) -> Iterator[Stage]:
    """A proxy that speaks TLS, before both registries."""
    issued = authority.issue_cert("127.0.0.1")
    certificate, key = tmp_path / "tls.pem", tmp_path / "tls.key"
    certificate.write_bytes(b"".join(part.bytes() for part in issued.cert_chain_pems))
    key.write_bytes(issued.private_key_pem.bytes())
    tls = {"certificate": str(certificate), "key": str(key)}
    with staged(registries, settings={"server": {"tls": tls}}) as running:
        yield running


def _written(client: str, stage: Stage, directory: Path, *options: str) -> Path:
    """The /etc that the command writes, by the proxy's own configuration."""
    config, root = directory / "cacheproxy.yaml", directory / "root"
    config.write_text(json.dumps(stage.proxy.document))
    root.mkdir()
    command = ["client-config", client, f"--config={config}", f"--write={root}", *options]
    result = CliRunner().invoke(commands, command)
    assert result.exit_code == 0, result.output
    return root / "etc"


def _with_authority(authority: trustme.CA, directory: Path) -> str:
    file = directory / "ca.pem"
    file.write_bytes(authority.cert_pem.bytes())
    return f"--ca={file}"


@pytest.mark.parametrize("options", [(), ("--no-fallback",), ("--per-registry",)])
def test_containerd(stage: Stage, tmp_path: Path, options: tuple[str, ...]) -> None:
    """Images of both registries come through the proxy, with each way of writing it."""
    hosts = _written("containerd", stage, tmp_path, *options) / "containerd/certs.d"
    with containerd(hosts) as client:
        client.pull("docker.io/library/app:1")
        client.pull("registry.example.com/team/app:1")
        assert client.content() == catalogue.APP.contents | catalogue.TEAM_APP.contents
    assert stage.hub.blob_bytes
    assert stage.example.blob_bytes


@pytest.mark.parametrize("options", [(), ("--per-registry",)])
def test_containerd_tls(
    secure: Stage, authority: trustme.CA, tmp_path: Path, options: tuple[str, ...]
) -> None:
    """The authority that is written beside is believed, for each registry."""
    ca = _with_authority(authority, tmp_path)
    hosts = _written("containerd", secure, tmp_path, ca, *options) / "containerd/certs.d"
    with containerd(hosts) as client:
        client.pull("registry.example.com/team/app:1")
        assert client.content() == catalogue.TEAM_APP.contents
    assert secure.example.blob_bytes


def test_docker_engine(stage: Stage, tmp_path: Path) -> None:
    """The Hub's images come by their short names, and others by prefix."""
    with dockerd(_written("docker", stage, tmp_path) / "docker") as engine:
        assert engine.pull("app", "1") == APP
        assert stage.hub.blob_bytes
        assert engine.pull(f"{stage.proxy.host}/registry.example.com/team/app", "1") == TEAM_APP


def test_docker_engine_with_tls(secure: Stage, authority: trustme.CA, tmp_path: Path) -> None:
    """The authority that is written is believed, for the mirror and by prefix."""
    ca = _with_authority(authority, tmp_path)
    with dockerd(_written("docker", secure, tmp_path, ca) / "docker") as engine:
        assert engine.pull("app", "1") == APP
        assert secure.hub.blob_bytes
        assert engine.pull(f"{secure.proxy.host}/registry.example.com/team/app", "1") == TEAM_APP


@pytest.mark.parametrize("options", [(), ("--no-fallback",)])
def test_podman(stage: Stage, tmp_path: Path, options: tuple[str, ...]) -> None:
    """Images of both registries come through the proxy, and by an alias too."""
    with podman_with(_written("podman", stage, tmp_path, *options) / "containers") as engine:
        assert engine.pull("docker.io/library/app:1") == APP
        assert engine.pull("registry.example.com/team/app:1") == TEAM_APP
        assert engine.pull("registry-1.docker.io/library/app:1") == APP
    assert stage.hub.blob_bytes
    assert stage.example.blob_bytes


def test_podman_with_tls(secure: Stage, authority: trustme.CA, tmp_path: Path) -> None:
    """The authority that is written is believed."""
    ca = _with_authority(authority, tmp_path)
    with podman_with(_written("podman", secure, tmp_path, ca) / "containers") as engine:
        assert engine.pull("registry.example.com/team/app:1") == TEAM_APP
    assert secure.example.blob_bytes
