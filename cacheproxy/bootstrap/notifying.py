"""Telling systemd how far the service is (sd_notify(3)), where it is one of `Type=notify`."""

import os
import socket
from contextlib import suppress
from typing import Literal

State = Literal["READY=1", "STOPPING=1"]


def tell_systemd(state: State) -> None:
    """Say it, if anybody listens; whoever does not is no reason not to serve."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as at:
        # Neither waits for a reader, nor follows us into a worker.
        at.setblocking(False)
        at.sendto(state.encode(), "\0" + address[1:] if address[0] == "@" else address)
