"""Telling systemd how far the service is (sd_notify(3)), where it is one of `Type=notify`."""

import socket
from contextlib import suppress
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ServiceManager:
    """Whoever started this process.

    Attributes:
        address: where it listens, as it says in NOTIFY_SOCKET; empty: it does not.
    """

    address: str = ""

    def ready(self) -> None:
        """Say that it serves."""
        self._tell(b"READY=1")

    def stopping(self) -> None:
        """Say that it drains."""
        self._tell(b"STOPPING=1")

    def _tell(self, state: bytes) -> None:
        """Say it, if anybody listens; whoever does not is no reason not to serve."""
        if not self.address.startswith(("/", "@")):
            return
        at = "\0" + self.address[1:] if self.address[0] == "@" else self.address
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.setblocking(False)
            sender.sendto(state, at)
