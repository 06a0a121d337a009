"""The admin API of one process: what it says is what happened, and who may ask."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from cacheproxy.domain.events import FillEnded
from cacheproxy.settings.secret import Secret
from tests.integration.fills import until
from tests.support import images
from tests.support.hasty import HastyProxy, Wanted, hasty_proxy
from tests.support.scripted_registry import Always, Gate, Match, ScriptedRegistry, StatusFault

IMAGE = images.simple(seed=1, size=200_000)
TOKEN = "s3cret"
API = "/api/v1"


@pytest.fixture
async def proxy(hub: ScriptedRegistry, tmp_path: Path) -> AsyncIterator[HastyProxy]:
    """A proxy whose upstream has an image, and a price."""
    hub.add_image("library/app", "1", IMAGE)
    admin = {"token": Secret(TOKEN), "webhook_token": Secret("hook"), "currency": "EUR"}
    wanted = Wanted(admin=admin, upstream={"price_per_gb": 1000.0})
    async with hasty_proxy({"docker.io": hub}, tmp_path / "cache", wanted) as running:
        yield running


async def _ask(proxy: HastyProxy, path: str, status: int = 200, **options: Any) -> Any:
    """What the API answers to whoever has the token."""
    headers = {"Authorization": f"Bearer {TOKEN}", **options.pop("headers", {})}
    method = options.pop("method", "GET")
    url = f"{proxy.admin_url}{API}{path}"
    async with proxy.client.request(method, url, headers=headers, **options) as response:
        assert response.status == status, await response.text()
        return await response.json(content_type="application/json")


async def _pull(proxy: HastyProxy, times: int = 1) -> int:
    """Pull the image; returns body bytes of one pull."""
    for _ in range(times):
        await proxy.body("/v2/app/manifests/1")
        for blob in IMAGE.blobs:
            await proxy.body(f"/v2/app/blobs/{blob.digest}")
    return len(IMAGE.manifest) + sum(len(blob.body) for blob in IMAGE.blobs)


async def test_savings_add_up(proxy: HastyProxy) -> None:
    """Three pulls of one image: what was fetched once and served three times, to the byte."""
    size = await _pull(proxy, 3)
    for period in ("today", "week", "month", "all"):
        found = await _ask(proxy, f"/savings?period={period}")
        numbers = found["upstreams"]["docker.io"]
        assert numbers["served_bytes"] == 3 * size == sum(numbers["sources"].values())
        assert numbers["fetched_bytes"] == size
        assert numbers["saved_bytes"] == 2 * size
        assert (numbers["pulls"], numbers["upstream_pulls"], numbers["pulls_avoided"]) == (3, 1, 2)
        assert numbers["cost_saved"] == pytest.approx(2 * size / 1e9 * 1000)
        assert found["all"] == numbers
        assert found["currency"] == "EUR"
        assert sum(hour["served_bytes"] for hour in found["hours"]) == 3 * size


async def test_savings_are_listed_by_repository(hub: ScriptedRegistry, proxy: HastyProxy) -> None:
    """The repositories with the most of what is asked for come first."""
    other = images.simple(seed=2, size=1000)
    hub.add_image("team/other", "1", other)
    size = await _pull(proxy, 2)
    await proxy.body("/v2/team/other/manifests/1")
    found = await _ask(proxy, "/repositories?order=served&limit=5")
    assert [one["repository"] for one in found["repositories"]] == ["library/app", "team/other"]
    assert found["repositories"][0]["numbers"]["saved_bytes"] == size
    (first,) = (await _ask(proxy, "/repositories?limit=1"))["repositories"]
    assert first["repository"] == "library/app"


async def test_the_status_shows_a_fill_and_the_store(
    hub: ScriptedRegistry, proxy: HastyProxy
) -> None:
    """A download is there with its progress while it goes on, then it is in the store."""
    blob = IMAGE.layers[0]
    gate = Gate(at=100_000)
    hub.script(Match.blob(blob.digest), gate)
    await proxy.body("/v2/app/manifests/1")
    pulling = asyncio.ensure_future(proxy.body(f"/v2/app/blobs/{blob.digest}"))  # noqa: TID251
    fill: dict[str, Any] = {}

    async def grows() -> bool:
        fill.update(next(iter((await _ask(proxy, "/status"))["fills"]), {}))
        return bool(fill.get("received_bytes", 0) >= 100_000)

    async with asyncio.timeout(60):
        while not await grows():
            pass
    assert (fill["digest"], fill["size_bytes"]) == (blob.digest, len(blob.body))
    assert (fill["upstream"], fill["repository"]) == ("docker.io", "library/app")
    assert fill["seconds"] > 0
    gate.release()
    assert await pulling == blob.body
    async with asyncio.timeout(60):
        while (status := await _ask(proxy, "/status"))["fills"]:
            pass
    assert status["store"]["blobs"] == 2
    assert status["store"]["bytes"] >= len(blob.body) + len(IMAGE.manifest)
    (upstream,) = status["upstreams"]
    assert (upstream["name"], upstream["state"]) == ("docker.io", "up")
    assert (status["workers"], status["replicas"]) == (1, [])


async def test_the_status_shows_an_upstream_that_fails(
    hub: ScriptedRegistry, proxy: HastyProxy
) -> None:
    """An upstream that answers with errors is down, with the reason."""
    hub.script(Match(), Always(StatusFault(503)))
    async with proxy.get("/v2/app/manifests/1") as response:
        assert response.status >= 500
    (upstream,) = (await _ask(proxy, "/status"))["upstreams"]
    assert upstream["state"] in ("down", "paused")
    assert "503" in upstream["error"]


async def test_what_would_go_next_is_listed(proxy: HastyProxy) -> None:
    """Blobs before manifests, with the tags that lead to them."""
    await _pull(proxy)

    async def kept() -> bool:
        return len((await _ask(proxy, "/eviction"))["entries"]) == 1 + len(IMAGE.blobs)

    async with asyncio.timeout(60):
        while not await kept():  # noqa: ASYNC110  # over the API
            await asyncio.sleep(0.01)
    entries = (await _ask(proxy, "/eviction?limit=50"))["entries"]
    assert [entry["kind"] for entry in entries][-1] == "manifest"
    assert {tuple(entry["tags"]) for entry in entries} == {("docker.io/library/app:1",)}
    assert len((await _ask(proxy, "/eviction?limit=1"))["entries"]) == 1


async def test_explain_purge_and_plan(proxy: HastyProxy) -> None:
    """The API says and does what the commands do."""
    size = await _pull(proxy, 2)
    await until(lambda: len(proxy.events.of(FillEnded)) == len(IMAGE.blobs))
    found = await _ask(proxy, "/explain?image=app:1")
    assert found["digest"] == IMAGE.digest
    body = {"targets": ["app:1"], "dry_run": True}
    (planned,) = (await _ask(proxy, "/purge", method="POST", json=body))["targets"]
    assert planned["freed_bytes"] >= size
    (done,) = (await _ask(proxy, "/purge", method="POST", json=body | {"dry_run": False}))[
        "targets"
    ]
    assert done["freed_bytes"] == planned["freed_bytes"]
    assert (await _ask(proxy, "/status"))["store"]["blobs"] == 0
    assert (await _ask(proxy, "/explain?image=never", 404))["error"]["code"] == "not_found"


async def test_images_are_warmed(hub: ScriptedRegistry, proxy: HastyProxy) -> None:
    """What is warmed is told in steps, is here then, and counts as fetched but not as served."""
    url = f"{proxy.admin_url}{API}/warm"
    headers = {"Authorization": f"Bearer {TOKEN}"}
    body = {"images": ["app:1", "missing:1"], "platforms": ["all"], "parallel": 1}
    async with proxy.client.post(url, json=body, headers=headers) as response:
        lines = [json.loads(line) for line in (await response.read()).splitlines()]
    assert lines[-1]["summary"]["done"] == lines[-1]["summary"]["failed"] == 1
    asked = len(hub.requests())
    size = await _pull(proxy)
    assert len(hub.requests()) == asked
    numbers = (await _ask(proxy, "/savings"))["all"]
    assert (numbers["fetched_bytes"], numbers["served_bytes"]) == (size, size)


async def test_a_push_is_warmed_soon(proxy: HastyProxy) -> None:
    """Whoever has the webhook's token may tell of a push, by header or in the URL; no more."""
    url = f"{proxy.admin_url}{API}/hooks/push"
    body = json.dumps({"images": ["app:1"]})
    for token, status in (("wrong", 401), ("hook", 202)):
        async with proxy.client.post(f"{url}?token={token}", data=body) as response:
            assert response.status == status
    headers = {"Authorization": "Bearer hook"}
    async with proxy.client.post(url, data=body, headers=headers) as response:
        assert (await response.json())["images"] == ["docker.io/library/app:1"]
    async with proxy.client.get(f"{proxy.admin_url}{API}/status", headers=headers) as response:
        assert response.status == 401
    await until(lambda: len(proxy.files("blobs")) == 1 + len(IMAGE.blobs))


