"""The databases of a running proxy, while commands look into the same directory."""

import asyncio
import json
import os
import sys
from pathlib import Path

import pytest

from cacheproxy.domain.digest import Digest
from cacheproxy.domain.events import FillEnded, Responded
from cacheproxy.settings.secret import Secret
from cacheproxy.storage.layout import Layout
from tests.integration.fills import until
from tests.support import images
from tests.support.hasty import HastyProxy, Wanted, hasty_proxy
from tests.support.leaks import open_files
from tests.support.scripted_registry import ScriptedRegistry

_TOKEN = "s3cret"
_PROGRAM = "from cacheproxy.cli import main; main()"
_FIRST, _SECOND = images.simple(1), images.simple(2)
_COMMANDS = (
    ("stats",),
    ("doctor", "--image", "docker.io/library/app:1"),
    ("explain", "app:1"),
    ("explain", "--offline", "app:1"),
    ("purge", "--dry-run", "app:1"),
    ("purge", "--offline", "--dry-run", "app:1"),
    ("scrub",),
    ("scrub", "--offline"),
    ("plan",),
    ("plan", "--offline"),
    ("check",),
)


async def _run(arguments: tuple[str, ...], proxy: HastyProxy, config: Path) -> str:
    """Run a command beside the proxy, in a process of its own."""
    environ = {**os.environ, "CACHEPROXY_CONFIG": str(config), "CACHEPROXY_TOKEN": _TOKEN}
    if arguments[0] == "stats":
        environ["CACHEPROXY_SERVER"] = proxy.admin_url
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        _PROGRAM,
        *arguments,
        env=environ,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    return output.decode()


def _configuration(proxy: HastyProxy, hub: ScriptedRegistry, path: Path) -> Path:
    settings = {
        "server": {"listen": proxy.url.removeprefix("http://")},
        "admin": {"listen": proxy.admin_url.removeprefix("http://")},
        "cache": {"directory": str(proxy.directory), "min_free": "1B"},
        "upstreams": {"docker.io": {"url": hub.url}},
    }
    path.write_text(json.dumps(settings))
    return path


async def _pull(proxy: HastyProxy, image: images.Image, tag: str) -> None:
    await proxy.body(f"/v2/app/manifests/{tag}")
    for blob in image.blobs:
        assert await proxy.body(f"/v2/app/blobs/{blob.digest}") == blob.body


async def _assert_stored(proxy: HastyProxy, image: images.Image, tag: str) -> None:
    """Pull an image; assert that all of it is stored, and nothing passes the store by."""
    ended = len(proxy.events.of(FillEnded))
    await _pull(proxy, image, tag)
    await until(lambda: len(proxy.events.of(FillEnded)) == ended + len(image.blobs))
    assert all(event.error is None for event in proxy.events.of(FillEnded))
    assert "bypass" not in {event.outcome for event in proxy.events.of(Responded)}
    for digest in (image.digest, *(blob.digest for blob in image.blobs)):
        assert Layout(proxy.directory).holds(Digest(digest))


@pytest.mark.timeout(300)
async def test_commands_leave_the_databases_of_a_server_alone(
    hub: ScriptedRegistry, tmp_path: Path
) -> None:
    """After every command that looks into the directory, the server still stores what it pulls."""
    hub.add_image("library/app", "1", _FIRST)
    hub.add_image("library/app", "2", _SECOND)
    wanted = Wanted(admin={"token": Secret(_TOKEN)})
    async with hasty_proxy({"docker.io": hub}, tmp_path / "cache", wanted) as proxy:
        config = _configuration(proxy, hub, tmp_path / "cacheproxy.json")
        await _assert_stored(proxy, _FIRST, "1")
        for arguments in _COMMANDS:
            said = await _run(arguments, proxy, config)
            assert "Traceback" not in said, said
            deleted = [name for name in open_files() if name.endswith("(deleted)")]
            assert not [name for name in deleted if ".db" in name], arguments
        await _assert_stored(proxy, _SECOND, "2")
