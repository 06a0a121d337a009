"""A server on loopback that answers as a script says, and can go away and come back."""

import abc
import asyncio
import socket
from types import TracebackType
from typing import Self

from aiohttp import web

from tests.support.scripted_registry.answer import Answer, Asked, ScriptError
from tests.support.scripted_registry.delivery import Delivery
from tests.support.scripted_registry.faults import Fault
from tests.support.scripted_registry.faults.waits import WITHIN
from tests.support.scripted_registry.incoming import Sent, asked_by
from tests.support.scripted_registry.journal import Exchange, Recorded, chosen
from tests.support.scripted_registry.oci_errors import oci_error
from tests.support.scripted_registry.script import Match, Script
from tests.support.scripted_registry.stage import Stage
from tests.support.scripted_registry.wire import Wire

_HOST = "127.0.0.1"
_SHUTDOWN = 60.0  # seconds; all connections have been cut by then, so nothing takes that long


class ScriptedServer(abc.ABC):
    """Listens on 127.0.0.1, on a port that stays its own from `async with` to its end."""

    name: str

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._script = Script()
        self._reserved: socket.socket | None = None
        self._server: web.Server | None = None
        self._runner: web.ServerRunner | None = None

    @abc.abstractmethod
    def respond(self, asked: Asked) -> Answer:
        """The answer if all goes well."""

    def refuse(self, asked: Asked) -> Answer | None:
        """The answer to a request that may not be made; such a request meets no faults."""
        return None

    @property
    def port(self) -> int:
        """The same while the server is down."""
        assert self._reserved is not None, "has not been entered"
        port: int = self._reserved.getsockname()[1]
        return port

    @property
    def url(self) -> str:
        """Scheme, address and port, without a slash at the end."""
        scheme = "https" if self._stage.tls else "http"
        return f"{scheme}://{_HOST}:{self.port}"

    def script(self, match: Match, *faults: Fault) -> None:
        """From now on each request that matches meets the next of these faults, then all is well.

        A request meets one fault: that of the first line whose match it fits and that has any
        left. Requests without the credentials that are asked for meet none.
        """
        self._script.add(match, *faults)

    @property
    def unspent(self) -> list[Fault]:
        """The faults that no request has met."""
        return self._script.unspent

    def requests(self, method: str | None = None, path_suffix: str = "") -> tuple[Recorded, ...]:
        """The requests that this server got, oldest first, those included that are not over."""
        return chosen(self._stage.journal.entries(self.name), method, path_suffix)

    async def until(
        self,
        count: int,
        *,
        method: str | None = None,
        path_suffix: str = "",
        within: float = WITHIN,
    ) -> None:
        """Waits until so many requests of a kind have arrived.

        Raises:
            TimeoutError: they have not in `within` seconds.
        """
        await self._stage.journal.until(
            lambda: len(self.requests(method, path_suffix)) >= count, within
        )

    async def start(self) -> None:
        """Listens; on the port that it had before, if any."""
        assert self._server is None, "is running"
        if self._reserved is None:
            self._reserved = _reserved()
        self._server = web.Server(self._handle, handler_cancellation=True, access_log=None)
        self._runner = web.ServerRunner(self._server, shutdown_timeout=_SHUTDOWN)
        await self._runner.setup()
        await web.TCPSite(self._runner, _HOST, self.port, ssl_context=self._stage.tls).start()

    async def stop(self) -> None:
        """Is down: connections are cut where they are, new ones are refused."""
        if self._server is None or self._runner is None:
            return
        for site in self._runner.sites:
            await site.stop()
        await _cut(self._server)
        await self._runner.cleanup()
        self._server = self._runner = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.stop()
        if self._reserved is not None:
            self._reserved.close()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        asked = await asked_by(request)
        exchange = self._stage.journal.open(self.name, asked)
        try:
            delivery = Delivery(self._answer(asked), asked, self._stage.sleep)
            return Sent(keep_alive=await delivery.over(Wire(request), exchange))
        except ConnectionError:
            return Sent(keep_alive=False)
        finally:
            _end(exchange)

    def _answer(self, asked: Asked) -> Answer:
        refused = self.refuse(asked)
        if refused is not None:
            return refused
        fault = self._script.next(asked)
        try:
            return fault.answer(self.respond(fault.ask(asked)), self._stage.signed_urls)
        except ScriptError as error:
            self._stage.problems.append(f"{asked.method} {asked.path}: {error}")
            return oci_error(500, "UNKNOWN", f"the script is wrong: {error}")


def _end(exchange: Exchange) -> None:
    """Notes that nothing more comes, if the delivery has not come to its end."""
    if exchange.state == "open":
        exchange.end("cut")


def _reserved() -> socket.socket:
    """A socket that keeps a port from other programs, and refuses connections to it.

    It never listens, so Linux lets a server bind the same port beside it.
    """
    reserved = socket.socket()
    reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    reserved.bind((_HOST, 0))
    return reserved


async def _cut(server: web.Server) -> None:
    """Cuts all connections, and waits until those who served them have ended."""
    for connection in server.connections:
        if connection.transport is not None:
            connection.transport.abort()
    async with asyncio.timeout(_SHUTDOWN):
        while server.connections:  # noqa: ASYNC110 aiohttp tells nobody when they have
            await asyncio.sleep(0)
