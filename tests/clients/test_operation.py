"""What an operator sees: headers, one log line per request, metrics, an orderly end."""

import contextlib
import os
import subprocess
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.clients import catalogue
from tests.clients.stage import Stage
from tests.support import images
from tests.support.parts import wire
from tests.support.parts.link import counted_link
from tests.support.parts.process import require, wait_until
from tests.support.parts.proxy import proxy
from tests.support.parts.registry import PASSWORD, USER, docker_registry
from tests.support.parts.skopeo import Skopeo

pytestmark = pytest.mark.clients

MANIFEST = "/v2/docker.io/library/app/manifests/1"
BLOB = f"/v2/docker.io/library/app/blobs/{catalogue.APP.image.layers[0].digest}"


@pytest.mark.parametrize("path", [MANIFEST, BLOB], ids=["manifest", "blob"])
def test_cache_status_tells_a_miss_from_a_hit(stage: Stage, path: str) -> None:
    """The first answer says that it was forwarded, a later one that it came from the cache."""

    def status() -> list[str]:
        answer = wire.get(stage.proxy.url + path, headers={"Accept": images.OCI_MANIFEST})
        assert answer.status == 200
        return answer.headers["Cache-Status"].split("; ")

    assert "fwd=miss" in status()
    # The second may still join the first, whose last byte leaves before all is tidied up.
    wait_until(lambda: "hit" in status(), 5.0, "it is a hit")


def test_each_request_leaves_one_log_line(stage: Stage) -> None:
    """The requests that a client sends and the lines that tell of them are the same in number."""
    with counted_link(stage.proxy.port) as link:
        for tag in ("1", "1", "absent"):
            with contextlib.suppress(AssertionError):
                Skopeo().pull(f"127.0.0.1:{link.port}/docker.io/library/multi:{tag}")
        sent = Counter((c.method, c.target, c.status) for c in link.crossings)

    def logged() -> Counter[tuple[str, str, int]]:
        lines = (line for line in stage.proxy.log_lines() if line["event"] == "request")
        return Counter((line["method"], line["target"], int(line["status"])) for line in lines)

    wait_until(lambda: logged().total() >= sent.total(), 5.0, "the last request is logged")
    assert logged() == sent
    assert ("GET", "/v2/docker.io/library/multi/manifests/absent", 404) in sent


def test_metrics_please_promtool(stage: Stage) -> None:
    """What /metrics shows after a pull passes Prometheus's own linter."""
    promtool = require("promtool", "prometheus")
    Skopeo().pull(f"{stage.proxy.host}/docker.io/library/app:1")
    shown = wire.get(stage.proxy.admin_url + "/metrics").body

    checked = subprocess.run(
        [promtool, "check", "metrics"], input=shown, capture_output=True, timeout=60, check=False
    )
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, b"")


def test_a_stopped_proxy_finishes_a_slow_download(stage: Stage) -> None:
    """A download that runs when SIGTERM comes arrives whole, and the exit code is 0."""
    (layer,) = catalogue.LARGE.image.layers
    stage.hub.rate = 1_000_000.0
    url = f"{stage.proxy.url}/v2/docker.io/library/large/blobs/{layer.digest}"
    with ThreadPoolExecutor(1) as pool:
        download = pool.submit(wire.get, url)
        stage.hub.wait_for_blob_bytes(1)
        stage.proxy.terminate()
        wait_until(lambda: not _ready(stage), 5.0, "it is no longer ready")
        assert not download.done()
        assert download.result().body == layer.body
    assert stage.proxy.exit_code() == 0


def test_an_upstream_with_a_password(tmp_path: Path) -> None:
    """The proxy's own credentials open a registry that its clients could not read."""
    password = tmp_path / "password"
    password.write_text(PASSWORD)
    password.chmod(0o600)
    credentials = {"username": USER, "password_file": os.fspath(password)}
    with docker_registry(password=True) as registry, counted_link(registry.port) as link:
        images.push(registry.push_url, "team/app", catalogue.TEAM_APP.image, "1")
        assert wire.get(f"{registry.url}/v2/").status == 401
        with proxy({"docker.io": {"url": link.url, "credentials": credentials}}) as running:
            pulled = Skopeo().pull(f"{running.host}/docker.io/team/app:1")

    assert pulled == catalogue.TEAM_APP.contents


def _ready(stage: Stage) -> bool:
    return wire.answers(stage.proxy.admin_url + "/readyz")
