"""A registry that fails often, and in many ways, until it is healed."""

import http.client
import random
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal

from typing_extensions import override

from tests.support.images import OCI_MANIFEST, Image

Fault = Literal["none", "drop", "stall", "wrong", "status", "missing"]

# In a hundred requests for a blob; the rest goes well.
_ODDS: Mapping[Fault, int] = {"drop": 10, "stall": 3, "wrong": 20, "status": 4, "missing": 3}
_STALL = 2.0  # seconds


class FaultyRegistry:
    """A registry in the test's own process, with a thread for each connection.

    Attributes:
        met: how often a request met which fault.
    """

    def __init__(self, seed: int) -> None:
        self._dice = random.Random(seed)
        self._lock = threading.Lock()
        self._manifests: dict[str, tuple[str, bytes]] = {}
        self._blobs: dict[str, bytes] = {}
        self._spoilable: set[str] = set()
        self._is_faulty = False
        handler = type("Handler", (_Handler,), {"registry": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self.met: Counter[Fault] = Counter()

    @property
    def url(self) -> str:
        """Scheme, address and port, without a slash at the end."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def hold(self, repository: str, image: Image, spoilable: frozenset[str] = frozenset()) -> None:
        """Hold an image under the tag `1`.

        Args:
            repository: its name.
            image: has no other images in it.
            spoilable: digests of the blobs that may be sent with wrong bytes.
        """
        found = image.digest, image.manifest
        for reference in ("1", image.digest):
            self._manifests[f"/v2/{repository}/manifests/{reference}"] = found
        self._blobs |= {f"/v2/{repository}/blobs/{blob.digest}": blob.body for blob in image.blobs}
        self._spoilable |= {f"/v2/{repository}/blobs/{digest}" for digest in spoilable}

    def break_down(self) -> None:
        """Begin to fail."""
        self._is_faulty = True

    def heal(self) -> None:
        """Fail no more."""
        self._is_faulty = False

    def start(self) -> None:
        """Listen."""
        self._thread.start()

    def stop(self) -> None:
        """End, and wait for the threads."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def manifest(self, path: str) -> tuple[str, bytes] | None:
        """The digest and the bytes of a manifest."""
        return self._manifests.get(path)

    def blob(self, path: str) -> bytes | None:
        """The bytes of a blob."""
        return self._blobs.get(path)

    def next_fault(self, path: str) -> Fault:
        """Choose the fault of a request for a blob."""
        if not self._is_faulty:
            return "none"
        with self._lock:
            chosen: Fault = self._choose()
            if chosen == "wrong" and path not in self._spoilable:
                chosen = "none"
            self.met[chosen] += 1
        return chosen

    def _choose(self) -> Fault:
        roll = self._dice.randrange(100)
        for fault, odds in _ODDS.items():
            roll -= odds
            if roll < 0:
                return fault
        return "none"


@contextmanager
def faulty_registry(seed: int) -> Iterator[FaultyRegistry]:
    """A running registry, which is well at first."""
    registry = FaultyRegistry(seed)
    registry.start()
    try:
        yield registry
    finally:
        registry.stop()


class _Handler(BaseHTTPRequestHandler):
    """Answers for a registry, which a subclass names."""

    registry: FaultyRegistry
    protocol_version = "HTTP/1.1"
    timeout = 60

    @override
    def log_message(self, format: str, *args: Any) -> None:
        pass

    @override
    def handle(self) -> None:
        with suppress(ConnectionError, TimeoutError):
            super().handle()

    def do_HEAD(self) -> None:
        """Answer a HEAD."""
        self.do_GET()

    def do_GET(self) -> None:
        """Answer a GET."""
        path = self.path.partition("?")[0]
        if path == "/v2/":
            self._send(200, b"{}", {})
        elif (found := self.registry.manifest(path)) is not None:
            digest, body = found
            fields = {"Docker-Content-Digest": digest, "Content-Type": OCI_MANIFEST}
            self._send(200, body, fields)
        elif (blob := self.registry.blob(path)) is not None:
            self._blob(blob, self.registry.next_fault(path))
        else:
            self._send(404, b"{}", {})

    def _blob(self, blob: bytes, fault: Fault) -> None:
        asked = self.headers.get("Range")
        start, stop = _part(asked, len(blob))
        body, status = blob[start:stop], 200 if asked is None else 206
        place = f"bytes {start}-{stop - 1}/{len(blob)}"
        fields = {} if asked is None else {"Content-Range": place}
        match fault:
            case "status":
                self._send(503, b"{}", {})
            case "missing":
                self._send(404, b"{}", {})
            case "drop" | "stall":
                self._head(status, len(body), fields)
                self.wfile.write(body[: len(body) // 2])
                time.sleep(_STALL if fault == "stall" else 0.0)
                self.close_connection = True
            case "wrong":
                self._send(status, bytes(len(body)), fields)
            case _:
                self._send(status, body, fields)

    def _send(self, status: int, body: bytes, fields: Mapping[str, str]) -> None:
        self._head(status, len(body), fields)
        if self.command != "HEAD":
            self.wfile.write(body)

    def _head(self, status: int, length: int, fields: Mapping[str, str]) -> None:
        self.send_response(status, http.client.responses[status])
        self.send_header("Content-Length", str(length))
        for name, value in fields.items():
            self.send_header(name, value)
        self.end_headers()


def _part(field: str | None, size: int) -> tuple[int, int]:
    """Return where the part of a Range field begins, and where it stops."""
    if field is None:
        return 0, size
    first, _, last = field.removeprefix("bytes=").partition("-")
    return int(first), min(size, int(last) + 1) if last else size
