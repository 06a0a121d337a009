"""The processes of a running proxy, and who of them does what."""

import os
import re
import signal
import socket
from pathlib import Path

from tests.support.parts.process import wait_until
from tests.support.parts.proxy import Proxy

_FLOCK = re.compile(r"FLOCK +\S+ +WRITE +(?P<pid>\d+) +\S+:(?P<inode>\d+) ")
_PROMPT = 60.0  # seconds


class Crew:
    """A supervisor and its workers."""

    def __init__(self, proxy: Proxy, cache: Path) -> None:
        self.supervisor = proxy.pid
        self._proxy = proxy
        self.cache = cache

    def workers(self) -> set[int]:
        """The processes that serve, or are about to."""
        return {pid for pid in _children(self.supervisor) if "spawn_main" in _command(pid)}

    def everyone(self) -> set[int]:
        """All processes of the proxy, however they came to be."""
        return {self.supervisor, *_children(self.supervisor)}

    def writers(self) -> set[int]:
        """Those of them that write a blob at this moment: who holds the lock of its file."""
        inodes = {str(entry.inode()) for entry in os.scandir(self.cache / "ingest")}
        held = _FLOCK.finditer(Path("/proc/locks").read_text())
        # Files of other volumes, which others may have locked, have the same numbers.
        return {int(lock["pid"]) for lock in held if lock["inode"] in inodes} & self.everyone()

    def serves(self, connection: socket.socket, name: str) -> int:
        """The worker that a fresh connection leads to; `name` is one that nobody else uses."""
        head = f"GET /v2/ HTTP/1.1\r\nHost: test\r\nUser-Agent: {name}\r\n\r\n"
        connection.sendall(head.encode())
        received = b""
        while not received.endswith(b"{}"):
            received += connection.recv(4096)

        def logged() -> int | None:
            for line in self._proxy.log_lines():
                if name in line.values():
                    worker: int = line["worker"]
                    return worker
            return None

        return wait_until(logged, _PROMPT, f"{name} is logged")


def kill(pids: set[int]) -> None:
    """SIGKILL for each."""
    for pid in pids:
        os.kill(pid, signal.SIGKILL)


def gone(pids: set[int]) -> bool:
    """Whether none of them runs any more; one that waits to be reaped does not."""
    return not any(_runs(pid) for pid in pids)


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def _children(pid: int) -> set[int]:
    """A program that has ended has none."""
    try:
        return {int(p) for p in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()}
    except FileNotFoundError:
        return set()


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""
