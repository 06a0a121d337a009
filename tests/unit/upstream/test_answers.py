import errno
import ssl

import aiohttp
import pytest
from yarl import URL

from cacheproxy.domain.errors import (
    BlobUnknown,
    CacheproxyError,
    Denied,
    ManifestUnknown,
    UpstreamLimited,
    UpstreamRefused,
    UpstreamTimeout,
    UpstreamUnavailable,
)
from cacheproxy.domain.rate_limit import RateLimit
from cacheproxy.upstream.answers import (
    content_range,
    error_of,
    rate_limit,
    retry_after,
    translated,
)

_NOW = 1_672_531_200.0  # Sun, 01 Jan 2023 00:00:00 GMT


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (404, ManifestUnknown),
        (401, Denied),
        (403, Denied),
        (429, UpstreamLimited),
        (408, UpstreamTimeout),
        (504, UpstreamTimeout),
        (400, UpstreamRefused),
        (405, UpstreamRefused),
        (416, UpstreamRefused),
        (451, UpstreamRefused),
        (501, UpstreamRefused),
        (500, UpstreamUnavailable),
        (502, UpstreamUnavailable),
        (503, UpstreamUnavailable),
        (599, UpstreamUnavailable),
        (304, UpstreamUnavailable),
        (302, UpstreamUnavailable),
        (101, UpstreamUnavailable),
    ],
)
def test_each_status_is_an_error(status: int, error: type[CacheproxyError]) -> None:
    """Each status but success is one error of ours, whose sentence has it and the request."""
    made = error_of(status, "GET /v2/a/manifests/1", {}, ManifestUnknown, _NOW)
    assert type(made) is error
    assert str(made) == f"upstream answered {status} to GET /v2/a/manifests/1"


def test_what_is_missing_depends_on_what_was_asked() -> None:
    """A 404 is the error that the request says it is."""
    assert type(error_of(404, "x", {}, BlobUnknown, _NOW)) is BlobUnknown


def test_a_limit_says_how_long_to_wait() -> None:
    """A 429 keeps what Retry-After says, and None where it says nothing."""
    limited = error_of(429, "x", {"Retry-After": "17"}, BlobUnknown, _NOW)
    assert isinstance(limited, UpstreamLimited)
    assert limited.retry_after == 17.0
    silent = error_of(429, "x", {}, BlobUnknown, _NOW)
    assert isinstance(silent, UpstreamLimited)
    assert silent.retry_after is None


@pytest.mark.parametrize(
    ("field", "seconds"),
    [
        pytest.param(None, None, id="none"),
        pytest.param("", None, id="empty"),
        pytest.param("soon", None, id="a word"),
        pytest.param("0", 0.0, id="zero"),
        pytest.param("120", 120.0, id="seconds"),
        pytest.param("1.5", 1.5, id="a fraction"),
        pytest.param("-5", 0.0, id="negative"),
        pytest.param("86400", 300.0, id="a day"),
        pytest.param("nan", 0.0, id="not a number"),
        pytest.param("inf", 300.0, id="for ever"),
        pytest.param(str(int(_NOW) + 45), 45.0, id="seconds since the epoch"),
        pytest.param(str(int(_NOW) - 45), 0.0, id="seconds since the epoch, past"),
        pytest.param("Sun, 01 Jan 2023 00:00:30 GMT", 30.0, id="a date"),
        pytest.param("Sun, 01 Jan 2023 01:00:30 +0100", 30.0, id="a date elsewhere"),
        pytest.param("Sat, 31 Dec 2022 23:59:00 GMT", 0.0, id="a date that is past"),
        pytest.param("Thu, 01 Jan 1970 00:00:00 GMT", 0.0, id="the epoch"),
        pytest.param("Sun, 06 Nov 1994 08:49:37 GMT", 0.0, id="a date before 2001"),
        pytest.param("Sunday, 06-Nov-94 08:49:37 GMT", 0.0, id="an old date, in RFC 850's form"),
        pytest.param("Mon, 01 Jan 0001 00:00:00 +1400", 0.0, id="before the first date"),
        pytest.param("Sun, 01 Jan 2024 00:00:00 GMT", 300.0, id="a date in a year"),
        pytest.param("Sun, 99 Jan 2023 00:00:00 GMT", None, id="no date"),
    ],
)
def test_retry_after(field: str | None, seconds: float | None) -> None:
    """Every form of Retry-After is seconds from now, at most five minutes."""
    assert retry_after(field, _NOW) == seconds


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        pytest.param("bytes 0-9/100", (0, 9, 100), id="known total"),
        pytest.param("bytes 5-9/*", (5, 9, None), id="unknown total"),
        pytest.param(None, None, id="none"),
        pytest.param("", None, id="empty"),
        pytest.param("bytes */100", None, id="unsatisfied"),
        pytest.param("bytes 0-9", None, id="no total"),
        pytest.param("items 0-9/100", None, id="another unit"),
        pytest.param("bytes=0-9/100", None, id="as in a request"),
        pytest.param("bytes 0-9/100 ", None, id="trailing space"),
        pytest.param("bytes -5-9/100", None, id="negative"),
        pytest.param("bytes \u0661-\u0662/\u0663", None, id="digits of another script"),
        pytest.param("bytes 0-" + "9" * 5000 + "/*", None, id="thousands of digits"),
    ],
)
def test_content_range(field: str | None, expected: tuple[int, int, int | None] | None) -> None:
    """A Content-Range is three numbers, or it is none."""
    assert content_range(field) == expected


