"""Opening ports, and closing them after what is under way."""

import asyncio
import socket
import ssl
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from cacheproxy.domain.errors import StartError
from cacheproxy.settings.addresses import Address
from cacheproxy.settings.model import TlsSettings

_BACKLOG = 1024
_TURNS = 10


@dataclass(frozen=True, slots=True)
class Listening:
    """How to serve on a port.

    Attributes:
        socket: bound, and not listening yet.
        tls: None for plain HTTP.
        drain_timeout: seconds that requests under way may go on at the end.
        idle_timeout: seconds that a connection may take until the next request is there.
        write_timeout: seconds after which a client that takes no byte is cut.
        header_size: of a request's line, and of each of its header fields, in bytes.
    """

    socket: socket.socket
    tls: ssl.SSLContext | None = None
    drain_timeout: float = 5.0
    idle_timeout: float = 30.0
    write_timeout: float = 60.0
    header_size: int = 8190

    @property
    def shutdown_timeout(self) -> float:
        """For aiohttp, to which 0 means no limit at all."""
        return max(self.drain_timeout, 0.001)

    def options(self) -> dict[str, Any]:
        """Return the options of a `GuardedServer`."""
        return {
            "access_log": None,
            # A client that leaves frees what its request holds at once. The downloads that
            # it started or follows are tasks of the core, and go on.
            "handler_cancellation": True,
            "keepalive_timeout": self.idle_timeout,
            "write_timeout": self.write_timeout,
            "max_line_size": self.header_size,
            "max_field_size": self.header_size,
        }


def bind(address: Address, *, shared: bool = False) -> socket.socket:
    """A socket bound to an address, which is then taken.

    Args:
        address: to bind; port 0 takes a free one.
        shared: with others of this user that say so too; the system then deals connections
            out among those that listen.

    Raises:
        StartError: the address cannot be had.
    """
    try:
        return _bound(address, shared=shared)
    except OSError as error:
        raise StartError(
            f"cannot listen on {address}: {error.strerror or error}; "
            "end what uses that address, or choose another"
        ) from error


def _bound(address: Address, *, shared: bool) -> socket.socket:
    found = socket.getaddrinfo(
        address.host or None, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )
    family, kind, protocol, _, name = found[0]
    bound = socket.socket(family, kind, protocol)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        bound.bind(name)
    except BaseException:
        bound.close()
        raise
    return bound


async def listen(stack: AsyncExitStack, runner: web.BaseRunner, how: Listening) -> tuple[str, int]:
    """Serve; leaving the stack stops listening, then waits for the requests under way.

    Returns the host and port.

    Raises:
        StartError: another process listens there by now.
    """
    await runner.setup()
    stack.push_async_callback(_close, runner)
    host, port = how.socket.getsockname()[:2]
    try:
        await web.SockSite(runner, how.socket, ssl_context=how.tls, backlog=_BACKLOG).start()
    except OSError as error:
        raise StartError(f"cannot listen on {host}:{port}: {error.strerror or error}") from error
    return host, port


async def _close(runner: web.BaseRunner) -> None:
    """Stop listening, let what was accepted just before be known, then drain.

    aiohttp closes idle connections once; one that is still on its way to its handler then
    would hold up the end for the whole drain.
    """
    for site in list(runner.sites):
        await site.stop()
    for _ in range(_TURNS):
        await asyncio.sleep(0)
    await runner.cleanup()


def server_tls(settings: TlsSettings) -> ssl.SSLContext:
    """How to speak TLS to clients.

    Raises:
        StartError: a file is missing or is not what it should be.
    """
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    load_certificates(context, settings)
    return context


def load_certificates(context: ssl.SSLContext, settings: TlsSettings) -> None:
    """Read the files: what connects from now on sees them. Authorities are only ever added.

    Raises:
        StartError: a file is missing or is not what it should be; the old ones stay.
    """
    try:
        _check(settings)
        context.load_cert_chain(settings.certificate, settings.key)
        if settings.client_ca is not None:
            context.load_verify_locations(settings.client_ca)
            context.verify_mode = ssl.CERT_REQUIRED
    except (OSError, ssl.SSLError) as error:
        raise StartError(f"server.tls: the certificates cannot be used: {error}") from error


def _check(settings: TlsSettings) -> None:
    """Try them apart first: half of a change, such as a key of another certificate, stays out."""
    trial = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trial.load_cert_chain(settings.certificate, settings.key)
    if settings.client_ca is not None:
        trial.load_verify_locations(settings.client_ca)
