"""A node of the tests: a file system with files of others in it, and the script for it."""

import os
import signal
import stat
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.support.parts.process import require

SCRIPT = Path(__file__).parents[2] / "helm/cacheproxy/files/node-config.sh"
CERTS = "etc/containerd/certs.d"
MIRROR = '[host."http://cache.example.com:5000"]\n  capabilities = ["pull", "resolve"]\n'
FOREIGN = 'server = "https://elsewhere.example.com"\n'

# What the script calls that is not built into the shell, or is in some.
_COMMANDS = ("awk", "cat", "cmp", "flock", "ln", "ls", "mkdir", "mv", "rm", "rmdir", "sync")
# Dies with the script, and with all that it has started, before or after its real namesake ran.
_SHIM = """\
#!/bin/sh
exec 8>> {count}.lock
{flock} 8
read -r number < {count}
number=$((number + 1))
echo $number > {count}
exec 8>&-
[ $number$KILL_WHEN != ${{KILL_AT}}before ] || kill -KILL 0
{real} "$@"
status=$?
[ $number$KILL_WHEN != ${{KILL_AT}}after ] || kill -KILL 0
exit $status
"""

Tree = Mapping[str, tuple[str, int, str]]


@dataclass(frozen=True, slots=True)
class Node:
    """A node's file system.

    Attributes:
        root: where it is.
        wanted: the directory of the files that are to be written.
        shell: what runs the script, as the beginning of a command.
    """

    root: Path
    wanted: Path
    shell: Sequence[str]

    @property
    def certs(self) -> Path:
        return self.root / CERTS

    def hosts(self, registry: str) -> Path:
        """Where containerd looks for what is said of a registry."""
        return self.certs / registry / "hosts.toml"

    def want(self, *registries: str, text: str = MIRROR) -> None:
        """These registries, and no others, are to have this text."""
        for each in self.wanted.iterdir():
            each.unlink()
        for registry in registries:
            (self.wanted / f"{registry}.toml").write_text(text)

    def hold(self, path: str, text: str = FOREIGN) -> Path:
        """Somebody else's file, below the directory of all registries."""
        file = self.certs / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return file

    def tree(self) -> Tree:
        """All that is there: each path with its text or target, its mode, and its kind."""
        return {str(path.relative_to(self.root)): _seen(path) for path in self.root.rglob("*")}

    def argv(self, command: str) -> list[str]:
        wanted = [] if command == "uninstall" else [str(self.wanted)]
        return [*self.shell, str(SCRIPT), command, str(self.root), *wanted]

    def run(self, command: str, **variables: str) -> "subprocess.CompletedProcess[str]":
        """Run the script to its end."""
        return subprocess.run(
            self.argv(command),
            env=os.environ | variables,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=60,
            check=False,
            text=True,
        )

    def install(self, **variables: str) -> str:
        """Install, which must succeed; what it said."""
        return self._ran("install", **variables)

    def uninstall(self) -> str:
        """Uninstall, which must succeed; what it said."""
        return self._ran("uninstall")

    def _ran(self, command: str, **variables: str) -> str:
        done = self.run(command, **variables)
        assert done.returncode == 0, done.stderr
        return done.stderr


@dataclass(frozen=True, slots=True)
class Killer:
    """Commands that stand before the real ones and end the script at a given call.

    Attributes:
        directory: where they are, and the count of calls.
    """

    directory: Path

    @property
    def _count(self) -> Path:
        return self.directory / "count"

    def prepare(self) -> None:
        """Write them."""
        flock = require("flock", "util-linux")
        for name in _COMMANDS:
            shim = self.directory / name
            real = require(name, "coreutils, diffutils, util-linux, mawk")
            shim.write_text(_SHIM.format(count=self._count, real=real, flock=flock))
            shim.chmod(0o755)

    def run(self, node: Node, command: str, at: int, when: str, **variables: str) -> bool:
        """Run the script; whether it was killed, before or after its call number `at`."""
        self._count.write_text("0")
        path = f"{self.directory}:{os.environ['PATH']}"
        done = subprocess.run(
            node.argv(command),
            env=os.environ | variables | {"PATH": path, "KILL_AT": str(at), "KILL_WHEN": when},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=60,
            check=False,
            start_new_session=True,
        )
        assert done.returncode in (0, -signal.SIGKILL), done.stderr.decode()
        return done.returncode != 0


def _seen(path: Path) -> tuple[str, int, str]:
    if path.is_symlink():
        return os.fspath(path.readlink()), 0, "link"
    mode = stat.S_IMODE(path.stat().st_mode)
    return ("", mode, "directory") if path.is_dir() else (path.read_text(), mode, "file")
