"""Outages that docs/outages.md tells of beside its tables: patience, parts, starting without."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from cacheproxy.domain.events import UpstreamAnswered
from cacheproxy.settings.upstream_model import TagSettings
from tests.integration.fills import until
from tests.support import images
from tests.support.hasty import HastyProxy, Located, Wanted, hasty_proxy
from tests.support.images import Image
from tests.support.scripted_registry import (
    Always,
    Bearer,
    Fault,
    HangUp,
    Match,
    NoAnswer,
    ScriptedRegistry,
    SlowHeaders,
    StatusFault,
    rate_limited,
)
from tests.support.seen import Seen, see
from tests.support.unreachable import black_hole, distrusted, nameless

_REPOSITORY = "team/app"
_OLD, _NEW, _INDEX = images.simple(seed=71), images.simple(seed=72), images.multi_arch(seed=73)
_BY_TAG = f"/v2/{_REPOSITORY}/manifests/1"
_FRESH_FOR, _STALE_FOR = 1000.0, 5000.0
_LISTS = ("tags/list", f"referrers/{_OLD.digest}")
_PATIENCE = 0.1
_SLOW = SlowHeaders(4 * _PATIENCE)
_WITHIN = 60.0


@asynccontextmanager
async def _between(
    upstream: Located, directory: Path, *, patience: float = 3.0, **how: Any
) -> AsyncIterator[HastyProxy]:
    """A proxy in front of an upstream, whose tags are stale before long."""
    tags = TagSettings(fresh_for=_FRESH_FOR, stale_if_error=_STALE_FOR, patience=patience)
    wanted = Wanted(upstream={"tags": tags, **how})
    async with hasty_proxy({"docker.io": upstream}, directory, wanted) as proxy:
        yield proxy


async def _pull(proxy: HastyProxy, digests: Iterable[str]) -> None:
    """Pull blobs and manifests by digest."""
    for digest in digests:
        kind = "blobs" if digest in _OLD.all_blobs | _INDEX.all_blobs else "manifests"
        assert (await see(proxy, f"/v2/{_REPOSITORY}/{kind}/{digest}")).status == 200


async def _pull_all(proxy: HastyProxy) -> None:
    """Pull the old image by its tag, with the lists, and wait until it is stored."""
    assert (await see(proxy, _BY_TAG)).body == _OLD.manifest
    await _pull(proxy, _OLD.all_blobs)
    for what in _LISTS:
        assert (await see(proxy, f"/v2/{_REPOSITORY}/{what}")).status == 200
    await until(lambda: len(proxy.files("blobs")) == len(_OLD.all_blobs) + 1)


def _is_stale(seen: Seen) -> bool:
    left = seen.cache.get("ttl")
    return seen.status == 200 and isinstance(left, int) and left < 0


# -- patience --------------------------------------------------------------------------


@pytest.fixture
async def hub() -> AsyncIterator[ScriptedRegistry]:
    """An upstream that has the old image."""
    async with ScriptedRegistry() as registry:
        registry.add_image(_REPOSITORY, "1", _OLD)
        registry.add_image(_REPOSITORY, None, images.referrer(_OLD))
        yield registry


async def test_silence_ends(hub: ScriptedRegistry, tmp_path: Path) -> None:
    """After one request that waited in vain nobody waits, and yet the new image comes in time."""
    async with _between(hub, tmp_path, answer_timeout=1.0) as proxy:
        await _pull_all(proxy)
        proxy.clock.advance(_FRESH_FOR + 1)
        hub.add_image(_REPOSITORY, "1", _NEW)
        hub.script(Match("HEAD"), NoAnswer(), NoAnswer())
        assert _is_stale(await see(proxy, _BY_TAG))
        before = len(hub.requests())
        assert _is_stale(await see(proxy, _BY_TAG))
        await hub.until(before + 1)
        assert (await _other_than(_OLD.manifest, proxy, _BY_TAG)).body == _NEW.manifest


@pytest.mark.parametrize("what", _LISTS)
async def test_silence_ends_for_lists(hub: ScriptedRegistry, tmp_path: Path, what: str) -> None:
    """So it is for lists: kept ones are served at once, until upstream answers behind them."""
    path = f"/v2/{_REPOSITORY}/{what}"
    async with _between(hub, tmp_path, answer_timeout=1.0) as proxy:
        await _pull_all(proxy)
        before = await see(proxy, path)
        proxy.clock.advance(_FRESH_FOR + 1)
        hub.add_image(_REPOSITORY, "2", _NEW)
        hub.add_image(_REPOSITORY, None, images.referrer(_OLD, "application/vnd.new"))
        hub.script(Match("GET"), NoAnswer())
        for _ in range(2):
            answer = await see(proxy, path)
            assert _is_stale(answer)
            assert answer.body == before.body
        assert not _is_stale(await _other_than(before.body, proxy, path))


async def _other_than(body: bytes, proxy: HastyProxy, path: str) -> Seen:
    """The first answer that has another body, as it has once upstream has answered."""
    async with asyncio.timeout(_WITHIN):
        while (answer := await see(proxy, path)).body == body:
            pass
        return answer


async def test_an_upstream_that_is_always_slow(hub: ScriptedRegistry, tmp_path: Path) -> None:
    """A new image arrives though upstream never answers within `tags.patience`."""
    async with _between(hub, tmp_path, patience=_PATIENCE) as proxy:
        await _pull_all(proxy)
        proxy.clock.advance(_FRESH_FOR + 1)
        hub.add_image(_REPOSITORY, "1", _NEW)
        hub.script(Match(), Always(_SLOW))
        assert _is_stale(await see(proxy, _BY_TAG))
        await until(lambda: len(proxy.files("blobs")) == len(_OLD.all_blobs) + 2)
        answer = await _other_than(_OLD.manifest, proxy, _BY_TAG)
        assert answer.body == _NEW.manifest
        assert not _is_stale(answer)


async def test_a_slow_upstream_and_a_part_that_is_missing(
    hub: ScriptedRegistry, tmp_path: Path
) -> None:
    """A stale tag is served after `tags.patience`, though blobs of it are missing."""
    async with _between(hub, tmp_path, patience=_PATIENCE) as proxy:
        assert (await see(proxy, _BY_TAG)).body == _OLD.manifest
        proxy.clock.advance(_FRESH_FOR + 1)
        hub.script(Match(), Always(_SLOW))
        answer = await see(proxy, _BY_TAG)
        assert answer.body == _OLD.manifest
        assert _is_stale(answer)


@pytest.mark.parametrize("what", ["manifests/1", *_LISTS])
async def test_a_slow_upstream_and_what_is_too_old(
    hub: ScriptedRegistry, tmp_path: Path, what: str
) -> None:
    """A client waits for upstream if what is cached is too old to be served."""
    async with _between(hub, tmp_path, patience=_PATIENCE) as proxy:
        await _pull_all(proxy)
        proxy.clock.advance(_FRESH_FOR + _STALE_FOR + 1)
        hub.script(Match(), Always(_SLOW))
        answer = await see(proxy, f"/v2/{_REPOSITORY}/{what}")
        assert answer.status == 200
        assert not _is_stale(answer)


# -- missing parts ---------------------------------------------------------------------

_AMD64, _ARM64, _PROOF = _INDEX.children
_UNREACHABLE = [
    pytest.param(StatusFault(503), 502, id="503"),
    pytest.param(HangUp(reset=True), 502, id="reset"),
    pytest.param(StatusFault(408), 504, id="408"),
]


def _parts(image: Image) -> list[str]:
    return [image.digest, *image.all_blobs]


@pytest.mark.parametrize(("fault", "status"), _UNREACHABLE)
@pytest.mark.parametrize("missing", range(3), ids=["config", "first layer", "last layer"])
async def test_a_part_is_missing(
    hub: ScriptedRegistry, tmp_path: Path, fault: Fault, status: int, missing: int
) -> None:
    """A stale tag is served by GET and HEAD while upstream is down; only the missing part fails."""
    async with _between(hub, tmp_path) as proxy:
        await see(proxy, _BY_TAG)
        absent = [digest for n, digest in enumerate(_OLD.all_blobs) if n == missing]
        present = [digest for n, digest in enumerate(_OLD.all_blobs) if n != missing]
        await _pull(proxy, present)
        await until(lambda: len(proxy.files("blobs")) == len(present) + 1)
        proxy.clock.advance(_FRESH_FOR + 1)
        hub.script(Match(), Always(fault))
        for method in ("GET", "HEAD"):
            answer = await see(proxy, _BY_TAG, method=method)
            assert _is_stale(answer)
            assert answer.headers["Docker-Content-Digest"] == _OLD.digest
        await _pull(proxy, present)
        answer = await see(proxy, f"/v2/{_REPOSITORY}/blobs/{absent[0]}")
        assert (answer.status, answer.code) == (status, "UNAVAILABLE")


async def test_a_part_is_missing_and_upstream_is_limited(
    hub: ScriptedRegistry, tmp_path: Path
) -> None:
    """It is served while upstream limits manifests, for the missing layer can be had."""
    async with _between(hub, tmp_path) as proxy:
        await see(proxy, _BY_TAG)
        proxy.clock.advance(_FRESH_FOR + 1)
        hub.script(Match.manifest(), Always(rate_limited(7)))
        answer = await see(proxy, _BY_TAG)
        assert _is_stale(answer)
        assert answer.body == _OLD.manifest
        await _pull(proxy, _OLD.all_blobs)


@pytest.mark.parametrize("offline", [False, True])
@pytest.mark.parametrize(
    "pulled",
    [
        pytest.param([], id="none of its images"),
        pytest.param([_AMD64.digest], id="a manifest alone"),
        pytest.param([*_AMD64.all_blobs, *_ARM64.all_blobs], id="layers without manifests"),
        pytest.param(_parts(_ARM64), id="one image"),
    ],
)
async def test_an_index(
    hub: ScriptedRegistry, tmp_path: Path, pulled: list[str], offline: bool
) -> None:
    """A stale index is served with any part of it missing, also if upstream is never asked."""
    hub.add_image(_REPOSITORY, "1", _INDEX)
    async with _between(hub, tmp_path) as proxy:
        await see(proxy, _BY_TAG)
        await _pull(proxy, pulled)
        await until(lambda: len(proxy.files("blobs")) == len(set(pulled)) + 1)
    await hub.stop()
    async with _between(hub, tmp_path, offline=offline) as proxy:
        proxy.clock.advance(_FRESH_FOR + 1)
        answer = await see(proxy, _BY_TAG)
        assert answer.body == _INDEX.manifest
        assert _is_stale(answer)


# -- offline ---------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["manifests/1", *_LISTS])
@pytest.mark.parametrize(
    ("offline", "fault", "status"),
    [
        pytest.param(False, StatusFault(503), 502, id="false, 503"),
        pytest.param(True, StatusFault(503), 200, id="true"),
        pytest.param("auto", StatusFault(503), 200, id="auto, 503"),
        pytest.param("auto", HangUp(), 200, id="auto, hangs up"),
        pytest.param("auto", rate_limited(7), 429, id="auto, 429"),
        pytest.param("auto", StatusFault(400), 502, id="auto, 400"),
        pytest.param("auto", StatusFault(403), 403, id="auto, 403"),
    ],
)
async def test_what_is_too_old(
    hub: ScriptedRegistry,
    tmp_path: Path,
    what: str,
    offline: bool | str,
    fault: Fault,
    status: int,
) -> None:
    """With `offline` nothing is too old to be served while upstream cannot be reached."""
    path = f"/v2/{_REPOSITORY}/{what}"
    async with _between(hub, tmp_path) as proxy:
        await _pull_all(proxy)
        kept = await see(proxy, path)
    hub.script(Match(), Always(fault))
    async with _between(hub, tmp_path, offline=offline) as proxy:
        proxy.clock.advance(_FRESH_FOR + 100 * _STALE_FOR)
        answer = await see(proxy, path)
        assert answer.status == status
        assert _is_stale(answer) is (answer.body == kept.body) is (status == 200)
        assert bool(proxy.events.of(UpstreamAnswered)) is (offline is not True)


# -- starting without upstream ---------------------------------------------------------


async def _serves_all(proxy: HastyProxy, names: Iterable[str]) -> None:
    """It is ready, and an image that is here can be pulled whole, fresh and stale."""
    async with proxy.client.get(f"{proxy.admin_url}/readyz") as response:
        assert response.status == 200
    assert (await see(proxy, "/v2/")).status == 200
    for name in names:
        below = f"/v2/{name}/{_REPOSITORY}"
        assert (await see(proxy, f"{below}/manifests/1")).body == _OLD.manifest
        assert (await see(proxy, f"{below}/manifests/{_OLD.digest}")).body == _OLD.manifest
        for digest, blob in _OLD.all_blobs.items():
            assert (await see(proxy, f"{below}/blobs/{digest}")).body == blob.body


async def test_a_start_without_any_upstream(hub: ScriptedRegistry, tmp_path: Path) -> None:
    """A proxy starts with every upstream out of reach, and serves what it has, without asking."""
    names = ("docker.io", "quay.io", "ghcr.io", "gcr.io")
    tags = TagSettings(fresh_for=_FRESH_FOR)
    wanted = Wanted(upstream={"tags": tags, "connect_timeout": 0.2})
    async with hasty_proxy(dict.fromkeys(names, hub), tmp_path, wanted) as proxy:
        await _serves_all(proxy, names)
        await until(lambda: len(proxy.files("blobs")) == len(_OLD.all_blobs) + 1)
    await hub.stop()
    async with AsyncExitStack() as stack:
        strange = await stack.enter_async_context(ScriptedRegistry(tls=distrusted()))
        places: list[Located] = [
            hub,
            stack.enter_context(black_hole()),
            stack.enter_context(nameless()),
            strange,
        ]
        upstreams = dict(zip(names, places, strict=True))
        async with hasty_proxy(upstreams, tmp_path, wanted) as proxy:
            await _serves_all(proxy, names)
            assert not proxy.events.of(UpstreamAnswered)
            proxy.clock.advance(_FRESH_FOR + 1)
            await _serves_all(proxy, names)


@pytest.mark.parametrize("how", ["down", "silent"])
async def test_a_start_without_a_token_server(tmp_path: Path, how: str) -> None:
    """A proxy starts without the server that its tokens come from, and serves what it has."""
    async with ScriptedRegistry(auth=Bearer()) as registry:
        registry.add_image(_REPOSITORY, "1", _OLD)
        registry.add_image(_REPOSITORY, None, images.referrer(_OLD))
        async with _between(registry, tmp_path) as proxy:
            await _pull_all(proxy)
        if how == "down":
            await registry.tokens.stop()
        else:
            registry.tokens.script(Match(), Always(NoAnswer()))
        async with _between(registry, tmp_path, answer_timeout=0.2) as proxy:
            await _serves_all(proxy, ["docker.io"])
            assert not proxy.events.of(UpstreamAnswered)
            proxy.clock.advance(_FRESH_FOR + 1)
            await _serves_all(proxy, ["docker.io"])
            assert _is_stale(await see(proxy, _BY_TAG))
            cold = await see(proxy, f"/v2/{_REPOSITORY}/manifests/2")
            assert cold.status == (502 if how == "down" else 504)


# -- what upstream sends besides -------------------------------------------------------

_TOO_LONG = 10 * 1024 * 1024


@pytest.mark.parametrize("status", [401, 404, 429, 500])
async def test_an_error_page_without_end(
    hub: ScriptedRegistry, tmp_path: Path, status: int
) -> None:
    """An error's body is not read: a client has its answer while most of 10 MB is not here."""
    async with _between(hub, tmp_path) as proxy:
        hub.script(Match("GET"), StatusFault(status, body=b"<" * _TOO_LONG))
        answer = await see(proxy, _BY_TAG)
        assert answer.status == {401: 403, 404: 404, 429: 429, 500: 502}[status]
        assert b"<" not in answer.body
        await hub.quiet()
        assert hub.body_bytes < _TOO_LONG


