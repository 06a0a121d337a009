"""`explain`, `purge` and `plan` with --server: the same as in the directory itself."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from cacheproxy.cli import commands
from cacheproxy.domain.events import FillEnded
from cacheproxy.settings.secret import Secret
from tests.integration.fills import until
from tests.support import images
from tests.support.hasty import HastyProxy, Wanted, hasty_proxy
from tests.support.logged import Log
from tests.support.scripted_registry import ScriptedRegistry

IMAGE = images.simple(seed=1, size=100_000)
TOKEN = "s3cret"


@pytest.fixture
async def proxy(log: Log, hub: ScriptedRegistry, tmp_path: Path) -> AsyncIterator[HastyProxy]:
    """A proxy, which logs elsewhere, from which an image was pulled."""
    hub.add_image("library/app", "1", IMAGE)
    wanted = Wanted(admin={"token": Secret(TOKEN)})
    async with hasty_proxy({"docker.io": hub}, tmp_path / "cache", wanted) as running:
        await running.body("/v2/app/manifests/1")
        for blob in IMAGE.blobs:
            await running.body(f"/v2/app/blobs/{blob.digest}")
        await until(lambda: len(running.events.of(FillEnded)) == len(IMAGE.blobs))
        yield running


async def _run(proxy: HastyProxy, *arguments: str) -> Result:
    environ = {"CACHEPROXY_TOKEN": TOKEN}
    remote = [*arguments, "--server", proxy.admin_url]
    return await asyncio.to_thread(CliRunner().invoke, commands, remote, env=environ)


async def _here(proxy: HastyProxy, *arguments: str) -> Result:
    environ = {"CACHEPROXY__CACHE__DIRECTORY": str(proxy.directory)}
    return await asyncio.to_thread(CliRunner().invoke, commands, list(arguments), env=environ)


async def test_an_image_is_explained(proxy: HastyProxy) -> None:
    """In the same words; but for how often it was looked at, which differs by the moment."""
    remote, here = await _run(proxy, "explain", "app:1"), await _here(proxy, "explain", "app:1")
    assert (remote.exit_code, here.exit_code) == (0, 0)
    assert "  parts        3 of 3 are here" in remote.stdout
    labels = [line.split("  ")[1] for line in remote.stdout.splitlines()[1:]]
    assert labels == [line.split("  ")[1] for line in here.stdout.splitlines()[1:]]


async def test_what_is_not_known_is_said(proxy: HastyProxy) -> None:
    """With the codes of the command: 1 for nothing known, 2 for what is no name."""
    result = await _run(proxy, "explain", "app:2")
    assert result.exit_code == 1
    assert "of that repository there is docker.io/library/app:1" in result.stderr
    result = await _run(proxy, "explain", "App:2")
    assert result.exit_code == 2


async def test_an_image_is_purged(proxy: HastyProxy) -> None:
    """First in rehearsal, then in earnest."""
    rehearsed = json.loads((await _run(proxy, "purge", "--dry-run", "--json", "app:1")).stdout)
    assert rehearsed["dry_run"] is True
    assert len(proxy.files("blobs")) == 1 + len(IMAGE.blobs)
    done = await _run(proxy, "purge", "app:1")
    assert done.exit_code == 0
    assert done.stdout.startswith("docker.io/library/app:1: freed ")
    assert proxy.files("blobs") == []
    assert (await _run(proxy, "purge", "app:1")).exit_code == 1


async def test_a_plan_is_made(proxy: HastyProxy) -> None:
    """Of the accesses that the server has recorded."""

    async def planned() -> Result:
        return await _run(proxy, "plan", "--max-size", "1MiB", "--policy", "lru", "--json")

    async with asyncio.timeout(60):
        while (result := await planned()).exit_code != 0:
            assert "there is nothing to plan with" in result.stderr
    rows = json.loads(result.stdout)["rows"]
    assert [(row["max_size"], row["policy"]) for row in rows][:2] == [
        (1024**2, "lru"),
        (1024**2, "foresight"),
    ]
    shown = await _run(proxy, "plan", "--max-size", "1MiB", "--policy", "lru")
    assert "* is today's cache" in shown.stdout


async def test_what_is_stored_is_read_again(proxy: HastyProxy) -> None:
    """By the server, which puts aside what is wrong; the next pull has it right."""
    layer = IMAGE.layers[0]
    path = proxy.directory / "blobs" / "sha256" / layer.digest[7:9] / layer.digest[7:]
    path.write_bytes(b"x" * len(layer.body))
    result = await _run(proxy, "scrub", "--json")
    assert (result.exit_code, result.stderr) == (0, "")
    report = json.loads(result.stdout)
    (found,) = report["findings"]
    assert (found["digest"], found["problem"], found["outcome"]) == (
        layer.digest,
        "damaged",
        "quarantined",
    )
    assert report["checked"] == 1 + len(IMAGE.blobs)
    assert report["quarantine"] == str(proxy.directory / "quarantine")
    async with proxy.client.get(f"{proxy.admin_url}/metrics") as page:
        assert 'cacheproxy_damaged_blobs_total{problem="damaged"} 1.0' in await page.text()
    assert await proxy.body(f"/v2/app/blobs/{layer.digest}") == layer.body
    shown = await _run(proxy, "scrub", "--rate", "1GiB")
    assert shown.stdout.splitlines()[1:] == ["all are what their digests say"]


async def test_where_it_begins_can_be_said_to_a_server(proxy: HastyProxy) -> None:
    """--after reaches it."""
    digests = sorted([IMAGE.digest, *IMAGE.all_blobs])
    result = await _run(proxy, "scrub", "--json", "--after", digests[0])
    assert json.loads(result.stdout)["checked"] == len(digests) - 1


@pytest.fixture
def configured(proxy: HastyProxy, tmp_path: Path) -> Path:
    """A configuration file that says where the server listens, as that of the server does."""
    file = tmp_path / "config.yaml"
    file.write_text(
        f"admin: {{listen: '{proxy.admin_url.removeprefix('http://')}', token: {TOKEN}}}\n"
        f"cache: {{directory: {tmp_path / 'elsewhere'}}}\n"
        "upstreams: {docker.io: {}}\n"
    )
    return file


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (["explain", "app:1"], "3 of 3 are here"),
        (["purge", "--dry-run", "app:1"], "would free"),
        (["scrub"], "all are what their digests say"),
    ],
)
async def test_the_server_is_asked_where_one_runs(
    configured: Path, command: list[str], said: str
) -> None:
    """Without --server: whoever listens where the configuration says; not with --offline."""
    arguments = [*command, "--config", str(configured)]
    result = await asyncio.to_thread(CliRunner().invoke, commands, arguments)
    assert (result.exit_code, result.stderr) == (0, "")
    assert said in result.stdout
    offline = await asyncio.to_thread(CliRunner().invoke, commands, [*arguments, "--offline"])
    assert offline.exit_code == 1
    assert "there is no cache in" in offline.stderr
