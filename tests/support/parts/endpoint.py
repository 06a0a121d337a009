"""An HTTP endpoint of a test's own, in a thread: it notes what it is asked, and answers by rule."""

import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from typing_extensions import override


@dataclass(frozen=True, slots=True)
class Asked:
    """One request."""

    method: str
    path: str
    query: Mapping[str, list[str]]
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Reply:
    """What it gets."""

    body: bytes
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)


Rule = Callable[[Asked], Reply]


class Endpoint:
    """A server on loopback."""

    def __init__(self, rule: Rule, tls: ssl.SSLContext | None = None) -> None:
        self._rule = rule
        self._lock = threading.Lock()
        self._asked: list[Asked] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self._scheme = "https" if tls else "http"
        if tls:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()

    @property
    def port(self) -> int:
        return self._server.server_port

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        return f"{self._scheme}://{self.host}"

    @property
    def asked(self) -> list[Asked]:
        """All that it was asked so far."""
        with self._lock:
            return list(self._asked)

    def close(self) -> None:
        """Stops it."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _answer(self, asked: Asked) -> Reply:
        with self._lock:
            self._asked.append(asked)
        return self._rule(asked)

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        answer = self._answer

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                url = urlsplit(self.path)
                headers = {name.lower(): value for name, value in self.headers.items()}
                reply = answer(
                    Asked(
                        self.command,
                        url.path,
                        parse_qs(url.query),
                        headers,
                        self.rfile.read(length),
                    )
                )
                self.send_response(reply.status)
                for name, value in reply.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(reply.body)))
                self.end_headers()
                self.wfile.write(reply.body)

            def do_POST(self) -> None:
                self.do_GET()

            @override
            def log_message(self, format: str, *args: Any) -> None:
                return

        return Handler


@contextmanager
def endpoint(rule: Rule, tls: ssl.SSLContext | None = None) -> Iterator[Endpoint]:
    """An endpoint that answers within this context."""
    running = Endpoint(rule, tls)
    try:
        yield running
    finally:
        running.close()
