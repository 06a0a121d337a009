"""How a request says which upstream it means, and that nothing it says is dialled."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from cacheproxy.domain.events import UpstreamAnswered
from tests.support import images
from tests.support.hasty import HastyProxy, Wanted, hasty_proxy
from tests.support.scripted_registry import ScriptedRegistry
from tests.support.seen import see

_IMAGE = images.simple(seed=11)
_BLOB = _IMAGE.layers[0]
_ALIASES = ("index.docker.io", "registry-1.docker.io")
# Each way to say "on docker.io", around what is asked of a repository there.
_FORMS = (
    "/v2/{}?ns=docker.io",
    "/v2/docker.io/{}",
    "/docker.io/v2/{}",
    "/v2/{}",
)


@pytest.fixture
async def both(
    hub: ScriptedRegistry, tmp_path: Path
) -> AsyncIterator[tuple[HastyProxy, ScriptedRegistry]]:
    """A proxy in front of docker.io and of a registry with a port; and that registry."""
    async with ScriptedRegistry() as local:
        upstreams = {"docker.io": hub, "registry.local:5000": local}
        async with hasty_proxy(upstreams, tmp_path / "cache") as proxy:
            yield proxy, local


@asynccontextmanager
async def _with_aliases(hub: ScriptedRegistry, directory: Path) -> AsyncIterator[HastyProxy]:
    wanted = Wanted(upstream={"aliases": _ALIASES})
    async with hasty_proxy({"docker.io": hub}, directory, wanted) as proxy:
        yield proxy


@pytest.mark.parametrize(
    "form",
    [
        "/v2/team/app/manifests/1?ns=[::1]:5000",
        "/v2/team/app/manifests/1?ns=%5B::1%5D:5000",
        "/v2/[::1]:5000/team/app/manifests/1",
        "/v2/%5B::1%5D:5000/team/app/manifests/1",
        "/[::1]:5000/v2/team/app/manifests/1",
    ],
)
async def test_an_ipv6_address_names_an_upstream(
    hub: ScriptedRegistry, tmp_path: Path, form: str
) -> None:
    """An upstream whose name is an IPv6 address in brackets is found by each form."""
    hub.add_image("team/app", "1", _IMAGE)
    wanted = Wanted(default_upstream=None)
    async with hasty_proxy({"[::1]:5000": hub}, tmp_path, wanted) as proxy:
        assert (await see(proxy, form)).body == _IMAGE.manifest
        assert (await see(proxy, form.replace("::1", "::2"))).status == 404
    assert len(hub.requests()) == 1


async def test_all_forms_at_once(hub: ScriptedRegistry, proxy: HastyProxy) -> None:
    """All four forms, asked at the same moment, get the same bytes for one upstream fetch."""
    hub.add_image("library/app", "1", _IMAGE)
    for path, body in (
        ("library/app/manifests/1", _IMAGE.manifest),
        (f"library/app/blobs/{_BLOB.digest}", _BLOB.body),
    ):
        forms = [form.format(path) for form in _FORMS for _ in range(4)]
        answers = await asyncio.gather(*(see(proxy, form) for form in forms))
        assert {answer.body for answer in answers} == {body}
        assert len(hub.requests(path_suffix=path)) == 1
    assert len(hub.requests()) == 2


@pytest.mark.parametrize("form", _FORMS)
@pytest.mark.parametrize(
    ("written", "asked"),
    [
        pytest.param("app", "library/app", id="one component"),
        pytest.param("library/app", "library/app", id="library already"),
        pytest.param("team/app", "team/app", id="another namespace"),
        pytest.param("library/library/app", "library/library/app", id="nested"),
        pytest.param("library", "library/library", id="a repository called library"),
    ],
)
async def test_the_official_namespace(
    hub: ScriptedRegistry, proxy: HastyProxy, form: str, written: str, asked: str
) -> None:
    """On Docker Hub `library/` is put before names of one component, and only before those."""
    hub.add_image(asked, "1", _IMAGE)
    answer = await see(proxy, form.format(f"{written}/manifests/1"))
    assert answer.body == _IMAGE.manifest
    assert [entry.path for entry in hub.requests()] == [f"/v2/{asked}/manifests/1"]


async def test_no_official_namespace_elsewhere(both: tuple[HastyProxy, ScriptedRegistry]) -> None:
    """A registry other than Docker Hub gets the name as it was written."""
    proxy, local = both
    local.add_image("app", "1", _IMAGE)
    answer = await see(proxy, "/v2/app/manifests/1?ns=registry.local%3A5000")
    assert answer.body == _IMAGE.manifest
    assert [entry.path for entry in local.requests()] == ["/v2/app/manifests/1"]


@pytest.mark.parametrize("alias", _ALIASES)
async def test_aliases(hub: ScriptedRegistry, tmp_path: Path, alias: str) -> None:
    """An alias is the same upstream in every form: what one name fetched, the other is served."""
    hub.add_image("library/app", "1", _IMAGE)
    async with _with_aliases(hub, tmp_path) as proxy:
        for name in ("docker.io", alias):
            for form in (f"/v2/{{}}?ns={name}", f"/v2/{name}/{{}}", f"/{name}/v2/{{}}"):
                answer = await see(proxy, form.format("app/manifests/1"))
                assert answer.body == _IMAGE.manifest
    assert len(hub.requests()) == 1


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("DOCKER.IO", id="upper case"),
        pytest.param("docker.io.", id="trailing dot"),
        pytest.param("docker.io%3A443", id="default port"),
    ],
)
async def test_spellings(hub: ScriptedRegistry, proxy: HastyProxy, name: str) -> None:
    """Names are compared as DNS and URLs compare them, so that no spelling splits the cache."""
    hub.add_image("library/app", "1", _IMAGE)
    for target in (
        "/v2/app/manifests/1",
        f"/v2/app/manifests/1?ns={name}",
        f"/v2/{name}/app/manifests/1",
        f"/{name}/v2/app/manifests/1",
    ):
        assert (await see(proxy, target)).body == _IMAGE.manifest
    assert len(hub.requests()) == 1


@pytest.mark.parametrize(
    "target",
    [
        pytest.param("/v2/team/app/manifests/1?ns=registry.local%3A5000", id="ns"),
        pytest.param("/v2/team/app/manifests/1?ns=registry.local:5000", id="ns as it is"),
        pytest.param("/v2/registry.local:5000/team/app/manifests/1", id="component"),
        pytest.param("/v2/registry.local%3A5000/team/app/manifests/1", id="component encoded"),
        pytest.param("/registry.local:5000/v2/team/app/manifests/1", id="prefix"),
        pytest.param("/registry.local%3a5000/v2/team/app/manifests/1", id="prefix encoded"),
    ],
)
async def test_a_port(both: tuple[HastyProxy, ScriptedRegistry], target: str) -> None:
    """A name with a port is one name, encoded or not."""
    proxy, local = both
    local.add_image("team/app", "1", _IMAGE)
    assert (await see(proxy, target)).body == _IMAGE.manifest


@pytest.mark.parametrize("form", _FORMS[:3])
@pytest.mark.parametrize("what", ["app/manifests/1", "app/tags/list", f"app/blobs/{_BLOB.digest}"])
@pytest.mark.parametrize(
    "name",
    [
        pytest.param("quay.io", id="a real one"),
        pytest.param("localhost", id="localhost"),
        pytest.param("localhost:5000", id="localhost with a port"),
        pytest.param("127.0.0.1", id="address"),
        pytest.param("169.254.169.254", id="metadata service"),
        pytest.param("docker.io.example", id="suffix"),
        pytest.param("evil-docker.io", id="lookalike"),
        pytest.param("docker.io:5000", id="another port"),
    ],
)
async def test_unknown_names(
    hub: ScriptedRegistry, proxy: HastyProxy, form: str, what: str, name: str
) -> None:
    """A registry that is not configured is a 404, however it is named, and is not dialled."""
    hub.add_image("library/app", "1", _IMAGE)
    answer = await see(proxy, form.replace("docker.io", name).format(what))
    assert (answer.status, answer.code) == (404, "NAME_UNKNOWN")
    assert "OCI-Namespace" not in answer.headers
    assert proxy.events.of(UpstreamAnswered) == []
    assert hub.requests() == ()


@pytest.mark.parametrize("form", _FORMS[:3])
async def test_what_is_named_is_not_dialled(
    hub: ScriptedRegistry, proxy: HastyProxy, form: str
) -> None:
    """A server that listens at exactly the named address gets no connection."""
    async with ScriptedRegistry() as victim:
        victim.add_image("app", "1", _IMAGE)
        name = f"127.0.0.1:{victim.port}"
        answer = await see(proxy, form.replace("docker.io", name).format("app/manifests/1"))
        assert (answer.status, answer.code) == (404, "NAME_UNKNOWN")
        assert victim.requests() == ()
    assert hub.requests() == ()


@pytest.mark.parametrize(
    "target",
    [
        pytest.param("/v2/app/manifests/1?ns=docker.io&ns=docker.io", id="ns twice"),
        pytest.param("/v2/app/manifests/1?ns=docker.io&ns=registry.local:5000", id="two ns"),
        pytest.param("/v2/app/manifests/1?ns=docker.io&n%73=docker.io", id="ns encoded"),
        pytest.param("/docker.io/v2/app/manifests/1?ns=registry.local:5000", id="prefix and ns"),
        pytest.param("/v2/docker.io/app/manifests/1?ns=registry.local:5000", id="inner and ns"),
        pytest.param("/docker.io/v2/registry.local:5000/app/manifests/1", id="prefix and inner"),
        pytest.param("/docker.io/v2/?ns=registry.local:5000", id="ping"),
    ],
)
async def test_two_names(both: tuple[HastyProxy, ScriptedRegistry], target: str) -> None:
    """A request that names two upstreams, or one twice in `ns`, is refused, and asks neither."""
    proxy, _ = both
    answer = await see(proxy, target)
    assert (answer.status, answer.code) == (400, "NAME_INVALID")
    assert proxy.events.of(UpstreamAnswered) == []


@pytest.mark.parametrize(
    "target",
    [
        "/v2/docker.io/app/manifests/1?ns=docker.io",
        "/docker.io/v2/app/manifests/1?ns=docker.io",
        "/docker.io/v2/docker.io/app/manifests/1",
    ],
)
async def test_one_name_twice(hub: ScriptedRegistry, proxy: HastyProxy, target: str) -> None:
    """Two forms in one request that agree are one upstream, and no part of the name."""
    hub.add_image("library/app", "1", _IMAGE)
    assert (await see(proxy, target)).body == _IMAGE.manifest
    assert [entry.path for entry in hub.requests()] == ["/v2/library/app/manifests/1"]


async def test_no_default_upstream(hub: ScriptedRegistry, tmp_path: Path) -> None:
    """Where no upstream is the default, a request that names none is a 404, and others are fine."""
    hub.add_image("library/app", "1", _IMAGE)
    wanted = Wanted(default_upstream=None)
    async with hasty_proxy({"docker.io": hub}, tmp_path, wanted) as proxy:
        for what in ("app/manifests/1", f"app/blobs/{_BLOB.digest}", "app/tags/list"):
            answer = await see(proxy, f"/v2/{what}")
            assert (answer.status, answer.code) == (404, "NAME_UNKNOWN")
        assert hub.requests() == ()
        assert (await see(proxy, "/v2/")).status == 200
        assert (await see(proxy, "/v2/app/manifests/1?ns=docker.io")).body == _IMAGE.manifest


@pytest.mark.parametrize(
    ("target", "echoed"),
    [
        pytest.param("/v2/app/manifests/1?ns=docker.io", "docker.io", id="manifest"),
        pytest.param(f"/v2/app/blobs/{_BLOB.digest}?ns=docker.io", "docker.io", id="blob"),
        pytest.param("/v2/app/tags/list?ns=docker.io", "docker.io", id="tags"),
        pytest.param(f"/v2/app/referrers/{_IMAGE.digest}?ns=docker.io", "docker.io", id="listing"),
        pytest.param("/v2/app/manifests/1?ns=Docker.io.", "Docker.io.", id="as it was written"),
        pytest.param("/v2/app/manifests/1?ns=docker%2Eio", "docker.io", id="decoded"),
        pytest.param("/v2/app/manifests/absent?ns=docker.io", "docker.io", id="error"),
        pytest.param("/v2/app/manifests/1", None, id="no ns"),
        pytest.param("/v2/docker.io/app/manifests/1", None, id="component"),
        pytest.param("/docker.io/v2/app/manifests/1", None, id="prefix"),
        pytest.param("/v2/app/manifests/1?ns=docker.io%0d%0aX-Evil:1", None, id="line break"),
    ],
)
async def test_the_namespace_is_echoed(
    hub: ScriptedRegistry, proxy: HastyProxy, target: str, echoed: str | None
) -> None:
    """The `ns` by which the upstream was chosen is said in OCI-Namespace, on GET and HEAD."""
    hub.add_image("library/app", "1", _IMAGE)
    for method in ("GET", "HEAD"):
        answer = await see(proxy, target, method=method)
        assert answer.headers.get("OCI-Namespace") == echoed
        assert "X-Evil" not in answer.headers


@pytest.mark.parametrize(
    ("target", "status"),
    [
        ("/v2/", 200),
        ("/v2", 200),
        ("/docker.io/v2/", 200),
        ("/docker.io/v2", 200),
        ("/v2/?ns=docker.io", 200),
        ("/v2/?ns=quay.io", 404),
        ("/quay.io/v2/", 404),
        ("/", 404),
        ("/v1/", 404),
        ("/v2x/", 404),
        ("/a/b/v2/", 404),
    ],
)
async def test_ping(proxy: HastyProxy, target: str, status: int) -> None:
    """The ping is answered in every form, without upstream."""
    for method in ("GET", "HEAD"):
        answer = await see(proxy, target, method=method)
        assert answer.status == status
        assert answer.headers["Docker-Distribution-API-Version"] == "registry/2.0"
        assert answer.headers["Content-Type"] == "application/json"
    assert proxy.events.of(UpstreamAnswered) == []


async def test_upstream_never_hears_how_it_was_named(
    hub: ScriptedRegistry, proxy: HastyProxy
) -> None:
    """Neither `ns` nor a prefix reaches upstream, for any operation."""
    hub.add_image("library/app", "1", _IMAGE)
    for what in (
        "app/manifests/1?ns=docker.io&x=1",
        f"app/blobs/{_BLOB.digest}?ns=docker.io",
        "app/tags/list?n=5&ns=docker.io",
        f"app/referrers/{_IMAGE.digest}?ns=docker.io&artifactType=a%2Fb",
    ):
        await see(proxy, f"/docker.io/v2/{what}")
    assert len(hub.requests()) >= 4
    for entry in hub.requests():
        assert "ns" not in entry.query
        assert "docker.io" not in entry.path
