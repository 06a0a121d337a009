"""What crossed a link, byte for byte: its frames, put together again to HTTP.

It needs no word of whoever sent or received it. That nothing was missed shows by the kernel's
own count of the link's bytes.
"""

import re
import socket
import struct
import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

_ALL = 0x0003  # every protocol, by <linux/if_ether.h>
_IP = 0x0800
_TCP = 6
_OUTGOING = 4  # by <linux/if_packet.h>
_ETHERNET = 14
_LONGEST = 128 * 1024
_BUFFER = 64 * 1024 * 1024
_SO_RCVBUFFORCE = 33
_WAIT = 0.1  # seconds
_STATUS = re.compile(rb"HTTP/1\.1 (\d{3}) ")
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)

Flow = tuple[int, int]
"""The port of the near side, and of the far side."""


@dataclass(slots=True)
class _Stream:
    """One direction of a connection: its segments by their place."""

    first: int | None = None
    segments: dict[int, bytes] = field(default_factory=dict)

    def add(self, sequence: int, syn: bool, payload: bytes) -> None:
        if syn:
            self.first = (sequence + 1) % 2**32
        elif self.first is not None and payload:
            offset = (sequence - self.first) % 2**32
            if len(payload) > len(self.segments.get(offset, b"")):
                self.segments[offset] = payload

    def whole(self) -> bytes:
        """All of it, what was sent twice once."""
        body = bytearray()
        for offset, payload in sorted(self.segments.items()):
            assert offset <= len(body), "a segment is missing"
            body += payload[len(body) - offset :]
        return bytes(body)


class Tap:
    """What was seen on an interface."""

    def __init__(self, interface: str, far_port: int) -> None:
        self._far_port = far_port
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)  # deaf until bound
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER)
        self._socket.bind((interface, _ALL))
        self._socket.settimeout(_WAIT)
        self._streams: dict[tuple[Flow, bool], _Stream] = defaultdict(_Stream)
        self._is_over = False
        self.received = 0
        self._thread = threading.Thread(target=self._listen)
        self._thread.start()

    def close(self) -> None:
        """Stop listening, once nothing more comes."""
        self._is_over = True
        self._thread.join()
        self._socket.close()

    def body_bytes(self) -> int:
        """Of the bodies of all answers with a 2xx status."""
        return sum(
            size
            for (flow, is_in), stream in self._streams.items()
            if is_in
            for size in _bodies(self._streams[flow, False].whole(), stream.whole())
        )

    def _listen(self) -> None:
        while True:
            try:
                frame, (_, _, kind, *_) = self._socket.recvfrom(_LONGEST)
            except TimeoutError:
                if self._is_over:
                    return
                continue
            if kind != _OUTGOING:
                self.received += len(frame)
            self._take(frame, kind != _OUTGOING)

    def _take(self, frame: bytes, is_in: bool) -> None:
        if struct.unpack_from("!H", frame, 12)[0] != _IP or frame[_ETHERNET + 9] != _TCP:
            return
        (length,) = struct.unpack_from("!H", frame, _ETHERNET + 2)
        tcp = _ETHERNET + 4 * (frame[_ETHERNET] & 0xF)
        source, target, sequence = struct.unpack_from("!HHI", frame, tcp)
        begin = tcp + 4 * (frame[tcp + 12] >> 4)
        # A frame that the kernel has not cut yet may be too long for the field that says so.
        end = _ETHERNET + length if length else len(frame)
        flow = (target, source) if is_in else (source, target)
        if self._far_port in flow:
            is_syn = bool(frame[tcp + 13] & 0x02)
            self._streams[flow, is_in].add(sequence, is_syn, frame[begin:end])


def _bodies(asked: bytes, answered: bytes) -> Iterator[int]:
    """The length of each body that came, whole or cut, of answers with a 2xx status."""
    methods = [request.split(b" ", 1)[0] for request in asked.split(b"\r\n\r\n") if request]
    at = 0
    for method in methods:
        end = answered.find(b"\r\n\r\n", at)
        if end < 0:
            return
        head = answered[at:end]
        status, length = _STATUS.match(head), _LENGTH.search(head)
        assert status is not None
        assert length is not None or method == b"HEAD", head
        at = end + 4
        if method == b"HEAD" or length is None:
            continue
        size = min(int(length[1]), len(answered) - at)
        at += size
        if status[1].startswith(b"2"):
            yield size


@contextmanager
def tap(interface: str, far_port: int) -> Iterator[Tap]:
    """Listen to an interface within this context; read what was seen after it."""
    made = Tap(interface, far_port)
    try:
        yield made
    finally:
        made.close()
