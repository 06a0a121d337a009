"""Heads and statuses are on the wire as scripted."""

import json
from datetime import UTC, datetime

import pytest

from tests.support.scripted_registry import (
    BigErrorBody,
    Fault,
    IgnoreRange,
    Match,
    NoDigestHeader,
    StatusFault,
    WithHeader,
    WrongContentRange,
    WrongContentType,
    WrongDigestHeader,
    rate_limited,
)
from tests.unit.support.conftest import Upstream
from tests.unit.support.raw_client import fetched


@pytest.mark.parametrize(
    ("fault", "name", "value"),
    [
        (WrongContentType("text/html"), "Content-Type", "text/html"),
        (NoDigestHeader(), "Docker-Content-Digest", None),
        (WrongDigestHeader("sha256:00"), "Docker-Content-Digest", "sha256:00"),
        (WithHeader("RateLimit-Remaining", "1;w=21600"), "ratelimit-remaining", "1;w=21600"),
        (WithHeader("Accept-Ranges", None), "Accept-Ranges", None),
    ],
)
async def test_header(upstream: Upstream, fault: Fault, name: str, value: str | None) -> None:
    """One header is as scripted, and the body is well."""
    before = await fetched(upstream.url)
    upstream.registry.script(Match(), fault)
    heard = await fetched(upstream.url)
    assert before.header(name) != value
    assert heard.header(name) == value
    assert (heard.status, heard.body) == (200, upstream.body)


async def test_ignore_range(upstream: Upstream) -> None:
    """A server that ignores Range answers 200 with the whole body."""
    upstream.registry.script(Match(ranged=True), IgnoreRange())
    heard = await fetched(upstream.url, "Range: bytes=10-19")
    assert (heard.status, heard.header("Content-Range")) == (200, None)
    assert heard.body == upstream.body
    assert upstream.registry.requests()[0].headers["Range"] == "bytes=10-19"


@pytest.mark.parametrize(
    ("value", "said"), [(None, "bytes 11-20/1000"), ("bytes 0-9/*", "bytes 0-9/*")]
)
async def test_wrong_content_range(upstream: Upstream, value: str | None, said: str) -> None:
    """A 206 holds what was asked for and says that it is something else."""
    upstream.registry.script(Match(ranged=True), WrongContentRange(value))
    heard = await fetched(upstream.url, "Range: bytes=10-19")
    assert (heard.status, heard.header("Content-Range")) == (206, said)
    assert heard.body == upstream.body[10:20]


@pytest.mark.parametrize("status", [401, 403, 404, 408, 429, 500, 502, 503])
async def test_status(upstream: Upstream, status: int) -> None:
    """A failing status comes with an OCI error, and the next request is well again."""
    upstream.registry.script(Match(), StatusFault(status))
    heard = await fetched(upstream.url)
    assert heard.status == status
    assert [set(error) for error in json.loads(heard.body)["errors"]] == [{"code", "message"}]
    assert (await fetched(upstream.url)).body == upstream.body


async def test_status_with_all_that_comes_with_it(upstream: Upstream) -> None:
    """A failing status comes with the scripted headers and body."""
    upstream.registry.script(Match(), StatusFault(502, {"X-Where": "edge"}, b"<h1>Bad</h1>"))
    heard = await fetched(upstream.url)
    assert (heard.status, heard.header("x-where"), heard.body) == (502, "edge", b"<h1>Bad</h1>")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (None, None),
        (7, "7"),
        ("soon", "soon"),
        (datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), "Fri, 02 Jan 2026 03:04:05 GMT"),
    ],
)
async def test_rate_limited(
    upstream: Upstream, given: int | str | datetime | None, said: str | None
) -> None:
    """A 429 says when to come back in any of the ways in which servers do."""
    upstream.registry.script(Match(), rate_limited(given))
    heard = await fetched(upstream.url)
    assert (heard.status, heard.header("Retry-After")) == (429, said)


async def test_big_error_body(upstream: Upstream) -> None:
    """An error page is as long as scripted."""
    upstream.registry.script(Match(), BigErrorBody(300_000, status=503))
    heard = await fetched(upstream.url)
    assert (heard.status, len(heard.body)) == (503, 300_000)
    assert upstream.registry.body_bytes == 300_000
