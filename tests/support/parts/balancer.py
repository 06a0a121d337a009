"""A port in front of several servers, which it deals connections out to, as a Service does.

A server that is not ready gets no new connection, once that was noticed; those that it has go on.
A connection is never tried at a second server: whoever closes its port too early is found out.
"""

import contextlib
import itertools
import select
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

from tests.support.parts import wire
from tests.support.parts.swarm import Address

_CONNECT = 5.0  # seconds
_PART = 1 << 18
_CONNECTIONS = 256


@dataclass(frozen=True, slots=True)
class Backend:
    """A server: where it listens, and the URL that says whether it is ready."""

    address: Address
    ready: str


class _Balancer:
    def __init__(self, backends: Callable[[], Sequence[Backend]]) -> None:
        self._backends = backends
        self._ready: list[Address] = []
        self._turns = itertools.count()

    def look(self) -> None:
        """See who is ready."""
        backends = self._backends()
        self._ready = [each.address for each in backends if wire.answers(each.ready)]

    def keep_looking(self, ended: threading.Event, every: float) -> None:
        while not ended.wait(every):
            self.look()

    def accept(self, listener: socket.socket, pool: ThreadPoolExecutor) -> None:
        """Serve each connection, until the listener is shut down."""
        with contextlib.suppress(OSError):
            while True:
                pool.submit(self._serve, listener.accept()[0])

    def _serve(self, client: socket.socket) -> None:
        ready = self._ready
        with client, contextlib.suppress(OSError):
            if ready:
                chosen = ready[next(self._turns) % len(ready)]
                with socket.create_connection(chosen, _CONNECT) as server:
                    server.settimeout(None)
                    _copy(client, server)


def _copy(client: socket.socket, server: socket.socket) -> None:
    """Both ways, until one side has ended."""
    other = {client: server, server: client}
    while True:
        for source in select.select(list(other), [], [])[0]:
            part = source.recv(_PART)
            if not part:
                return
            other[source].sendall(part)


@contextmanager
def balancer(backends: Callable[[], Sequence[Backend]], every: float = 0.1) -> Iterator[Address]:
    """A port of this machine in front of what `backends` says, which is asked every so often."""
    made, ended = _Balancer(backends), threading.Event()
    made.look()
    with socket.create_server(("127.0.0.1", 0)) as listener, ThreadPoolExecutor(_CONNECTIONS) as on:
        threads = [
            threading.Thread(target=made.keep_looking, args=(ended, every)),
            threading.Thread(target=made.accept, args=(listener, on)),
        ]
        for thread in threads:
            thread.start()
        try:
            yield listener.getsockname()[:2]
        finally:
            ended.set()
            listener.shutdown(socket.SHUT_RDWR)
            for thread in threads:
                thread.join()
