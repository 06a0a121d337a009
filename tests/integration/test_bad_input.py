"""Requests that make no sense, or mean harm: refused cleanly, kept from upstream and disk."""

from collections.abc import AsyncIterator

import pytest

from cacheproxy.domain.events import UpstreamAnswered
from tests.support import images
from tests.support.hasty import HastyProxy
from tests.support.raw_http import request, said_to
from tests.support.scripted_registry import ScriptedRegistry
from tests.support.seen import error_code, see
from tests.unit.support.raw_client import Heard, connected

_IMAGE = images.simple(seed=31)
_HEX = "0123456789abcdef" * 4
_DIGEST = f"sha256:{_HEX}"

_NAMES = [
    pytest.param("App", "NAME_INVALID", id="upper case"),
    pytest.param("team/App", "NAME_INVALID", id="upper case behind"),
    pytest.param("_app", "NAME_INVALID", id="begins with an underscore"),
    pytest.param("app_", "NAME_INVALID", id="ends with an underscore"),
    pytest.param("a___b", "NAME_INVALID", id="three underscores"),
    pytest.param("a_-b", "NAME_INVALID", id="mixed separators"),
    pytest.param("team/a..b", "NAME_INVALID", id="two dots"),
    pytest.param("team/-a", "NAME_INVALID", id="begins with a dash"),
    pytest.param("app/", "NAME_INVALID", id="ends with a slash"),
    pytest.param("team//app", "NAME_INVALID", id="two slashes"),
    pytest.param("/app", "NAME_INVALID", id="begins with a slash"),
    pytest.param("team/../app", "NAME_INVALID", id="dot dot"),
    pytest.param("team/./app", "NAME_INVALID", id="dot"),
    pytest.param("../app", "NAME_UNKNOWN", id="dot dot first"),
    pytest.param("%2e%2e/app", "NAME_UNKNOWN", id="dot dot encoded"),
    pytest.param("team/%2e%2e/app", "NAME_INVALID", id="dot dot encoded behind"),
    pytest.param("..%2f..%2fetc", "NAME_INVALID", id="dot dot slash encoded"),
    pytest.param("team%2fapp", "NAME_INVALID", id="slash encoded"),
    pytest.param("team%2Fapp", "NAME_INVALID", id="slash encoded in capitals"),
    pytest.param("team%252fapp", "NAME_INVALID", id="slash encoded twice"),
    pytest.param("app%00", "NAME_INVALID", id="zero byte"),
    pytest.param("app%25", "NAME_INVALID", id="percent"),
    pytest.param("app%", "NAME_INVALID", id="escape cut short"),
    pytest.param("app%zz", "NAME_INVALID", id="no escape"),
    pytest.param("app%0d%0aX-Evil:%201", "NAME_INVALID", id="line break"),
    pytest.param("app%0a", "NAME_INVALID", id="line feed at the end"),
    pytest.param("app%20x", "NAME_INVALID", id="space"),
    pytest.param("app%c3%a9", "NAME_INVALID", id="beyond ASCII"),
    pytest.param("app%ff", "NAME_INVALID", id="no UTF-8"),
    pytest.param("app%ef%bc%91", "NAME_INVALID", id="a digit beyond ASCII"),
    pytest.param("app%u0041", "NAME_INVALID", id="escape of another kind"),
    pytest.param("team\\app", "NAME_INVALID", id="backslash"),
    pytest.param("team%5capp", "NAME_INVALID", id="backslash encoded"),
    pytest.param("a;b", "NAME_INVALID", id="semicolon"),
    pytest.param("a+b", "NAME_INVALID", id="plus"),
    pytest.param("a@b", "NAME_INVALID", id="at"),
    pytest.param("a=b", "NAME_INVALID", id="equals"),
    pytest.param("user:password@app", "NAME_UNKNOWN", id="user info"),
    pytest.param("x" * 256, "NAME_INVALID", id="too long"),
    pytest.param("x/" * 4000 + "x", "NAME_INVALID", id="far too long"),
]

