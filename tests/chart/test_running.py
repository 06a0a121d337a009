"""The proxy runs as its pod has it: another user, and a root file system that cannot be written."""

import os
import signal
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.chart import catalogue
from tests.chart.release import Release, release
from tests.support.parts.process import Daemon, free_port, require, require_root
from tests.support.parts.scratch import scratch
from tests.support.parts.user import NOBODY, as_user

# All is read-only but for one directory, in which are the volumes.
_READ_ONLY = """\
mount --bind "$1" "$1"
mount -o remount,ro,bind /
if touch /etc/written 2> "$1/refusal"; then exit 9; fi
shift
exec "$@"
"""


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory for volumes."""
    require_root("a read-only file system")
    with scratch() as directory:
        yield directory


def _confined(rendered: Release, place: Path, pull: int, admin: int) -> Daemon:
    """The container's command with its variables, on ports of this machine."""
    volumes = {"/tmp": place / "tmp", "/var/lib/cacheproxy": place / "cache"}
    for volume in volumes.values():
        volume.mkdir()
        os.chown(volume, NOBODY, NOBODY)
    place.chmod(0o755)
    config = place / "cacheproxy.yaml"
    config.write_text(rendered.config)
    program, *arguments = rendered.container["command"]
    own = {
        "TMPDIR": str(volumes["/tmp"]),
        "HOME": str(volumes["/tmp"]),
        "CACHEPROXY__CACHE__DIRECTORY": str(volumes["/var/lib/cacheproxy"]),
        "CACHEPROXY__SERVER__LISTEN": f"127.0.0.1:{pull}",
        "CACHEPROXY__ADMIN__LISTEN": f"127.0.0.1:{admin}",
    }
    command = [str(Path(sys.executable).with_name(program)), *arguments]
    command[command.index("/etc/cacheproxy/cacheproxy.yaml")] = str(config)
    unshare = [require("unshare", "util-linux"), "--mount", "--propagation=slave"]
    script = [*unshare, "sh", "-ec", _READ_ONLY, "sh", str(place)]
    return Daemon([*script, *as_user(NOBODY, command, place)], place, env=rendered.env | own)


def _answer(port: int, path: str) -> int | None:
    """The status, if somebody answers."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=60) as response:
            return int(response.status)
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return None


def _is_well(port: int, path: str) -> bool:
    return _answer(port, path) == 200


def test_it_serves_from_a_read_only_root(place: Path) -> None:
    """It becomes ready, answers its probes, and ends well, writing nowhere but to its volumes."""
    rendered = release(catalogue.DEFAULT)
    pull, admin = free_port(), free_port()
    daemon = _confined(rendered, place, pull, admin)
    try:
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            path = rendered.container[probe]["httpGet"]["path"]
            daemon.ready(partial(_is_well, admin, path), 20)
        assert _answer(pull, "/v2/") == 200
        daemon.signal(signal.SIGTERM)
        assert daemon.exit_code(20) == 0
        assert any((place / "cache").iterdir())
    finally:
        daemon.stop()
