"""`helm test`: the pod that pulls through the proxy, run against a real one."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chart import catalogue
from tests.chart.release import release
from tests.clients.catalogue import APP, INDEX, Entry
from tests.clients.stage import Stage, staged, stocked

pytestmark = pytest.mark.clients


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    """A proxy before a registry that has an image and an index."""
    with stocked([APP, INDEX], []) as registries, staged(registries) as running:
        yield running


def _pull(directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run what the ConfigMap of the test has, as the pod's container does."""
    rendered = release({})
    (container,) = rendered.one("Pod", "-test")["spec"]["containers"]
    _, program = container["command"]
    script = directory / Path(program).name
    script.write_text(rendered.one("ConfigMap", "-test")["data"][script.name])
    return subprocess.run(
        [sys.executable, "-I", script, *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("entry", [APP, INDEX], ids=["manifest", "index"])
def test_it_pulls_until_it_is_a_hit(stage: Stage, entry: Entry, tmp_path: Path) -> None:
    """It ends well, and says so, when the image came whole and then from the cache."""
    done = _pull(tmp_path, stage.proxy.url, f"docker.io/{entry.repository}:{entry.tag}")
    assert done.returncode == 0, done.stderr
    assert "each blob was a hit" in done.stdout
    logged = [line for line in stage.proxy.log_lines() if line.get("operation") == "blob"]
    own = [line["cache"] for line in logged if line["repository"] == entry.repository]
    assert own.count("hit") >= 2


@pytest.mark.parametrize(
    ("reference", "said"),
    [
        ("docker.io/library/app:2", "404"),
        ("registry.invalid/library/app:1", "is not a configured upstream"),
    ],
)
def test_it_says_what_failed(stage: Stage, reference: str, said: str, tmp_path: Path) -> None:
    """What cannot be pulled ends it with 1, and with what the proxy says."""
    done = _pull(tmp_path, stage.proxy.url, reference)
    assert done.returncode == 1
    assert said in done.stderr


def test_it_says_that_nobody_answers(tmp_path: Path) -> None:
    """Without a proxy it ends with 1, and names where it has looked."""
    done = _pull(tmp_path, "http://127.0.0.1:1", "docker.io/library/app:1")
    assert done.returncode == 1
    assert "http://127.0.0.1:1" in done.stderr


@pytest.mark.parametrize(
    ("values", "url"),
    [
        (catalogue.DEFAULT, "http://rel-cacheproxy.ns.svc:5000"),
        (catalogue.EVERYTHING, "https://rel-cacheproxy.ns.svc:5000"),
        ({"test": {"url": "https://cache.example.com"}}, "https://cache.example.com"),
    ],
)
def test_it_asks_the_service(values: catalogue.Values, url: str) -> None:
    """It is told the Service's name, by TLS where there is, with the certificate's authority."""
    rendered = release(values)
    pod = rendered.one("Pod", "-test")
    (container,) = pod["spec"]["containers"]
    assert container["args"] == [url, "registry.k8s.io/pause:3.10"]
    assert pod["metadata"]["annotations"]["helm.sh/hook"] == "test"
    names = [variable["name"] for variable in container["env"]]
    assert ("SSL_CERT_FILE" in names) == (values is catalogue.EVERYTHING)
    dns = [each["spec"]["dnsNames"] for each in rendered.all("Certificate")]
    assert all("rel-cacheproxy.ns.svc" in each for each in dns)


def test_there_is_none_where_clients_need_a_certificate() -> None:
    """Where each client must show a certificate there is no test, for it has none."""
    rendered = release(catalogue.CLIENT_CERTIFICATES)
    assert rendered.all("Pod") == []
    assert "helm test" not in rendered.notes
