"""What is no request: one answer whatever it was, one line in the log, and nothing repeated."""

import asyncio

import pytest

from tests.support.hasty import HastyProxy
from tests.support.logged import Log
from tests.support.numbers import numbers_of
from tests.support.raw_http import request, said_to
from tests.support.seen import error_code
from tests.unit.support.raw_client import Heard, connected

# A password and a token, as clients send them; neither may turn up anywhere.
_BASIC = b"Authorization: Basic YWRhOnMzY3JldA=="
_SECRETS = ("YWRhOnMzY3JldA", "s3cret")


def _kept_alive(*fields: bytes, target: bytes = b"/v2/") -> bytes:
    """A request after which its client would like to go on."""
    head = [b"GET " + target + b" HTTP/1.1", b"Host: registry.test", *fields]
    return b"\r\n".join([*head, b"", b""])


_MALFORMED = {
    "NUL in a field": _kept_alive(_BASIC + b"\x00"),
    "40 KB field": _kept_alive(b"Authorization: Bearer s3cret" + b"x" * 40_000),
    "space before the colon": _kept_alive(_BASIC.replace(b":", b" :", 1)),
    "no colon": _kept_alive(_BASIC.replace(b":", b"", 1)),
    "two lengths": _kept_alive(_BASIC, b"Content-Length: 5", b"Content-Length: 6"),
    "NUL in the target": _kept_alive(_BASIC, target=b"/v2/\x00?password=s3cret"),
    "40 KB target": _kept_alive(_BASIC, target=b"/v2/?password=s3cret" + b"x" * 40_000),
    "no HTTP": b"AUTH ada s3cret\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03s3cret\r\n\r\n",
}
_EACH = pytest.mark.parametrize("data", _MALFORMED.values(), ids=_MALFORMED)


@pytest.fixture
def proxy(log: Log, proxy: HastyProxy) -> HastyProxy:
    """A proxy that logs."""
    return proxy


def _is_refused(heard: Heard) -> bool:
    """Whether it is the one answer to whatever cannot be read."""
    code = error_code(heard.status, heard.header("Content-Type"), heard.body)
    return (
        (heard.status, code) == (400, "UNSUPPORTED")
        and heard.header("Server") == "cacheproxy"
        and heard.header("Connection") != "keep-alive"
    )


@_EACH
async def test_refused(proxy: HastyProxy, data: bytes) -> None:
    """It gets a 400 as every error is one, by our name, and the connection ends."""
    # `said_to` hears until that ends; none of these asks for it.
    heard = await said_to(proxy.url, data)
    assert _is_refused(heard)
    assert int(heard.header("Content-Length") or "0") == len(heard.body)


async def test_the_same_for_all(proxy: HastyProxy) -> None:
    """The answer does not depend on what could not be read."""
    heard = [await said_to(proxy.url, data) for data in _MALFORMED.values()]
    assert len({one.body for one in heard}) == 1


@_EACH
async def test_nothing_behind_it_is_read(proxy: HastyProxy, data: bytes) -> None:
    """What comes behind it is no request either, however good it looks."""
    heard = await said_to(proxy.url, data + request(b"/v2/"))
    assert _is_refused(heard)
    assert heard.data.count(b"HTTP/1.") == 1


@_EACH
async def test_one_line(log: Log, proxy: HastyProxy, data: bytes) -> None:
    """It is exactly one line, that of a request, and nothing of what was sent is in it."""
    heard = await said_to(proxy.url, data)
    (line,) = log.lines
    assert (line["event"], line["level"]) == ("request", "info")
    assert (line["status"], line["operation"], line["cache"]) == (400, "invalid", "error")
    assert (line["client"], line["upstream"], line["user_agent"]) == ("127.0.0.1", "", "")
    assert line["error"] == "the request could not be read"
    for text in (log.text, heard.data.decode("latin-1")):
        assert not [secret for secret in _SECRETS if secret in text]


async def test_counted(proxy: HastyProxy) -> None:
    """Each is counted as a request that failed, under no upstream's name."""
    for data in _MALFORMED.values():
        await said_to(proxy.url, data)
    numbers = await numbers_of(proxy)
    labels = {"operation": "invalid", "outcome": "error"}
    assert numbers.get("requests_total", upstream="", **labels) == len(_MALFORMED)
    assert numbers.get("request_duration_seconds_count", **labels) == len(_MALFORMED)
    assert numbers.labels("requests_total") == [{"upstream": "", **labels}]


async def test_behind_a_good_request(log: Log, proxy: HastyProxy) -> None:
    """On a connection that has served well until then it is refused likewise."""
    async with asyncio.timeout(60), connected(proxy.url) as client:
        await client.ask("/v2/")
        assert (await client.head()).status == 200
        assert await client.exactly(2) == b"{}"
        loop = asyncio.get_running_loop()
        await loop.sock_sendall(client.connection, _MALFORMED["NUL in a field"])
        assert _is_refused(await client.rest())
    assert [line["status"] for line in log.requests] == [200, 400]
