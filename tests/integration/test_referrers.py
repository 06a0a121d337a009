"""Referrers: passed on as upstream lists them, or found by their fallback tag."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from cacheproxy.domain.events import UpstreamPaused
from tests.support import images
from tests.support.hasty import HastyProxy, Wanted, hasty_proxy
from tests.support.scripted_registry import (
    Always,
    Behaviour,
    Fault,
    Match,
    ScriptedRegistry,
    StatusFault,
    WithHeader,
)
from tests.support.seen import Seen, see

_REPOSITORY = "team/app"
_SUBJECT = images.simple(seed=111)
_REFERRERS = f"/v2/{_REPOSITORY}/referrers/{_SUBJECT.digest}"
_SBOM, _SIGNATURE = "application/vnd.example.sbom.v1", "application/vnd.example.signature.v1"
_INDEX = {"Content-Type": images.OCI_INDEX}
_ATTACHED = [images.referrer(_SUBJECT, _SBOM), images.referrer(_SUBJECT, _SIGNATURE)]


@pytest.fixture
async def proxy(hub: ScriptedRegistry, tmp_path: Path) -> AsyncIterator[HastyProxy]:
    """In front of a registry with two referrers of an image."""
    for attached in _ATTACHED:
        hub.add_image(_REPOSITORY, None, attached)
    wanted = Wanted(tags={"fresh_for": 100.0, "stale_if_error": 1000.0})
    async with hasty_proxy({"docker.io": hub}, tmp_path / "cache", wanted) as running:
        yield running


def _types(answer: Seen) -> list[str]:
    """The artifact types of a referrers index, whose form is checked."""
    assert answer.status == 200
    assert answer.headers["Content-Type"] == images.OCI_INDEX
    index = json.loads(answer.body)
    assert (index["schemaVersion"], index["mediaType"]) == (2, images.OCI_INDEX)
    return [entry["artifactType"] for entry in index["manifests"]]


class TestReferrers:
    """`referrers`, of an upstream that has them."""

    async def test_all(self, hub: ScriptedRegistry, proxy: HastyProxy) -> None:
        """The index is upstream's own, byte for byte."""
        answer = await see(proxy, _REFERRERS)
        assert _types(answer) == [_SBOM, _SIGNATURE]
        async with proxy.client.get(hub.url + _REFERRERS) as response:
            assert answer.body == await response.read()
        assert "OCI-Filters-Applied" not in answer.headers

    async def test_filtered(self, proxy: HastyProxy) -> None:
        """Upstream filters, and says so."""
        answer = await see(proxy, f"{_REFERRERS}?artifactType={_SBOM}")
        assert _types(answer) == [_SBOM]
        assert answer.headers["OCI-Filters-Applied"] == "artifactType"

    @pytest.mark.parametrize("ns", ["", "&ns=docker.io"])
    async def test_pages(self, hub: ScriptedRegistry, proxy: HastyProxy, ns: str) -> None:
        """Its pages are linked as those of tags are."""
        link = f'<{_REFERRERS}?next=a%2Fb&artifactType=x>; rel="next"'
        hub.script(Match(), WithHeader("Link", link))
        answer = await see(proxy, f"{_REFERRERS}?artifactType=x{ns}")
        target = f"{_REFERRERS}?next=a%2Fb&artifactType=x{ns}"
        assert answer.headers["Link"] == f'<{target}>; rel="next"'

    async def test_link_to_itself(self, hub: ScriptedRegistry, proxy: HastyProxy) -> None:
        """A list goes on at upstream itself, whatever host upstream names, as one of tags does."""
        link = f'<https://evil.example{_REFERRERS}?next=a>; rel="next"'
        hub.script(Match(), WithHeader("Link", link))
        answer = await see(proxy, _REFERRERS)
        assert answer.headers["Link"] == f'<{_REFERRERS}?next=a>; rel="next"'

    async def test_gone(self, hub: ScriptedRegistry, proxy: HastyProxy) -> None:
        """What upstream no longer knows keeps its referrers, for as long as a tag would be kept."""
        before = await see(proxy, _REFERRERS)
        hub.script(Match(), Always(StatusFault(404)))
        proxy.clock.advance(101)
        assert (await see(proxy, _REFERRERS)).body == before.body
        proxy.clock.advance(1000)
        assert _types(await see(proxy, _REFERRERS)) == []

    async def test_none_is_nothing_to_keep(self, hub: ScriptedRegistry, proxy: HastyProxy) -> None:
        """An empty list is renewed by a 404, and not served stale for it."""
        path = f"/v2/{_REPOSITORY}/referrers/{images.sha256(b'nothing')}"
        assert _types(await see(proxy, path)) == []
        hub.script(Match(), Always(StatusFault(404)))
        proxy.clock.advance(101)
        for expected in ("fwd", "hit"):
            answer = await see(proxy, path)
            assert _types(answer) == []
            assert expected in answer.cache
            assert not str(answer.cache.get("ttl", 0)).startswith("-")

    async def test_none(self, proxy: HastyProxy) -> None:
        """What has no referrers has an empty list of them."""
        path = f"/v2/{_REPOSITORY}/referrers/{images.sha256(b'nothing')}"
        assert _types(await see(proxy, path)) == []

    async def test_kept(self, hub: ScriptedRegistry, proxy: HastyProxy) -> None:
        """They are kept, with and without a filter, and served while upstream is down."""
        paths = (_REFERRERS, f"{_REFERRERS}?artifactType={_SBOM}")
        kept = [await see(proxy, path) for path in paths]
        await hub.stop()
        for passed in (0, 101):
            proxy.clock.advance(passed)
            for path, before in zip(paths, kept, strict=True):
                answer = await see(proxy, path)
                assert answer.body == before.body
                assert answer.stable == before.stable
                assert answer.cache["hit"] is True

    async def test_a_foreign_link(self, hub: ScriptedRegistry, proxy: HastyProxy) -> None:
        """Referrers do not go on at another host."""
        hub.script(Match(), WithHeader("Link", '<https://evil.example/?a=1>; rel="next"'))
        assert (await see(proxy, _REFERRERS)).status == 502