_REFERENCES = [
    pytest.param("manifests/.x", 404, "MANIFEST_UNKNOWN", id="tag begins with a dot"),
    pytest.param("manifests/-x", 404, "MANIFEST_UNKNOWN", id="tag begins with a dash"),
    pytest.param("manifests/..", 404, "MANIFEST_UNKNOWN", id="tag of dots"),
    pytest.param("manifests/%2e%2e", 404, "MANIFEST_UNKNOWN", id="tag of encoded dots"),
    pytest.param("manifests/a+b", 404, "MANIFEST_UNKNOWN", id="tag with a plus"),
    pytest.param("manifests/a=b", 404, "MANIFEST_UNKNOWN", id="tag with an equals sign"),
    pytest.param("manifests/a@b", 404, "MANIFEST_UNKNOWN", id="tag with an at sign"),
    pytest.param("manifests/" + "x" * 129, 404, "MANIFEST_UNKNOWN", id="tag too long"),
    pytest.param("manifests/1%0a", 404, "NAME_INVALID", id="tag with a line feed"),
    pytest.param("manifests/1%00", 404, "NAME_INVALID", id="tag with a zero byte"),
    pytest.param("manifests/%c3%a9", 404, "NAME_INVALID", id="tag beyond ASCII"),
    pytest.param("manifests/1%2f..%2f2", 404, "NAME_INVALID", id="tag with slashes"),
    pytest.param("manifests/", 404, "UNSUPPORTED", id="no tag"),
    pytest.param("manifests", 404, "UNSUPPORTED", id="no tag at all"),
    pytest.param("manifests/1/2", 404, "UNSUPPORTED", id="tag with a slash"),
    pytest.param("blobs/", 404, "UNSUPPORTED", id="no digest"),
    pytest.param("tags/", 404, "UNSUPPORTED", id="no list"),
    pytest.param("tags/list/", 404, "UNSUPPORTED", id="behind the list"),
    pytest.param("tags/lists", 404, "UNSUPPORTED", id="another list"),
    *[
        pytest.param(f"{kind}/{digest}", 400, "DIGEST_INVALID", id=f"{kind} {name}")
        for kind in ("manifests", "blobs", "referrers")
        for name, digest in {
            "short": f"sha256:{_HEX[:-1]}",
            "long": f"sha256:{_HEX}0",
            "upper case": f"sha256:{_HEX.upper()}",
            "no hex": f"sha256:{'g' * 64}",
            "empty": "sha256:",
            "only a colon": ":",
            "no algorithm": f":{_HEX}",
            "two": f"sha256:{_HEX}:{_HEX}",
            "upper case algorithm": f"SHA256:{_HEX}",
            "sha1": f"sha1:{_HEX[:40]}",
            "md5": f"md5:{_HEX[:32]}",
            "blake3": f"blake3:{_HEX}",
            "sha512 too short": f"sha512:{_HEX}",
            "sha256 too long": f"sha256:{_HEX * 2}",
            "up": "sha256:..",
            "tagged": f"1@sha256:{_HEX}",
            "very long": f"sha256:{'0' * 8000}",
        }.items()
    ],
    pytest.param(f"blobs/sha256-{_HEX}", 400, "DIGEST_INVALID", id="blob by fallback tag"),
    pytest.param("blobs/latest", 400, "DIGEST_INVALID", id="blob by tag"),
    pytest.param("blobs/sha256:..%2f..%2fetc", 404, "NAME_INVALID", id="path in a digest"),
    pytest.param("blobs/sha256:../../etc/passwd", 404, "UNSUPPORTED", id="path behind a digest"),
    pytest.param(f"blobs/{_DIGEST}/", 404, "UNSUPPORTED", id="slash behind a digest"),
    pytest.param(f"blobs/{_DIGEST}%00", 404, "NAME_INVALID", id="zero byte behind a digest"),
]

