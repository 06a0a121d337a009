"""One HTTP request, at its plainest: no redirects, no pool, over TCP or a unix socket."""

import http.client
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from email.message import Message
from pathlib import Path
from urllib.parse import urlsplit

from typing_extensions import override

DEFAULT_TIMEOUT = 60.0  # seconds without a byte


@dataclass(frozen=True, slots=True)
class Answer:
    """A response, read to its end."""

    status: int
    headers: Message
    body: bytes


def get(
    url: str,
    *,
    headers: Mapping[str, str] | None = None,
    method: str = "GET",
    timeout: float = DEFAULT_TIMEOUT,
) -> Answer:
    """Sends one request to an `http://` URL.

    Raises:
        OSError: nobody answers, or the answer breaks off.
        http.client.HTTPException: the answer is cut short or no HTTP.
    """
    parts = urlsplit(url)
    assert parts.hostname is not None
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=timeout)
    target = f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/"
    return exchange(connection, method, target, headers=headers)


def exchange(
    connection: http.client.HTTPConnection,
    method: str,
    target: str,
    *,
    headers: Mapping[str, str] | None = None,
) -> Answer:
    """Sends one request over `connection`, and closes it."""
    try:
        connection.request(method, target, headers=dict(headers or {}))
        response = connection.getresponse()
        return Answer(response.status, response.headers, response.read())
    finally:
        connection.close()


def answers(url: str) -> bool:
    """Whether a GET of `url` gives 200 at this moment."""
    try:
        return get(url, timeout=2.0).status == 200
    except (OSError, http.client.HTTPException):
        return False


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a unix socket, as Docker Engine's API is spoken."""

    def __init__(self, path: Path, timeout: float = DEFAULT_TIMEOUT) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    @override
    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))
