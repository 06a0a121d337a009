"""systemd as the first process of a container of its own, with one service and nothing else.

It sees this machine's files, but has /opt, /run, /tmp and /var/lib for itself; it knows no units
but those that are given, so that it looks after nothing of this machine's.
"""

import itertools
import os
import subprocess
import sys
import sysconfig
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import yaml

from tests.support.parts.process import (
    Daemon,
    leave_out,
    require,
    require_root,
    wait_until,
)
from tests.support.parts.scratch import scratch

_PROJECT = Path(__file__).parents[3]
_UNIT = _PROJECT / "deploy/systemd/cacheproxy.service"
_CGROUPS = Path("/sys/fs/cgroup")
_PROGRAM = "/lib/systemd/systemd"
_START, _PROMPT = 90.0, 60.0  # seconds
_count = itertools.count()

# As .ci/run looks for them.
_SPACES = [
    *("--pid", "--fork", "--kill-child", "--mount", "--uts", "--ipc", "--cgroup", "--mount-proc"),
]
# What the service wants or waits for; the rest of this machine's stays out.
_TARGETS = ("sysinit", "basic", "shutdown", "network-online", "umount")
# Its output goes to files: there is no journal. Where Python's own library is shared, it is not
# where Python was built to look for it.
_DROP_IN = """
[Service]
StandardOutput=file:/opt/output
StandardError=file:/opt/output
Environment=LD_LIBRARY_PATH=/opt/cacheproxy/python/lib
"""
# As docs/deploy.md has it installed, but for pip: what it would install is here.
_INSTALL = """
set -eu
tree=$1 project=$2 packages=$3 python=$4
# By way of /mnt: where they are now may be about to be hidden.
mount -t tmpfs none /mnt
mkdir /mnt/tree /mnt/python /mnt/packages /mnt/cacheproxy
mount --bind "$tree" /mnt/tree
mount --bind "$python" /mnt/python
mount --bind "$packages" /mnt/packages
mount --bind "$project/cacheproxy" /mnt/cacheproxy
for directory in /run /var/lib /opt; do mount -t tmpfs -o mode=755 none "$directory"; done
mkdir -p /opt/tree /opt/cacheproxy/python /opt/cacheproxy/packages /opt/cacheproxy/cacheproxy
mount --bind /mnt/tree /opt/tree
for part in python packages cacheproxy; do mount --bind /mnt/$part /opt/cacheproxy/$part; done
/opt/cacheproxy/python/bin/python3 -m venv --without-pip /opt/cacheproxy/.venv
printf '/opt/cacheproxy\\n/opt/cacheproxy/packages\\n' \
  > "$(echo /opt/cacheproxy/.venv/lib/python3*/site-packages)/installed.pth"
printf '#!/opt/cacheproxy/.venv/bin/python\\nfrom cacheproxy.cli import main\\n%s' \
  'if __name__ == "__main__": main()' > /opt/cacheproxy/.venv/bin/cacheproxy
chmod 755 /opt/cacheproxy/.venv/bin/cacheproxy
for directory in /tmp /var/tmp; do mount -t tmpfs -o mode=1777 none "$directory"; done
mount --make-rshared /  # which a container's manager does for it; nothing of it leaves this one
exec env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin container=tests SYSTEMD_UNIT_PATH=/opt/tree/units \
  SYSTEMD_GENERATOR_PATH=/opt/none SYSTEMD_ENVIRONMENT_GENERATOR_PATH=/opt/none \
  "$5" --system --unit=default.target --log-target=console --show-status=false
"""


