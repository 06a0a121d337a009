"""Registries that keep their blobs elsewhere: where the proxy follows, and with what."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from cacheproxy.domain.events import UpstreamAnswered
from cacheproxy.settings.secret import Secret
from cacheproxy.settings.upstream_model import CredentialsSettings
from tests.support import images
from tests.support.egress import Egress
from tests.support.hasty import HastyProxy, Wanted, hasty_proxy
from tests.support.scripted_registry import (
    Always,
    Basic,
    Bearer,
    Match,
    Redirect,
    ScriptedRegistry,
    SignedUrlExpired,
    StatusFault,
    Together,
    WithHeader,
)
from tests.support.seen import see

_REPOSITORY = "team/app"
_IMAGE = images.simple(seed=71)
_BLOB = _IMAGE.layers[0]
_PATH = f"/v2/{_REPOSITORY}/blobs/{_BLOB.digest}"


@asynccontextmanager
async def _between(
    directory: Path, registry: ScriptedRegistry, **upstream: Any
) -> AsyncIterator[HastyProxy]:
    async with registry:
        registry.add_image(_REPOSITORY, "1", _IMAGE)
        wanted = Wanted(upstream=upstream)
        async with hasty_proxy({"docker.io": registry}, directory, wanted) as proxy:
            yield proxy


@pytest.fixture
async def proxy(hub: ScriptedRegistry, proxy: HastyProxy) -> HastyProxy:
    """A proxy in front of a registry with an image."""
    hub.add_image(_REPOSITORY, "1", _IMAGE)
    return proxy


@pytest.mark.parametrize("relative", [False, True], ids=["another host", "relative"])
@pytest.mark.parametrize("hops", [1, 2, 5])
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_followed(
    hub: ScriptedRegistry, proxy: HastyProxy, status: int, hops: int, relative: bool
) -> None:
    """A redirect of any kind, to any host and to a further one, is followed to the blob."""
    hub.script(Match.blob(), Redirect(status=status, hops=hops, relative=relative))
    answer = await see(proxy, _PATH)
    assert (answer.status, answer.body) == (200, _BLOB.body)
    assert len(hub.cdn.requests()) == (0 if relative else hops)
    assert len(hub.requests()) == (1 + hops if relative else 1)


async def test_manifests_too(hub: ScriptedRegistry, proxy: HastyProxy) -> None:
    """Manifests are redirected by some registries, and followed likewise."""
    hub.script(Match.manifest(), Redirect())
    assert (await see(proxy, f"/v2/{_REPOSITORY}/manifests/1")).body == _IMAGE.manifest


async def test_a_client_sees_nothing_of_it(hub: ScriptedRegistry, proxy: HastyProxy) -> None:
    """A client is never redirected: a signed URL is a secret of ours."""
    hub.script(Match.blob(), Redirect())
    answer = await see(proxy, _PATH)
    assert "Signature" not in str(answer.headers)
    assert answer.headers["Content-Type"] == "application/octet-stream"
    assert answer.headers["ETag"] == f'"{_BLOB.digest}"'


async def test_the_signature_is_kept(hub: ScriptedRegistry, tmp_path: Path) -> None:
    """A signed URL arrives byte for byte as it was written."""
    hub.add_image(_REPOSITORY, "1", _IMAGE)
    signed = "/a%2Fb//%7Ec/../d?sig=a%2Fb%2fc+d%20e%7E~&X=%22%3B;,:@!$'()*&e=&%E2%82%AC=1&n=1&n=2&x"
    async with Egress({"cdn.example": hub.cdn.port, hub.url[7:]: hub.port}) as egress:
        hub.script(Match.manifest(), Redirect(location=f"http://cdn.example{signed}"))
        wanted = Wanted(upstream={"proxy_url": egress.url})
        async with hasty_proxy({"docker.io": hub}, tmp_path, wanted) as proxy:
            await see(proxy, f"/v2/{_REPOSITORY}/manifests/1")
    assert egress.requests[1].target == f"http://cdn.example{signed}"


async def test_the_signature_is_good(hub: ScriptedRegistry, proxy: HastyProxy) -> None:
    """A storage host that compares the whole query with what it signed gives the blob."""
    hub.script(Match.blob(), Redirect())
    assert (await see(proxy, _PATH)).body == _BLOB.body
    (entry,) = hub.cdn.requests()
    assert entry.status == 200


@pytest.mark.parametrize(
    "auth",
    [
        pytest.param(Basic("ada", "secret"), id="Basic"),
        pytest.param(Bearer({"ada": "secret"}), id="token"),
    ],
)
async def test_no_credentials_elsewhere(tmp_path: Path, auth: Basic | Bearer) -> None:
    """Credentials stay with the registry: neither another host nor another port gets them."""
    registry = ScriptedRegistry(auth=auth)
    login = CredentialsSettings("ada", Secret("secret"))
    async with _between(tmp_path, registry, credentials=login) as proxy:
        registry.script(Match.blob(), Redirect(hops=3))
        assert (await see(proxy, _PATH)).body == _BLOB.body
        assert len(registry.cdn.requests()) == 3
        for entry in registry.cdn.requests():
            assert "Authorization" not in entry.headers
            assert "Cookie" not in entry.headers


async def test_no_credentials_on_the_way_back(tmp_path: Path) -> None:
    """Whoever is redirected to and redirects back gains nothing by it."""
    registry = ScriptedRegistry(auth=Basic("ada", "secret"))
    login = CredentialsSettings("ada", Secret("secret"))
    async with _between(tmp_path, registry, credentials=login) as proxy:
        back = f"{registry.url}/v2/{_REPOSITORY}/tags/list"
        registry.script(Match.blob(), Redirect(location=f"{registry.cdn.url}/signed/x/data"))
        registry.cdn.script(Match(), StatusFault(307, {"Location": back}, b""))
        assert (await see(proxy, _PATH)).status in (403, 502)
        assert "Authorization" not in registry.requests(path_suffix="/tags/list")[0].headers


@pytest.mark.parametrize("status", [400, 401, 403])
async def test_refused_elsewhere(hub: ScriptedRegistry, proxy: HastyProxy, status: int) -> None:
    """A refusal by another host is no word of the registry's: a 502, and its challenge unheard."""
    challenge = {"WWW-Authenticate": f'Bearer realm="{hub.url}/token"'}
    hub.script(Match.blob(), Always(Redirect()))
    hub.cdn.script(Match(), Always(StatusFault(status, challenge)))
    answer = await see(proxy, _PATH)
    assert (answer.status, answer.code) == (502, "UNAVAILABLE")
    assert hub.requests(path_suffix="/token") == ()
    for entry in hub.journal:
        assert "Authorization" not in entry.headers


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_a_url_that_is_signed_for_get_alone(
    hub: ScriptedRegistry, proxy: HastyProxy, method: str
) -> None:
    """Where HEAD is redirected to what refuses HEAD, one byte is asked for to confirm a blob."""
    hub.add_blob("team/other", _BLOB.body)
    await see(proxy, _PATH)
    before = len(hub.journal)
    hub.script(Match("HEAD"), Always(SignedUrlExpired()))
    hub.script(Match("GET"), Always(Redirect()))
    answer = await see(proxy, f"/v2/team/other/blobs/{_BLOB.digest}", method=method)
    assert (answer.status, answer.headers["Content-Length"]) == (200, str(len(_BLOB.body)))
    assert answer.body == (_BLOB.body if method == "GET" else b"")
    asked = [(entry.server, entry.method, entry.status) for entry in hub.journal[before:]]
    there = [("registry", "HEAD", 307), ("cdn", "HEAD", 403)]
    assert asked == [*there, ("registry", "GET", 307), ("cdn", "GET", 206)]
    assert hub.journal[-1].body_bytes_sent == 1


