"""containerd with a `_default/hosts.toml`, driven by ctr."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support import images
from tests.support.parts.process import Daemon, require, require_root
from tests.support.parts.program import run
from tests.support.parts.scratch import scratch

PACKAGE = "containerd"
_START = 60.0  # seconds

# Without CRI it opens no TCP port; and nothing of it lies outside of its directory.
_CONFIG = """\
version = 2
root = "{directory}/root"
state = "{directory}/state"
disabled_plugins = ["io.containerd.grpc.v1.cri"]
[grpc]
  address = "{directory}/sock"
[plugins."io.containerd.internal.v1.opt"]
  path = "{directory}/opt"
"""
# `server` names the mirror too, so that there is no falling back to the registry itself.
_HOSTS = """\
server = "{mirror}"
[host."{mirror}"]
  capabilities = ["pull", "resolve"]
"""


class Containerd:
    """A containerd without content that pulls as a directory of hosts says."""

    def __init__(self, directory: Path, hosts: Path) -> None:
        self._ctr = [require("ctr", PACKAGE), f"--address={directory / 'sock'}"]
        self._hosts = f"--hosts-dir={hosts}"
        config = directory / "config.toml"
        config.write_text(_CONFIG.format(directory=directory))
        argv = [require("containerd", PACKAGE), f"--config={config}"]
        self._daemon = Daemon(argv, directory)

    def wait_ready(self) -> None:
        """Waits until it answers.

        Raises:
            NotReadyError: it does not.
        """
        self._daemon.ready(self._answers, _START)

    def version(self) -> tuple[int, ...]:
        """Its major and its minor version."""
        told = self._run("version").decode().rpartition("Version:")[2]
        found = re.search(r"(\d+)\.(\d+)", told)
        assert found is not None, told
        return int(found[1]), int(found[2])

    def pull(self, reference: str) -> None:
        """Pulls an image for this machine's platform and unpacks it."""
        # The native snapshotter works on any filesystem, overlayfs in a container may not.
        self._run("image", "pull", "--snapshotter=native", self._hosts, reference)

    def fetch(self, reference: str) -> None:
        """Fetches the content for all platforms, unpacking nothing."""
        self._run("content", "fetch", "--all-platforms", self._hosts, reference)

    def content(self) -> dict[str, bytes]:
        """All that its content store holds, by the digest of what it gives out."""
        names = self._run("content", "ls", "--quiet").decode().split()
        return {images.sha256(body): body for body in map(self._get, names)}

    def stop(self) -> None:
        self._daemon.stop()

    def _get(self, digest: str) -> bytes:
        return self._run("content", "get", digest)

    def _answers(self) -> bool:
        try:
            self._run("version")
        except AssertionError:
            return False
        return True

    def _run(self, *arguments: str) -> bytes:
        return run([*self._ctr, *arguments])


def _written(directory: Path, mirror: str) -> Path:
    hosts = directory / "certs.d" / "_default"
    hosts.mkdir(parents=True)
    (hosts / "hosts.toml").write_text(_HOSTS.format(mirror=mirror))
    return hosts.parent


@contextmanager
def containerd(mirror: str | Path) -> Iterator[Containerd]:
    """A running containerd.

    Args:
        mirror: the URL of its one mirror, for each registry; or a directory of hosts.
    """
    require_root("containerd")
    with scratch() as directory:
        hosts = mirror if isinstance(mirror, Path) else _written(directory, mirror)
        running = Containerd(directory, hosts)
        try:
            running.wait_ready()
            yield running
        finally:
            running.stop()
