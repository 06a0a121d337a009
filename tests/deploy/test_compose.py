"""deploy/compose: its files fit together, and each is taken by the program that reads it."""

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from cacheproxy.settings import load
from tests.support.parts.process import require

_COMPOSE = Path(__file__).parents[2] / "deploy/compose"
_FILES = sorted(_COMPOSE.glob("compose*.yaml"))
_VARIABLES = {"CACHEPROXY_SECRET": "a long secret"}


class _Loader(yaml.SafeLoader):
    """With Compose's own tag for lists that are not to be merged."""


def _sequence(loader: _Loader, node: yaml.Node) -> list[Any]:
    assert isinstance(node, yaml.SequenceNode)
    return loader.construct_sequence(node)


_Loader.add_constructor("!override", _sequence)


def _read(file: Path) -> dict[str, Any]:
    document: dict[str, Any] = yaml.load(file.read_text(), _Loader)
    return document


def _services() -> dict[str, dict[str, Any]]:
    return {
        f"{file.name}: {name}": service
        for file in _FILES
        for name, service in _read(file)["services"].items()
    }


def test_there_are_two_variants() -> None:
    """One without a Redis, and one with."""
    assert [file.name for file in _FILES] == ["compose.redis.yaml", "compose.yaml"]
    assert "redis" not in _read(_COMPOSE / "compose.yaml")["services"]
    assert "redis" in _read(_COMPOSE / "compose.redis.yaml")["services"]


@pytest.mark.parametrize(("name", "service"), _services().items(), ids=_services())
def test_what_is_mounted_is_there(name: str, service: dict[str, Any]) -> None:
    """Each file that a container is shown exists, and each volume is declared."""
    volumes = {volume for file in _FILES for volume in _read(file).get("volumes", {})}
    for mount in service.get("volumes", []):
        source, target, *_ = mount.split(":")
        assert target.startswith("/"), name
        if not source.startswith("."):
            assert source in volumes, name
        elif (_COMPOSE.parents[1] / "helm/cacheproxy/Chart.yaml").exists():
            assert (_COMPOSE / source).is_file(), name


@pytest.mark.parametrize("replica", [None, "cacheproxy", "cacheproxy-2"])
def test_the_configuration_loads(
    replica: str | None,
) -> None:
    """With the variables of each variant it is a configuration, and of the right store."""
    environment: dict[str, str] = {}
    if replica is not None:
        service = _read(_COMPOSE / "compose.redis.yaml")["services"][replica]
        environment = {
            key: _VARIABLES.get(_named(value), value)
            for key, value in service["environment"].items()
        }
    settings = load(_COMPOSE / "cacheproxy.yaml", environment)
    assert str(settings.cache.directory) == "/var/lib/cacheproxy"
    if replica is None:
        assert settings.cluster is None
    else:
        assert settings.cluster is not None
        assert str(settings.cluster.advertise) == f"{replica}:5002"
        assert str(settings.metadata.url).startswith("redis://redis")


def _named(value: str) -> str:
    return value.partition("${")[2].partition(":")[0]


def test_prometheus_takes_its_configuration(tmp_path: Path) -> None:
    """Promtool finds nothing wrong with it, nor with the rules, where they are mounted."""
    promtool = require("promtool", "prometheus")
    shutil.copy(_COMPOSE / "prometheus.yaml", tmp_path)
    rules = _COMPOSE.parents[1] / "helm/cacheproxy/files/rules.yaml"
    (tmp_path / "rules").mkdir()
    if rules.exists():
        shutil.copy(rules, tmp_path / "rules")
    done = subprocess.run(
        [promtool, "check", "config", str(tmp_path / "prometheus.yaml")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_grafana_finds_prometheus() -> None:
    """The source of data that is provisioned is Prometheus by its name here."""
    (source,) = _read(_COMPOSE / "grafana/datasources.yaml")["datasources"]
    assert source["url"] == "http://prometheus:9090"
    assert "prometheus" in _read(_COMPOSE / "compose.yaml")["services"]


@pytest.mark.parametrize(("name", "service"), _services().items(), ids=_services())
def test_only_pulls_are_for_others(name: str, service: dict[str, Any]) -> None:
    """Each port but that for pulls is for this machine alone."""
    for port in service.get("ports", []):
        assert port.startswith("127.0.0.1:") or port.endswith(":5000"), name