async def test_too_many_hops(hub: ScriptedRegistry, proxy: HastyProxy) -> None:
    """After five redirects it is enough."""
    hub.script(Match.blob(), Always(Redirect(hops=6)))
    answer = await see(proxy, _PATH)
    assert (answer.status, answer.code) == (502, "UNAVAILABLE")
    assert "Signature" not in answer.body.decode()


async def test_a_circle(hub: ScriptedRegistry, proxy: HastyProxy) -> None:
    """A redirect to itself ends, too."""
    hub.script(Match.manifest(), Always(Redirect(location=f"/v2/{_REPOSITORY}/manifests/1")))
    assert (await see(proxy, f"/v2/{_REPOSITORY}/manifests/1")).status == 502
    assert len(hub.requests()) == 6


@pytest.mark.parametrize(
    "location",
    [
        pytest.param("ftp://127.0.0.1/x", id="ftp"),
        pytest.param("file:///etc/passwd", id="file"),
        pytest.param("javascript:alert(1)", id="script"),
        pytest.param("http://", id="no host"),
        pytest.param("http://[::1", id="broken address"),
        pytest.param("http://127.0.0.1:99999/", id="no port"),
        pytest.param("http://127.0.0.1:x/", id="a word for a port"),
        pytest.param("http://a b/", id="space"),
        pytest.param("//", id="slashes"),
        pytest.param("http://127.0.0.1:1/", id="nobody listens"),
    ],
)
async def test_nowhere(hub: ScriptedRegistry, proxy: HastyProxy, location: str) -> None:
    """A redirect that leads nowhere is upstream's failure, not ours."""
    hub.script(Match(), Always(Redirect(location=location)))
    for path in (_PATH, f"/v2/{_REPOSITORY}/manifests/1"):
        answer = await see(proxy, path)
        assert (answer.status, answer.code) == (502, "UNAVAILABLE")


