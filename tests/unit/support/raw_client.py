"""An HTTP client that shows what is on the wire: bytes as they come, and how it ends."""

import asyncio
import re
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

_AT_ONCE = 65_536


@dataclass(frozen=True, slots=True)
class Heard:
    """All that came, and what came after it."""

    data: bytes
    end: Literal["fin", "rst", "open"]

    @property
    def head(self) -> str:
        """Status line and headers."""
        return self.data.partition(b"\r\n\r\n")[0].decode("latin-1")

    @property
    def body(self) -> bytes:
        """Whatever came behind the head, framing included."""
        return self.data.partition(b"\r\n\r\n")[2]

    @property
    def status(self) -> int:
        """The status of the status line."""
        return int(self.head.split(" ")[1])

    def header(self, name: str) -> str | None:
        """The value of a header."""
        found = re.search(
            rf"^{re.escape(name)}: (.*?)\r?$", self.head, re.MULTILINE | re.IGNORECASE
        )
        return found[1] if found else None


class RawClient:
    """One connection."""

    def __init__(self, connection: socket.socket, host: str) -> None:
        self.connection = connection
        self._host = host
        self._loop = asyncio.get_running_loop()

    async def ask(self, path: str, *headers: str, method: str = "GET") -> None:
        """Sends a request."""
        lines = [f"{method} {path} HTTP/1.1", f"Host: {self._host}", *headers]
        await self._loop.sock_sendall(self.connection, "\r\n".join([*lines, "", ""]).encode())

    async def head(self) -> Heard:
        """Reads a head and not one byte more."""
        data = b""
        while not data.endswith(b"\r\n\r\n"):
            byte = await self._loop.sock_recv(self.connection, 1)
            assert byte, f"the connection ended within the head: {data!r}"
            data += byte
        return Heard(data, "open")

    async def exactly(self, count: int) -> bytes:
        """Reads so many bytes."""
        data = b""
        while len(data) < count:
            piece = await self._loop.sock_recv(self.connection, count - len(data))
            assert piece, f"the connection ended after {len(data)} bytes"
            data += piece
        return data

    async def rest(self) -> Heard:
        """Reads to the end of the connection."""
        pieces: list[bytes] = []
        while True:
            try:
                piece = await self._loop.sock_recv(self.connection, _AT_ONCE)
            except ConnectionResetError:
                return Heard(b"".join(pieces), "rst")
            if not piece:
                return Heard(b"".join(pieces), "fin")
            pieces.append(piece)

    def is_silent(self) -> bool:
        """Whether nothing has come that is not read yet, not even an end."""
        try:
            self.connection.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return True
        return False


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[RawClient]:
    """A connection to a server."""
    parts = urlsplit(url)
    connection = socket.socket()
    connection.setblocking(False)
    try:
        await asyncio.get_running_loop().sock_connect(connection, (parts.hostname, parts.port))
        yield RawClient(connection, parts.netloc)
    finally:
        connection.close()


async def fetched(url: str, *headers: str, method: str = "GET") -> Heard:
    """What a server sends for one request until the end of the connection, which is asked for."""
    parts = urlsplit(url)
    path = f"{parts.path}?{parts.query}" if parts.query else parts.path
    async with connected(url) as client:
        await client.ask(path, "Connection: close", *headers, method=method)
        return await client.rest()
