"""Redirects lead where they are scripted to lead, for as long as they are scripted to."""

from urllib.parse import urljoin

import pytest

from tests.support.scripted_registry import (
    Always,
    CloseAfter,
    Match,
    Redirect,
    ScriptedRegistry,
    SignedUrlExpired,
)
from tests.unit.support.conftest import Upstream
from tests.unit.support.raw_client import Heard, fetched


async def _redirected(url: str) -> str:
    heard = await fetched(url)
    location = heard.header("Location")
    assert heard.status == 307
    assert heard.body == b""
    assert location is not None
    return urljoin(url, location)


async def _followed(upstream: Upstream) -> Heard:
    return await fetched(await _redirected(upstream.url))


async def test_redirect_to_the_cdn(upstream: Upstream) -> None:
    """The registry keeps its digest header and sends no body; the CDN host has the content."""
    upstream.registry.script(Match.blob(), Redirect())
    heard = await fetched(upstream.url)
    location = heard.header("Location") or ""
    assert (heard.status, heard.body) == (307, b"")
    assert heard.header("Docker-Content-Digest") == upstream.digest
    assert location.startswith(upstream.registry.cdn.url + "/")
    assert (await fetched(location)).body == upstream.body
    assert [entry.server for entry in upstream.registry.journal] == ["registry", "cdn"]
    assert upstream.registry.body_bytes == 1000


async def test_status_of_the_redirect(upstream: Upstream) -> None:
    """The redirect has the scripted status and location, which need not be the CDN host's."""
    upstream.registry.script(Match(), Redirect("http://192.0.2.1/x?a=%2B", status=302))
    heard = await fetched(upstream.url)
    assert (heard.status, heard.header("Location")) == (302, "http://192.0.2.1/x?a=%2B")


async def test_hops(upstream: Upstream) -> None:
    """Three hops are three redirects, and then the content."""
    upstream.registry.script(Match.blob(), Redirect(hops=3))
    url = upstream.url
    for _ in range(3):
        url = await _redirected(url)
    assert (await fetched(url)).body == upstream.body
    assert [entry.status for entry in upstream.registry.journal] == [307, 307, 307, 200]


async def test_relative(upstream: Upstream) -> None:
    """A relative redirect leads to the same host, at any number of hops."""
    upstream.registry.script(Match.blob(), Redirect(relative=True, hops=2))
    first = await fetched(upstream.url)
    assert (first.header("Location") or "").startswith("/")
    url = await _redirected(urljoin(upstream.url, first.header("Location")))
    assert (await fetched(url)).body == upstream.body
    assert upstream.registry.cdn.requests() == ()


async def test_range_at_the_cdn(upstream: Upstream) -> None:
    """The registry redirects a range request as any other, and the CDN host answers the range."""
    upstream.registry.script(Match.blob(ranged=True), Redirect())
    first = await fetched(upstream.url, "Range: bytes=990-999")
    heard = await fetched(first.header("Location") or "", "Range: bytes=990-999")
    assert (first.status, heard.status, heard.body) == (307, 206, upstream.body[990:])
    assert heard.header("Content-Range") == "bytes 990-999/1000"


@pytest.mark.parametrize("uses", [0, 2])
async def test_signed_url_expires(upstream: Upstream, uses: int) -> None:
    """A signed URL works as often as scripted, and is refused from then on."""
    upstream.registry.script(Match.blob(), SignedUrlExpired(uses))
    url = await _redirected(upstream.url)
    heard = [await fetched(url) for _ in range(uses + 2)]
    assert [each.status for each in heard] == [200] * uses + [403] * 2
    assert b"Request has expired" in heard[-1].body


async def test_signature(upstream: Upstream) -> None:
    """A signed URL that was decoded or encoded anew is refused."""
    upstream.registry.script(Match.blob(), Redirect())
    url = await _redirected(upstream.url)
    assert "%2B" in url
    assert (await fetched(url.replace("%2B", "+"))).status == 403
    assert (await fetched(url)).status == 200


async def test_errors_are_not_redirected(upstream: Upstream) -> None:
    """What the registry does not have is a 404 of the registry."""
    upstream.registry.script(Match(), Always(Redirect()))
    url = upstream.url.replace("/team/app/", "/team/other/")
    assert (await fetched(url)).status == 404


async def test_faults_of_the_cdn(upstream: Upstream) -> None:
    """The CDN host has a script of its own."""
    upstream.registry.script(Match.blob(), Redirect())
    upstream.registry.cdn.script(Match(), CloseAfter(10))
    heard = await _followed(upstream)
    assert (heard.body, heard.end) == (upstream.body[:10], "fin")


async def test_credentials_at_the_cdn() -> None:
    """Credentials that reach the CDN host are refused, and fail the test that sent them."""

    async def leak() -> None:
        async with ScriptedRegistry() as registry:
            digest = registry.add_blob("a", b"content")
            registry.script(Match.blob(), Redirect())
            url = await _redirected(f"{registry.url}/v2/a/blobs/{digest}")
            assert (await fetched(url, "Authorization: Bearer x")).status == 400

    with pytest.raises(AssertionError, match="Authorization was sent to the CDN host: /signed/1"):
        await leak()