# aiohttp reads these before we do, and says so in its own words.
_NOT_HTTP = [
    pytest.param(request(b"*"), id="asterisk"),
    pytest.param(request(b"docker.io:443"), id="authority"),
    pytest.param(request(b"v2/"), id="no slash"),
    pytest.param(request(b"/v2/a b/manifests/1"), id="space"),
    pytest.param(request("/v2/é/manifests/1".encode()), id="UTF-8"),
    pytest.param(request(b"/v2/\xe9/manifests/1"), id="Latin-1"),
    pytest.param(request(b"/v2/a\x00/manifests/1"), id="zero byte"),
    pytest.param(request(b"/v2/", host=None), id="no Host"),
    pytest.param(request(b"/v2/", b"Host: other.test"), id="two Hosts"),
    pytest.param(request(b"/v2/", version=b"HTTP/3.0"), id="version 3"),
    pytest.param(request(b"/v2/", version=b"HTTP/x"), id="no version"),
    pytest.param(request(b"/v2/", b"X-Name: a\r\n folded"), id="folded field"),
    pytest.param(request(b"/v2/", b"X-Name : a"), id="space before the colon"),
    pytest.param(request(b"/v2/", b"X-Name: a\x00b"), id="zero byte in a field"),
    pytest.param(request(b"/v2/", b"no colon"), id="no colon"),
    pytest.param(request(b"/v2/", b"Content-Length: 5", b"Content-Length: 6"), id="two lengths"),
    pytest.param(request(b"/v2/", b"Content-Length: -5"), id="negative length"),
    pytest.param(request(b"/v2/", b"Content-Length: +5"), id="signed length"),
    pytest.param(
        request(b"/v2/", b"Transfer-Encoding: chunked", b"Content-Length: 3", body=b"0\r\n\r\n"),
        id="chunked and a length",
    ),
    pytest.param(request(b"/v2/", b"Transfer-Encoding: gzip"), id="unknown transfer encoding"),
    pytest.param(request(b"/v2/", method=b"FROBNICATE"), id="made-up method"),
    pytest.param(request(b"/v2/", method=b"get"), id="method in lower case"),
    pytest.param(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", id="HTTP/2"),
    pytest.param(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 40, id="TLS"),
    pytest.param(b"SSH-2.0-OpenSSH_9.2\r\n", id="SSH"),
    pytest.param(request(b"/v2/", b"X-Large: " + b"a" * 40_000), id="40 KB field"),
    pytest.param(request(b"/v2/" + b"a" * 40_000), id="40 KB target"),
    pytest.param(request(b"/v2/", *(b"X-%d: a" % n for n in range(5000))), id="5000 fields"),
]

_PATHS = [
    pytest.param("/v2/", id="ping"),
    pytest.param("/v2/app/manifests/1", id="tag"),
    pytest.param(f"/v2/app/manifests/{_DIGEST}", id="digest"),
    pytest.param(f"/v2/app/blobs/{_DIGEST}", id="blob"),
    pytest.param("/v2/app/tags/list", id="tags"),
    pytest.param(f"/v2/app/referrers/{_DIGEST}", id="referrers"),
    pytest.param("/v2/app/blobs/uploads/", id="uploads"),
    pytest.param(f"/v2/app/blobs/uploads/?digest={_DIGEST}", id="monolithic upload"),
    pytest.param(f"/v2/app/blobs/uploads/?mount={_DIGEST}&from=other", id="mount"),
    pytest.param("/v2/app/blobs/uploads/3f1c?_state=x", id="an upload"),
    pytest.param("/docker.io/v2/app/manifests/1", id="prefix"),
    pytest.param("/v2/quay.io/app/manifests/1", id="unknown upstream"),
    pytest.param("/v2/%2e%2e/manifests/1", id="bad path"),
    pytest.param("/", id="root"),
]


@pytest.fixture(autouse=True)
async def harmless(hub: ScriptedRegistry, proxy: HastyProxy) -> AsyncIterator[None]:
    """After each test: nothing was asked of upstream, nothing is on disk, and it still serves."""
    yield
    assert proxy.events.of(UpstreamAnswered) == []
    assert hub.requests() == ()
    assert proxy.files("ingest") == []
    assert proxy.files("blobs") == []
    assert (await see(proxy, "/v2/")).status == 200


async def _said(proxy: HastyProxy, target: str, *fields: bytes, method: bytes = b"GET") -> Heard:
    heard = await said_to(proxy.url, request(target.encode(), *fields, method=method))
    assert heard.end == "fin"
    return heard


def _code(heard: Heard) -> str:
    return error_code(heard.status, heard.header("Content-Type"), heard.body)


@pytest.mark.parametrize("end", ["manifests/1", f"blobs/{_DIGEST}", "tags/list"])
@pytest.mark.parametrize(("name", "code"), _NAMES)
async def test_names(proxy: HastyProxy, name: str, code: str, end: str) -> None:
    """What is no repository name is a 404, however it is encoded."""
    heard = await _said(proxy, f"/v2/{name}/{end}")
    assert (heard.status, _code(heard)) == (404, code)
    assert heard.header("X-Evil") is None


@pytest.mark.parametrize(("end", "status", "code"), _REFERENCES)
async def test_references(proxy: HastyProxy, end: str, status: int, code: str) -> None:
    """What is no tag is a 404, what is no digest a 400, and what is no endpoint a 404."""
    heard = await _said(proxy, f"/v2/team/app/{end}")
    assert (heard.status, _code(heard)) == (status, code)


@pytest.mark.parametrize("form", ["/v2/a{}b/manifests/1", "/v2/app/manifests/1{}", "/a{}b/v2/"])
async def test_every_byte_in_a_path(proxy: HastyProxy, form: str) -> None:
    """No byte that names, tags and hosts do not have is taken, raw or encoded."""
    harmless = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_?:/ "
    before, _, behind = form.encode().partition(b"{}")
    for value in set(range(256)) - set(harmless):
        for written in (bytes([value]), b"%%%02x" % value):
            heard = await said_to(proxy.url, request(before + written + behind))
            assert heard.status in (400, 404), written
            assert heard.end == "fin", written


@pytest.mark.parametrize("data", _NOT_HTTP)
async def test_what_is_no_http(proxy: HastyProxy, data: bytes) -> None:
    """What cannot be read as a request gets a 4xx and the end of the connection."""
    heard = await said_to(proxy.url, data)
    assert 400 <= heard.status < 500


@pytest.mark.parametrize(
    "target",
    [
        pytest.param("http://registry.test/v2/app/manifests/1", id="this host"),
        pytest.param("http://127.0.0.1:{port}/v2/library/app/manifests/1", id="upstream"),
        pytest.param("https://example.com/", id="another host"),
    ],
)
async def test_no_open_proxy(hub: ScriptedRegistry, proxy: HastyProxy, target: str) -> None:
    """A target with a host in it, as HTTP proxies are sent, is refused and goes nowhere."""
    hub.add_image("library/app", "1", _IMAGE)
    heard = await _said(proxy, target.format(port=hub.port))
    assert 400 <= heard.status < 500


async def test_connect(hub: ScriptedRegistry, proxy: HastyProxy) -> None:
    """CONNECT opens no tunnel."""
    heard = await _said(proxy, f"127.0.0.1:{hub.port}", method=b"CONNECT")
    assert (heard.status, _code(heard)) == (405, "UNSUPPORTED")


@pytest.mark.parametrize("path", _PATHS)
@pytest.mark.parametrize(
    "method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND"]
)
async def test_other_methods(proxy: HastyProxy, path: str, method: str) -> None:
    """Whatever is not GET or HEAD is a 405 that names those two, wherever it is sent."""
    answer = await see(proxy, path, method=method)
    assert (answer.status, answer.code) == (405, "UNSUPPORTED")
    assert answer.headers["Allow"] == "GET, HEAD"


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH"])
@pytest.mark.parametrize(
    "fields",
    [
        pytest.param(("Content-Length: 50000000",), id="long"),
        pytest.param(("Transfer-Encoding: chunked",), id="chunked"),
        pytest.param(("Content-Length: 50000000", "Expect: 100-continue"), id="expects a 100"),
    ],
)
async def test_a_push_is_refused_at_once(
    proxy: HastyProxy, method: str, fields: tuple[str, ...]
) -> None:
    """A push is told no before any of its body is sent, and is never told to go on."""
    async with connected(proxy.url) as client:
        await client.ask("/v2/app/blobs/uploads/1", *fields, method=method)
        assert (await client.head()).status == 405


