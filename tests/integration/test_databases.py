"""The databases of a running proxy, while commands look into the same directory."""

import asyncio
import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import AsyncExitStack, closing, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import cast

import aiohttp
import pytest
from aiohttp import web

from cacheproxy.doctor.server import check_server
from cacheproxy.domain.digest import Digest
from cacheproxy.domain.events import FillEnded, Responded
from cacheproxy.domain.store_events import LedgerReplaced, StoreRecovered
from cacheproxy.inprocess.databases import open_database
from cacheproxy.ops.api.model import Live
from cacheproxy.ops.api.pulling import Pulling
from cacheproxy.ops.api.workers import Workers, make_worker_app
from cacheproxy.settings import load
from cacheproxy.settings.model import Settings
from cacheproxy.settings.secret import Secret
from cacheproxy.storage import ledger
from cacheproxy.storage.layout import Layout
from tests.integration.fills import until
from tests.support import images
from tests.support.hasty import HastyProxy, Wanted, hasty_proxy
from tests.support.leaks import open_files
from tests.support.parts.proxy import Proxy, proxy
from tests.support.scripted_registry import ScriptedRegistry

MIB = 1024 * 1024
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


# In a process of its own: a file that this one closes would lose the locks of its databases.
# It writes something first, so that nobody goes on with pages that it has in memory.
_SPOILING = """
import sqlite3, sys
database = sqlite3.connect(sys.argv[1])
database.execute("PRAGMA user_version=1")
database.close()
for path in sys.argv[1:]:
    with open(path, "r+b") as file:
        size = file.seek(0, 2)
        file.seek(0)
        file.write(b"x" * size)
"""


_TOLD_BY = {"/readyz", "/api/v1/status", "/dashboard", "doctor"}


@dataclass(frozen=True, slots=True)
class _Said:
    """All that a proxy says to operators, by where it says so."""

    by_place: dict[str, str]

    def __contains__(self, text: str) -> bool:
        return any(text in said for said in self.by_place.values())


async def _said_of(proxy: HastyProxy, settings: Settings) -> _Said:
    headers = {"Authorization": f"Bearer {_TOKEN}"}
    found = {}
    for place in ("/readyz", "/api/v1/status", "/dashboard", "/metrics"):
        async with proxy.client.get(proxy.admin_url + place, headers=headers) as response:
            assert response.status == 200
            found[place] = await response.text()
    found["doctor"] = str(await check_server(settings, {}))
    return _Said(found)


def _spoil(path: Path) -> None:
    """Overwrite the file and its log in place, as a failing disk does."""
    log = path.with_name(path.name + "-wal")
    subprocess.run([sys.executable, "-c", _SPOILING, path, log], check=True)


def _remove(path: Path) -> None:
    path.unlink()


def _remove_all(path: Path) -> None:
    for each in path.parent.glob("ledger.db*"):
        each.unlink()


_HARM = [_spoil, _remove, _remove_all]


@pytest.mark.parametrize("harm", _HARM)
async def test_a_lost_ledger_costs_no_restart(
    hub: ScriptedRegistry, tmp_path: Path, harm: Callable[[Path], None]
) -> None:
    """After harm to its ledger a running proxy takes stock, and stores what is pulled."""
    hub.add_image("library/app", "1", _FIRST)
    hub.add_image("library/app", "2", _SECOND)
    async with hasty_proxy({"docker.io": hub}, tmp_path / "cache") as running:
        await _assert_stored(running, _FIRST, "1")
        asked = len(hub.requests())
        harm(Layout(running.directory).ledger)
        await until(lambda: running.events.of(LedgerReplaced))
        await until(lambda: _known(running.directory) == {_FIRST.digest, *_FIRST.all_blobs})
        await _pull(running, _FIRST, "1")
        assert len(hub.requests()) == asked
        await _assert_stored(running, _SECOND, "2")


@pytest.mark.parametrize("harm", _HARM)
async def test_workers_share_a_ledger_that_was_made_anew(
    hub: ScriptedRegistry, harm: Callable[[Path], None]
) -> None:
    """Two workers whose ledger is lost keep what they pull in one new ledger, within the budget."""
    image_list = [images.simple(seed, size=MIB) for seed in range(8)]
    for number, image in enumerate(image_list):
        hub.add_image("library/app", str(number), image)
    budget = 4 * MIB
    cache = {"max_size": f"{budget}B", "min_free": "1B"}
    async with AsyncExitStack() as stack:
        running = await _started(stack, hub, cache)
        client = await stack.enter_async_context(aiohttp.ClientSession())
        directory = Path(running.document["cache"]["directory"])
        await _pull_from(client, running.url, image_list[0], "0")
        harm(directory / "ledger.db")
        await until(lambda: "ledger made anew" in running.log(), within=60)
        for number, image in enumerate(image_list):
            await _pull_from(client, running.url, image, str(number))
            assert _taken(directory) <= budget
        last = image_list[-1]
        await until(lambda: last.digest in _known(directory), within=60)
        assert all(Layout(directory).holds(Digest(digest)) for digest in _known(directory))
        async with asyncio.timeout(60):
            while not await _is_storing(client, running.admin_url):  # noqa: ASYNC110  # no event
                await asyncio.sleep(0.1)


