"""Logs: one canonical line per request, and one for what an operator should know of.

Calls are synchronous: structlog's asynchronous ones cost a thread hop per line.
"""

import logging
import sys
from typing import Any, Literal, TextIO

import msgspec
import structlog

from cacheproxy.domain.events import (
    Event,
    FillEnded,
    MetadataFailed,
    Responded,
    SharedStoreFound,
    SharedStoreLost,
    SharedStoreUnreadable,
    TaskFailed,
    Unexpected,
    UpkeepFailed,
    UpstreamAnswered,
    UpstreamPaused,
    UpstreamResumed,
    Warmed,
    WarmFailed,
)
from cacheproxy.domain.store_events import (
    Damaged,
    Evicted,
    LedgerReplaced,
    StoreFailed,
    StoreRecovered,
)

Level = Literal["debug", "info", "warning", "error"]
_LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}


def configure(level: Level, log_format: Literal["json", "console"], stream: TextIO) -> None:
    """Say how to log, once per process, before anything does."""
    renderer: structlog.typing.Processor = (
        structlog.processors.JSONRenderer(serializer=_serialized)
        if log_format == "json"
        else structlog.dev.ConsoleRenderer(colors=stream.isatty())
    )
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    structlog.configure(
        processors=[*shared, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level]),
        # One write for a line with its end: workers share the stream.
        logger_factory=structlog.WriteLoggerFactory(stream),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    # Requests that are no HTTP: any client can send one, so it is worth no traceback, and no
    # line but for those who look for it.
    logging.getLogger("aiohttp.server").setLevel(
        logging.DEBUG if level == "debug" else logging.CRITICAL
    )
    # aiohttp and asyncio speak here: warnings of theirs are worth a line, their chatter is not.
    logging.basicConfig(level=max(_LEVELS[level], logging.WARNING), handlers=[handler], force=True)


def _serialized(line: dict[str, Any], **_: Any) -> str:  # noqa: ANN401  # as structlog calls it
    """JSON, whatever a client put into it: a stray byte in its name must not fail its pull."""
    try:
        return msgspec.json.encode(line, enc_hook=str).decode()
    except (UnicodeEncodeError, TypeError, msgspec.MsgspecError):
        return msgspec.json.encode({key: _printable(value) for key, value in line.items()}).decode()


def _printable(value: object) -> str:
    return str(value).encode("utf-8", "backslashreplace").decode()


