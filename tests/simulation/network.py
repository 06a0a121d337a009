"""The network between simulated hosts: TCP in memory, with latency, cuts, and ends that die.

A connection has two ends, each in its own process. Bytes that one end writes reach the other
one's event loop a moment later, in order. A cut link keeps them until it is mended, as TCP
sends them again; connections that stay cut for longer break, as by `TCP_USER_TIMEOUT`.
"""

import asyncio
import errno
import socket
from collections import deque
from collections.abc import Callable
from functools import cache
from typing import Any

import aiohappyeyeballs
from redis import utils
from typing_extensions import override

from tests.simulation.world import Process, World

Address = tuple[str, int]
ProtocolFactory = Callable[[], asyncio.BaseProtocol]

REDIS: Address = ("10.0.1.1", 6379)
_PEER_PORT = 5002
# A kernel gives a connection up on which nothing was acknowledged for so long.
_BREAKS_AFTER = 4.0
_RETRY_SECONDS = 1.0
# A sender waits when so much of what it wrote was not read.
_WINDOW = 64 * 1024


def replica_address(replica: int) -> Address:
    """Return where a replica serves others."""
    return f"10.0.0.{replica + 1}", _PEER_PORT


def host_of(number: int) -> str:
    """Return the host of a replica, or of Redis (-1)."""
    return REDIS[0] if number < 0 else replica_address(number)[0]


class Network:
    """Which hosts reach each other, and who listens where.

    Attributes:
        latency: virtual seconds that a packet is under way.
        muted: addresses where connections are accepted, and nothing is answered.
    """

    def __init__(self, world: World, latency: float) -> None:
        self.world = world
        self.latency = latency
        self._cuts: set[frozenset[str]] = set()
        self.muted: set[Address] = set()
        self._listeners: dict[Address, list[tuple[Process, ProtocolFactory]]] = {}
        self._ends: list[End] = []

    # -- for scripts --------------------------------------------------------------------------

    def cut(self, one: str, other: str) -> None:
        """Drop every packet between two hosts from now on."""
        self.world.note(f"network: {one} and {other} are cut off")
        self._cuts.add(frozenset((one, other)))
        for end in list(self._ends):
            if self.is_cut(*end.hosts):
                end.break_later(_BREAKS_AFTER)

    def mend(self, one: str, other: str) -> None:
        """Let two hosts reach each other again."""
        self._cuts.discard(frozenset((one, other)))
        self._go_on()

    def mend_all(self) -> None:
        """Let all hosts reach each other again."""
        self._cuts.clear()
        self._go_on()

    def is_cut(self, one: str, other: str) -> bool:
        """Whether nothing passes between two hosts."""
        return frozenset((one, other)) in self._cuts

    def _go_on(self) -> None:
        for end in list(self._ends):
            end.deliver_later(0.0)

    # -- for processes ------------------------------------------------------------------------

    def listen(self, address: Address, process: Process, factory: ProtocolFactory) -> None:
        """Have a process accept connections at an address, beside others that do."""
        self._listeners.setdefault(address, []).append((process, factory))

    def unlisten(self, address: Address, process: Process) -> None:
        """Have a process accept no more connections."""
        self._listeners[address] = [one for one in self._listeners[address] if one[0] != process]

    async def connect(self, process: Process, address: Address) -> "FakeSocket":
        """Wait until a connection stands, as a kernel does: the process need not accept it.

        Raises:
            ConnectionRefusedError: nobody listens there.
        """
        await asyncio.sleep(self.latency)
        while self.is_cut(process.host, address[0]):  # noqa: ASYNC110  # a kernel tries again
            await asyncio.sleep(_RETRY_SECONDS)
        listeners = [one for one in self._listeners.get(address, ()) if one[0].is_alive]
        if not listeners:
            raise ConnectionRefusedError(errno.ECONNREFUSED, f"{address} refuses the connection")
        server, factory = self.world.random.choice(listeners)
        near, far = End(self, process, address), End(self, server, address)
        near.join(far)
        self._ends += (near, far)
        if address not in self.muted:
            server.loop.call_soon(far.begin, factory)
        return FakeSocket(address, near)

    def drop(self, end: "End") -> None:
        """Forget an end that is closed."""
        if end in self._ends:
            self._ends.remove(end)


