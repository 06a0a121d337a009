"""A network of its own behind a slow link whose bytes are counted by the kernel.

A veth pair leads into a network namespace: what runs in there can be reached from this machine
and from nowhere else, and can reach nothing else. The namespace has no name and belongs to a
process; when that ends, however it ends, namespace and link are gone.
"""

import fcntl
import itertools
import json
import os
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from ipaddress import IPv4Address
from pathlib import Path

from tests.support.parts.process import Daemon, find, leave_out, require
from tests.support.parts.program import run
from tests.support.parts.scratch import scratch

_PROGRAMS = {"ip": "iproute2", "tc": "iproute2", "unshare": "util-linux", "nsenter": "util-linux"}
_HOLE = """
table inet hole {
    chain in { type filter hook input priority 0; policy drop; }
    chain out { type filter hook output priority 0; policy drop; }
}
"""
_NETWORK = int(IPv4Address("10.213.0.0"))  # of which each namespace takes four addresses
_NETWORKS = 1 << 14
_START = 60.0  # seconds
_count = itertools.count()


class Namespace:
    """The far side of a link.

    Attributes:
        address: of the far side, as seen from here.
    """

    _outside: Sequence[str] = ()  # how to get to where the near side is

    def __init__(self, holder: Daemon, number: int) -> None:
        self._enter = entering(holder)
        self._near, self._far = f"cpx{number}n", f"cpx{number}f"
        network = IPv4Address(_NETWORK + 4 * number)
        near, self.address = f"{network + 1}", f"{network + 2}"
        run(["ip", "link", "add", self._near, "type", "veth", "peer", "name", self._far])
        run(["ip", "link", "set", self._far, "netns", str(holder.pid)])
        # Without addresses of IPv6 the kernel has nothing to say of its own accord.
        run(["ip", "link", "set", self._near, "up", "addrgenmode", "none"])
        run(["ip", "address", "add", f"{near}/30", "dev", self._near])
        run(self.inside(["ip", "link", "set", "lo", "up"]))
        run(self.inside(["ip", "link", "set", self._far, "up", "addrgenmode", "none"]))
        run(self.inside(["ip", "address", "add", f"{self.address}/30", "dev", self._far]))

    def inside(self, argv: Sequence[str]) -> list[str]:
        """The command that runs `argv` on the far side."""
        return [*self._enter, *argv]

    def limit(self, rate: str) -> None:
        """Lets through no more than `rate` (as `tc` writes it) from there to here."""
        shape = f"root tbf rate {rate} burst 1mb latency 50ms".split()
        run(self.inside(["tc", "qdisc", "replace", "dev", self._far, *shape]))

    @property
    def near(self) -> str:
        """The interface of the near side."""
        return self._near

    def swallow(self) -> None:
        """From now on drops every packet, in both directions, without a word to anybody."""
        require("nft", "nftables")
        run(self.inside(["nft", _HOLE]))

    def restore(self) -> None:
        """Lets packets through again."""
        run(self.inside(["nft", "delete table inet hole"]))

    def received(self) -> int:
        """Bytes that came through the link so far: frames, with all their headers."""
        return self._counted("rx")

    def _counted(self, direction: str) -> int:
        look = ["ip", "-s", "-j", "link", "show", "dev", self._near]
        (link,) = json.loads(run([*self._outside, *look]))
        count: int = link["stats64"][direction]["bytes"]
        return count

    def remove(self) -> None:
        """Takes the link away at once; the kernel would do so some time after the namespace."""
        subprocess.run(["ip", "link", "delete", self._near], check=False, capture_output=True)


def entering(holder: Daemon) -> list[str]:
    """What to begin a command with that is to run in the namespace of a process."""
    return ["nsenter", f"--net=/proc/{holder.pid}/ns/net", "--"]


def unavailable() -> str | None:
    """Why there can be no namespace on this machine; None where there can."""
    for program, package in _PROGRAMS.items():
        if find(program) is None:
            return f"{program} is not installed (Debian package: {package})"
    if os.geteuid() != 0:
        return "a network namespace needs root"
    tried = subprocess.run(
        ["unshare", "--net", "--", "true"], check=False, capture_output=True, text=True
    )
    return None if tried.returncode == 0 else f"no network namespace here: {tried.stderr.strip()}"


@contextmanager
def namespace(rate: str = "800mbit") -> Iterator[Namespace]:
    """A namespace behind a link of this rate; a test skips where none is possible (CI: fails)."""
    with holding() as holder:
        made = None
        try:
            with choosing():
                made = Namespace(holder, _free_number())
            made.limit(rate)
            yield made
        finally:
            if made is not None:
                made.remove()


@contextmanager
def holding() -> Iterator[Daemon]:
    """A process in a new namespace with nothing in it; a test skips where none is possible."""
    reason = unavailable()
    if reason is not None:
        leave_out(reason)
    with scratch() as directory:
        holder = Daemon(["unshare", "--net", "--", "sleep", "infinity"], directory)
        try:
            holder.ready(lambda: _net(holder.pid) != _net(os.getpid()), _START)
            yield holder
        finally:
            holder.stop()


@contextmanager
def choosing() -> Iterator[None]:
    """Within it no other process chooses a network: what is free stays free until it is made."""
    place = os.open(tempfile.gettempdir(), os.O_RDONLY)
    try:
        fcntl.flock(place, fcntl.LOCK_EX)
        yield
    finally:
        os.close(place)


def _net(pid: int) -> str:
    return os.fspath(Path(f"/proc/{pid}/ns/net").readlink())


def _free_number() -> int:
    """One whose addresses and link nobody here uses."""
    taken = run(["ip", "-j", "address", "show"]).decode()
    while True:
        number = (os.getpid() * 8 + next(_count)) % _NETWORKS
        if f'"{IPv4Address(_NETWORK + 4 * number + 1)}"' not in taken:
            return number
