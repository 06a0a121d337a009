"""A network of several namespaces, in which all reach all, and each has a link of its own.

The switch between them is in a namespace too: what this machine does with packets that are not
its own, for instance to drop them, has no say in it.
"""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import IPv4Address

from typing_extensions import override

from tests.support.parts.namespace import Namespace, choosing, entering, holding
from tests.support.parts.process import Daemon, require
from tests.support.parts.program import run

_NETWORK = int(IPv4Address("10.214.0.0"))  # of which each network takes 256 addresses
_NETWORKS = 256
_SWITCH = "switch"
_CHAIN = "add chain inet cut {0} {{ type filter hook {0} priority 0 ; policy drop ; }}"


class Lan:
    """A switch, and this machine at one of its ports.

    Attributes:
        address: of this machine, as the others see it.
    """

    def __init__(self, switch: Daemon, number: int) -> None:
        self.inside = entering(switch)
        self._pid = switch.pid
        self._number = number
        self._seats = 1
        self._network = IPv4Address(_NETWORK + 256 * number)
        self.address = f"{self._network + 1}"
        self._here = f"cpl{number}h"
        run([*self.inside, "ip", "link", "add", _SWITCH, "type", "bridge"])
        run([*self.inside, "ip", "link", "set", _SWITCH, "up", "addrgenmode", "none"])
        self.plug(os.getpid(), self._here)
        run(["ip", "link", "set", self._here, "up", "addrgenmode", "none"])
        run(["ip", "address", "add", f"{self.address}/24", "dev", self._here])

    def next_address(self) -> str:
        """One that nobody has had."""
        self._seats += 1
        return f"{self._network + self._seats}"

    def plug(self, pid: int, far: str) -> str:
        """Leads a cable to the namespace of a process; the name of its end at the switch."""
        near = f"cpl{self._number}s{self._seats}"
        add = ["ip", "link", "add", near, "type", "veth", "peer", "name", far]
        run([*self.inside, *add, "netns", str(pid)])
        up = ["ip", "link", "set", near, "master", _SWITCH, "up", "addrgenmode", "none"]
        run([*self.inside, *up])
        return near

    def remove(self) -> None:
        """Takes this machine's cable away."""
        run(["ip", "link", "delete", self._here])


class Seat(Namespace):
    """One of those in the network."""

    def __init__(self, lan: Lan, holder: Daemon) -> None:
        self._enter, self._outside = entering(holder), lan.inside
        self.address, self._far = lan.next_address(), "far"
        self._near = lan.plug(holder.pid, self._far)
        run(self.inside(["ip", "link", "set", "lo", "up"]))
        run(self.inside(["ip", "link", "set", self._far, "up", "addrgenmode", "none"]))
        run(self.inside(["ip", "address", "add", f"{self.address}/24", "dev", self._far]))

    def sent(self) -> int:
        """Bytes that went to it so far: frames, with all their headers."""
        return self._counted("tx")

    def cut(self) -> None:
        """Drops all packets from and to it, without a word to anybody."""
        chains = "; ".join(_CHAIN.format(hook) for hook in ("input", "output"))
        run(self.inside([require("nft", "nftables"), f"add table inet cut; {chains}"]))

    def mend(self) -> None:
        """Lets them pass again."""
        run(self.inside([require("nft", "nftables"), "delete table inet cut"]))

    def watch(self, port: int) -> None:
        """Counts from now on who wants to connect to a port, whether anybody listens or not."""
        rule = f"add rule inet watch input tcp dport {port} tcp flags == syn counter"
        chain = "add chain inet watch input { type filter hook input priority 0 ; }"
        program = require("nft", "nftables")
        run(self.inside([program, f"add table inet watch; {chain}; {rule}"]))

    def knocks(self) -> int:
        """How often somebody wanted to, since `watch`."""
        told = run(self.inside([require("nft", "nftables"), "list table inet watch"])).decode()
        return int(told.partition("counter packets ")[2].split()[0])

    @override
    def remove(self) -> None:
        """Nothing: its cable is gone with it."""


@contextmanager
def lan() -> Iterator[Lan]:
    """A network with nobody in it but this machine."""
    with holding() as switch:
        with choosing():
            made = Lan(switch, _free_number())
        try:
            yield made
        finally:
            made.remove()


@contextmanager
def seat(network: Lan) -> Iterator[Seat]:
    """A namespace in a network."""
    with holding() as holder:
        yield Seat(network, holder)


def _free_number() -> int:
    """One whose addresses nobody here has."""
    addresses = json.loads(run(["ip", "-j", "address", "show"]))
    taken = {each["local"] for link in addresses for each in link["addr_info"]}
    for number in range(_NETWORKS):
        candidate = (os.getpid() + number) % _NETWORKS
        if f"{IPv4Address(_NETWORK + 256 * candidate + 1)}" not in taken:
            return candidate
    raise AssertionError("all networks are taken")