@pytest.mark.parametrize("method", [b"GET", b"HEAD"])
@pytest.mark.parametrize("chunked", [False, True])
async def test_a_body_is_no_request(proxy: HastyProxy, method: bytes, chunked: bool) -> None:
    """A body behind a GET is never taken for the next request of the connection."""
    smuggled = b"GET /v2/smuggled/manifests/1 HTTP/1.1\r\nHost: a\r\n\r\n"
    length = b"Transfer-Encoding: chunked" if chunked else b"Content-Length: %d" % len(smuggled)
    body = b"%x\r\n%s\r\n0\r\n\r\n" % (len(smuggled), smuggled) if chunked else smuggled
    first = method + b" /v2/ HTTP/1.1\r\nHost: a\r\n" + length + b"\r\n\r\n" + body
    heard = await said_to(proxy.url, first + request(b"/v2/"))
    assert heard.data.count(b"HTTP/1.1 200 OK") == 2
    assert b"404" not in heard.data


async def test_a_long_query(proxy: HastyProxy) -> None:
    """A query that no client sends is refused."""
    heard = await _said(proxy, "/v2/app/tags/list?last=" + "x" * 8000)
    assert 400 <= heard.status < 500


@pytest.mark.parametrize("version", [b"HTTP/1.0", b"HTTP/1.1"])
async def test_old_clients(proxy: HastyProxy, version: bytes) -> None:
    """HTTP/1.0 is served, without a Host, and without chunks."""
    host = None if version == b"HTTP/1.0" else b"a"
    heard = await said_to(proxy.url, request(b"/v2/", version=version, host=host))
    assert (heard.status, heard.body) == (200, b"{}")
    assert heard.header("Transfer-Encoding") is None


@pytest.mark.parametrize("size", [9_000, 20_000, 30_000])
async def test_large_fields(proxy: HastyProxy, size: int) -> None:
    """Fields as large as some credentials are, which clients send to every mirror, are fine."""
    heard = await _said(proxy, "/v2/", b"Authorization: Bearer " + b"a" * size)
    assert heard.status == 200


async def test_an_empty_line_first(proxy: HastyProxy) -> None:
    """Line breaks before a request are skipped (RFC 9112 §2.2)."""
    heard = await said_to(proxy.url, b"\r\n" + request(b"/v2/"))
    assert heard.status == 200