class EventLog:
    """Writes events down (`Observer`)."""

    def __init__(self) -> None:
        # Bound once: to make a logger for each line costs as much as the line.
        self._log = structlog.get_logger("cacheproxy").bind()

    def observe(self, event: Event) -> None:
        """Write an event down, if it is one for the log."""
        match event:
            case Responded():
                self._responded(event)
            case FillEnded():
                self._filled(event)
            case UpstreamAnswered() | UpstreamPaused() | UpstreamResumed():
                self._upstream(event)
            case Evicted() | Damaged():
                self._left(event)
            case Warmed() | WarmFailed():
                self._warmed(event)
            case StoreFailed() | StoreRecovered() | LedgerReplaced():
                self._store(event)
            case Unexpected(error):
                self._log.error("unexpected error", exc_info=error)
            case _:
                self._own(event)

    def _filled(self, event: FillEnded) -> None:
        """A download has ended."""
        match event:
            case FillEnded(registry, digest, error, count, seconds) if error is not None:
                self._log.warning(
                    "fill failed",
                    upstream=registry,
                    digest=digest,
                    error=error,
                    bytes=count,
                    seconds=round(seconds, 3),
                )
            case FillEnded(registry, digest, _, count, seconds):
                self._log.info(
                    "fill committed",
                    upstream=registry,
                    digest=digest,
                    bytes=count,
                    seconds=round(seconds, 3),
                )

    def _warmed(self, event: Warmed | WarmFailed) -> None:
        """An image is in the cache before anybody asks for it, or could not be had."""
        match event:
            case Warmed() if event.is_news:
                self._log.info(
                    "image warmed",
                    image=event.image,
                    digest=event.digest,
                    before=event.before,
                    fetched_bytes=event.fetched_bytes,
                    replica_bytes=event.replica_bytes,
                    here_bytes=event.here_bytes,
                    seconds=event.seconds,
                )
            case Warmed(image, digest):
                self._log.debug("image still warm", image=image, digest=digest)
            case WarmFailed(image, error, seconds):
                self._log.warning("image not warmed", image=image, error=error, seconds=seconds)

    def _upstream(self, event: UpstreamAnswered | UpstreamPaused | UpstreamResumed) -> None:
        """How upstream does."""
        match event:
            case UpstreamAnswered(registry, method, status, seconds):
                self._log.debug(
                    "upstream answered",
                    upstream=registry,
                    method=method,
                    status=status,
                    seconds=round(seconds, 4),
                )
            case UpstreamPaused(registry, seconds, error):
                self._log.warning(
                    "upstream rests", upstream=registry, seconds=round(seconds, 1), error=error
                )
            case UpstreamResumed(registry):
                self._log.info("upstream answers again", upstream=registry)

    def _own(self, event: Event) -> None:
        """How what is ours does; pulls go on either way."""
        match event:
            case MetadataFailed(error):
                self._log.warning("metadata not written", error=error)
            case SharedStoreLost(url, error):
                self._log.warning("shared metadata lost", url=url, error=error)
            case SharedStoreFound(url):
                self._log.info("shared metadata found", url=url)
            case SharedStoreUnreadable(key, error):
                self._log.warning("shared metadata unreadable", key=key, error=error)
            case UpkeepFailed(error):
                self._log.warning("store not looked after", error=error)
            case TaskFailed(task, failure, pause):
                self._log.error("background task failed", task=task, pause=pause, exc_info=failure)
            case _:
                pass

    def _store(self, event: StoreFailed | StoreRecovered | LedgerReplaced) -> None:
        """Log whether blobs are stored."""
        match event:
            case StoreFailed(error):
                self._log.error("nothing is stored", error=error)
            case StoreRecovered():
                self._log.info("blobs are stored again")
            case LedgerReplaced(reason):
                self._log.warning("ledger made anew from the cache directory", reason=reason)

    def _left(self, event: Evicted | Damaged) -> None:
        """A blob is not in the store any more."""
        match event:
            case Evicted(registry, digest, size, reason, age):
                self._log.info(
                    "evicted",
                    upstream=registry,
                    digest=digest,
                    bytes=size,
                    reason=reason,
                    age=round(age, 1),
                )
            case Damaged(digest, problem, outcome, detail):
                self._log.error(
                    "stored blob damaged",
                    digest=digest,
                    problem=problem,
                    outcome=outcome,
                    detail=detail,
                )

    def _responded(self, event: Responded) -> None:
        asked = event.asked
        fields = {
            "method": asked.method,
            "target": asked.target,
            "status": event.status,
            "operation": asked.operation,
            "upstream": asked.registry,
            "repository": asked.repository,
            "reference": asked.reference,
            "cache": event.outcome,
            "source": event.source,
            "bytes": event.body_bytes,
            "first_byte": round(event.first_byte, 4),
            "duration": round(event.duration, 4),
            "client": asked.client,
            "user_agent": asked.user_agent,
        }
        if event.error is not None:
            fields["error"] = event.error
        self._log.info("request", **fields)


def to_stdout(
    level: Level, log_format: Literal["json", "console"], worker: int | None = None
) -> None:
    """Log to standard output, where containers are expected to.

    Args:
        level: the least severe that is logged.
        log_format: JSON for machines, console for people.
        worker: which of several processes this is; said in each line.
    """
    configure(level, log_format, sys.stdout)
    if worker is not None:
        structlog.contextvars.bind_contextvars(worker=worker)
