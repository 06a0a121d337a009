"""`cacheproxy stats` beside a running server."""

import asyncio
import json
import os
import signal
import subprocess
import sys
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

IMAGE = images.simple(seed=1, size=3 * 1024 * 1024)
TOKEN = "s3cret"
_PROGRAM = "from cacheproxy.cli import main; main()"


@pytest.fixture
async def proxy(log: Log, hub: ScriptedRegistry, tmp_path: Path) -> AsyncIterator[HastyProxy]:
    """A proxy, which logs elsewhere, from which an image was pulled twice."""
    hub.add_image("library/app", "1", IMAGE)
    wanted = Wanted(admin={"token": Secret(TOKEN)}, upstream={"price_per_gb": 1000.0})
    async with hasty_proxy({"docker.io": hub}, tmp_path / "cache", wanted) as running:
        for _ in range(2):
            await running.body("/v2/app/manifests/1")
            for blob in IMAGE.blobs:
                await running.body(f"/v2/app/blobs/{blob.digest}")
        await until(lambda: len(running.events.of(FillEnded)) == len(IMAGE.blobs))
        yield running


async def _run(proxy: HastyProxy, *arguments: str, token: str = TOKEN) -> Result:
    environ = {"CACHEPROXY_SERVER": proxy.admin_url, "CACHEPROXY_TOKEN": token}
    run = CliRunner().invoke
    return await asyncio.to_thread(run, commands, ["stats", *arguments], env=environ)


async def test_the_figures_are_there(proxy: HastyProxy) -> None:
    """Bytes, money, pulls, upstreams, repositories, and the store, in words."""
    result = await _run(proxy)
    assert result.exit_code == 0
    for said in (
        "saved 6.0 MiB (6.30 USD) since midnight UTC",
        "served   12.0 MiB in 8 requests",
        "fetched  6.0 MiB, 50.0% of that",
        "2 pulls, of which upstream saw 1",
        "docker.io/library/app",
        "store: 6.0 MiB of 50.0 GiB (0%), 4 blobs",
        "1 worker, up for",
    ):
        assert said in result.output
    (line,) = [line for line in result.output.splitlines() if line.startswith("  docker.io  ")]
    assert line.split() == ["docker.io", "6.0", "MiB", "6.0", "MiB", "up"]


async def test_the_figures_for_programs(proxy: HastyProxy) -> None:
    """With --json they are those of the API."""
    found = json.loads((await _run(proxy, "--json", "--period", "all")).stdout)
    size = len(IMAGE.manifest) + sum(len(blob.body) for blob in IMAGE.blobs)
    assert found["savings"]["period"] == "all"
    assert found["savings"]["all"]["saved_bytes"] == size
    assert found["repositories"][0]["numbers"]["served_bytes"] == 2 * size
    assert found["status"]["store"]["blobs"] == 4


async def test_a_wrong_token_is_said(proxy: HastyProxy) -> None:
    """Who may not ask is told where the token is; there is no stack trace."""
    result = await _run(proxy, token="wrong")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "refuses $CACHEPROXY_TOKEN" in result.stderr
    assert "Traceback" not in result.output


async def test_it_can_be_watched(proxy: HastyProxy) -> None:
    """With --watch the figures come again and again, until Ctrl-C, which ends it with 130."""
    environ = {
        **os.environ,
        "CACHEPROXY_SERVER": proxy.admin_url,
        "CACHEPROXY_TOKEN": TOKEN,
        "PYTHONUNBUFFERED": "1",
    }
    program = [sys.executable, "-c", _PROGRAM, "stats", "--json", "--watch", "10ms"]
    with subprocess.Popen(program, stdout=subprocess.PIPE, env=environ) as running:  # noqa: ASYNC220  # read in a thread
        assert running.stdout is not None
        for _ in range(3):
            line = await asyncio.to_thread(running.stdout.readline)
            assert json.loads(line)["savings"]["all"]["pulls"] == 2
        running.send_signal(signal.SIGINT)
        await asyncio.to_thread(running.communicate, timeout=60)  # or its pipe is full
        assert running.returncode == 130


def test_no_server_is_said(tmp_path: Path) -> None:
    """Where nothing answers, what to do is said."""
    environ = {"CACHEPROXY_SERVER": "127.0.0.1:1", "CACHEPROXY_TOKEN": TOKEN}
    result = CliRunner().invoke(commands, ["stats"], env=environ)
    assert result.exit_code == 1
    assert "no server answers at http://127.0.0.1:1" in result.stderr
    assert "start it, or name another one" in result.stderr
