"""What is logged, as production logs it, kept in memory."""

import io
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import structlog

from cacheproxy.ops.logging import configure


class Log:
    """What was written to standard output."""

    def __init__(self, stream: io.StringIO) -> None:
        self._stream = stream

    @property
    def text(self) -> str:
        """All of it."""
        return self._stream.getvalue()

    @property
    def lines(self) -> list[dict[str, Any]]:
        """Each line, all of which are JSON."""
        return [json.loads(line) for line in self.text.splitlines()]

    @property
    def requests(self) -> list[dict[str, Any]]:
        """The canonical lines of requests."""
        return [line for line in self.lines if line["event"] == "request"]


@contextmanager
def logged() -> Iterator[Log]:
    """Logging as in production, at its most talkative, into memory; for proxies made within it."""
    root, stream = logging.getLogger(), io.StringIO()
    handlers, level = root.handlers[:], root.level
    root.handlers.clear()  # or they would be closed
    configure("debug", "json", stream)
    try:
        yield Log(stream)
    finally:
        structlog.reset_defaults()
        root.handlers[:] = handlers
        root.setLevel(level)
