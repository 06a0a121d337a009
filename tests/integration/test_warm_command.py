"""`cacheproxy warm` in a process of its own, before a server that answers."""

import asyncio
import json
import os
import pty
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from aiohttp import web

from tests.integration.fills import until
from tests.support import images
from tests.support.hasty import HastyProxy
from tests.support.parts.process import free_port
from tests.support.scripted_registry import Gate, Match, ScriptedRegistry
from tests.support.warmed import TOKEN, warm_api

IMAGE = images.simple(seed=341, size=400_000)
SIZE = sum(len(blob.body) for blob in IMAGE.all_blobs.values())
NAME = "docker.io/team/app:1"
WITHIN = 60.0


@dataclass(frozen=True, slots=True)
class Said:
    """How a command ended, and what it said."""

    code: int | None
    out: str
    err: str


@pytest.fixture
async def url(hub: ScriptedRegistry, proxy: HastyProxy) -> AsyncIterator[str]:
    """Where the API of a server is whose upstream has the image."""
    hub.add_image("team/app", "1", IMAGE)
    async with warm_api(proxy) as at:
        yield at


async def _started(
    directory: Path, *arguments: str, token: str = TOKEN, terminal: int | None = None
) -> Process:
    environ = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(Path(__file__).parents[2]),
        "CACHEPROXY_TOKEN": token,
        "TERM": "xterm",
        "COLUMNS": "100",
    }
    return await asyncio.create_subprocess_exec(
        sys.executable,
        *("-c", "from cacheproxy.cli import main; main()", "warm", *arguments),
        cwd=directory,
        env=environ,
        stdin=PIPE if terminal is None else DEVNULL,
        stdout=PIPE if terminal is None else terminal,
        stderr=PIPE if terminal is None else terminal,
    )


async def _run(directory: Path, *arguments: str, given: str = "", token: str = TOKEN) -> Said:
    process = await _started(directory, *arguments, token=token)
    async with asyncio.timeout(WITHIN):
        out, err = await process.communicate(given.encode())
    return Said(process.returncode, out.decode(), err.decode())


async def test_an_image_is_warm(
    hub: ScriptedRegistry, proxy: HastyProxy, url: str, tmp_path: Path
) -> None:
    """The command has the server fetch it; again, it costs nothing."""
    arguments = ("--server", url, "team/app:1")
    first = await _run(tmp_path, *arguments)
    assert (first.code, first.err) == (0, "")
    assert first.out.startswith(f"{NAME}: warm, {SIZE / 1024:.1f} KiB from upstream\n1 image warm")
    before = hub.body_bytes
    second = await _run(tmp_path, *arguments, "--json")
    report = json.loads(second.out)
    assert (report["here_bytes"], report["fetched_bytes"]) == (SIZE, 0)
    assert hub.body_bytes == before


async def test_what_a_cluster_runs(url: str, tmp_path: Path) -> None:
    """What kubectl prints is warmed; an image that fails makes it code 1, and says why."""
    containers = [{"image": "team/app:1"}, {"image": "quay.io/other/app:1"}]
    pods = {"apiVersion": "v1", "items": [{"spec": {"containers": containers}}]}
    said = await _run(tmp_path, "--server", url, "--from", "-", given=json.dumps(pods))
    assert said.code == 1
    assert "quay.io/other/app:1: failed: 'quay.io' is not a configured upstream" in said.out
    assert f"{NAME}: warm" in said.out
    assert "1 image warm, 1 failed" in said.out


async def test_ctrl_c_and_again(
    hub: ScriptedRegistry, proxy: HastyProxy, url: str, tmp_path: Path
) -> None:
    """Ctrl-C ends it with 130; what was begun goes on, and the next run fetches no byte twice."""
    gate = Gate(at=100_000)
    hub.script(Match.blob(IMAGE.layers[0].digest), gate)
    process = await _started(tmp_path, "--server", url, "team/app:1")
    await gate.reached(WITHIN)
    process.send_signal(signal.SIGINT)
    async with asyncio.timeout(WITHIN):
        out, _ = await process.communicate()
    assert process.returncode == 130
    assert "stopped, with 1 to go; run it again: only what is missing is fetched" in out.decode()
    gate.release()
    await until(lambda: not proxy.core.pull_through._blobs.fills._fills)
    assert (await _run(tmp_path, "--server", url, "team/app:1")).code == 0
    assert {len(hub.blob_gets(digest)) for digest in IMAGE.all_blobs} == {1}


async def test_on_a_terminal_there_are_bars(
    hub: ScriptedRegistry, url: str, tmp_path: Path
) -> None:
    """A terminal shows how far each image is while it comes, and keeps the lines of the end."""
    gate = Gate(at=100_000)
    hub.script(Match.blob(IMAGE.layers[0].digest), gate)
    ours, theirs = pty.openpty()
    try:
        process = await _started(tmp_path, "--server", url, "team/app:1", terminal=theirs)
        os.close(theirs)
        shown = bytearray()

        def read() -> None:
            try:
                shown.extend(os.read(ours, 65536))
            except OSError:  # the other end is closed
                asyncio.get_running_loop().remove_reader(ours)

        asyncio.get_running_loop().add_reader(ours, read)
        await until(lambda: NAME.encode() in shown and b"KiB" in shown, WITHIN)
        assert b": warm" not in shown
        gate.release()
        async with asyncio.timeout(WITHIN):
            await process.wait()
        await until(lambda: b"from upstream" in shown.rpartition(b"1 image warm")[2])
    finally:
        asyncio.get_running_loop().remove_reader(ours)
        os.close(ours)
    assert process.returncode == 0
    assert "━".encode() in shown
    assert f"{NAME}: warm, {SIZE / 1024:.1f} KiB from upstream".encode() in shown


async def test_a_wrong_token(url: str, tmp_path: Path) -> None:
    """Who has another token, or none, is told which one is needed, and from where."""
    for token, said in (("wrong", "refuses $CACHEPROXY_TOKEN"), ("", "wants a token")):
        found = await _run(tmp_path, "--server", url, "team/app:1", token=token)
        assert found.code == 1
        assert found.out == ""
        assert found.err.splitlines()[-1].startswith(f"cacheproxy: the server at {url} {said}")
        assert "--token-file" in found.err


async def test_no_server(tmp_path: Path) -> None:
    """Where nobody answers it is said where, and how to name another place."""
    found = await _run(tmp_path, "--server", f"127.0.0.1:{free_port()}", "team/app:1")
    assert found.code == 1
    assert "no server answers at http://127.0.0.1:" in found.err
    assert "--server" in found.err
    assert "Traceback" not in found.err


@asynccontextmanager
async def _other(answer: web.Response) -> AsyncIterator[str]:
    """A server that answers this to everything."""

    async def handle(_: web.BaseRequest) -> web.StreamResponse:
        return web.Response(
            status=answer.status, body=answer.body, content_type=answer.content_type
        )

    runner = web.ServerRunner(web.Server(handle))
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (web.Response(status=404, text="404: Not Found"), "has no such API"),
        (web.Response(text="<html>"), "has no such API"),
        (web.Response(text=""), "ended before all was done"),
        (
            web.json_response({"error": {"code": "X", "message": "too many"}}, status=429),
            "answered 429: too many",
        ),
    ],
)
async def test_another_server(tmp_path: Path, answer: web.Response, said: str) -> None:
    """What is no such API, or says no, is told as what it is."""
    async with _other(answer) as url:
        found = await _run(tmp_path, "--server", url, "team/app:1")
    assert found.code == 1
    assert said in found.err
    assert "Traceback" not in found.err
