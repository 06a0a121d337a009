"""A client that goes on where it was cut, as containerd and docker do."""

import contextlib
import hashlib
import http.client
import time

_TIMEOUT = 60.0  # seconds without a byte
_PAUSE = 0.05  # seconds before it tries again


class Resuming:
    """One download of `size` bytes, over as many requests as it takes.

    Attributes:
        received: bytes so far.
        broke: how often a request brought less than was asked for.
    """

    def __init__(self, port: int, target: str, size: int) -> None:
        self._port = port
        self._target = target
        self._size = size
        self._hasher = hashlib.sha256()
        self.received = 0
        self.broke = 0

    @property
    def whole(self) -> bool:
        """Whether all has come."""
        return self.received == self._size

    @property
    def digest(self) -> str:
        """Of what has come."""
        return f"sha256:{self._hasher.hexdigest()}"

    def run(self, until: float) -> None:
        """Asks for what is missing until nothing is, or until a moment of the monotonic clock."""
        while not self.whole and time.monotonic() < until:
            with contextlib.suppress(OSError, http.client.HTTPException):
                self._ask()
            if not self.whole:
                self.broke += 1
                time.sleep(_PAUSE)

    def _ask(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=_TIMEOUT)
        try:
            headers = {"Range": f"bytes={self.received}-"} if self.received else {}
            connection.request("GET", self._target, headers=headers)
            answer = connection.getresponse()
            if answer.status == (206 if self.received else 200):
                while part := answer.read1(256 * 1024):
                    self._hasher.update(part)
                    self.received += len(part)
        finally:
            connection.close()
