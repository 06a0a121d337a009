"""Orders of a supervisor to a worker, and the worker's report, over a pair of sockets."""

import asyncio
import pickle
import struct
from dataclasses import dataclass
from typing import cast

from typing_extensions import override

from cacheproxy.settings.model import Settings

SERVES = ""
"""The report of a worker that serves; any other text says why it cannot."""

_LENGTH = struct.Struct(">I")
_END_OF_REPORT = b"\0"
_NO_REPORT = "a worker died before it served; its output says why"


@dataclass(frozen=True, slots=True)
class Orders:
    """The state that a worker should be in; newer orders replace older ones.

    Attributes:
        settings: to serve by.
        is_leaving: the replica ends, and not this worker alone.
    """

    settings: Settings
    is_leaving: bool = False


class WorkerLink(asyncio.Protocol):
    """The supervisor's end of the connection to a worker.

    Sending never waits. While the worker does not read, only the newest orders are kept for it.
    """

    def __init__(self) -> None:
        self.report: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._received = b""
        self._transport: asyncio.Transport | None = None
        self._is_full = False
        self._pending: Orders | None = None

    def send(self, orders: Orders) -> None:
        """Send orders, as soon as the worker reads; nothing once it has died."""
        self._pending = orders
        self._flush()

    def close(self) -> None:
        """Close the connection at once."""
        if self._transport is not None:
            self._transport.abort()

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin; asyncio calls this."""
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(high=0)

    @override
    def pause_writing(self) -> None:
        """Keep orders back while the socket takes no more; asyncio calls this."""
        self._is_full = True

    @override
    def resume_writing(self) -> None:
        """Send what was kept back; asyncio calls this."""
        self._is_full = False
        self._flush()

    @override
    def data_received(self, data: bytes) -> None:
        """Take the report once it is complete; asyncio calls this."""
        self._received += data
        text, end, _ = self._received.partition(_END_OF_REPORT)
        if end and not self.report.done():
            self.report.set_result(text.decode())

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        """End the wait for a report; asyncio calls this."""
        if not self.report.done():
            self.report.set_result(_NO_REPORT)

    def _flush(self) -> None:
        if self._transport is None or self._transport.is_closing() or self._is_full:
            return
        orders, self._pending = self._pending, None
        if orders is not None:
            written = pickle.dumps(orders)
            self._transport.write(_LENGTH.pack(len(written)) + written)


async def read_orders(supervisor: asyncio.StreamReader) -> Orders | None:
    """Read the next orders; None once the supervisor is gone."""
    try:
        (length,) = _LENGTH.unpack(await supervisor.readexactly(_LENGTH.size))
        written = await supervisor.readexactly(length)
    except (asyncio.IncompleteReadError, OSError):
        return None
    orders: Orders = pickle.loads(written)  # noqa: S301  # of our supervisor
    return orders


def write_report(supervisor: asyncio.StreamWriter, text: str) -> None:
    """Tell the supervisor that this worker serves (`SERVES`), or why it cannot."""
    supervisor.write(text.encode() + _END_OF_REPORT)
