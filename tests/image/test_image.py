"""A container image that was built: what is in it, and that it serves.

It is run by buildah, without namespaces of its own: by its user, with its files, its variables and
its command, on this machine's network. So it runs also where containers cannot.
"""

import json
import os
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.clients import catalogue
from tests.nodes.node import CERTS, MIRROR, SCRIPT
from tests.support import images
from tests.support.parts import wire
from tests.support.parts.link import counted_link
from tests.support.parts.process import Daemon, free_port, require, require_root
from tests.support.parts.program import run
from tests.support.parts.registry import docker_registry
from tests.support.parts.skopeo import Skopeo

_IMAGE = os.environ["CACHEPROXY_TEST_IMAGE"]
_ADMIN = 5001  # which its HEALTHCHECK asks
_START = 90.0
_USER = 65532
_LARGEST = 70_000_000  # bytes of all that we add to the base, with both extras


class Container:
    """A container of the image."""

    def __init__(self, name: str) -> None:
        self.name = name
        told = json.loads(run([_buildah(), "inspect", "--type", "image", _IMAGE]))
        self.config: dict[str, Any] = told["Docker"]["config"]

    def argv(self, command: Sequence[str], *options: str) -> list[str]:
        """Run a command in it."""
        return [_buildah(), "run", "--isolation", "chroot", *options, self.name, "--", *command]

    def sh(self, script: str, *options: str) -> str:
        """What a script prints in it."""
        return run(self.argv(["sh", "-c", script], *options)).decode().strip()


def _buildah() -> str:
    return require("buildah", "buildah")


@pytest.fixture(scope="module")
def container() -> Iterator[Container]:
    require_root("buildah")
    name = run([_buildah(), "from", "--pull-never", _IMAGE]).decode().split()[-1]
    try:
        yield Container(name)
    finally:
        run([_buildah(), "rm", name])


@contextmanager
def _serving(container: Container, directory: Path, url: str) -> Iterator[tuple[Daemon, int]]:
    port = free_port()
    variables = {
        "CACHEPROXY__SERVER__LISTEN": f"127.0.0.1:{port}",
        "CACHEPROXY__ADMIN__LISTEN": f"127.0.0.1:{_ADMIN}",
        "CACHEPROXY__UPSTREAMS__DOCKER_IO__URL": url,
        "CACHEPROXY__CACHE__MIN_FREE": "1B",
    }
    options = [f"--env={key}={value}" for key, value in variables.items()]
    command = [*container.config["Entrypoint"], *container.config["Cmd"]]
    daemon = Daemon(container.argv(command, *options), directory)
    try:
        ready = f"http://127.0.0.1:{_ADMIN}/readyz"
        daemon.ready(lambda: wire.answers(ready), _START)
        yield daemon, port
    finally:
        daemon.stop()


def _server(port: int) -> Path:
    """The process in it that serves, below /proc."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            environment = (process / "environ").read_bytes()
            command = (process / "cmdline").read_bytes()
        except OSError:
            continue
        if f"127.0.0.1:{port}".encode() in environment and b"/bin/cacheproxy\0serve" in command:
            return process
    raise AssertionError("it does not run")


def test_it_serves_and_ends_well(container: Container, tmp_path: Path) -> None:
    """An image is pulled through it; it is healthy, not root's, and ends at SIGTERM with 0."""
    with docker_registry() as registry, counted_link(registry.port) as link:
        images.push(registry.push_url, "library/app", catalogue.APP.image, "1")
        with _serving(container, tmp_path, link.url) as (daemon, port):
            reference = f"127.0.0.1:{port}/docker.io/library/app:1"
            assert Skopeo().pull(reference) == catalogue.APP.contents
            link.cut()
            assert Skopeo().pull(reference) == catalogue.APP.contents
            kind, *check = container.config["Healthcheck"]["Test"]
            assert kind == "CMD"
            run(container.argv(check))
            server = _server(port)
            uid = (server / "status").read_text().partition("Uid:")[2].split()[0]
            assert int(uid) == _USER
            os.kill(int(server.name), signal.SIGTERM)
            assert daemon.exit_code(_START) == 0
            with pytest.raises(AssertionError):
                run(container.argv(check))


def test_what_it_says_of_itself(container: Container) -> None:
    """Its user, its volume, its ports and its signal are what the documentation says."""
    config = container.config
    assert config["User"] == f"{_USER}:{_USER}"
    assert list(config["Volumes"]) == ["/var/lib/cacheproxy"]
    assert sorted(config["ExposedPorts"]) == ["5000/tcp", "5001/tcp"]
    assert config["StopSignal"] == "SIGTERM"
    assert config["Entrypoint"] == ["cacheproxy"]


def test_it_is_small(container: Container) -> None:
    """What is added to the base is a virtual environment, without pip and what builds it."""
    assert int(container.sh("du -sb /opt/cacheproxy").split()[0]) < _LARGEST
    absent = "pip setuptools hatchling wheel"
    script = f"cd /opt/cacheproxy/lib/python3*/site-packages && ls -d {absent} 2>/dev/null || :"
    assert container.sh(script) == ""


def test_its_code_is_compiled(container: Container) -> None:
    """Each module has its bytecode, so that no start compiles one, and none is looked at twice."""
    count = "find /opt/cacheproxy/lib -name '*.{}' | wc -l"
    sources, compiled = (int(container.sh(count.format(kind))) for kind in ("py", "pyc"))
    assert sources == compiled > 300


def test_its_user_can_change_nothing_but_its_cache(container: Container) -> None:
    """Of all its files only those of the volume are its user's."""
    script = "find / -xdev ! -path '/proc/*' ! -path '/tmp*' -writable ! -type l 2>/dev/null"
    found = container.sh(f"{script} || :").splitlines()
    ours = [p for p in found if not p.startswith(("/dev", "/run", "/sys", "/var/tmp"))]
    own = [path for path in ours if not path.startswith("/var/lib/cacheproxy")]
    assert own in ([], ["/var/lock"])  # Debian's, which is everybody's
    assert "/var/lib/cacheproxy" in ours


def test_it_can_configure_nodes(container: Container, tmp_path: Path) -> None:
    """The node's script finds in it all that it calls."""
    host, files = tmp_path / "host", tmp_path / "files"
    (host / "etc/containerd").mkdir(parents=True)
    files.mkdir()
    (files / "_default.toml").write_text(MIRROR)
    (files / SCRIPT.name).write_text(SCRIPT.read_text())
    options = [f"--volume={host}:/host:rw", f"--volume={files}:/files:ro", "--user=0"]
    for command in ("install /host /files", "check /host /files"):
        container.sh(f"sh /files/{SCRIPT.name} {command}", *options)
    assert (host / CERTS / "_default/hosts.toml").read_text().endswith(MIRROR)
    container.sh(f"sh /files/{SCRIPT.name} uninstall /host", *options)
    assert list((host / "etc/containerd").iterdir()) == []
