"""Upstreams that are not to be asked, and tags with rules of their own."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from cacheproxy.settings.upstream_model import TagRuleSettings
from tests.integration.tags import BY_DIGEST, BY_TAG, NEW, OLD, REPOSITORY, is_stale, pull_old
from tests.support.hasty import HastyProxy, Wanted, hasty_proxy
from tests.support.scripted_registry import Always, Match, ScriptedRegistry, StatusFault
from tests.support.seen import see

_YEAR = 365 * 86400.0
_RULES: dict[str, dict[str, Any]] = {
    f"{REPOSITORY}:latest": {"fresh_for": 10.0},
    "latest": {"fresh_for": 100.0, "on_not_found": "drop"},
    "v*": {"fresh_for": _YEAR},
    "*.sig": {"not_found_for": 1000.0},
}


@asynccontextmanager
async def _serving(
    hub: ScriptedRegistry, directory: Path, tags: Mapping[str, Any] | None = None, **upstream: Any
) -> AsyncIterator[HastyProxy]:
    hub.add_image(REPOSITORY, "1", OLD)
    wanted = Wanted(upstream=upstream, tags=tags or {})
    async with hasty_proxy({"docker.io": hub}, directory, wanted) as proxy:
        yield proxy


async def test_offline(hub: ScriptedRegistry, tmp_path: Path) -> None:
    """With `offline: true` all that is cached is served, however old; upstream hears nothing."""
    async with _serving(hub, tmp_path) as proxy:
        await pull_old(proxy)
    asked = len(hub.requests())
    async with _serving(hub, tmp_path, offline=True) as proxy:
        proxy.clock.advance(_YEAR)
        for method in ("GET", "HEAD"):
            answer = await see(proxy, BY_TAG, method=method)
            assert answer.headers["Docker-Content-Digest"] == OLD.digest
            assert is_stale(answer, "upstream-offline")
        assert (await see(proxy, BY_DIGEST)).body == OLD.manifest
        for digest, blob in OLD.all_blobs.items():
            assert await proxy.body(f"/v2/{REPOSITORY}/blobs/{digest}") == blob.body
        for what in ("manifests/2", f"blobs/{NEW.layers[0].digest}", "tags/list"):
            answer = await see(proxy, f"/v2/{REPOSITORY}/{what}")
            assert (answer.status, answer.code) == (503, "UNAVAILABLE")
    assert len(hub.requests()) == asked


@pytest.mark.parametrize(("offline", "status"), [("auto", 200), (False, 502)])
async def test_offline_by_itself(
    hub: ScriptedRegistry, tmp_path: Path, offline: bool | str, status: int
) -> None:
    """With `auto` nothing is too old while upstream is down, and is renewed when it is back."""
    async with _serving(hub, tmp_path, offline=offline) as proxy:
        await pull_old(proxy)
        proxy.clock.advance(_YEAR)
        await hub.stop()
        assert (await see(proxy, BY_TAG)).status == status
        await hub.start()
        hub.add_image(REPOSITORY, "1", NEW)
        assert (await see(proxy, BY_TAG)).body == NEW.manifest


async def test_what_answers_is_not_offline(hub: ScriptedRegistry, tmp_path: Path) -> None:
    """A refusal ends what `auto` allows: who answers is there, and may say no."""
    async with _serving(hub, tmp_path, offline="auto") as proxy:
        await pull_old(proxy)
        proxy.clock.advance(_YEAR)
        hub.script(Match(), Always(StatusFault(403)))
        assert (await see(proxy, BY_TAG)).status == 403


async def test_rules(hub: ScriptedRegistry, tmp_path: Path) -> None:
    """Each tag is believed for as long as the first rule that matches it says."""
    rules = {pattern: TagRuleSettings(pattern, **rule) for pattern, rule in _RULES.items()}
    tags = {"fresh_for": 1000.0, "rules": rules}
    ages = {
        (REPOSITORY, "latest"): 10.0,
        ("team/other", "latest"): 100.0,
        (REPOSITORY, "other"): 1000.0,
        (REPOSITORY, "v1.2"): _YEAR,
    }
    async with _serving(hub, tmp_path, tags) as proxy:
        for name, tag in ages:
            hub.add_image(name, tag, OLD)
            assert (await see(proxy, f"/v2/{name}/manifests/{tag}")).body == OLD.manifest
            hub.add_image(name, tag, NEW)
        passed = 0.0
        for (name, tag), age in ages.items():
            # A tenth is left for the real time that passes.
            proxy.clock.advance(age * 0.9 - passed)
            assert (await see(proxy, f"/v2/{name}/manifests/{tag}")).body == OLD.manifest
            proxy.clock.advance(age * 0.1)
            passed = age
            assert (await see(proxy, f"/v2/{name}/manifests/{tag}")).body == NEW.manifest


async def test_rules_of_what_is_not_there(hub: ScriptedRegistry, tmp_path: Path) -> None:
    """A 404 is remembered as the tag's rule says, and drops a tag where its rule says so."""
    rules = {pattern: TagRuleSettings(pattern, **rule) for pattern, rule in _RULES.items()}
    async with _serving(hub, tmp_path, {"not_found_for": 10.0, "rules": rules}) as proxy:
        asked = len(hub.requests())
        for _ in range(3):
            for tag in ("sha256-1.sig", "none"):
                assert (await see(proxy, f"/v2/{REPOSITORY}/manifests/{tag}")).status == 404
            proxy.clock.advance(100)
        assert len(hub.requests()) - asked == 1 + 3
        hub.add_image("team/other", "latest", OLD)
        path = "/v2/team/other/manifests/latest"
        assert (await see(proxy, path)).status == 200
        hub.remove_tag("team/other", "latest")
        proxy.clock.advance(101)
        assert (await see(proxy, path)).status == 404