@pytest.mark.parametrize(
    ("field", "left"),
    [("76;w=21600", 76), ("100", 100), ("0;w=21600", 0), ("", None), ("x", None), ("-1", None)],
)
def test_what_is_left_of_the_rate_limit(field: str, left: int | None) -> None:
    """Docker Hub's field is read up to its window."""
    read = rate_limit({"ratelimit-remaining": field})
    assert (read.remaining if read else None) == left
    assert rate_limit({}) is None


def test_what_the_rate_limit_is() -> None:
    """Its bound, its window and whose it is are read from fields of their own."""
    fields = {
        "ratelimit-limit": "100;w=21600",
        "ratelimit-remaining": "76;w=21600",
        "docker-ratelimit-source": "192.0.2.1",
    }
    assert rate_limit(fields) == RateLimit(76, 100, 21600.0, "192.0.2.1")
    assert rate_limit({"ratelimit-remaining": "5"}) == RateLimit(5)


_SIGNED = URL("https://cdn.example/blob?X-Amz-Signature=secret")
_REQUEST = aiohttp.RequestInfo(_SIGNED, "GET", None, _SIGNED)  # type: ignore[arg-type]  # no headers needed


@pytest.mark.parametrize(
    ("raised", "error", "sentence"),
    [
        pytest.param(TimeoutError(), UpstreamTimeout, "r did not answer in time", id="timeout"),
        pytest.param(
            aiohttp.SocketTimeoutError("x"),
            UpstreamTimeout,
            "r did not answer in time",
            id="socket",
        ),
        pytest.param(
            aiohttp.ServerDisconnectedError(),
            UpstreamUnavailable,
            "r cannot be read from: ServerDisconnectedError",
            id="disconnected",
        ),
        pytest.param(
            aiohttp.ClientPayloadError("x"),
            UpstreamUnavailable,
            "r cannot be read from: ClientPayloadError",
            id="a body that breaks off",
        ),
        pytest.param(
            ConnectionRefusedError(111, "Connection refused"),
            UpstreamUnavailable,
            "r cannot be read from: Connection refused",
            id="refused",
        ),
        pytest.param(
            ssl.SSLError(1, "certificate verify failed"),
            UpstreamUnavailable,
            "r cannot be read from: TLS: sslerror",
            id="TLS",
        ),
        pytest.param(
            aiohttp.ClientOSError(errno.ETIMEDOUT, "Connection timed out"),
            UpstreamTimeout,
            "r did not answer in time",
            id="a connection that nobody is at the end of",
        ),
        pytest.param(
            aiohttp.InvalidURL(str(_SIGNED)),
            UpstreamUnavailable,
            "r cannot be read from: InvalidURL",
            id="a URL that is none",
        ),
        pytest.param(
            aiohttp.ClientResponseError(_REQUEST, (), status=400, message="Bad header"),
            UpstreamUnavailable,
            "r cannot be read from: ClientResponseError",
            id="an answer that is none",
        ),
        pytest.param(
            ValueError(str(_SIGNED)),
            UpstreamUnavailable,
            "r cannot be read from: ValueError",
            id="value",
        ),
    ],
)
def test_what_goes_wrong_is_translated(
    raised: Exception, error: type[CacheproxyError], sentence: str
) -> None:
    """Whatever a client library raises is an error of ours, which names no URL."""
    with pytest.raises(error) as caught, translated("r"):
        raise raised
    assert str(caught.value).startswith(sentence)
    assert "secret" not in str(caught.value)
    assert caught.value.__cause__ is raised


@pytest.mark.parametrize("raised", [KeyError("x"), Denied("x"), ZeroDivisionError()])
def test_nothing_else_is(raised: Exception) -> None:
    """Our own errors pass as they are, and our mistakes are not upstream's."""
    with pytest.raises(type(raised)) as caught, translated("r"):
        raise raised
    assert caught.value is raised
