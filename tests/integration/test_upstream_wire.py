"""What requests to upstream look like, and the ways to it: TLS, and through an egress proxy."""

import datetime as dt
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import trustme

from cacheproxy.settings.secret import Secret
from cacheproxy.settings.upstream_model import ClientCertificateSettings, CredentialsSettings
from tests.support import images
from tests.support.egress import Egress
from tests.support.hasty import HastyProxy, Wanted, hasty_proxy
from tests.support.scripted_registry import (
    Always,
    Anonymous,
    Auth,
    Bearer,
    Behaviour,
    Match,
    Redirect,
    ScriptedRegistry,
)
from tests.support.seen import see

_REPOSITORY = "team/app"
_IMAGE = images.simple(seed=81)
_BLOB = _IMAGE.layers[0]
_BY_TAG = f"/v2/{_REPOSITORY}/manifests/1"
_BY_BLOB = f"/v2/{_REPOSITORY}/blobs/{_BLOB.digest}"
_OPERATIONS = (
    _BY_TAG,
    f"/v2/{_REPOSITORY}/manifests/{_IMAGE.digest}",
    _BY_BLOB,
    f"/v2/{_REPOSITORY}/tags/list",
    f"/v2/{_REPOSITORY}/referrers/{_IMAGE.digest}",
)
_ACCEPTED = (
    images.OCI_INDEX,
    images.OCI_MANIFEST,
    images.DOCKER_LIST,
    images.DOCKER_MANIFEST,
)


@asynccontextmanager
async def _between(
    registry: ScriptedRegistry, directory: Path, **upstream: Any
) -> AsyncIterator[HastyProxy]:
    async with registry:
        registry.add_image(_REPOSITORY, "1", _IMAGE)
        wanted = Wanted(upstream=upstream)
        async with hasty_proxy({"docker.io": registry}, directory, wanted) as proxy:
            yield proxy


class TestFields:
    """The header fields of requests to upstream."""

    @pytest.fixture
    async def proxy(self, hub: ScriptedRegistry, proxy: HastyProxy) -> HastyProxy:
        """In front of a registry with an image."""
        hub.add_image(_REPOSITORY, "1", _IMAGE)
        return proxy

    @pytest.mark.parametrize(
        "accept", [None, "*/*", images.OCI_MANIFEST, images.DOCKER_MANIFEST, "text/html"]
    )
    async def test_accept(
        self, hub: ScriptedRegistry, proxy: HastyProxy, accept: str | None
    ) -> None:
        """Upstream is told of every manifest type, in one field, whatever the client accepts."""
        headers = {} if accept is None else {"Accept": accept}
        for operation in _OPERATIONS:
            assert (await see(proxy, operation, headers=headers)).status == 200
        proxy.clock.advance(3600)
        await see(proxy, _BY_TAG, headers=headers)
        assert {entry.method for entry in hub.requests()} == {"GET", "HEAD"}
        for entry in hub.requests():
            (field,) = entry.headers.getall("Accept")
            named = [part.partition(";")[0].strip() for part in field.split(",")]
            assert "*/*" in named
            assert "/blobs/" in entry.path or set(_ACCEPTED) <= set(named)

    @pytest.mark.parametrize("accept_encoding", ["gzip", "zstd, gzip, br", "*"])
    async def test_no_encoding(
        self, hub: ScriptedRegistry, proxy: HastyProxy, accept_encoding: str
    ) -> None:
        """Upstream is asked for the bytes as they are, whatever the client could decode."""
        for operation in _OPERATIONS:
            await see(proxy, operation, headers={"Accept-Encoding": accept_encoding})
        for entry in hub.requests():
            assert entry.headers.getall("Accept-Encoding") == ["identity"]

    async def test_nothing_of_the_clients(self, hub: ScriptedRegistry, proxy: HastyProxy) -> None:
        """No field of a client's request is passed on."""
        sent = {
            "Range": "bytes=1-2",
            "If-None-Match": '"x"',
            "If-Range": '"x"',
            "If-Modified-Since": "Thu, 01 Jan 1970 00:00:00 GMT",
            "Referer": "http://secret.example/",
            "User-Agent": "secret/1",
            "X-Custom": "secret",
            "Via": "1.1 secret",
            "TE": "trailers",
            "Cache-Control": "no-cache",
            "Connection": "keep-alive, X-Custom",
        }
        for operation in _OPERATIONS:
            await see(proxy, operation, headers=sent)
        for entry in hub.requests():
            assert set(entry.headers) <= {"Host", "Accept", "Accept-Encoding", "User-Agent"}
            assert entry.headers["User-Agent"] == "cacheproxy"
            assert entry.headers["Host"] == f"127.0.0.1:{hub.port}"

    async def test_fields_to_other_hosts(self, tmp_path: Path) -> None:
        """Token servers and storage hosts are asked for the bytes as they are, too."""
        registry = ScriptedRegistry(auth=Bearer())
        async with _between(registry, tmp_path) as proxy:
            registry.script(Match.blob(), Redirect())
            await see(proxy, _BY_BLOB)
            assert {entry.server for entry in registry.journal} == {"registry", "cdn", "token"}
            for entry in registry.journal:
                assert entry.headers["Accept-Encoding"] == "identity"


