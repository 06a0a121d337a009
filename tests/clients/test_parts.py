"""The parts themselves: what the other tests of this folder take for granted."""

import http.client
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.clients import catalogue
from tests.clients.stage import Registries
from tests.support import images
from tests.support.parts import wire
from tests.support.parts.link import Crossing, counted_link
from tests.support.parts.process import Daemon, find, require, require_root, wait_until
from tests.support.parts.program import run
from tests.support.parts.registry import docker_registry
from tests.support.parts.scratch import mounts_below, scratch

pytestmark = pytest.mark.clients

(LAYER,) = catalogue.LARGE.image.layers
TARGET = f"/v2/library/large/blobs/{LAYER.digest}"


def test_content_is_the_same_for_the_same_seed() -> None:
    """Two runs of a test talk about the same digests."""
    assert images.multi_arch(3) == images.multi_arch(3)
    assert images.multi_arch(3).digest != images.multi_arch(4).digest


def test_a_link_counts_what_crosses_to_the_byte(registries: Registries) -> None:
    """A GET counts its body, a HEAD nothing, and both are told apart."""
    with counted_link(registries.hub.port) as link:
        body = wire.get(link.url + TARGET).body
        wire.get(link.url + TARGET, method="HEAD")

    size = len(LAYER.body)
    assert body == LAYER.body
    assert link.crossings == [Crossing("GET", TARGET, 200, size), Crossing("HEAD", TARGET, 200)]
    assert (link.blob_bytes, link.manifest_bytes, link.connections) == (size, 0, 2)


def test_the_link_and_the_registry_agree_on_the_requests(registries: Registries) -> None:
    """What the link notes is what the registry's own log says, sizes included."""
    before = len(registries.hub.requests())
    with counted_link(registries.hub.port) as link:
        for target in (TARGET, "/v2/library/app/tags/list", "/v2/library/app/manifests/no"):
            wire.get(link.url + target)

    wait_until(lambda: len(registries.hub.requests()) >= before + 3, 5.0, "all is logged")
    logged = registries.hub.requests()[before:]
    noted = [(c.method, c.target, c.status, c.body_bytes) for c in link.crossings]
    assert [(r.method, r.target, r.status, r.body_bytes) for r in logged] == noted


def test_a_cut_breaks_downloads_and_refuses_connections(registries: Registries) -> None:
    """After a cut no byte crosses any more; restored, the link is where it was."""
    with counted_link(registries.hub.port, rate=3_000_000.0) as link, ThreadPoolExecutor(1) as pool:
        download = pool.submit(wire.get, link.url + TARGET)
        link.wait_for_blob_bytes(1)
        link.cut()
        with pytest.raises((http.client.IncompleteRead, ConnectionError)):
            download.result()
        with pytest.raises(ConnectionRefusedError):
            wire.get(link.url + TARGET)

        link.rate = None
        link.restore()
        assert wire.get(link.url + TARGET).body == LAYER.body


def test_a_registry_keeps_its_port_and_its_content(tmp_path: Path) -> None:
    """A registry that is stopped and started again is the same to its clients."""
    with docker_registry() as registry:
        images.push(registry.push_url, "team/app", catalogue.TEAM_APP.image, "1")
        url = f"{registry.url}/v2/team/app/tags/list"
        registry.stop()
        with pytest.raises(ConnectionRefusedError):
            wire.get(url)
        registry.start()
        assert wire.get(url).status == 200


def test_stopping_a_program_ends_its_children_too(tmp_path: Path) -> None:
    """Nothing of a part's process group is left when the part is stopped."""
    script = "trap '' TERM; sleep 300 & echo $! > child; mv child started; wait"
    daemon = Daemon(["sh", "-c", f"cd {tmp_path}; {script}"], tmp_path)
    started = tmp_path / "started"
    try:
        daemon.ready(started.exists, 5.0)
        child = int(started.read_text())
    finally:
        code = daemon.stop(deadline=0.1)

    assert code is None
    wait_until(lambda: not _runs(child), 5.0, "the child has ended")


def test_a_directory_of_a_part_vanishes_with_its_mounts() -> None:
    """A mount that a part leaves behind goes with the part's directory."""
    require_root("a mount")
    with scratch() as directory:
        point = directory / "mounted"
        point.mkdir()
        run(["mount", "-t", "tmpfs", "none", str(point)])
        assert mounts_below(directory) == [point]

    assert mounts_below(directory) == []
    assert not directory.exists()


def test_a_missing_part_skips_and_in_ci_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a user's machine a missing program skips its tests with the package's name; not in CI."""
    assert find("no-such-program") is None
    monkeypatch.delenv("CACHEPROXY_TEST_ALL", raising=False)
    with pytest.raises(pytest.skip.Exception, match="Debian package: some-package"):
        require("no-such-program", "some-package")
    monkeypatch.setenv("CACHEPROXY_TEST_ALL", "1")
    with pytest.raises(pytest.fail.Exception, match="Debian package: some-package"):
        require("no-such-program", "some-package")


def test_what_ci_says_it_cannot_have_skips(monkeypatch: pytest.MonkeyPatch) -> None:
    """A package that CI names as not to be had skips its tests there, and no other one's."""
    monkeypatch.setenv("CACHEPROXY_TEST_ALL", "1")
    monkeypatch.setenv("CACHEPROXY_TEST_WITHOUT", "other-package some-package")
    with pytest.raises(pytest.skip.Exception, match="Debian package: some-package"):
        require("no-such-program", "some-package")
    with pytest.raises(pytest.fail.Exception, match="Debian package: package"):
        require("no-such-program", "package")


def _runs(pid: int) -> bool:
    """Whether a process runs; a zombie, which waits for its new parent, does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
