"""Workers that share a port, a volume and each download; and what becomes of it when they die."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest

from tests.support.images import OCI_MANIFEST, Blob
from tests.support.parts import exposition, wire
from tests.support.parts.crew import Crew, gone, kill
from tests.support.parts.distant import DistantRegistry, bulk, distant_registry
from tests.support.parts.process import free_port, wait_until
from tests.support.parts.program import run
from tests.support.parts.proxy import Proxy, proxy
from tests.support.parts.readers import Readers
from tests.support.parts.scratch import scratch
from tests.support.parts.swarm import Pull, pull_all

pytestmark = pytest.mark.clients

SIZE = 16_000_000
REPOSITORY = "team/large"
RATE = "64mbit"  # two seconds for a blob
WORKERS = 4
(LAYER,) = bulk(5, SIZE).layers
FETCHED = "cacheproxy_upstream_bytes_total"
PROMPT = 60.0  # seconds in which everything here is over on a busy machine


@dataclass(slots=True)
class Scene:
    """A proxy with workers, which may die."""

    directory: Path
    registry: DistantRegistry
    proxy: Proxy
    crew: Crew

    @property
    def address(self) -> tuple[str, int]:
        return "127.0.0.1", self.proxy.port

    @property
    def cache(self) -> Path:
        return self.directory / "cache"

    def clients(self, per_worker: int = 1) -> Readers:
        """So many clients of each worker, connected, who will ask for the blob."""
        return Readers(self.address, self.crew, _target(), per_worker)

    def partial(self) -> int:
        """Bytes on disk of what is not whole."""
        return sum(path.stat().st_size for path in (self.cache / "ingest").iterdir())

    def fetched(self) -> float:
        """Body bytes that the proxy says it has fetched."""
        return exposition.total(self.proxy.admin_url, FETCHED)

    def wait_for(self, size: int) -> None:
        """Waits until so many bytes of a download are on disk."""
        wait_until(lambda: self.partial() >= size, PROMPT, f"{size} bytes are on disk")


@pytest.fixture(scope="module")
def registry() -> Iterator[DistantRegistry]:
    with distant_registry(RATE) as running:
        running.hold(REPOSITORY, bulk(5, SIZE))
        yield running


@pytest.fixture
def scene(registry: DistantRegistry) -> Iterator[Scene]:
    with scratch() as directory:
        running = _started(directory, "first", registry)
        made = Scene(directory, registry, running, Crew(running, directory / "cache"))
        try:
            yield made
        finally:
            made.proxy.abandon()


def test_all_workers_serve_one_download(scene: Scene) -> None:
    """Clients of each worker follow the same download, which costs its bytes once."""
    before, fetched = scene.registry.link.received(), scene.fetched()
    with scene.clients(per_worker=2) as clients:
        clients.ask()
        bodies = clients.outcomes()

    assert {worker for worker, _ in bodies} == scene.crew.workers()
    assert all(body == LAYER.body for _, body in bodies)
    assert scene.fetched() - fetched == SIZE
    assert scene.registry.link.received() - before < SIZE * 1.05


def test_all_workers_say_how_long_a_blob_is(registry: DistantRegistry) -> None:
    """Without a manifest too, all workers tell those who came before upstream's answer."""
    with (
        proxy({"docker.io": registry.url}, settings={"server": {"workers": WORKERS}}) as running,
        ExitStack() as stack,
    ):
        clients = [
            stack.enter_context(closing(HTTPConnection("127.0.0.1", running.port, PROMPT)))
            for _ in range(32)
        ]
        with _held_up(registry):
            for client in clients:
                client.request("GET", _target())
            wait_until(lambda: _unread(running.port) == 0, PROMPT, "all requests are read")
        lengths = [client.getresponse().headers["Content-Length"] for client in clients]

    assert lengths == [str(SIZE)] * len(clients)