@pytest.mark.parametrize("kind", [images.Format.OCI, images.Format.DOCKER])
async def test_what_a_strict_registry_gives(tmp_path: Path, kind: images.Format) -> None:
    """A client that accepts nothing in particular gets what the tag is, and not one platform."""
    pulled = images.docker_list(82) if kind is images.Format.DOCKER else images.multi_arch(82)
    registry = ScriptedRegistry(behaviour=Behaviour(strict_accept=True))
    async with _between(registry, tmp_path) as proxy:
        registry.add_image(_REPOSITORY, "multi", pulled)
        answer = await see(proxy, f"/v2/{_REPOSITORY}/manifests/multi")
        assert answer.body == pulled.manifest
        assert answer.headers["Content-Type"] == pulled.media_type


async def test_a_path_in_upstreams_url(hub: ScriptedRegistry, tmp_path: Path) -> None:
    """An upstream whose API is below a path is asked there."""
    wanted = Wanted(upstream={"url": f"{hub.url}/artifactory/api/docker/hub"})
    async with hasty_proxy({"docker.io": hub}, tmp_path, wanted) as proxy:
        await see(proxy, _BY_TAG)
    assert [entry.path for entry in hub.requests()] == [f"/artifactory/api/docker/hub{_BY_TAG}"]


@dataclass(frozen=True, slots=True)
class _Authority:
    """A certificate authority, and its certificate as a file."""

    ca: trustme.CA
    file: Path

    def server(self, name: str = "127.0.0.1", **how: Any) -> ssl.SSLContext:
        """How a server of that name speaks TLS."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self.ca.issue_cert(name, **how).configure_cert(context)
        return context

    def client(self, directory: Path) -> ClientCertificateSettings:
        """A client's certificate, in files."""
        issued = self.ca.issue_cert("proxy@registry.test")
        certificate, key = directory / "client.pem", directory / "client.key"
        for blob in issued.cert_chain_pems:
            blob.write_to_path(str(certificate), append=True)
        issued.private_key_pem.write_to_path(str(key))
        return ClientCertificateSettings(certificate, key)


