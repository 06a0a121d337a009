"""Requests that no HTTP library would send, byte by byte, and all that comes back."""

import asyncio
import contextlib

from tests.unit.support.raw_client import Heard, connected

WITHIN = 60.0  # seconds in which a server has to have said everything


async def said_to(url: str, data: bytes) -> Heard:
    """All that a server sends after these bytes, until it ends the connection.

    Raises:
        TimeoutError: it neither ends the connection nor was asked to.
    """
    async with asyncio.timeout(WITHIN), connected(url) as client:
        with contextlib.suppress(ConnectionError):
            # It may have said all and left before it has heard all.
            await asyncio.get_running_loop().sock_sendall(client.connection, data)
        return await client.rest()


def request(
    target: bytes,
    *fields: bytes,
    method: bytes = b"GET",
    version: bytes = b"HTTP/1.1",
    host: bytes | None = b"registry.test",
    body: bytes = b"",
) -> bytes:
    """A request after which the connection is to end."""
    lines = [method + b" " + target + b" " + version]
    lines += [b"Host: " + host] if host is not None else []
    return b"\r\n".join([*lines, b"Connection: close", *fields, b"", b""]) + body
