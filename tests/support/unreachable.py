"""Upstreams that cannot be reached, each in its own way."""

import socket
import ssl
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any
from unittest import mock

import trustme

_HOST = "127.0.0.1"
_QUEUED = 8  # connections that the queue of a socket may take, although it was told to take none
_AT_ONCE = 0.05  # seconds in which a connection on loopback stands, or never does


@dataclass(frozen=True, slots=True)
class Place:
    """An address where nobody answers."""

    url: str


@contextmanager
def black_hole() -> Iterator[Place]:
    """A host that takes no connection and refuses none: what is sent to it is lost.

    Nobody accepts what waits in the socket's queue, and Linux drops what does not fit into it.
    """
    with ExitStack() as held:
        deaf = held.enter_context(socket.socket())
        deaf.bind((_HOST, 0))
        deaf.listen(0)
        for _ in range(_QUEUED):
            waiting = held.enter_context(socket.socket())
            waiting.settimeout(_AT_ONCE)
            try:
                waiting.connect(deaf.getsockname())
            except TimeoutError:
                break
        else:
            raise AssertionError("this system takes every connection")
        yield Place(f"http://{_HOST}:{deaf.getsockname()[1]}")


@contextmanager
def nameless() -> Iterator[Place]:
    """A host that has no address, whatever resolver this machine has (RFC 6761, `invalid`)."""
    resolve = socket.getaddrinfo

    def answer(host: Any, *args: Any, **options: Any) -> Any:
        if isinstance(host, str) and host.endswith(".invalid"):
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return resolve(host, *args, **options)

    with mock.patch.object(socket, "getaddrinfo", answer):
        yield Place("http://registry.invalid")


def distrusted() -> ssl.SSLContext:
    """How a server speaks TLS whose certificate nobody vouches for."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    trustme.CA().issue_cert(_HOST).configure_cert(context)
    return context