class TestTls:
    """An upstream behind TLS."""

    @pytest.fixture
    def authority(self, tmp_path: Path) -> _Authority:
        """The one that signed upstream's certificate."""
        ca, file = trustme.CA(), tmp_path / "ca.pem"
        ca.cert_pem.write_to_path(str(file))
        return _Authority(ca, file)

    async def _status(self, proxy: HastyProxy) -> tuple[int, int]:
        return (await see(proxy, _BY_TAG)).status, (await see(proxy, _BY_BLOB)).status

    @pytest.mark.parametrize(
        "auth",
        [pytest.param(Anonymous(), id="anonymous"), pytest.param(Bearer(), id="tokens")],
    )
    async def test_ca_file(self, authority: _Authority, tmp_path: Path, auth: Auth) -> None:
        """A certificate that `ca_file` vouches for is good, for tokens and redirects as well."""
        registry = ScriptedRegistry(tls=authority.server(), auth=auth)
        async with _between(registry, tmp_path, ca_file=authority.file) as proxy:
            registry.script(Match.blob(), Redirect(hops=2))
            assert await self._status(proxy) == (200, 200)
            assert registry.url.startswith("https://")

    async def test_storage_with_a_public_certificate(
        self, authority: _Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """`ca_file` vouches for a private registry, and the system for its public storage."""
        public, file = trustme.CA(), tmp_path / "system.pem"
        public.cert_pem.write_to_path(str(file))
        monkeypatch.setenv("SSL_CERT_FILE", str(file))
        storage = ScriptedRegistry(tls=_Authority(public, file).server())
        registry = ScriptedRegistry(tls=authority.server())
        async with storage:
            storage.add_image(_REPOSITORY, "1", _IMAGE)
            cache = tmp_path / "cache"
            async with _between(registry, cache, ca_file=authority.file) as proxy:
                registry.script(Match.blob(), Redirect(location=storage.url + _BY_BLOB))
                assert await self._status(proxy) == (200, 200)

    async def test_a_client_certificate_is_not_for_storage(
        self, authority: _Authority, tmp_path: Path
    ) -> None:
        """A host of another domain that wants a certificate of the client is shown none."""
        contexts = [authority.server(f"registry.{name}.test") for name in ("one", "two")]
        for context in contexts:
            context.verify_mode = ssl.CERT_REQUIRED
            authority.ca.configure_trust(context)
        one, two = (ScriptedRegistry(tls=context) for context in contexts)
        async with one, two:
            for registry in (one, two):
                registry.add_image(_REPOSITORY, "1", _IMAGE)
            ports = {"registry.one.test:443": one.port, "registry.two.test:443": two.port}
            async with Egress(ports) as egress:
                upstream = {
                    "url": "https://registry.one.test",
                    "proxy_url": egress.url,
                    "ca_file": authority.file,
                    "client_certificate": authority.client(tmp_path),
                }
                there = Redirect(location=f"https://registry.two.test{_BY_BLOB}")
                one.script(Match.blob(), Always(there))
                wanted = Wanted(upstream=upstream)
                async with hasty_proxy({"docker.io": one}, tmp_path / "cache", wanted) as proxy:
                    assert await self._status(proxy) == (200, 502)
            assert two.journal == ()

    @pytest.mark.parametrize("how", ["system", "other"])
    async def test_unknown_authority(self, authority: _Authority, tmp_path: Path, how: str) -> None:
        """A certificate that nobody known vouches for is a 502, and no request is sent."""
        other = tmp_path / "other.pem"
        trustme.CA().cert_pem.write_to_path(str(other))
        upstream = {"ca_file": other} if how == "other" else {}
        registry = ScriptedRegistry(tls=authority.server())
        async with _between(registry, tmp_path / "cache", **upstream) as proxy:
            assert await self._status(proxy) == (502, 502)
            assert registry.journal == ()

    async def test_insecure(self, authority: _Authority, tmp_path: Path) -> None:
        """With `insecure` any certificate is good, also one for another name."""
        registry = ScriptedRegistry(tls=authority.server("elsewhere.example"))
        async with _between(registry, tmp_path, insecure=True) as proxy:
            assert await self._status(proxy) == (200, 200)

    @pytest.mark.parametrize(
        ("name", "how"),
        [
            pytest.param("elsewhere.example", {}, id="another name"),
            pytest.param("127.0.0.2", {}, id="another address"),
            pytest.param(
                "127.0.0.1",
                {"not_after": dt.datetime(2020, 1, 1, tzinfo=dt.UTC)},
                id="expired",
            ),
        ],
    )
    async def test_wrong_certificate(
        self, authority: _Authority, tmp_path: Path, name: str, how: dict[str, Any]
    ) -> None:
        """A known authority is not enough: name and time must fit."""
        registry = ScriptedRegistry(tls=authority.server(name, **how))
        async with _between(registry, tmp_path, ca_file=authority.file) as proxy:
            assert await self._status(proxy) == (502, 502)
            assert registry.journal == ()

    @pytest.mark.parametrize("shown", [True, False])
    async def test_client_certificate(
        self, authority: _Authority, tmp_path: Path, shown: bool
    ) -> None:
        """An upstream that wants a certificate of the client is shown the configured one."""
        context = authority.server()
        context.verify_mode = ssl.CERT_REQUIRED
        authority.ca.configure_trust(context)
        upstream: dict[str, Any] = {"ca_file": authority.file}
        if shown:
            upstream["client_certificate"] = authority.client(tmp_path)
        registry = ScriptedRegistry(tls=context)
        async with _between(registry, tmp_path / "cache", **upstream) as proxy:
            assert await self._status(proxy) == ((200, 200) if shown else (502, 502))

    async def test_a_client_certificate_is_not_for_mirrors(
        self, authority: _Authority, tmp_path: Path
    ) -> None:
        """A mirror that wants a certificate of the client is shown none, and so gives nothing."""
        context = authority.server()
        context.verify_mode = ssl.CERT_REQUIRED
        authority.ca.configure_trust(context)
        mirror, registry = ScriptedRegistry(tls=context), ScriptedRegistry(tls=context)
        async with mirror:
            upstream = {
                "ca_file": authority.file,
                "client_certificate": authority.client(tmp_path),
                "mirrors": (mirror.url,),
            }
            async with _between(registry, tmp_path / "cache", **upstream) as proxy:
                assert await self._status(proxy) == (200, 200)
                assert mirror.journal == ()

    async def test_plain_where_tls_is_meant(self, authority: _Authority, tmp_path: Path) -> None:
        """An upstream that speaks no TLS where it should is a 502, and is sent nothing."""
        registry = ScriptedRegistry()
        async with registry:
            upstream = {"url": f"https://127.0.0.1:{registry.port}", "ca_file": authority.file}
            wanted = Wanted(upstream=upstream)
            async with hasty_proxy({"docker.io": registry}, tmp_path, wanted) as proxy:
                assert await self._status(proxy) == (502, 502)
            assert registry.journal == ()

    async def test_no_way_down(self, authority: _Authority, tmp_path: Path) -> None:
        """A redirect from https to http is not followed."""
        async with ScriptedRegistry() as plain:
            registry = ScriptedRegistry(tls=authority.server())
            async with _between(registry, tmp_path, ca_file=authority.file) as proxy:
                location = f"http://127.0.0.1:{plain.port}/x"
                registry.script(Match(), Always(Redirect(location=location)))
                assert await self._status(proxy) == (502, 502)
            assert plain.requests() == ()

    async def test_no_credentials_down(self, authority: _Authority, tmp_path: Path) -> None:
        """Nor are credentials sent to a token server without TLS."""
        async with ScriptedRegistry() as plain:
            realm = f"http://127.0.0.1:{plain.port}/token"
            registry = ScriptedRegistry(tls=authority.server(), auth=Bearer(realm=realm))
            login = CredentialsSettings("ada", Secret("secret"))
            how = {"ca_file": authority.file, "credentials": login}
            async with _between(registry, tmp_path, **how) as proxy:
                assert await self._status(proxy) == (502, 502)
            assert plain.requests() == ()

    async def test_through_a_tunnel(self, authority: _Authority, tmp_path: Path) -> None:
        """Through an egress proxy TLS reaches upstream itself, whose name is verified."""
        async with ScriptedRegistry(tls=authority.server("registry.example")) as registry:
            registry.add_image(_REPOSITORY, "1", _IMAGE)
            async with Egress({"registry.example:443": registry.port}) as egress:
                upstream = {
                    "url": "https://registry.example",
                    "proxy_url": egress.url,
                    "ca_file": authority.file,
                }
                wanted = Wanted(upstream=upstream)
                async with hasty_proxy({"docker.io": registry}, tmp_path, wanted) as proxy:
                    assert await self._status(proxy) == (200, 200)
            assert {(asked.method, asked.host) for asked in egress.requests} == {
                ("CONNECT", "registry.example:443")
            }


class TestEgress:
    """An HTTP proxy on the way to upstream."""

    @pytest.fixture
    async def hub(self, hub: ScriptedRegistry) -> ScriptedRegistry:
        """With an image."""
        hub.add_image(_REPOSITORY, "1", _IMAGE)
        return hub

    async def test_all_goes_through_it(self, tmp_path: Path) -> None:
        """Requests for content, for tokens and to storage hosts all take the egress proxy."""
        registry = ScriptedRegistry(auth=Bearer())
        async with registry:
            registry.add_image(_REPOSITORY, "1", _IMAGE)
            registry.script(Match.blob(), Redirect())
            own = {
                f"127.0.0.1:{server.port}": server.port
                for server in (registry, registry.cdn, registry.tokens)
            }
            async with Egress(own) as egress:
                wanted = Wanted(upstream={"proxy_url": egress.url})
                async with hasty_proxy({"docker.io": registry}, tmp_path, wanted) as proxy:
                    assert (await see(proxy, _BY_TAG)).body == _IMAGE.manifest
                    assert (await see(proxy, _BY_BLOB)).body == _BLOB.body
            assert {asked.host for asked in egress.requests} == set(own)
            assert len(egress.requests) == len(registry.journal)

    async def test_its_password(self, hub: ScriptedRegistry, tmp_path: Path) -> None:
        """The egress proxy gets its password, and upstream does not."""
        async with Egress({f"127.0.0.1:{hub.port}": hub.port}) as egress:
            url = egress.url.replace("http://", "http://ada:s3cret@")
            wanted = Wanted(upstream={"proxy_url": url})
            async with hasty_proxy({"docker.io": hub}, tmp_path, wanted) as proxy:
                assert (await see(proxy, _BY_TAG)).body == _IMAGE.manifest
        for asked in egress.requests:
            assert asked.fields["proxy-authorization"] == "Basic YWRhOnMzY3JldA=="
            assert "authorization" not in asked.fields

    async def test_it_cannot_reach_upstream(self, hub: ScriptedRegistry, tmp_path: Path) -> None:
        """An egress proxy that fails is upstream failing."""
        async with Egress({}) as egress:
            wanted = Wanted(upstream={"proxy_url": egress.url})
            async with hasty_proxy({"docker.io": hub}, tmp_path, wanted) as proxy:
                assert (await see(proxy, _BY_TAG)).status == 502
        assert hub.requests() == ()

    async def test_it_is_down(self, hub: ScriptedRegistry, tmp_path: Path) -> None:
        """Nothing goes past an egress proxy that is down, and its password is not said."""
        async with Egress({}) as egress:
            url = egress.url.replace("http://", "http://ada:s3cret@")
        wanted = Wanted(upstream={"proxy_url": url})
        async with hasty_proxy({"docker.io": hub}, tmp_path, wanted) as proxy:
            answer = await see(proxy, _BY_TAG)
            assert answer.status == 502
            assert b"s3cret" not in answer.body
        assert hub.requests() == ()

    async def test_the_environment_is_not_asked(
        self, hub: ScriptedRegistry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Only the configuration names an egress proxy."""
        async with Egress({}) as egress:
            for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
                monkeypatch.setenv(name, egress.url)
            async with hasty_proxy({"docker.io": hub}, tmp_path) as proxy:
                assert (await see(proxy, _BY_TAG)).body == _IMAGE.manifest
        assert egress.requests == []