async def test_no_location(hub: ScriptedRegistry, proxy: HastyProxy) -> None:
    """A redirect without a location is no answer."""
    hub.script(Match(), Always(Together(Redirect(), WithHeader("Location", None))))
    assert (await see(proxy, _PATH)).status == 502


@pytest.mark.parametrize(
    ("named", "status"), [((), 502), (("10.0.0.9",), 200), (("10.0.0.8",), 502)]
)
async def test_a_private_host_that_is_named(
    hub: ScriptedRegistry, tmp_path: Path, named: tuple[str, ...], status: int
) -> None:
    """Storage at a private address is redirected to where `redirect_hosts` names it."""
    hub.add_image(_REPOSITORY, "1", _IMAGE)
    async with Egress({"registry.example": hub.port, "10.0.0.9:9000": hub.cdn.port}) as egress:
        hub.cdn.script(Match(), StatusFault(200, body=_BLOB.body))
        hub.script(Match.blob(), Always(Redirect(location="http://10.0.0.9:9000/bucket/x?sig=1")))
        way = {"url": "http://registry.example", "proxy_url": egress.url}
        wanted = Wanted(upstream={**way, "redirect_hosts": named})
        async with hasty_proxy({"docker.io": hub}, tmp_path, wanted) as proxy:
            answer = await see(proxy, _PATH)
            assert answer.status == status
            assert (b"redirect_hosts" in answer.body) is (status == 502)
            assert "Authorization" not in str(egress.requests)


@pytest.mark.parametrize("suffix", ["#part", " ", "?a=b c", "/with space#x"])
async def test_a_location_as_people_write_it(
    hub: ScriptedRegistry, proxy: HastyProxy, suffix: str
) -> None:
    """A Location with a raw space or a fragment is followed, without the fragment."""
    hub.cdn.script(Match(), StatusFault(200, body=_BLOB.body))
    hub.script(Match.blob(), Redirect(location=f"{hub.cdn.url}/bucket/x{suffix}"))
    assert (await see(proxy, _PATH)).body == _BLOB.body
    (entry,) = hub.cdn.requests()
    assert not set(" #") & set(entry.path)


@pytest.mark.parametrize(
    ("host", "followed"),
    [
        pytest.param("cdn.example", True, id="a host"),
        pytest.param("203.0.113.7", False, id="reserved address"),
        pytest.param("169.254.169.254", False, id="metadata service"),
        pytest.param("metadata.google.internal", False, id="Google's metadata service"),
        pytest.param("[fd00:ec2::254]", False, id="Amazon's metadata service"),
        pytest.param("127.0.0.1", False, id="loopback"),
        pytest.param("127.8.8.8", False, id="more loopback"),
        pytest.param("[::1]", False, id="IPv6 loopback"),
        pytest.param("[::ffff:127.0.0.1]", False, id="mapped loopback"),
        pytest.param("0.0.0.0", False, id="any address"),
        pytest.param("10.0.0.1", False, id="private"),
        pytest.param("192.168.0.1", False, id="more private"),
        pytest.param("100.64.0.1", False, id="carrier"),
        pytest.param("localhost", False, id="localhost"),
        pytest.param("a.localhost", False, id="below localhost"),
        pytest.param("localhost.", False, id="localhost with a dot"),
        pytest.param("metadata.google.internal.", False, id="Google's with a dot"),
        pytest.param("2130706433", False, id="loopback as a number"),
        pytest.param("2852039166", False, id="metadata service as a number"),
        pytest.param("0x7f.1", False, id="loopback in hexadecimal"),
        pytest.param("0177.0.0.1", False, id="loopback in octal"),
        pytest.param("127.1", False, id="loopback cut short"),
    ],
)
async def test_inside(hub: ScriptedRegistry, tmp_path: Path, host: str, followed: bool) -> None:
    """A public registry cannot send us to addresses that only we can reach."""
    hub.add_image(_REPOSITORY, "1", _IMAGE)
    hub.script(Match(), Always(Redirect(location=f"http://{host}/x")))
    async with Egress({"registry.example": hub.port, host: hub.cdn.port}) as egress:
        upstream = {"url": "http://registry.example", "proxy_url": egress.url}
        wanted = Wanted(upstream=upstream)
        async with hasty_proxy({"docker.io": hub}, tmp_path, wanted) as proxy:
            assert (await see(proxy, f"/v2/{_REPOSITORY}/manifests/1")).status in (404, 502)
            assert len(proxy.events.of(UpstreamAnswered)) == (2 if followed else 1)
    assert [entry.host for entry in egress.requests].count(host) == followed
