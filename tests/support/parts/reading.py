"""A client that reads a blob, or a part of it, or leaves in the middle."""

import http.client
from dataclasses import dataclass

_TIMEOUT = 60.0  # seconds without a byte
_PIECE = 64 * 1024


@dataclass(frozen=True, slots=True)
class Read:
    """One request for a blob, and all that came of it.

    Attributes:
        result: `whole`, `part` or `left`; `cut` if the connection broke; else the status.
        start: of the body, in the blob.
        body: the bytes that came, empty for an error.
    """

    result: str
    start: int = 0
    body: bytes = b""

    @property
    def was_cut(self) -> bool:
        """Whether the connection broke, or was never made."""
        return self.result == "cut"


def read(
    port: int, target: str, start: int = 0, stop: int | None = None, leave: int | None = None
) -> Read:
    """Ask for a blob.

    Args:
        port: of the proxy, on this host.
        target: of the blob.
        start: of the part to ask for.
        stop: of that part; None for the whole blob.
        leave: hang up after so many bytes.
    """
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_TIMEOUT)
    body = bytearray()
    try:
        headers = {} if stop is None else {"Range": f"bytes={start}-{stop - 1}"}
        connection.request("GET", target, headers=headers)
        response = connection.getresponse()
        expected = 200 if stop is None else 206
        if response.status != expected:
            return Read(str(response.status))
        while piece := response.read1(_PIECE):
            body += piece
            if leave is not None and len(body) >= leave:
                return Read("left", start, bytes(body))
        is_short = response.length not in (0, None)
        result = "cut" if is_short else "whole" if stop is None else "part"
        return Read(result, start, bytes(body))
    except (OSError, http.client.HTTPException):
        return Read("cut", start, bytes(body))
    finally:
        connection.close()
