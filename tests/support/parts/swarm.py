"""Many clients at once in one thread, and cheap ones: what they measure is not themselves.

Bare sockets and one selector. A client that need not check what it gets lets the kernel throw
the bytes away uncopied, as if it were on a machine of its own.
"""

import hashlib
import selectors
import socket
import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass, field

Address = tuple[str, int]

_BUFFER = 1024 * 1024
_HEAD = 64 * 1024


@dataclass(slots=True)
class Pull:
    """One GET over a connection of its own: what is asked, and what came of it.

    Attributes:
        target: the path.
        start: the first byte asked for, in an open-ended range; 0 asks for the whole.
        leave_at: bytes of the body after which the client hangs up.
        hashed: the client reads the body and hashes it; otherwise it is only counted.
        at: the server that it asks, where that is another than the others' one.
        status: 0 until there is one.
        size: of the body, as promised.
        received: bytes of the body that came.
        begun: when it connected, by the monotonic clock.
        first_byte: seconds until the body began; None if it never did.
        seconds: until it ended.
        error: what broke it; None where all came that was promised, or it left on purpose.
    """

    target: str
    start: int = 0
    leave_at: int | None = None
    hashed: bool = True
    at: Address | None = None
    status: int = 0
    size: int = 0
    received: int = 0
    begun: float = 0.0
    first_byte: float | None = None
    seconds: float = 0.0
    error: str | None = None
    head: bytes = b""
    _hasher: "hashlib._Hash" = field(default_factory=hashlib.sha256)

    @property
    def digest(self) -> str:
        """Of what came, where it was hashed."""
        return f"sha256:{self._hasher.hexdigest()}"

    @property
    def whole(self) -> bool:
        """Whether all came that was promised."""
        return self.error is None and self.status in (200, 206) and self.received == self.size

    def took(self, part: memoryview) -> None:
        """Notes a part of the body."""
        if self.first_byte is None and len(part):
            self.first_byte = time.monotonic() - self.begun
        self.received += len(part)
        if self.hashed:
            self._hasher.update(part)

    @property
    def is_done(self) -> bool:
        if not self.status:
            return False
        return self.received >= min(self.size, self.leave_at or self.size)


def pull_all(
    address: Address,
    pulls: Iterable[Pull],
    *,
    then: Callable[[Pull], Pull | None] = lambda _: None,
    deadline: float = 60.0,
) -> list[Pull]:
    """Begins all pulls at once and returns them when the last has ended.

    Args:
        address: of the server.
        pulls: to begin.
        then: given each pull that has ended; the one it returns begins at once.
        deadline: seconds after which those that have not ended are cut.
    """
    with selectors.DefaultSelector() as selector, ExitStack() as connections:

        def begin(pull: Pull) -> Pull:
            connection = connections.enter_context(_asked(pull.at or address, pull))
            selector.register(connection, selectors.EVENT_READ, pull)
            return pull

        begun = [begin(pull) for pull in pulls]
        buffer = memoryview(bytearray(_BUFFER))
        end = time.monotonic() + deadline
        while selector.get_map():
            late = time.monotonic() > end
            ready = [key for key, _ in selector.select(1.0)]
            for key in list(selector.get_map().values()) if late else ready:
                pull: Pull = key.data
                if late:
                    pull.error = f"it had not ended after {deadline:g} seconds"
                elif not _step(key.fileobj, pull, buffer):
                    continue
                _end(selector, key, pull)
                following = then(pull)
                if following is not None:
                    begun.append(begin(following))
        return begun


def _asked(address: Address, pull: Pull) -> socket.socket:
    pull.begun = time.monotonic()
    connection = socket.create_connection(address, timeout=60)
    wanted = f"Range: bytes={pull.start}-\r\n" if pull.start else ""
    head = f"GET {pull.target} HTTP/1.1\r\nHost: {address[0]}:{address[1]}\r\n{wanted}\r\n"
    connection.sendall(head.encode())
    connection.setblocking(False)
    return connection


def _step(connection: object, pull: Pull, buffer: memoryview) -> bool:
    """Takes what is there; whether the pull has ended by that."""
    assert isinstance(connection, socket.socket)
    try:
        if not pull.status:
            return _head(connection, pull)
        flags = 0 if pull.hashed else socket.MSG_TRUNC
        count = connection.recv_into(buffer, 0, flags)
    except BlockingIOError:
        return False
    except OSError as error:
        pull.error = str(error)
        return True
    pull.took(buffer[:count])
    if not count:
        pull.error = f"it was cut after {pull.received} of {pull.size} bytes"
    return not count or pull.is_done


def _head(connection: socket.socket, pull: Pull) -> bool:
    part = connection.recv(_HEAD)
    pull.head += part
    head, found, body = pull.head.partition(b"\r\n\r\n")
    if not part or not found:
        pull.error = None if part else "it was cut before its head was whole"
        return not part
    status, *fields = head.decode("latin-1").split("\r\n")
    by_name = {name.lower(): value.strip() for name, _, value in (f.partition(":") for f in fields)}
    pull.status = int(status.split()[1])
    if "content-length" not in by_name:
        pull.error = "its answer does not say how long it is"
        return True
    pull.size = int(by_name["content-length"])
    pull.took(memoryview(body))
    return pull.is_done


def _end(selector: selectors.BaseSelector, key: selectors.SelectorKey, pull: Pull) -> None:
    pull.seconds = time.monotonic() - pull.begun
    selector.unregister(key.fileobj)
    assert isinstance(key.fileobj, socket.socket)
    key.fileobj.close()