async def test_an_upstream_that_does_not_filter(tmp_path: Path) -> None:
    """An unfiltered list is passed on as such: its client knows by the missing field."""
    async with ScriptedRegistry(behaviour=Behaviour(filters=False)) as registry:
        for attached in _ATTACHED:
            registry.add_image(_REPOSITORY, None, attached)
        async with hasty_proxy({"docker.io": registry}, tmp_path) as proxy:
            answer = await see(proxy, f"{_REFERRERS}?artifactType={_SBOM}")
            assert _types(answer) == [_SBOM, _SIGNATURE]
            assert "OCI-Filters-Applied" not in answer.headers


class TestFallback:
    """`referrers`, of an upstream that has no such API."""

    @pytest.fixture
    async def plain(self) -> AsyncIterator[ScriptedRegistry]:
        """A registry without it."""
        async with ScriptedRegistry(behaviour=Behaviour(referrers=False)) as registry:
            registry.add_image(_REPOSITORY, "1", _SUBJECT)
            yield registry

    @pytest.fixture
    async def proxy(self, plain: ScriptedRegistry, tmp_path: Path) -> AsyncIterator[HastyProxy]:
        """In front of it."""
        wanted = Wanted(tags={"fresh_for": 100.0, "stale_if_error": 1000.0, "not_found_for": 50.0})
        async with hasty_proxy({"docker.io": plain}, tmp_path, wanted) as running:
            yield running

    def _attach(self, registry: ScriptedRegistry) -> None:
        index = images.referrers_index(_ATTACHED)
        registry.add_image(_REPOSITORY, images.attached_tag(_SUBJECT.digest), index)

    async def test_the_fallback_tag(self, plain: ScriptedRegistry, proxy: HastyProxy) -> None:
        """What the fallback tag lists is the list, entry for entry."""
        self._attach(plain)
        answer = await see(proxy, _REFERRERS)
        assert _types(answer) == [_SBOM, _SIGNATURE]
        listed = json.loads(images.referrers_index(_ATTACHED).manifest)["manifests"]
        assert json.loads(answer.body)["manifests"] == listed
        assert "OCI-Filters-Applied" not in answer.headers

    @pytest.mark.parametrize(
        ("wanted", "types"),
        [(_SBOM, [_SBOM]), (_SIGNATURE, [_SIGNATURE]), ("a/b", []), (_SBOM.upper(), [])],
    )
    async def test_filtered(
        self, plain: ScriptedRegistry, proxy: HastyProxy, wanted: str, types: list[str]
    ) -> None:
        """The proxy filters itself, and says so."""
        self._attach(plain)
        answer = await see(proxy, f"{_REFERRERS}?artifactType={wanted}")
        assert _types(answer) == types
        assert answer.headers["OCI-Filters-Applied"] == "artifactType"

    async def test_none(self, plain: ScriptedRegistry, proxy: HastyProxy) -> None:
        """Without a fallback tag there are none; which is remembered."""
        for _ in range(3):
            assert _types(await see(proxy, _REFERRERS)) == []
        assert len(plain.requests()) == 2

    async def test_what_it_lists_can_be_pulled(
        self, plain: ScriptedRegistry, proxy: HastyProxy
    ) -> None:
        """Each referrer can then be pulled by its digest."""
        self._attach(plain)
        answer = await see(proxy, _REFERRERS)
        for entry in json.loads(answer.body)["manifests"]:
            pulled = await see(proxy, f"/v2/{_REPOSITORY}/manifests/{entry['digest']}")
            assert images.sha256(pulled.body) == entry["digest"]

    async def test_kept(self, plain: ScriptedRegistry, proxy: HastyProxy) -> None:
        """It is kept, and served while upstream is down."""
        self._attach(plain)
        before = await see(proxy, _REFERRERS)
        await plain.stop()
        for passed in (0, 101):
            proxy.clock.advance(passed)
            answer = await see(proxy, _REFERRERS)
            assert answer.body == before.body

    async def test_new_referrers_appear(self, plain: ScriptedRegistry, proxy: HastyProxy) -> None:
        """A signature that is added later is found once the list has aged."""
        assert _types(await see(proxy, _REFERRERS)) == []
        self._attach(plain)
        proxy.clock.advance(101)
        assert _types(await see(proxy, _REFERRERS)) == [_SBOM, _SIGNATURE]

    @pytest.mark.parametrize("status", [403, 429, 503])
    async def test_a_failure_is_no_empty_list(
        self, plain: ScriptedRegistry, proxy: HastyProxy, status: int
    ) -> None:
        """Where the fallback tag cannot be looked at, nobody knows that there are none."""
        plain.script(Match.manifest(), Always(StatusFault(status)))
        assert (await see(proxy, _REFERRERS)).status in (403, 429, 502)

    @pytest.mark.parametrize(
        ("document", "status"),
        [
            pytest.param({"manifests": "x"}, 502, id="text"),
            pytest.param({"manifests": [5]}, 502, id="number"),
            pytest.param({"manifests": None}, 200, id="null"),
            pytest.param({"manifests": []}, 200, id="none"),
            pytest.param(
                {"config": _SUBJECT.blobs[0].descriptor(), "layers": []}, 200, id="an image"
            ),
        ],
    )
    async def test_a_strange_fallback_tag(
        self, plain: ScriptedRegistry, proxy: HastyProxy, document: dict[str, Any], status: int
    ) -> None:
        """A fallback tag that lists nothing is an empty list, and one that is broken a 502."""
        tag = images.attached_tag(_SUBJECT.digest)
        body = json.dumps({"schemaVersion": 2, **document}).encode()
        plain.add_manifest(_REPOSITORY, tag, body, images.OCI_MANIFEST)
        plain.script(Match.manifest(), Always(WithHeader("Content-Type", "text/plain")))
        answer = await see(proxy, _REFERRERS)
        assert answer.status == status
        assert status == 502 or _types(answer) == []

    @pytest.mark.parametrize("status", [400, 401, 405, 406, 500, 501])
    async def test_refusals(self, plain: ScriptedRegistry, proxy: HastyProxy, status: int) -> None:
        """A registry may refuse the API in many ways, none of which speaks against its health."""
        self._attach(plain)
        plain.script(Match(path_regex="/referrers/"), Always(StatusFault(status)))
        for _ in range(10):
            assert _types(await see(proxy, _REFERRERS)) == [_SBOM, _SIGNATURE]
            proxy.clock.advance(101)
        assert not proxy.events.of(UpstreamPaused)

    @pytest.mark.parametrize(
        "fault",
        [
            pytest.param(StatusFault(307, {"Location": "/login"}), id="to a login page"),
            pytest.param(StatusFault(200, _INDEX, b"<html>"), id="no JSON"),
            pytest.param(StatusFault(200, _INDEX, b'{"data":[]}'), id="another shape"),
            pytest.param(StatusFault(200, _INDEX, b'{"manifests":[{}]}'), id="no digests"),
            pytest.param(StatusFault(200, _INDEX, _SUBJECT.manifest), id="the image itself"),
            pytest.param(
                StatusFault(200, {"Content-Type": "text/html"}, b'{"manifests":[]}'),
                id="another type",
            ),
            pytest.param(StatusFault(200, _INDEX, b" " * (9 * 1024 * 1024)), id="too large"),
            pytest.param(
                StatusFault(200, _INDEX, b'{"manifests":[],"x":' + b"[" * 40 + b"]" * 40 + b"}"),
                id="too deep",
            ),
        ],
    )
    async def test_no_list(self, plain: ScriptedRegistry, proxy: HastyProxy, fault: Fault) -> None:
        """An answer that is no list of referrers says that upstream lacks the API."""
        self._attach(plain)
        page = StatusFault(200, {"Content-Type": "text/html"}, b"<html>Sign in</html>")
        plain.script(Match(path_suffix="/login"), Always(page))
        plain.script(Match(path_regex="/referrers/"), Always(fault))
        for _ in range(2):
            assert _types(await see(proxy, _REFERRERS)) == [_SBOM, _SIGNATURE]

    async def test_a_server_error(self, plain: ScriptedRegistry, proxy: HastyProxy) -> None:
        """Where the API fails and there is no fallback tag, nobody knows that there are none."""
        plain.script(Match(path_regex="/referrers/"), StatusFault(500))
        assert (await see(proxy, _REFERRERS)).status == 502
        assert _types(await see(proxy, _REFERRERS)) == []

    @pytest.mark.parametrize("status", [403, 404, 429])
    async def test_refused_elsewhere(
        self, plain: ScriptedRegistry, proxy: HastyProxy, status: int
    ) -> None:
        """A web interface that the API is redirected to says nothing of upstream's limits."""
        self._attach(plain)
        plain.cdn.script(Match(), Always(StatusFault(status)))
        elsewhere = StatusFault(303, {"Location": f"{plain.cdn.url}/packages"})
        plain.script(Match(path_regex="/referrers/"), Always(elsewhere))
        assert _types(await see(proxy, _REFERRERS)) == [_SBOM, _SIGNATURE]

    async def test_the_subject_under_the_fallback_tag(
        self, plain: ScriptedRegistry, proxy: HastyProxy
    ) -> None:
        """The platforms of an index are no referrers of it, although upstream may say so."""
        index = images.multi_arch(seed=112)
        plain.add_image(_REPOSITORY, images.attached_tag(index.digest), index)
        answer = await see(proxy, f"/v2/{_REPOSITORY}/referrers/{index.digest}")
        assert _types(answer) == []
