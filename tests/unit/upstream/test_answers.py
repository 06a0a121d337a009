import errno
import ssl

import aiohttp
import pytest
from multidict import CIMultiDict
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
    redirect_target,
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


@pytest.mark.parametrize(
    ("status", "fields", "wait"),
    [
        pytest.param(429, {"Retry-After": "17"}, 17.0, id="a 429"),
        pytest.param(429, {"RateLimit-Reset": "9"}, 9.0, id="a 429 with a reset"),
        pytest.param(429, {"x-ratelimit-reset": str(int(_NOW) + 9)}, 9.0, id="a reset's time"),
        pytest.param(429, {"RateLimit": "limit=5, remaining=0, reset=9"}, 9.0, id="one field"),
        pytest.param(429, {"Retry-After": "3", "RateLimit-Reset": "9"}, 3.0, id="both"),
        pytest.param(403, {"Retry-After": "17"}, 17.0, id="a 403"),
        pytest.param(
            403, {"x-ratelimit-remaining": "0", "x-ratelimit-reset": "20"}, 20.0, id="a 403's quota"
        ),
    ],
)
def test_a_limit_is_one_by_any_status(status: int, fields: dict[str, str], wait: float) -> None:
    """A 403 that says when to come back is a limit as a 429 is, and the wait is what it says."""
    made = error_of(status, "x", CIMultiDict(fields), BlobUnknown, _NOW)
    assert isinstance(made, UpstreamLimited)
    assert made.retry_after == wait


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param({}, id="no wait"),
        pytest.param({"x-ratelimit-remaining": "5", "x-ratelimit-reset": "20"}, id="pulls left"),
        pytest.param({"x-ratelimit-remaining": "0"}, id="no time"),
        pytest.param({"Retry-After": "5", "WWW-Authenticate": "Basic"}, id="a challenge"),
    ],
)
def test_another_403_is_a_refusal(fields: dict[str, str]) -> None:
    """A 403 that does not say when to come back, or that challenges, is no limit."""
    assert type(error_of(403, "x", fields, BlobUnknown, _NOW)) is Denied


def test_a_503_says_when_to_come_back() -> None:
    """A 503 is a failure that keeps what its Retry-After says."""
    made = error_of(503, "x", {"Retry-After": "7"}, BlobUnknown, _NOW)
    assert type(made) is UpstreamUnavailable
    assert made.retry_after == 7.0


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
        pytest.param("30s", 30.0, id="a unit"),
        pytest.param("1.5 m", 90.0, id="minutes"),
        pytest.param("880ms", 0.88, id="milliseconds"),
        pytest.param(str(int(_NOW + 45) * 1000), 45.0, id="milliseconds since the epoch"),
        pytest.param("2023-01-01T00:00:30Z", 30.0, id="ISO 8601"),
        pytest.param("2023-01-01T00:00:30", 30.0, id="ISO 8601 without a zone"),
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
    read = rate_limit({"ratelimit-remaining": field}, _NOW)
    assert (read.remaining if read else None) == left
    assert rate_limit({}, _NOW) is None