async def test_that_nothing_is_stored_is_visible_at_once(
    hub: ScriptedRegistry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A ledger that cannot be written shows in readiness, the API, metrics, page and doctor."""
    monkeypatch.setattr(ledger, "_LOCK_SECONDS", 0.05)
    hub.add_image("library/app", "1", _FIRST)
    wanted = Wanted(admin={"token": Secret(_TOKEN)})
    problem = "the ledger cannot be written: database is locked"
    async with hasty_proxy({"docker.io": hub}, tmp_path / "cache", wanted) as running:
        settings = load(_configuration(running, hub, tmp_path / "cacheproxy.json"), {})
        assert problem not in await _said_of(running, settings)
        with closing(open_database(running.directory / "ledger.db", 1.0)) as other:
            other.execute("BEGIN IMMEDIATE")
            await _pull(running, _FIRST, "1")
            said = await _said_of(running, settings)
        assert {one for one, text in said.by_place.items() if problem in text} == _TOLD_BY
        assert "\ncacheproxy_store_writable 0.0\n" in said.by_place["/metrics"]
        await until(lambda: running.events.of(StoreRecovered))
        assert problem not in await _said_of(running, settings)


class _Worker:
    """A worker (`Pulling`) of which nothing is known but whether it stores."""

    def __init__(self, problem: str | None) -> None:
        self._problem = problem

    async def live(self) -> Live:
        return Live([], [], [], self._problem)


async def test_one_worker_that_stores_nothing_is_enough(tmp_path: Path) -> None:
    """The supervisor says why nothing is stored if any of its workers says so."""

    async def flushed() -> None:
        pass

    problems = (None, "the ledger cannot be written: disk I/O error", None)
    sockets = [tmp_path / f"{number}.sock" for number in range(len(problems))]
    async with AsyncExitStack() as stack:
        for problem, path in zip(problems, sockets, strict=True):
            worker = cast("Pulling", _Worker(problem))
            runner = web.AppRunner(make_worker_app(worker, flushed), access_log=None)
            await runner.setup()
            stack.push_async_callback(runner.cleanup)
            await web.UnixSite(runner, str(path)).start()
        for asked, problem in ((sockets, problems[1]), (sockets[:1], None)):
            workers = Workers(asked)
            stack.push_async_callback(workers.close)
            assert (await workers.live()).store_problem == problem


def _known(directory: Path) -> set[str]:
    """What the ledger at its path says is stored; nothing while it cannot be read."""
    with suppress(sqlite3.Error), closing(open_database(directory / "ledger.db", 1.0, "ro")) as db:
        return {row[0] for row in db.execute("SELECT digest FROM blob")}
    return set()


def _taken(directory: Path) -> int:
    files = [path for below in ("blobs", "ingest") for path in (directory / below).rglob("*")]
    return sum(path.stat().st_blocks * 512 for path in files if path.is_file())


async def _is_storing(client: aiohttp.ClientSession, admin_url: str) -> bool:
    async with client.get(f"{admin_url}/metrics") as response:
        return "\ncacheproxy_store_writable 1.0\n" in await response.text()


async def _pull_from(
    client: aiohttp.ClientSession, url: str, image: images.Image, tag: str
) -> None:
    async with client.get(f"{url}/v2/app/manifests/{tag}") as response:
        assert await response.read() == image.manifest
    for blob in image.blobs:
        async with client.get(f"{url}/v2/app/blobs/{blob.digest}") as response:
            assert await response.read() == blob.body


async def _started(stack: AsyncExitStack, hub: ScriptedRegistry, cache: dict[str, str]) -> Proxy:
    """Start a proxy with two workers, and its cache in a directory that goes with it."""
    directory = stack.enter_context(TemporaryDirectory())
    cache = {"directory": f"{directory}/cache", **cache}
    settings = {"server": {"workers": 2}, "cache": cache}
    manager = proxy({"docker.io": hub.url}, settings=settings)
    running = await asyncio.to_thread(manager.__enter__)
    stack.push_async_callback(asyncio.to_thread, manager.__exit__, None, None, None)
    return running
