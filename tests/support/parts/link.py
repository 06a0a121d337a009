"""The upstream link: a relay before a registry that notes each request, and can be cut.

It understands HTTP just enough that its counts are exact: how many body bytes came back to which
request. What the registry logs cannot tell that, since it logs what it sent, not what arrived.
"""

import contextlib
import http.client
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from typing_extensions import override

from tests.support.parts.process import wait_until

_CHUNK = 64 * 1024
_TIMEOUT = 60.0  # seconds without a byte from upstream
_HOP_BY_HOP = frozenset({"connection", "keep-alive", "transfer-encoding", "upgrade"})
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


@dataclass(slots=True)
class Crossing:
    """One request that crossed the link, and the bytes of its body that came back so far."""

    method: str
    target: str
    status: int
    body_bytes: int = 0

    @property
    def is_blob(self) -> bool:
        return "/blobs/" in self.target

    @property
    def is_manifest(self) -> bool:
        return "/manifests/" in self.target


class CountedLink:
    """What stands between the proxy and one upstream.

    Its registry may be stopped meanwhile: it then answers 502. `cut` is the harder outage, where
    nothing listens any more and live connections are reset.
    """

    def __init__(self, upstream_port: int, rate: float | None = None) -> None:
        self.upstream = ("127.0.0.1", upstream_port)
        self.rate = rate
        self._lock = threading.Lock()
        self._crossings: list[Crossing] = []
        self._live: set[socket.socket] = set()
        self.connections = 0
        self._server: _Server | None = None
        self.port = 0
        self.restore()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def crossings(self) -> list[Crossing]:
        """All that has crossed since the start or the last `forget`, in order of arrival."""
        with self._lock:
            return list(self._crossings)

    @property
    def body_bytes(self) -> int:
        """Bytes of bodies that came down the link."""
        return sum(c.body_bytes for c in self.crossings)

    @property
    def blob_bytes(self) -> int:
        """Bytes of blobs that came down the link."""
        return sum(c.body_bytes for c in self.crossings if c.is_blob)

    @property
    def manifest_bytes(self) -> int:
        """Bytes of manifests that came down the link."""
        return sum(c.body_bytes for c in self.crossings if c.is_manifest)

    def wait_for_blob_bytes(self, size: int, deadline: float = 60.0) -> None:
        """Waits until so many bytes of blobs have crossed.

        Raises:
            NotReadyError: they have not, in `deadline` seconds.
        """
        wait_until(lambda: self.blob_bytes >= size, deadline, f"{size} bytes have crossed")

    def forget(self) -> None:
        """Starts counting anew."""
        with self._lock:
            self._crossings.clear()
            self.connections = 0

    def cut(self) -> None:
        """Refuses connections from now on and resets the live ones."""
        with self._lock:
            server, self._server = self._server, None
        if server is None:
            return
        server.shutdown()
        server.socket.close()
        with self._lock:
            for live in self._live:
                _reset(live)
        server.server_close()  # waits for the relaying threads

    def restore(self) -> None:
        """Takes connections again, on the same port."""
        if self._server is None:
            self._server = server = _Server(("127.0.0.1", self.port), self)
            self.port = server.server_address[1]
            name = f"link-{self.port}"
            threading.Thread(target=server.serve_forever, args=(0.02,), name=name).start()

    def opened(self, connection: socket.socket) -> None:
        """Counts a connection and keeps it for `cut`."""
        with self._lock:
            if self._server is None:
                raise ConnectionResetError("accepted just before the cut")
            self.connections += 1
            self._live.add(connection)

    def closed(self, connection: socket.socket) -> None:
        """Lets go of a connection."""
        with self._lock:
            self._live.discard(connection)

    def began(self, crossing: Crossing) -> None:
        """Notes a request, before its answer's head goes down."""
        with self._lock:
            self._crossings.append(crossing)

    def passed(self, crossing: Crossing, size: int) -> None:
        """Adds bytes to a request, before they go down: a reader never sees more than counted."""
        with self._lock:
            crossing.body_bytes += size


class _Server(ThreadingHTTPServer):
    daemon_threads = False  # so that `server_close` waits for them
    allow_reuse_address = True

    def __init__(self, address: tuple[str, int], link: CountedLink) -> None:
        self.link = link
        super().__init__(address, _Relay)

    @override
    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hung up, or a cut: both are what the tests do on purpose."""


class _Relay(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    @override
    def setup(self) -> None:
        self.server.link.opened(self.request)
        super().setup()

    @override
    def finish(self) -> None:
        self.server.link.closed(self.request)
        super().finish()

    def do_GET(self) -> None:
        connection = http.client.HTTPConnection(*self.server.link.upstream, timeout=_TIMEOUT)
        try:
            answer = self._ask(connection)
            self._pass_head(answer)
            self._pass_body(answer)
        except ConnectionRefusedError:
            self._bad_gateway()
        finally:
            connection.close()

    do_HEAD = do_GET  # noqa: N815 -- the name that the base class looks for

    def _ask(self, connection: http.client.HTTPConnection) -> http.client.HTTPResponse:
        """Sends the request up as it came: host, ranges and credentials included."""
        connection.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
        for name, value in self.headers.items():
            if name.lower() not in _HOP_BY_HOP:
                connection.putheader(name, value)
        connection.endheaders()
        return connection.getresponse()

    def _pass_head(self, answer: http.client.HTTPResponse) -> None:
        self._crossing = Crossing(self.command, self.path, answer.status)
        self.server.link.began(self._crossing)
        self.send_response_only(answer.status, answer.reason)
        for name, value in answer.getheaders():
            if name.lower() not in _HOP_BY_HOP:
                self.send_header(name, value)
        if answer.headers.get("Content-Length") is None and self.command != "HEAD":
            self.send_header("Connection", "close")  # its end is the body's end
        self.end_headers()

    def _pass_body(self, answer: http.client.HTTPResponse) -> None:
        link = self.server.link
        while part := answer.read1(_CHUNK):
            link.passed(self._crossing, len(part))
            self.wfile.write(part)
            if link.rate:
                time.sleep(len(part) / link.rate)  # this pace is what the link is for
        if answer.length:  # upstream broke off: so must this answer
            self.close_connection = True

    def _bad_gateway(self) -> None:
        self.server.link.began(Crossing(self.command, self.path, 502))
        self.send_response_only(502, "the registry is stopped")
        self.send_header("Content-Length", "0")
        self.end_headers()

    @override
    def log_message(self, format: str, *args: Any) -> None:
        """Nothing to say: the crossings are the log."""


def _reset(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):  # the other side was faster
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        connection.shutdown(socket.SHUT_RDWR)  # wakes the thread that reads or writes it


@contextmanager
def counted_link(upstream_port: int, rate: float | None = None) -> Iterator[CountedLink]:
    """A link to a registry on loopback; `rate` is in bytes per second and connection."""
    link = CountedLink(upstream_port, rate)
    try:
        yield link
    finally:
        link.cut()
