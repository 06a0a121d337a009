"""podman with a mirror in registries.conf, and a storage of its own."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.parts.process import require, require_root
from tests.support.parts.program import run
from tests.support.parts.scratch import scratch
from tests.support.parts.skopeo import rootless
from tests.support.parts.unpacked import Unpacked

PACKAGE = "podman"

# The primary location is a dead one: whatever is pulled has come from the mirror.
_REGISTRIES = """\
unqualified-search-registries = []
short-name-mode = "disabled"
[[registry]]
prefix = "{registry}"
location = "127.0.0.1:1/{registry}"
insecure = true
[[registry.mirror]]
location = "{mirror}/{registry}"
insecure = true
"""
# A view of the file system of its own, in which another directory is /etc/containers.
_ISOLATED = ["unshare", "--mount", "--propagation=private", "sh", "-ec"]
_SCRIPT = 'mount --bind "$0" /etc/containers; exec "$@"'
_POLICY = {"default": [{"type": "insecureAcceptAnything"}]}


class Podman:
    """A storage without images, and the configuration that sends pulls to a mirror."""

    def __init__(self, directory: Path, registries: Path) -> None:
        policy = directory / "policy.json"
        policy.write_text(json.dumps(_POLICY))
        self._pull = ["pull", "--quiet", f"--signature-policy={policy}"]
        self._env = rootless(directory)
        self._argv = [require("podman", PACKAGE), "--storage-driver=vfs", "--events-backend=none"]
        if registries.is_dir():
            self._argv = [*_ISOLATED, _SCRIPT, str(registries), *self._argv]
        else:
            self._env["CONTAINERS_REGISTRIES_CONF"] = str(registries)
        for option in ("root", "runroot", "tmpdir"):
            self._argv.append(f"--{option}={directory / option}")

    def pull(self, reference: str) -> Unpacked:
        """Pulls an OCI image and reads it back from the storage."""
        self._run(*self._pull, reference)
        (found,) = json.loads(self._run("image", "inspect", reference))
        with scratch() as directory:
            # Its Docker archive would do without the compressing, but knows no zstd images.
            self._run("save", "--quiet", "--format=oci-dir", f"--output={directory}", reference)
            return Unpacked.read_layout(directory, found["Digest"])

    def _run(self, *arguments: str) -> bytes:
        return run([*self._argv, *arguments], env=self._env)


@contextmanager
def podman(mirror: str, registry: str = "docker.io") -> Iterator[Podman]:
    """A podman that pulls `registry` from `mirror`, by prefix, and knows no other way."""
    require_root("podman")
    with scratch() as directory:
        registries = directory / "registries.conf"
        registries.write_text(_REGISTRIES.format(registry=registry, mirror=mirror))
        yield Podman(directory, registries)


@contextmanager
def podman_with(etc: Path) -> Iterator[Podman]:
    """A podman whose /etc/containers is another directory; the package's policy is put there."""
    require_root("podman")
    (etc / "policy.json").write_text(json.dumps(_POLICY))
    with scratch() as directory:
        yield Podman(directory, etc)
