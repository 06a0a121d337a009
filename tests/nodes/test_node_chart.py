"""The chart's part for nodes: what it has written there, and with which rights."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.nodes.node import Node
from tests.support.parts.process import require

_CHART = Path(__file__).parents[2] / "helm/cacheproxy"
_ENDPOINT = "http://192.0.2.1:5000"
_TEMPLATE = "cacheproxy/templates/node-config.yaml"


@pytest.fixture(scope="module", autouse=True)
def engine() -> None:
    """Helm's engine opens some files when it is first used, and keeps them."""
    _rendered(enabled=False)


def _rendered(values: dict[str, Any] | None = None, **node_config: Any) -> dict[str, Any]:
    import helm_python

    section = {"enabled": True, "endpoint": _ENDPOINT} | node_config
    with helm_python.Chart.load(str(_CHART)) as chart:
        manifests = chart.render({"nodeConfig": section} | (values or {}), name="r", namespace="n")
    documents = yaml.safe_load_all(manifests.get(_TEMPLATE, ""))
    return {document["kind"]: document for document in documents if document}


def _files(rendered: dict[str, Any]) -> dict[str, str]:
    data: dict[str, str] = rendered["ConfigMap"]["data"]
    return {name: text for name, text in data.items() if name.endswith(".toml")}


def _pod(rendered: dict[str, Any]) -> dict[str, Any]:
    spec: dict[str, Any] = rendered["DaemonSet"]["spec"]["template"]["spec"]
    return spec


def test_it_is_off() -> None:
    """Without being asked for, nothing is done to nodes."""
    assert _rendered(enabled=False) == {}


def test_the_script_is_the_one_that_is_tested() -> None:
    """The ConfigMap has the script as it is."""
    script = (_CHART / "files/node-config.sh").read_text()
    assert _rendered()["ConfigMap"]["data"]["node-config.sh"] == script


def test_every_registry() -> None:
    """By default one file covers all registries, and names no last host: that is each itself."""
    assert _files(_rendered()) == {
        "_default.toml": (
            f'[host."{_ENDPOINT}"]\n  capabilities = ["pull", "resolve"]\n  dial_timeout = "2s"\n'
        )
    }


def test_registries_of_their_own() -> None:
    """A registry may have a file of its own, and be one that is never asked for by the proxy."""
    server = "http://r.example.com:5000"
    files = _files(
        _rendered(
            default=False,
            registries=[{"name": "r.example.com:5000", "server": server}],
            direct=["docker.io", "ghcr.io"],
        )
    )
    assert files.keys() == {"r.example.com_5000_.toml", "docker.io.toml", "ghcr.io.toml"}
    assert files["r.example.com_5000_.toml"].startswith(f'server = "{server}"\n\n[host.')
    assert files["docker.io.toml"].startswith('server = "https://registry-1.docker.io"\n')
    assert files["ghcr.io.toml"].startswith('server = "https://ghcr.io"\n')
    assert files["ghcr.io.toml"].endswith("\n[host]\n")


def test_what_is_rendered_can_be_written(tmp_path: Path) -> None:
    """The script takes what the chart has for it."""
    node = Node(tmp_path / "host", tmp_path / "wanted", [require("dash", "dash")])
    (node.root / "etc/containerd").mkdir(parents=True)
    node.wanted.mkdir()
    rendered = _rendered(registries=[{"name": "r.example.com:5000"}], direct=["ghcr.io"])
    for name, text in rendered["ConfigMap"]["data"].items():
        (node.wanted / name).write_text(text)
    node.install()
    assert {path.name for path in node.certs.iterdir() if path.is_dir()} == {
        *("_default", "r.example.com_5000_", "ghcr.io")
    }


def test_taking_it_back() -> None:
    """With `absent` the pods stay, and have nothing that they want written."""
    rendered = _rendered(state="absent")
    assert _files(rendered) == {}
    assert rendered["DaemonSet"]


@pytest.mark.parametrize(
    ("values", "endpoint"),
    [
        ({"mode": "daemonset"}, "http://127.0.0.1:5000"),
        ({"service": {"clusterIP": "10.96.0.50"}}, "http://10.96.0.50:5000"),
        ({"service": {"type": "NodePort", "nodePort": 30500}}, "http://127.0.0.1:30500"),
    ],
)
def test_where_the_proxy_is(values: dict[str, Any], endpoint: str) -> None:
    """Where a fixed address follows from the other values, it need not be given."""
    assert f'[host."{endpoint}"]' in _files(_rendered(values, endpoint=""))["_default.toml"]


def test_an_unknown_place() -> None:
    """Where none follows, the chart asks for one."""
    with pytest.raises(Exception, match=r"where do nodes reach the proxy\?"):
        _rendered(endpoint="")


def test_the_registry_stays_the_last_host() -> None:
    """A registry whose last host were the proxy is refused."""
    with pytest.raises(Exception, match="must stay the last host"):
        _rendered(registries=[{"name": "docker.io", "server": f"{_ENDPOINT}/"}])


def test_its_rights() -> None:
    """Of the node its pods see one directory, and they can do nothing but write there."""
    pod = _pod(_rendered())
    (container,) = pod["containers"]
    paths = [volume["hostPath"]["path"] for volume in pod["volumes"] if "hostPath" in volume]
    assert paths == ["/etc/containerd/certs.d"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert pod["automountServiceAccountToken"] is False
    assert not any(pod.get(key) for key in ("hostNetwork", "hostPID", "hostIPC"))
    assert pod["tolerations"] == [{"operator": "Exists"}]


def test_an_old_pod_ends_before_a_new_one_begins() -> None:
    """Never two at once on a node: the old one would take back what the new one has written."""
    strategy = _rendered()["DaemonSet"]["spec"]["updateStrategy"]["rollingUpdate"]
    assert strategy["maxSurge"] == 0