def test_what_the_rate_limit_is() -> None:
    """Its bound, its window and whose it is are read from fields of their own."""
    fields = {
        "ratelimit-limit": "100;w=21600",
        "ratelimit-remaining": "76;w=21600",
        "docker-ratelimit-source": "192.0.2.1",
    }
    assert rate_limit(fields, _NOW) == RateLimit(76, 100, 21600.0, "192.0.2.1")
    assert rate_limit({"ratelimit-remaining": "5"}, _NOW) == RateLimit(5)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        pytest.param(
            {"ratelimit-limit": "100", "ratelimit-remaining": "7", "ratelimit-reset": "30"},
            RateLimit(7, 100, 30.0),
            id="seconds until the reset",
        ),
        pytest.param(
            {"ratelimit-remaining": "7;w=21600", "ratelimit-reset": "30"},
            RateLimit(7, None, 30.0),
            id="a reset within a window",
        ),
        pytest.param(
            {"x-ratelimit-remaining": "7", "x-ratelimit-reset": str(int(_NOW) + 30)},
            RateLimit(7, None, 30.0),
            id="the time of the reset",
        ),
        pytest.param(
            {"x-ratelimit-remaining": "7", "x-ratelimit-reset": "2023-01-01T00:00:30Z"},
            RateLimit(7, None, 30.0),
            id="the time of the reset, as a date",
        ),
        pytest.param(
            {"ratelimit-remaining": "7", "ratelimit-reset": "-9"},
            RateLimit(7, None, 0.0),
            id="a reset in the past",
        ),
        pytest.param(
            {"ratelimit-remaining": "7", "ratelimit-reset": "nan"},
            RateLimit(7, None, 0.0),
            id="no number",
        ),
        pytest.param(
            {"ratelimit-remaining": "7", "ratelimit-reset": "1e300"},
            RateLimit(7, None, 86_400.0),
            id="for ever",
        ),
        pytest.param(
            {"RateLimit": "limit=100, remaining=7, reset=30"},
            RateLimit(7, 100, 30.0),
            id="one field",
        ),
        pytest.param(
            {"RateLimit": '"default";r=7;t=30', "RateLimit-Policy": '"default";q=100;w=60'},
            RateLimit(7, 100, 30.0),
            id="structured fields",
        ),
        pytest.param(
            {"RateLimit": '"default";r=7', "RateLimit-Policy": '"default";q=100;w=60'},
            RateLimit(7, 100, 60.0),
            id="a window in the policy",
        ),
        pytest.param(
            {"ratelimit-remaining": "7", "ratelimit-window": "60"},
            RateLimit(7, None, 60.0),
            id="a window of its own",
        ),
        pytest.param(
            {"ratelimit-remaining": "7", "ratelimit-window": "soon"},
            RateLimit(7),
            id="a window that is none",
        ),
        pytest.param({"RateLimit": "soon"}, None, id="a word"),
        pytest.param({"ratelimit-limit": "100", "ratelimit-reset": "30"}, None, id="no remainder"),
    ],
)
def test_a_quota_is_read_in_any_words(fields: dict[str, str], expected: RateLimit | None) -> None:
    """A quota counts until its reset, however a registry names its fields and writes the time."""
    assert rate_limit(fields, _NOW) == expected


@pytest.mark.parametrize(
    ("location", "target"),
    [
        pytest.param("https://s.test/a b?c=d e", "https://s.test/a%20b?c=d%20e", id="raw spaces"),
        pytest.param("https://s.test/a?sig=%2B#part", "https://s.test/a?sig=%2B", id="a fragment"),
        pytest.param(" /other ", "https://r.test/other", id="spaces around"),
        pytest.param("b%2Fc", "https://r.test/v2/b%2Fc", id="a relative path"),
    ],
)
def test_a_location_is_read_as_people_write_it(location: str, target: str) -> None:
    """A Location may have raw spaces and a fragment; the rest stays as it is signed."""
    base = URL("https://r.test/v2/a")
    assert str(redirect_target(307, {"Location": location}, base)) == target


@pytest.mark.parametrize(
    ("status", "headers"), [(200, {"Location": "/x"}), (307, {}), (307, {"Location": ""})]
)
def test_no_redirect(status: int, headers: dict[str, str]) -> None:
    """A response without a redirect's status or without a Location leads nowhere."""
    assert redirect_target(status, headers, URL("https://r.test/")) is None


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
            "r: the server closed the connection without an answer",
            id="disconnected",
        ),
        pytest.param(
            aiohttp.ClientPayloadError("x"),
            UpstreamUnavailable,
            "r: the answer broke off",
            id="a body that breaks off",
        ),
        pytest.param(
            ConnectionRefusedError(111, "Connection refused"),
            UpstreamUnavailable,
            "r: connection refused, nothing listens there; check its `url`",
            id="refused",
        ),
        pytest.param(
            ssl.SSLError(1, "certificate verify failed"),
            UpstreamUnavailable,
            "r: TLS: the handshake failed",
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
            "r: the answer leads to an address that is no URL",
            id="a URL that is none",
        ),
        pytest.param(
            aiohttp.ClientResponseError(_REQUEST, (), status=400, message="Bad header"),
            UpstreamUnavailable,
            "r: the answer is not HTTP; check the scheme",
            id="an answer that is none",
        ),
        pytest.param(
            ValueError(str(_SIGNED)),
            UpstreamUnavailable,
            "r: the answer cannot be understood",
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