@pytest.mark.parametrize("path", ["/status", "/savings", "/nothing", "", "/explain?image=app"])
async def test_nothing_is_said_without_the_token(proxy: HastyProxy, path: str) -> None:
    """Whatever is asked for, whoever does not show the token learns how to."""
    for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": f"Basic {TOKEN}"}):
        url = f"{proxy.admin_url}{API}{path}"
        async with proxy.client.get(url, headers=headers) as response:
            assert response.status == 401
            assert "admin.token" in (await response.json())["error"]["message"]
            assert response.headers["WWW-Authenticate"].startswith("Bearer")


async def test_the_description_is_for_everyone(proxy: HastyProxy) -> None:
    """The OpenAPI document is there without a token, and names each path that is answered."""
    async with proxy.client.get(f"{proxy.admin_url}{API}/openapi.json") as response:
        document = await response.json()
    assert document["openapi"].startswith("3.1")
    for path, methods in document["paths"].items():
        for method in methods:
            async with proxy.client.request(method, f"{proxy.admin_url}{API}{path}") as response:
                assert response.status == 401, path


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/savings?period=ever", "period is one of today"),
        ("/repositories?order=x", "order is one of"),
        ("/repositories?limit=0", "limit is a number from 1"),
        ("/repositories?limit=٣", "limit is a number from 1"),
        ("/eviction?limit=1e3", "limit is a number from 1"),
        ("/explain", "the parameter image is missing"),
        ("/explain?image=A", "A"),
        ("/plan?max_size=huge", "max_size"),
        ("/plan?policy=mru", "policy is one of"),
        ("/plan?since=soon", "since"),
    ],
)
async def test_what_is_asked_wrongly_is_named(proxy: HastyProxy, path: str, said: str) -> None:
    """Bad parameters get a 400 that says what to change."""
    assert said in (await _ask(proxy, path, 400))["error"]["message"]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/purge", b""),
        ("/purge", b"{}"),
        ("/purge", b'{"targets": "app"}'),
        ("/purge", b'{"targets": ["\xff"]}'),
        ("/warm", b'{"images": []}'),
        ("/warm", b'{"images": ["app"], "platforms": ["amiga"]}'),
        ("/warm", b'{"images": ["app"], "parallel": 0}'),
        ("/hooks/push", b"nonsense"),
    ],
)
async def test_bodies_that_are_wrong_are_refused(proxy: HastyProxy, path: str, body: bytes) -> None:
    """They get a 400, and nothing happens."""
    answer = await _ask(proxy, path, 400, method="POST", data=body)
    assert answer["error"]["code"] == "invalid"


