"""An HTTP proxy on the way out: forwards requests and tunnels to hosts of its own choice."""

import asyncio
import re
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

_HEAD_LIMIT = 256 * 1024
_AT_ONCE = 64 * 1024
_UNREACHABLE = b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
_HOP_BY_HOP = re.compile(r"(connection|proxy-[a-z-]+):", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Forwarded:
    """A request as the proxy got it; of a tunnel, the CONNECT alone.

    Attributes:
        method: of the request.
        host: that it was for, with the port if that was written.
        target: the whole target.
        fields: name (in lower case) and value of each header field.
    """

    method: str
    host: str
    target: str
    fields: Mapping[str, str]


class Egress:
    """A proxy that serves within `async with`.

    `hosts` says at which port of 127.0.0.1 a host (written as in URLs) is; any other cannot be
    reached. What was asked is in `requests`, oldest first, what could not be reached included.
    """

    def __init__(self, hosts: Mapping[str, int]) -> None:
        self.requests: list[Forwarded] = []
        self._hosts = hosts
        self._server: asyncio.Server | None = None
        self._serving: set[asyncio.Task[None]] = set()

    @property
    def port(self) -> int:
        """On 127.0.0.1."""
        assert self._server is not None
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    @property
    def url(self) -> str:
        """Of the proxy."""
        return f"http://127.0.0.1:{self.port}"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, limit=_HEAD_LIMIT)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._serving:
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)
        try:
            await self._forward(reader, writer)
        except (asyncio.CancelledError, asyncio.IncompleteReadError, ConnectionError):
            pass  # its client, the host or the test has left
        finally:
            writer.close()

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        line, *lines = head.rstrip("\r\n").split("\r\n")
        asked = _forwarded(line, lines)
        self.requests.append(asked)
        port = self._hosts.get(asked.host)
        if port is None:
            writer.write(_UNREACHABLE)
            return
        async with AsyncExitStack() as stack:
            answers, host = await asyncio.open_connection("127.0.0.1", port)
            stack.callback(host.close)
            if asked.method == "CONNECT":
                writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            else:
                host.write(_rewritten(asked, lines))
            await _both_ways((reader, host), (answers, writer))


def _forwarded(line: str, lines: list[str]) -> Forwarded:
    method, target, _ = line.split(" ")
    host = target if method == "CONNECT" else urlsplit(target).netloc
    pairs = (field.partition(":")[::2] for field in lines)
    return Forwarded(method, host, target, {name.lower(): value.strip() for name, value in pairs})


def _rewritten(asked: Forwarded, lines: list[str]) -> bytes:
    """The request as the host is to see it, and the last on its connection."""
    parts = urlsplit(asked.target)
    target = f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/"
    kept = [line for line in lines if not _HOP_BY_HOP.match(line)]
    head = [f"{asked.method} {target} HTTP/1.1", *kept, "Connection: close", "", ""]
    return "\r\n".join(head).encode("latin-1")


async def _both_ways(*ways: tuple[asyncio.StreamReader, asyncio.StreamWriter]) -> None:
    """Pass on bytes in both directions, until either side has ended."""
    async with asyncio.TaskGroup() as group:
        pumps = [group.create_task(_pump(*way)) for way in ways]
        await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        for pump in pumps:
            pump.cancel()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(_AT_ONCE):
            writer.write(data)
            await writer.drain()
    except ConnectionError:
        return
