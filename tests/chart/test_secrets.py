"""Secrets that the chart makes: once, and used as they are."""

import base64
import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import yaml
from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, ConnectionError  # noqa: A004 - its name there
from redis.retry import Retry

from tests.chart.engine import ask
from tests.chart.release import NAMESPACE, Object, release
from tests.support.parts.process import Daemon, free_port, require
from tests.support.parts.scratch import scratch

_VALUES = {"replicas": 3, "redis": {"enabled": True}}
# What Helm wants to know of the kinds that it is to install.
_KINDS = {
    "api/v1": {
        "configmaps": "ConfigMap",
        "pods": "Pod",
        "secrets": "Secret",
        "serviceaccounts": "ServiceAccount",
        "services": "Service",
    },
    "apis/apps/v1": {"deployments": "Deployment", "statefulsets": "StatefulSet"},
    "apis/policy/v1": {"poddisruptionbudgets": "PodDisruptionBudget"},
}


def _discovery(path: str) -> Object | None:
    """What Kubernetes' API says of itself, as far as Helm asks."""
    groups = [place.split("/") for place in _KINDS if place.startswith("apis")]
    match path.strip("/"):
        case "version":
            return {"major": "1", "minor": "30", "gitVersion": "v1.30.0"}
        case "api":
            return {"kind": "APIVersions", "versions": ["v1"]}
        case "apis":
            versions = [{"groupVersion": f"{name}/{v}", "version": v} for _, name, v in groups]
            named = [
                {"name": name, "versions": [version], "preferredVersion": version}
                for (_, name, _), version in zip(groups, versions, strict=True)
            ]
            return {"kind": "APIGroupList", "apiVersion": "v1", "groups": named}
        case "openapi/v3":
            return {"paths": {p: {"serverRelativeURL": f"/openapi/v3/{p}"} for p in _KINDS}}
        case place if place in _KINDS:
            return _resources(place)
        case place if place.removeprefix("openapi/v3/") in _KINDS:
            return _operations(place.removeprefix("openapi/v3/"))
    return None


def _resources(place: str) -> Object:
    verbs = ["create", "get", "list", "patch"]
    resources = [
        {"name": name, "singularName": "", "namespaced": True, "kind": kind, "verbs": verbs}
        for name, kind in _KINDS[place].items()
    ]
    version = place.partition("/")[2]
    return {"kind": "APIResourceList", "groupVersion": version, "resources": resources}


def _operations(place: str) -> Object:
    """That the server checks fields itself."""
    group, _, version = place.partition("/")[2].rpartition("/")
    paths = {
        f"/{name}/{{name}}": {
            "patch": {
                "parameters": [{"name": "fieldValidation", "in": "query"}],
                "x-kubernetes-group-version-kind": {
                    "group": group,
                    "version": version,
                    "kind": kind,
                },
                "responses": {},
            }
        }
        for name, kind in _KINDS[place].items()
    }
    return {"openapi": "3.0.0", "info": {"title": "API", "version": "1"}, "paths": paths}


class Cluster:
    """A Kubernetes API that has the Secrets which it is given, and nothing else."""

    def __init__(self) -> None:
        self.secrets: dict[str, Object] = {}
        cluster = self

        class Answers(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                path = self.path.partition("?")[0]
                name = path.rpartition("/")[2]
                found = _discovery(path) or (
                    cluster.secrets.get(name) if "/secrets/" in path else None
                )
                missing = {"kind": "Status", "status": "Failure", "reason": "NotFound", "code": 404}
                body = json.dumps(found or missing).encode()
                self.send_response(200 if found else 404)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - its name there
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)

    @property
    def kubeconfig(self) -> str:
        place = f"http://127.0.0.1:{self.server.server_port}"
        named = {"cluster": "it", "user": "we", "namespace": NAMESPACE}
        return json.dumps(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "clusters": [{"name": "it", "cluster": {"server": place}}],
                "users": [{"name": "we", "user": {}}],
                "contexts": [{"name": "here", "context": named}],
                "current-context": "here",
            }
        )

    def installed(self, values: dict[str, Any]) -> dict[str, Object]:
        """The Secrets of an installation, by their names."""
        text = ask("manifest", values=values, kubeconfig=self.kubeconfig)
        documents = [document for document in yaml.safe_load_all(text) if document]
        return {each["metadata"]["name"]: each for each in documents if each["kind"] == "Secret"}

    def keep(self, secrets: dict[str, Object]) -> None:
        """Have them, as Helm's own."""
        owner = {"release-name": "rel", "release-namespace": NAMESPACE}
        notes = {f"meta.helm.sh/{key}": value for key, value in owner.items()}
        for name, secret in secrets.items():
            kept = secret["metadata"] | {"annotations": notes}
            self.secrets[name] = secret | {"metadata": kept}


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    """A cluster without anything in it."""
    running = Cluster()
    thread = Thread(target=running.server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield running
    finally:
        running.server.shutdown()
        thread.join()
        running.server.server_close()


def test_secrets_are_made_once(cluster: Cluster) -> None:
    """What the cluster has is kept when the release is upgraded; without it, it is made anew."""
    first = cluster.installed(_VALUES)
    assert first.keys() == {"rel-cacheproxy-cluster", "rel-cacheproxy-redis"}
    other = cluster.installed(_VALUES)
    assert [each["data"] for each in other.values()] != [each["data"] for each in first.values()]
    cluster.keep(first)
    again = cluster.installed(_VALUES)
    assert [each["data"] for each in again.values()] == [each["data"] for each in first.values()]


def test_ones_own_secrets_are_used(cluster: Cluster) -> None:
    """Where Secrets are named, none is made."""
    own = {"cluster": {"existingSecret": "a"}, "redis": {"enabled": True, "existingSecret": "b"}}
    assert cluster.installed({"replicas": 3, **own}) == {}
    volumes = release({"replicas": 3, **own}).pod["volumes"]
    secrets = {each["secret"]["secretName"] for each in volumes if "secret" in each}
    assert secrets == {"a", "b"}


def test_the_redis_inside_wants_its_password() -> None:
    """Its command, as a shell runs it, serves who knows the password, and nobody else."""
    require("redis-server", "redis-server")
    rendered = release(_VALUES)
    password = base64.b64decode(rendered.one("Secret", "-redis")["data"]["password"]).decode()
    (container,) = rendered.one("Deployment", "-redis")["spec"]["template"]["spec"]["containers"]
    with scratch() as directory:
        secret = directory / "password"
        secret.write_text(password)
        port = free_port()
        script = _moved(container["args"][0], directory, secret, port)
        daemon = Daemon(["/bin/sh", "-c", script], directory)
        try:
            with Redis(port=port, password=password, retry=Retry(NoBackoff(), 0)) as client:
                daemon.ready(lambda: _answers(client), 20)
                assert client.config_get("maxmemory")["maxmemory"] == str(200 * 1024**2)
                assert client.config_get("save")["save"] == ""
            with Redis(port=port) as stranger, pytest.raises(AuthenticationError):
                stranger.ping()
            assert password not in Path(f"/proc/{daemon.pid}/cmdline").read_text()
        finally:
            daemon.stop()


def _moved(script: str, directory: Path, secret: Path, port: int) -> str:
    """The script with places of this machine in those of the container."""
    assert script.count("/tmp") == 3
    moved = script.replace("/tmp", str(directory)).replace(
        "/run/secrets/redis/password", str(secret)
    )
    return moved.replace("--save", f"--port {port} --save", 1)


def _answers(client: Redis) -> bool:
    try:
        return bool(client.ping())
    except ConnectionError:
        return False
