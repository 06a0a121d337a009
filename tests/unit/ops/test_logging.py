import json
import logging
from collections.abc import Iterator
from dataclasses import replace
from io import BytesIO, TextIOWrapper
from typing import Any

import pytest
import structlog

from cacheproxy.domain.events import (
    FillEnded,
    FillStarted,
    MetadataFailed,
    SharedStoreCalled,
    SharedStoreFound,
    SharedStoreLost,
    SharedStoreUnreadable,
    Unexpected,
    UpstreamAnswered,
    UpstreamReceived,
)
from cacheproxy.ops.logging import EventLog, Level, configure
from tests.unit.ops.events import BLOB, DIGEST, by


class Output:
    """What a process writes: text that becomes bytes, as standard output's does."""

    def __init__(self) -> None:
        self._bytes = BytesIO()
        self.stream = TextIOWrapper(self._bytes, encoding="utf-8", write_through=True)

    @property
    def text(self) -> str:
        """All of it."""
        return self._bytes.getvalue().decode()

    @property
    def lines(self) -> list[dict[str, Any]]:
        """Each line, which is a JSON object with a time."""
        lines = [json.loads(line) for line in self.text.splitlines()]
        assert all(line.pop("timestamp").endswith("Z") for line in lines)
        return lines


@pytest.fixture
def output() -> Iterator[Output]:
    """What is logged; afterwards logging is as it was."""
    root, server = logging.getLogger(), logging.getLogger("aiohttp.server")
    handlers, levels = root.handlers[:], (root.level, server.level)
    root.handlers[:] = []
    yield Output()
    root.handlers[:] = handlers
    root.setLevel(levels[0])
    server.setLevel(levels[1])
    structlog.reset_defaults()


def _fail() -> None:
    raise ZeroDivisionError("by zero")


def _log(output: Output, level: Level = "info") -> EventLog:
    configure(level, "json", output.stream)
    return EventLog()


def test_a_response_is_one_line(output: Output) -> None:
    """A response is one line with everything that was known of it."""
    _log(output).observe(BLOB)
    assert output.lines == [
        {
            "event": "request",
            "level": "info",
            "method": "GET",
            "target": f"/v2/library/nginx/blobs/{DIGEST}?ns=docker.io",
            "status": 200,
            "operation": "blob",
            "upstream": "docker.io",
            "repository": "library/nginx",
            "reference": DIGEST,
            "cache": "hit",
            "source": "store",
            "bytes": 1000,
            "first_byte": 0.0025,
            "duration": 0.2,
            "client": "192.0.2.7",
            "user_agent": "containerd/2.1.0",
        }
    ]


def test_an_error_is_said_where_there_is_one(output: Output) -> None:
    """The line of a response that failed has the sentence that says why."""
    _log(output).observe(replace(BLOB, error="upstream answered 500"))
    assert output.lines[0]["error"] == "upstream answered 500"


def test_what_operators_should_know_of_is_logged(output: Output) -> None:
    """Downloads and mistakes have lines of their own; facts that are only counted have none."""
    log = _log(output)
    log.observe(FillStarted("docker.io", DIGEST))
    log.observe(UpstreamReceived("docker.io", 5))
    log.observe(UpstreamAnswered("docker.io", "GET", 200, 0.1))
    log.observe(FillEnded("docker.io", DIGEST, None, 5, 1.23456))
    log.observe(FillEnded("docker.io", DIGEST, "it broke", 3, 2.0))
    committed, failed = output.lines
    assert committed == {
        "event": "fill committed",
        "level": "info",
        "upstream": "docker.io",
        "digest": DIGEST,
        "bytes": 5,
        "seconds": 1.235,
    }
    assert (failed["event"], failed["level"], failed["error"]) == (
        "fill failed",
        "warning",
        "it broke",
    )


def test_a_metadata_store_that_does_not_write_is_a_warning(output: Output) -> None:
    """What could not be kept is a line that says why, each time."""
    log = _log(output)
    log.observe(MetadataFailed("no room"))
    log.observe(MetadataFailed("no room"))
    line = {"event": "metadata not written", "level": "warning", "error": "no room"}
    assert output.lines == [line, line]


def test_how_redis_does_is_a_line_each(output: Output) -> None:
    """That it is lost, found, or has what others put there is a line, and a call is none."""
    log = _log(output)
    log.observe(SharedStoreLost("redis://r:6379", "it is gone"))
    log.observe(SharedStoreFound("redis://r:6379"))
    log.observe(SharedStoreUnreadable("k", "it is no link"))
    log.observe(SharedStoreCalled("answered"))
    url = "redis://r:6379"
    assert output.lines == [
        {"event": "shared metadata lost", "level": "warning", "url": url, "error": "it is gone"},
        {"event": "shared metadata found", "level": "info", "url": url},
        {
            "event": "shared metadata unreadable",
            "level": "warning",
            "key": "k",
            "error": "it is no link",
        },
    ]