class FakeSocket:
    """The socket of a connection, as far as anybody asks it."""

    family = socket.AF_INET
    type = socket.SOCK_STREAM
    proto = socket.IPPROTO_TCP

    def __init__(self, address: Address, end: "End") -> None:
        self._address = address
        self.end = end

    def setsockopt(self, *_: Any) -> None:
        """Do nothing."""

    def getsockopt(self, *_: Any) -> int:
        """Return the value of every option."""
        return 0

    def getpeername(self) -> Address:
        """Return the address of the other end."""
        return self._address

    def close(self) -> None:
        """Close the connection."""
        self.end.close()


class End(asyncio.Transport):
    """One end of a connection."""

    def __init__(self, network: Network, process: Process, address: Address) -> None:
        # With a context of TLS, nobody asks for the socket's descriptor: there is none.
        facts = {"peername": address, "sockname": (process.host, 1), "sslcontext": True}
        super().__init__(facts)
        self._network = network
        self._process = process
        self._protocol: Any = None
        self._other: End = self
        # Bytes that came, None for the end of them, or the error of a reset.
        self._incoming: deque[bytes | Exception | None] = deque()
        self._arrived = 0
        self._unread = 0
        self._is_reading = True
        self._is_paused = False
        self._is_closing = False
        self._is_lost = False
        process.on_kill.append(self._on_kill)

    def join(self, other: "End") -> None:
        """Connect two ends."""
        self._other, other._other = other, self

    @property
    def hosts(self) -> tuple[str, str]:
        """The hosts of both ends."""
        return self._process.host, self._other._process.host

    def begin(self, factory: ProtocolFactory) -> None:
        """Hand the connection to a protocol."""
        if not self._is_lost:
            self.set_protocol(factory())
            self._protocol.connection_made(self)
            self._deliver()

    # -- what an application calls (`asyncio.Transport`) ----------------------------------------

    @override
    def write(self, data: Any) -> None:
        if self._is_closing or self._is_lost or not data:
            return
        if self._other._is_lost:
            self._process.loop.call_soon(
                self._lose, ConnectionResetError(errno.ECONNRESET, "reset")
            )
            return
        self._other._unread += len(data)
        self._other._accept(bytes(data))
        if self._other._unread > _WINDOW and not self._is_paused:
            self._is_paused = True
            self._protocol.pause_writing()

    @override
    def writelines(self, list_of_data: Any) -> None:
        self.write(b"".join(list_of_data))

    @override
    def write_eof(self) -> None:
        self._other._accept(None)

    @override
    def can_write_eof(self) -> bool:
        return True

    @override
    def close(self) -> None:
        if not self._is_closing:
            self._is_closing = True
            self._other._accept(None)
            self._process.loop.call_soon(self._lose, None)

    @override
    def abort(self) -> None:
        if not self._is_lost:
            self._is_closing = True
            self._other._accept(ConnectionResetError(errno.ECONNRESET, "reset by peer"))
            self._process.loop.call_soon(self._lose, None)

    @override
    def is_closing(self) -> bool:
        return self._is_closing or self._is_lost

    @override
    def pause_reading(self) -> None:
        self._is_reading = False

    @override
    def resume_reading(self) -> None:
        self._is_reading = True
        self.deliver_later(0.0)

    @override
    def is_reading(self) -> bool:
        return self._is_reading

    @override
    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._protocol = protocol

    @override
    def get_protocol(self) -> Any:
        return self._protocol

    @override
    def get_write_buffer_size(self) -> int:
        return self._other._unread

    @override
    def get_write_buffer_limits(self) -> tuple[int, int]:
        return 0, _WINDOW

    @override
    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Do nothing: the window stays."""

    # -- packets ------------------------------------------------------------------------------

    def deliver_later(self, seconds: float) -> None:
        """Look after a while at what has come."""
        if self._process.is_alive:
            self._process.loop.call_later(seconds, self._deliver)

    def break_later(self, seconds: float) -> None:
        """Lose the connection unless its link is mended by then."""
        if self._process.is_alive:
            self._process.loop.call_later(seconds, self._break)

    def _break(self) -> None:
        if self._network.is_cut(*self.hosts):
            self._lose(TimeoutError(errno.ETIMEDOUT, "nothing was acknowledged"))

    def _on_kill(self) -> None:
        if not self._is_lost:
            self._is_lost = True
            self._network.drop(self)
            self._other._accept(ConnectionResetError(errno.ECONNRESET, "the other end has died"))

    def _accept(self, item: bytes | Exception | None) -> None:
        """Have something arrive here a moment later."""
        if self._is_lost or not self._process.is_alive:
            return
        self._incoming.append(item)
        self._process.loop.call_later(self._network.latency, self._arrive)

    def _arrive(self) -> None:
        self._arrived += 1
        self._deliver()

    def _deliver(self) -> None:
        """Pass on what has come, as far as the link, the protocol, and its pauses let it."""
        while self._arrived and not self._is_lost and self._protocol is not None:
            if self._network.is_cut(*self.hosts) or not self._is_reading:
                return
            self._arrived -= 1
            self._take(self._incoming.popleft())

    def _take(self, item: bytes | Exception | None) -> None:
        match item:
            case bytes():
                self._unread -= len(item)
                self._other._resume()
                self._protocol.data_received(item)
            case None:
                if not self._protocol.eof_received():
                    self.close()
            case _:
                self._lose(item)

    def _resume(self) -> None:
        if self._is_paused and self._other._unread <= _WINDOW and self._process.is_alive:
            self._is_paused = False
            self._process.loop.call_soon(self._tell_resumed)

    def _tell_resumed(self) -> None:
        if not self._is_lost:
            self._protocol.resume_writing()

    def _lose(self, error: Exception | None) -> None:
        if self._is_lost:
            return
        self._is_lost = self._is_closing = True
        self._network.drop(self)
        if self._protocol is not None:
            self._protocol.connection_lost(error)


def _end_of(sock: FakeSocket) -> End:
    sock.end._extra["socket"] = sock  # type: ignore[attr-defined]  # asyncio's own dictionary
    return sock.end


async def create_connection(
    process: Process, factory: ProtocolFactory, address: Address | None, sock: FakeSocket | None
) -> tuple[End, asyncio.BaseProtocol]:
    """Connect as `loop.create_connection` does: to an address, or by a socket that is connected."""
    network: Network | None = process.world.network
    if network is None:
        raise OSError(errno.ENETUNREACH, "this world has no network")
    if sock is None:
        assert address is not None
        sock = await network.connect(process, address)
    end = _end_of(sock)
    end.begin(factory)
    if end._protocol is None:
        raise ConnectionResetError(errno.ECONNRESET, "reset by peer")
    return end, end.get_protocol()


def install() -> None:
    """Have aiohttp's clients connect within a world, once in the life of this (real) process."""
    start_connection = aiohappyeyeballs.start_connection

    async def start(addr_infos: Any, **options: Any) -> Any:
        process = World.current
        if process is None or process.world.network is None:
            return await start_connection(addr_infos, **options)
        return await process.world.network.connect(process, tuple(addr_infos[0][4][:2]))

    aiohappyeyeballs.start_connection = start
    # It reads the metadata of its distribution for each connection.
    utils.get_lib_version = cache(utils.get_lib_version)
    utils.get_lib_version()
