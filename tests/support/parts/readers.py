"""Clients of each worker: they connect, ask for the same thing, and read what comes."""

import socket
import threading
from contextlib import ExitStack
from typing import Self

from tests.support.parts.crew import Crew
from tests.support.parts.swarm import Address

_TIMEOUT = 60.0  # seconds without a byte
_ATTEMPTS = 200  # which worker gets a connection is the kernel's choice


class Readers:
    """Connections to every worker, each with a client that reads what it asked for."""

    def __init__(self, address: Address, crew: Crew, target: str, per_worker: int) -> None:
        self._address = address
        self._crew = crew
        self._target = target
        self._per_worker = per_worker
        self._stack = ExitStack()
        self._connections: list[tuple[int, socket.socket]] = []
        self._threads: list[threading.Thread] = []
        self._bodies: list[tuple[int, bytes]] = []

    def __enter__(self) -> Self:
        wanted = dict.fromkeys(self._crew.workers(), self._per_worker)
        for attempt in range(_ATTEMPTS):
            if not any(wanted.values()):
                return self
            connection = socket.create_connection(self._address, timeout=_TIMEOUT)
            self._stack.enter_context(connection)
            worker = self._crew.serves(connection, f"reader-{attempt}")
            if wanted[worker]:
                wanted[worker] -= 1
                self._connections.append((worker, connection))
            else:
                connection.close()
        self._stack.close()
        raise AssertionError(f"no connection in {_ATTEMPTS} led to some of {wanted}")

    def __exit__(self, *_: object) -> None:
        self._stack.close()
        for thread in self._threads:
            thread.join()

    def ask(self) -> None:
        """Has all of them ask."""
        head = f"GET {self._target} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n".encode()
        for worker, connection in self._connections:
            connection.sendall(head)
            thread = threading.Thread(target=self._read, args=(worker, connection))
            self._threads.append(thread)
            thread.start()

    def outcomes(self) -> list[tuple[int, bytes]]:
        """Once all have ended: what came from each worker."""
        for thread in self._threads:
            thread.join()
        return self._bodies

    def _read(self, worker: int, connection: socket.socket) -> None:
        received = bytearray()
        try:
            while part := connection.recv(1 << 20):
                received += part
        except OSError:
            pass  # it was cut, which is for the test to judge
        self._bodies.append((worker, bytes(received.partition(b"\r\n\r\n")[2])))