def test_a_mistake_has_its_traceback_in_one_line(output: Output) -> None:
    """An unexpected error is one line, with the traceback in it."""
    log = _log(output)
    try:
        _fail()
    except ZeroDivisionError as error:
        log.observe(Unexpected(error))
    (line,) = output.lines
    assert (line["event"], line["level"]) == ("unexpected error", "error")
    assert "ZeroDivisionError: by zero" in line["exception"]
    assert "in _fail" in line["exception"]


@pytest.mark.parametrize(
    ("level", "count"), [("debug", 4), ("info", 3), ("warning", 2), ("error", 1)]
)
def test_the_level_says_what_is_logged(output: Output, level: Level, count: int) -> None:
    """What is less severe than the level is left out."""
    log = _log(output, level)
    log.observe(UpstreamAnswered("docker.io", "GET", None, 0.1))
    log.observe(BLOB)
    log.observe(FillEnded("docker.io", DIGEST, "it broke", 3, 2.0))
    log.observe(Unexpected(ZeroDivisionError()))
    assert len(output.lines) == count


@pytest.mark.parametrize(
    ("odd", "logged"),
    [
        pytest.param("caf\u00e9 \U0001f433", "caf\u00e9 \U0001f433", id="letters and a whale"),
        pytest.param("\udcff\udcfe", "\\udcff\\udcfe", id="bytes that are no UTF-8"),
        pytest.param("\ud83d", "\\ud83d", id="half of a pair"),
        pytest.param('a\n{"event":"forged"}\r\nb', 'a\n{"event":"forged"}\r\nb', id="lines"),
        pytest.param("\u2028\u2029\x85\x0b\x0c", "\u2028\u2029\x85\x0b\x0c", id="other line ends"),
        pytest.param("\x00\x1b[31mred", "\x00\x1b[31mred", id="control characters"),
        pytest.param('"\\', '"\\', id="quotes"),
        pytest.param("%s {} $x", "%s {} $x", id="formats"),
        pytest.param("x" * 100_000, "x" * 100_000, id="long"),
    ],
)
def test_nothing_that_a_client_sends_breaks_the_log(output: Output, odd: str, logged: str) -> None:
    """Whatever a client calls itself or asks for is one line of JSON."""
    event = by(odd)
    _log(output).observe(replace(event, asked=replace(event.asked, target=odd)))
    # Not by splitlines, which sees line ends where a reader of lines sees none.
    (line, nothing) = output.text.split("\n")
    assert nothing == ""
    read = json.loads(line)
    assert (read["user_agent"], read["target"]) == (logged, logged)
    assert str(read["status"]) == "200"


class _Odd:
    def __str__(self) -> str:
        return "odd \udcff"


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(b"\xff", id="bytes"),
        pytest.param(_Odd(), id="an object"),
        pytest.param({1, 2}, id="a set"),
        pytest.param({("a", 1): 2}, id="a dictionary with odd keys"),
        pytest.param(float("nan"), id="not a number"),
        pytest.param(float("inf"), id="for ever"),
        pytest.param(None, id="None"),
        pytest.param(1j, id="a complex number"),
        pytest.param(ValueError("x"), id="an exception"),
        pytest.param(DIGEST, id="a subclass of str"),
        pytest.param(["\udcff", b"\xff", {"a": _Odd()}], id="all within each other"),
    ],
)
def test_odd_values_are_logged_somehow(output: Output, value: object) -> None:
    """A line that holds a value of whatever type is one line of JSON."""
    _log(output)
    structlog.get_logger("cacheproxy").info("odd", value=value)
    (line,) = output.lines
    assert line["event"] == "odd"
    assert "value" in line


def test_other_libraries_are_logged_alike(output: Output) -> None:
    """Warnings of aiohttp and asyncio are lines of JSON too, with tracebacks in them."""
    _log(output, "debug")
    logger = logging.getLogger("asyncio")
    logger.info("chatter")
    logger.warning("odd %s", "\udcff")
    try:
        _fail()
    except ZeroDivisionError:
        logger.exception("it broke")
    warning, error = output.lines
    assert (warning["event"], warning["level"]) == ("odd \\udcff", "warning")
    assert (error["event"], error["level"]) == ("it broke", "error")
    assert "ZeroDivisionError" in error["exception"]


@pytest.mark.parametrize(
    ("level", "count"), [("debug", 1), ("info", 0), ("warning", 0), ("error", 0)]
)
def test_what_is_no_http_is_logged_for_those_who_look_for_it(
    output: Output, level: Level, count: int
) -> None:
    """Garbage that a client sends leaves a line at level debug, and none at any other."""
    for configured in ("debug", "info", level):  # whatever it was before
        _log(output, configured)
    try:
        _fail()
    except ZeroDivisionError:
        logging.getLogger("aiohttp.server").exception("Error handling request from 192.0.2.7")
    assert len(output.lines) == count
    logging.getLogger("aiohttp.client").warning("still heard")
    assert len(output.lines) == count + (level != "error")


def test_the_console_is_for_people(output: Output) -> None:
    """The other format is a line that reads well, in plain text where it is no terminal."""
    configure("info", "console", output.stream)
    EventLog().observe(BLOB)
    assert "request" in output.text
    assert "containerd/2.1.0" in output.text
    assert "\x1b" not in output.text
