"""Docker Engine with `registry-mirrors`, driven through its API."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlencode

from tests.support.parts import wire
from tests.support.parts.process import Daemon, require, require_root
from tests.support.parts.scratch import scratch
from tests.support.parts.unpacked import Unpacked

PACKAGE = "docker.io"
_START = 60.0  # seconds

# A view of the file system of its own: what it writes to these directories and what it mounts
# vanishes with it, and a daemon.json of this machine has no say.
_ISOLATED = ["unshare", "--mount", "--propagation=private", "sh", "-ec"]
_SCRIPT = """\
etc=$1; shift
mkdir -p /etc/docker
for hidden in /etc/docker /run /opt; do mount -t tmpfs none $hidden; done
if [ -n "$etc" ]; then cp -r "$etc/." /etc/docker; fi
exec "$0" "$@"
"""


class Dockerd:
    """An engine without images whose mirror for Docker Hub, or whole configuration, is given."""

    def __init__(self, directory: Path, mirror: str | Path) -> None:
        self._socket = directory / "sock"
        program = require("dockerd", PACKAGE)
        etc = str(mirror) if isinstance(mirror, Path) else ""
        argv = [*_ISOLATED, _SCRIPT, program, etc, "--storage-driver=vfs", "--bridge=none"]
        argv += ["--iptables=false", "--ip6tables=false"]
        argv += [] if etc else [f"--registry-mirror={mirror}"]
        argv += [f"--data-root={directory / 'root'}", f"--exec-root={directory / 'exec'}"]
        argv += [f"--pidfile={directory / 'pid'}", f"--host=unix://{self._socket}"]
        self._daemon = Daemon(argv, directory)

    def wait_ready(self) -> None:
        """Waits until it answers.

        Raises:
            NotReadyError: it does not.
        """
        self._daemon.ready(self._answers, _START)

    def pull(self, name: str, tag: str) -> Unpacked:
        """Pulls `name:tag` as `docker pull` does, and reads it back from the engine.

        Raises:
            AssertionError: the engine says that the pull failed.
        """
        query = urlencode({"fromImage": name, "tag": tag})
        progress = self._call("POST", f"/images/create?{query}")
        assert b'"error"' not in progress, progress[-2000:].decode()
        found = json.loads(self._call("GET", f"/images/{name}:{tag}/json"))
        (by_digest,) = found["RepoDigests"]
        archive = self._call("GET", f"/images/{name}:{tag}/get")
        return Unpacked.read_archive(archive, by_digest.partition("@")[2])

    def stop(self) -> None:
        self._daemon.stop()

    def _call(self, method: str, target: str) -> bytes:
        answer = wire.exchange(wire.UnixConnection(self._socket, timeout=60.0), method, target)
        assert answer.status == 200, f"{method} {target}: {answer.status} {answer.body!r}"
        return answer.body

    def _answers(self) -> bool:
        try:
            return self._call("GET", "/_ping") == b"OK"
        except OSError:
            return False


@contextmanager
def dockerd(mirror: str | Path) -> Iterator[Dockerd]:
    """A running engine.

    Args:
        mirror: the URL among its `registry-mirrors`; or what is to be its /etc/docker.
    """
    require_root("dockerd")
    with scratch() as directory:
        running = Dockerd(directory, mirror)
        try:
            running.wait_ready()
            yield running
        finally:
            running.stop()