async def test_the_token_is_made_where_none_is_given(hub: ScriptedRegistry, tmp_path: Path) -> None:
    """It is kept in the cache directory, for its user alone, and stays over restarts."""
    seen = set()
    for _ in range(2):
        async with hasty_proxy({"docker.io": hub}, tmp_path) as proxy:
            file = tmp_path / "admin.token"
            assert file.stat().st_mode & 0o777 == 0o600
            token = file.read_text().strip()
            seen.add(token)
            headers = {"Authorization": f"Bearer {token}"}
            url = f"{proxy.admin_url}{API}/status"
            async with proxy.client.get(url, headers=headers) as response:
                assert response.status == 200
    assert len(seen) == 1


async def test_reading_can_be_public(hub: ScriptedRegistry, tmp_path: Path) -> None:
    """Then whoever reads needs no token, and whoever changes anything does."""
    wanted = Wanted(admin={"public": True})
    async with hasty_proxy({"docker.io": hub}, tmp_path, wanted) as proxy:
        url = f"{proxy.admin_url}{API}"
        async with proxy.client.get(f"{url}/status") as response:
            assert response.status == 200
        async with proxy.client.post(f"{url}/purge", json={"targets": ["app"]}) as response:
            assert response.status == 401


async def test_sums_survive_a_restart(hub: ScriptedRegistry, tmp_path: Path) -> None:
    """What was saved before is still told after."""
    hub.add_image("library/app", "1", IMAGE)
    for times in (1, 2):
        wanted = Wanted(admin={"token": Secret(TOKEN)})
        async with hasty_proxy({"docker.io": hub}, tmp_path, wanted) as proxy:
            size = await _pull(proxy, 1)
            numbers = (await _ask(proxy, "/savings?period=all"))["all"]
            assert numbers["served_bytes"] == times * size
            assert numbers["fetched_bytes"] == size
