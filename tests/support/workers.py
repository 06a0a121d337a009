"""Workers that serve nothing: stand-ins for `cacheproxy.bootstrap.worker.work`.

Each runs in a process of its own, so this module imports nothing slow.
"""

import os
import signal
import socket
from pathlib import Path
from typing import NoReturn

_SERVES = b"\0"


def _wait(supervisor: socket.socket) -> None:
    """Read orders, and drop them, until the supervisor is gone."""
    while supervisor.recv(65536):
        pass


def serve(supervisor: socket.socket, answers_at: Path) -> None:
    """Report to serve, and end with the supervisor, or by a signal."""
    supervisor.sendall(_SERVES)
    _wait(supervisor)


def serve_after_hangup(supervisor: socket.socket, answers_at: Path) -> None:
    """Get a SIGHUP before anything else is done."""
    os.kill(os.getpid(), signal.SIGHUP)
    serve(supervisor, answers_at)


def ignore_sigterm(supervisor: socket.socket, answers_at: Path) -> None:
    """Drain for ever."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    serve(supervisor, answers_at)


def refuse(supervisor: socket.socket, answers_at: Path) -> None:
    """Report that it cannot serve."""
    supervisor.sendall(b"the directory is read-only\0")


def die(supervisor: socket.socket, answers_at: Path) -> NoReturn:
    """Die without a word."""
    os._exit(3)