class Systemd:
    """A running one, and its service."""

    def __init__(self, daemon: Daemon, tree: Path) -> None:
        self._daemon = daemon
        self._tree = tree

    def started(self) -> None:
        """Waits until the service serves, or has failed for good."""

        def has_settled() -> bool:
            return self.properties("ActiveState").get("ActiveState") in ("active", "failed")

        self._daemon.ready(has_settled, _START)

    def stop(self) -> None:
        """The service, then systemd, and with it whatever still runs."""
        self.do("stop")
        self._daemon.stop(0.0)  # by force: who waits for it lets no other signal end the wait

    def configure(self, document: object) -> None:
        """Another configuration; the service reads it when it is told to."""
        (self._tree / "etc/cacheproxy.yaml").write_text(yaml.safe_dump(document))

    def do(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """`systemctl`, with the service as its last argument."""
        return self._inside("systemctl", *arguments, "cacheproxy")

    def properties(self, *names: str) -> dict[str, str]:
        """Of the service, as systemd has them."""
        shown = self.do("show", f"--property={','.join(names)}")
        pairs = (line.partition("=") for line in shown.stdout.splitlines())
        return {name: value for name, _, value in pairs}

    def read(self, path: str) -> str:
        """A file, where the service runs."""
        return self._inside("cat", path).stdout

    def output(self) -> str:
        """All that the service has printed."""
        return self.read("/opt/output")

    def _inside(self, *command: str) -> subprocess.CompletedProcess[str]:
        pid = self._daemon.pid
        first = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        enter = ["nsenter", "--target", *first[:1], "--mount", "--pid"]
        return subprocess.run([*enter, *command], capture_output=True, text=True, check=False)


@contextmanager
def systemd(
    document: object, drop_in: str = "", files: Mapping[str, str] | None = None
) -> Iterator[Systemd]:
    """The unit of deploy/systemd, started.

    Args:
        document: the configuration.
        drop_in: what somebody adds to the unit.
        files: beside the configuration, by name; only root may read them.
    """
    require_root("systemd as a first process")
    require("nsenter", "util-linux")
    unshare = require("unshare", "util-linux")
    if not Path(_PROGRAM).exists():
        leave_out(f"{_PROGRAM} is not installed (Debian package: systemd)")
    if (reason := _forbidden(unshare)) is not None:
        leave_out(f"systemd cannot be a first process here: {reason}", "systemd-container")
    with scratch() as tree, _cgroups() as enter:
        tree.chmod(0o755)
        _write(tree, document, drop_in)
        for name, content in (files or {}).items():
            (tree / "etc" / name).touch(0o600)
            (tree / "etc" / name).write_text(content)
        install = ["sh", "-c", _INSTALL, "install", str(tree), str(_PROJECT)]
        python = [sysconfig.get_path("purelib"), sys.base_prefix]
        start = ["sh", "-c", f'{enter}exec "$@"', "start", unshare, *_SPACES]
        running = Systemd(Daemon([*start, *install, *python, _PROGRAM], tree), tree)
        try:
            running.started()
            yield running
        finally:
            running.stop()


def _forbidden(unshare: str) -> str | None:
    """What a machine within a machine may not be let do."""
    try:
        with _cgroups():
            tried = subprocess.run([unshare, *_SPACES, "true"], capture_output=True, check=False)
    except OSError as error:
        return f"{error.filename}: {error.strerror}"
    return tried.stderr.decode().strip() if tried.returncode else None


def _write(tree: Path, document: object, drop_in: str) -> None:
    units = tree / "units"
    (units / "cacheproxy.service.d").mkdir(parents=True)
    (tree / "etc").mkdir()
    for name in _TARGETS:
        (units / f"{name}.target").write_text(f"[Unit]\nDescription={name} of the tests\n")
    (units / "default.target").write_text("[Unit]\nDescription=All\nWants=cacheproxy.service\n")
    unit = _UNIT.read_text().replace("/etc/cacheproxy", "/opt/tree/etc")
    (units / _UNIT.name).write_text(unit)
    (units / "cacheproxy.service.d/tests.conf").write_text(_DROP_IN + drop_in)
    (tree / "etc/cacheproxy.yaml").write_text(yaml.safe_dump(document))


@contextmanager
def _cgroups() -> Iterator[str]:
    """Groups of control of its own, below which it makes others; the commands that enter them."""
    name = f"cpx-{os.getpid()}-{next(_count)}"
    made = []
    try:
        for hierarchy in (_CGROUPS, *sorted(_CGROUPS.iterdir())):
            if hierarchy.is_symlink():
                continue  # another name of one of them
            # That of processor sets takes nobody in before it is set up; systemd does without.
            if (hierarchy / "cgroup.procs").exists() and hierarchy.name != "cpuset":
                (hierarchy / name).mkdir()
                made.append(hierarchy / name)
        yield "".join(f"echo $$ > {group}/cgroup.procs\n" for group in made)
    finally:
        for group in made:
            wait_until(partial(_is_gone, group), _PROMPT, f"{group} is empty")


def _is_gone(group: Path) -> bool:
    for directory, _, _ in os.walk(group, topdown=False):
        with suppress(OSError):  # a process may be about to end
            Path(directory).rmdir()
    return not group.exists()