def test_another_worker_takes_over_from_one_that_was_killed(scene: Scene) -> None:
    """A download whose worker dies goes on where it was, in another, for all clients."""
    before = scene.registry.link.received()
    with scene.clients(per_worker=2) as clients:
        clients.ask()
        scene.wait_for(SIZE // 3)
        (killed,) = scene.crew.writers()
        counted = exposition.counters(scene.proxy.admin_url)
        kill({killed})
        bodies = clients.outcomes()

    cut = [body for worker, body in bodies if worker == killed]
    assert all(body == LAYER.body for worker, body in bodies if worker != killed)
    assert all(len(body) < SIZE and LAYER.body.startswith(body) for body in cut)
    rests = pull_all(scene.address, [Pull(_target(), start=len(body)) for body in cut])
    expected = [Blob.of(LAYER.body[len(body) :], "").digest for body in cut]
    assert [(p.status, p.digest) for p in rests] == [(206, digest) for digest in expected]
    assert scene.registry.link.received() - before < SIZE * 1.05 * 1.05
    now = exposition.counters(scene.proxy.admin_url)
    assert {key: (value, now.get(key)) for key, value in counted.items() if now[key] < value} == {}
    _assert_replaced(scene, killed)


def test_each_worker_that_dies_is_replaced(scene: Scene) -> None:
    """Killed all at once, the workers are replaced, and the proxy serves again."""
    killed = scene.crew.workers()
    kill(killed)
    wait_until(lambda: gone(killed), PROMPT, "they are dead")
    wait_until(lambda: wire.answers(f"{scene.proxy.url}/v2/"), PROMPT, "one serves again")
    wait_until(lambda: len(scene.crew.workers()) == WORKERS, PROMPT, "all are replaced")
    assert not killed & scene.crew.workers()


def test_no_worker_outlives_its_supervisor(scene: Scene) -> None:
    """When the supervisor is killed, the workers drain, and end by themselves."""
    everyone = scene.crew.everyone()
    kill({scene.crew.supervisor})
    wait_until(lambda: gone(everyone), PROMPT, "all have ended")


def test_all_workers_drain(scene: Scene) -> None:
    """Downloads that run in each worker when SIGTERM comes arrive whole; the exit code is 0."""
    everyone = scene.crew.everyone()
    with scene.clients() as clients:
        clients.ask()
        scene.wait_for(SIZE // 8)
        scene.proxy.terminate()
        wait_until(lambda: not _connects(scene), PROMPT, "nobody listens any more")
        assert all(body == LAYER.body for _, body in clients.outcomes())
    assert scene.proxy.exit_code() == 0
    wait_until(lambda: gone(everyone), PROMPT, "all processes have ended")


def test_a_restart_goes_on_with_what_is_on_disk(scene: Scene) -> None:
    """After the end of all processes by SIGKILL a new start goes on with the download."""
    with scene.clients() as clients:
        clients.ask()
        scene.wait_for(SIZE // 2)
        kill(scene.crew.everyone())
        clients.outcomes()
    scene.proxy.abandon()
    on_disk = scene.partial()
    scene.proxy = _started(scene.directory, "second", scene.registry)
    before, fetched = scene.registry.link.received(), scene.fetched()
    (pull,) = pull_all(scene.address, [Pull(_target())])

    assert pull.digest == LAYER.digest
    assert on_disk >= SIZE // 2
    assert scene.fetched() - fetched == SIZE - on_disk
    assert scene.registry.link.received() - before < (SIZE - on_disk) * 1.05


@pytest.mark.parametrize("workers", [1, WORKERS])
def test_a_port_in_use_is_said_in_a_sentence(tmp_path: Path, workers: int) -> None:
    """A port that somebody else has ends the start with exit code 1 and its reason."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        said = _refused(tmp_path, {"listen": f"127.0.0.1:{port}", "workers": workers}, tmp_path)
    assert f"cannot listen on 127.0.0.1:{port}" in said


@pytest.mark.parametrize("workers", [1, WORKERS])
def test_a_directory_that_cannot_be_used_is_said_in_a_sentence(
    tmp_path: Path, workers: int
) -> None:
    """A cache directory that cannot be written ends the start with exit code 1 and its reason."""
    in_the_way = tmp_path / "file"
    in_the_way.touch()
    server = {"listen": f"127.0.0.1:{free_port()}", "workers": workers}
    said = _refused(tmp_path, server, in_the_way / "cache")
    assert f"the cache directory {in_the_way}/cache cannot be used" in said


def _started(directory: Path, name: str, registry: DistantRegistry) -> Proxy:
    settings = {
        "server": {"workers": WORKERS},
        "cache": {"directory": str(directory / "cache")},
        "upstreams": {"docker.io": {"url": registry.url}},
    }
    output = directory / name
    output.mkdir()
    running = Proxy(output, settings)
    manifest = f"{running.url}/v2/docker.io/{REPOSITORY}/manifests/1"
    assert wire.get(manifest, headers={"Accept": OCI_MANIFEST}).status == 200
    return running


def _refused(directory: Path, server: dict[str, Any], cache: Path) -> str:
    """What a start says that must fail."""
    config = directory / "config.yaml"
    config.write_text(
        f"server: {server}\n"
        f"admin: {{listen: '127.0.0.1:{free_port()}'}}\n"
        f"cache: {{directory: '{cache}'}}\n"
        "upstreams: {docker.io: {}}\n"
    )
    command = os.fspath(Path(sys.executable).with_name("cacheproxy"))
    done = subprocess.run(
        [command, "serve", "--config", os.fspath(config)],
        capture_output=True,
        text=True,
        timeout=PROMPT,
        check=False,
    )
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1, done.stderr
    return done.stderr


def _assert_replaced(scene: Scene, killed: int) -> None:
    wait_until(lambda: len(scene.crew.workers()) == WORKERS, PROMPT, "it is replaced")
    assert killed not in scene.crew.workers()


@contextmanager
def _held_up(registry: DistantRegistry) -> Iterator[None]:
    """Within it upstream does not answer; then it does, to who has asked meanwhile."""
    registry.link.swallow()
    try:
        yield
    finally:
        registry.link.restore()


def _unread(port: int) -> int:
    """Bytes that clients have sent to a port, and nobody has read."""
    look = ["ss", "--no-header", "--tcp", "--numeric", "state", "established"]
    connections = run([*look, f"sport = :{port}"]).decode().splitlines()
    return sum(int(connection.split()[0]) for connection in connections)


def _connects(scene: Scene) -> bool:
    try:
        socket.create_connection(scene.address, timeout=1.0).close()
    except OSError:
        return False
    return True


def _target() -> str:
    return f"/v2/docker.io/{REPOSITORY}/blobs/{LAYER.digest}"