@pytest.mark.parametrize(
    "challenge",
    [
        "Bearer realm={realm},service=s",
        'Basic realm="x", Bearer realm="{realm}", service="s"',
        'Bearer realm="{realm}",service="s", Basic realm="x"',
        'Negotiate YII==, Digest realm="x", nonce="y", bearer Realm={realm}',
    ],
)
async def test_odd_challenges(hub: ScriptedRegistry, tmp_path: Path, challenge: str) -> None:
    """A challenge is answered however it is written: unquoted, or one of several in a field."""
    asks = StatusFault(401, {"WWW-Authenticate": challenge.format(realm=f"{hub.url}/token")})
    hub.script(Match(path_suffix="/token"), StatusFault(200, body=b'{"token": "t"}'))
    hub.script(Match(path_suffix="/manifests/1"), asks)
    async with _between(hub, tmp_path) as proxy:
        assert (await see(proxy, _BY_TAG)).body == _OLD.manifest
    sent = [(e.path, e.headers.get("Authorization")) for e in hub.requests()]
    assert sent == [(_BY_TAG, None), ("/token", None), (_BY_TAG, "Bearer t")]


async def test_foreign_layers_are_nobodys_loss(hub: ScriptedRegistry, tmp_path: Path) -> None:
    """A layer that the manifest has elsewhere (`urls`) need not be here for the rest to be."""
    layer = {**images.Blob.of(b"windows", images.OCI_LAYER).descriptor(), "urls": ["https://x/y"]}
    config = images.Blob.of(b"{}", images.OCI_CONFIG)
    body = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": images.OCI_MANIFEST,
            "config": config.descriptor(),
            "layers": [layer],
        }
    ).encode()
    hub.add_blob("library/win", config.body)
    hub.add_manifest("library/win", "1", body, images.OCI_MANIFEST)
    wanted = Wanted(tags={"fresh_for": 10.0})
    async with hasty_proxy({"docker.io": hub}, tmp_path / "cache", wanted) as proxy:
        assert await proxy.body("/v2/win/manifests/1") == body
        await proxy.body(f"/v2/win/blobs/{config.digest}")
        await until(lambda: len(proxy.files("blobs")) == 2)
        proxy.clock.advance(20)
        hub.script(Match(), Always(StatusFault(503)))
        assert (await see(proxy, "/v2/win/manifests/1")).body == body
