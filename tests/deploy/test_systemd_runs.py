"""deploy/systemd/cacheproxy.service under systemd, with all that it forbids the program."""

import json
import signal
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from tests.clients import catalogue
from tests.support import images
from tests.support.parts import wire
from tests.support.parts.process import free_port, wait_until
from tests.support.parts.registry import PASSWORD, USER, DockerRegistry, docker_registry
from tests.support.parts.systemd import Systemd, systemd

pytestmark = pytest.mark.clients

_PROMPT = 60.0  # seconds
_IMAGE = catalogue.TEAM_APP.image
_CREDENTIAL = "LoadCredential=registry:/opt/tree/etc/registry"


class Service:
    """The service, and where it listens.

    Attributes:
        manager: systemd.
        document: its configuration.
    """

    def __init__(self, manager: Systemd, document: dict[str, Any]) -> None:
        self.manager = manager
        self.document = document

    @property
    def url(self) -> str:
        """Where it is pulled from."""
        return f"http://{self.document['server']['listen']}"

    def pull(self) -> None:
        """An image, all of it."""
        for target in (
            f"manifests/{_IMAGE.digest}",
            *(f"blobs/{one.digest}" for one in _IMAGE.blobs),
        ):
            assert wire.get(f"{self.url}/v2/team/app/{target}").status == 200

    def ask(self, path: str, body: object = None) -> list[dict[str, Any]]:
        """The admin API, with the token that the service has made."""
        token = self.manager.read("/var/lib/cacheproxy/admin.token").strip()
        data = None if body is None else json.dumps(body).encode()
        url = f"http://{self.document['admin']['listen']}/api/v1{path}"
        request = urllib.request.Request(url, data, {"Authorization": f"Bearer {token}"})
        with urllib.request.urlopen(request, timeout=_PROMPT) as response:
            return [json.loads(line) for line in response.read().splitlines()]


def _document(registry: DockerRegistry) -> dict[str, Any]:
    upstream: dict[str, Any] = {"url": registry.url, "tags": {"fresh_for": "1h"}}
    return {
        "server": {"listen": f"127.0.0.1:{free_port()}", "workers": 2},
        "admin": {"listen": f"127.0.0.1:{free_port()}"},
        "cache": {"directory": "/var/lib/cacheproxy"},
        "default_upstream": "registry.example.com",
        "upstreams": {"registry.example.com": upstream},
    }


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    """The service as it is installed, before a registry that has an image."""
    with docker_registry() as registry:
        images.push(registry.push_url, "team/app", _IMAGE, "1")
        document = _document(registry)
        with systemd(document) as manager:
            yield Service(manager, document)


def test_it_serves_within_its_bounds(service: Service) -> None:
    """As a user of its own it pulls, reports, plans and scrubs: nothing of it is forbidden."""
    service.pull()
    service.pull()
    (savings,) = service.ask("/savings?period=today")
    assert savings["all"]["saved_bytes"] > 0
    assert service.ask("/scrub", {})[-1]["summary"]["ok"]
    wait_until(lambda: _planned(service), _PROMPT, "there is something to plan with")
    shown = service.manager.properties("MainPID", "ActiveState", "DynamicUser")
    assert (shown["ActiveState"], shown["DynamicUser"]) == ("active", "yes")
    status = service.manager.read(f"/proc/{shown['MainPID']}/status")
    (uid,) = [line.split()[1] for line in status.splitlines() if line.startswith("Uid:")]
    assert int(uid) >= 61184  # the first of those that systemd gives away
    assert "Traceback" not in service.manager.output()
    assert "unexpected error" not in service.manager.output()


def _planned(service: Service) -> bool:
    try:
        return bool(service.ask("/plan?max_size=1GiB&policy=lru")[0]["rows"])
    except urllib.error.HTTPError as error:
        if error.code != 404:
            raise
        return False


def test_it_stops_clean_and_keeps_its_cache(service: Service) -> None:
    """`systemctl stop` is a drain, and what was cached is there again after `start`."""
    service.pull()
    assert service.manager.do("stop").returncode == 0
    shown = service.manager.properties("ActiveState", "Result", "ExecMainStatus")
    assert shown == {"ActiveState": "inactive", "Result": "success", "ExecMainStatus": "0"}
    assert "stopped" in service.manager.output()
    assert service.manager.do("start").returncode == 0
    # By then it serves: it has said so itself.
    answer = wire.get(f"{service.url}/v2/team/app/blobs/{_IMAGE.blobs[0].digest}")
    assert answer.headers["Cache-Status"].startswith("cacheproxy; hit")


def test_it_comes_back_when_it_dies(service: Service) -> None:
    """Killed by whatever, it is started again, and its workers are not left behind."""
    before = service.manager.properties("MainPID")["MainPID"]
    service.manager.do("kill", "--kill-who=main", f"--signal={signal.SIGKILL.value}")

    def is_another() -> bool:
        shown = service.manager.properties("MainPID", "ActiveState")
        return shown["ActiveState"] == "active" and shown["MainPID"] != before

    wait_until(is_another, _PROMPT, "a restart")
    service.pull()


def test_reload_has_the_configuration_read(service: Service) -> None:
    """What is new is gone by at once; what is wrong is refused, and it serves on."""
    upstream = service.document["upstreams"]["registry.example.com"]
    upstream["deny"] = ["team/**"]
    service.manager.configure(service.document)
    assert service.manager.do("reload").returncode == 0
    url = f"{service.url}/v2/team/app/manifests/1"
    wait_until(lambda: wire.get(url).status == 403, _PROMPT, "it goes by the new one")
    service.manager.configure({"servers": {}})
    assert service.manager.do("reload").returncode == 0
    wait_until(lambda: "servers" in service.manager.output(), _PROMPT, "it is refused")
    assert wire.get(url).status == 403
    upstream["deny"] = []
    service.manager.configure(service.document)
    assert service.manager.do("reload").returncode == 0
    wait_until(lambda: wire.get(url).status == 200, _PROMPT, "it goes by the first one")


def test_a_wrong_configuration_is_not_tried_again() -> None:
    """It fails at once and for good, and says what is wrong."""
    with systemd({"servers": {}}) as manager:
        shown = manager.properties("ActiveState", "Result", "ExecMainStatus", "NRestarts")
        assert (shown["ActiveState"], shown["Result"]) == ("failed", "exit-code")
        assert (shown["ExecMainStatus"], shown["NRestarts"]) == ("2", "0")
        assert "servers" in manager.output()


def test_a_password_is_a_credential() -> None:
    """As docs/deploy.md has it: systemd reads the file, which the service's user could not."""
    with docker_registry(password=True) as registry:
        images.push(registry.push_url, "team/app", _IMAGE, "1")
        document = _document(registry)
        document["upstreams"]["registry.example.com"]["credentials"] = {
            "username": USER,
            "password_file": "/run/credentials/cacheproxy.service/registry",
        }
        with systemd(document, _CREDENTIAL, {"registry": PASSWORD}) as manager:
            Service(manager, document).pull()
