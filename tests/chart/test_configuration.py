"""The ConfigMap and the variables of a pod are a configuration, and mean what the values say."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from cacheproxy.settings.sizes import Bytes, parse_size
from cacheproxy.settings.well_known import DEFAULT_UPSTREAMS
from tests.chart import catalogue
from tests.chart.release import CHART, SECRETS, Release, release

_COMMAND = str(Path(sys.executable).with_name("cacheproxy"))


def _check(rendered: Release, place: Path) -> dict[str, Any]:
    """What `cacheproxy check` says in the pod, whose files with secrets are in `place`."""
    secrets = place / "secrets"
    env = {
        name: value.replace(SECRETS, str(secrets))
        for name, value in rendered.env.items()
        if name.startswith("CACHEPROXY__")
    }
    for mount in rendered.container["volumeMounts"]:
        if mount["mountPath"].startswith(SECRETS):
            (volume,) = [v for v in rendered.pod["volumes"] if v["name"] == mount["name"]]
            folder = Path(mount["mountPath"].replace(SECRETS, str(secrets)))
            folder.mkdir(parents=True, exist_ok=True)
            for item in volume["secret"]["items"]:
                (folder / item["path"]).write_text(f"{mount['name']}-{item['key']}\n")
    config = place / "cacheproxy.yaml"
    config.write_text(rendered.config)
    environ = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
    done = subprocess.run(
        [_COMMAND, "check", "--json", "--config", config],
        env=environ | env,
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    settings: dict[str, Any] = json.loads(done.stdout)["settings"]
    return settings


def _shown() -> dict[str, dict[str, Any]]:
    """The values that pages show: blocks that begin with `# values.yaml`, or `# values-….yaml`."""
    root = CHART.parents[1]
    block = re.compile(r"^```yaml\n(# values[\w-]*\.yaml\b.*?)^```$", re.MULTILINE | re.DOTALL)
    return {
        f"{page.name}-{number}": yaml.safe_load(found)
        for page in (root / "README.md", *sorted((root / "docs").glob("*.md")), CHART / "README.md")
        for number, found in enumerate(block.findall(page.read_text(encoding="utf-8")))
    }


@pytest.mark.parametrize("values", _shown().values(), ids=_shown())
def test_the_values_that_pages_show(values: dict[str, Any], tmp_path: Path) -> None:
    """What stands in the documentation as values renders to what `cacheproxy check` accepts."""
    assert _check(release(values), tmp_path)["upstreams"]


@pytest.mark.parametrize("values", catalogue.MATRIX.values(), ids=catalogue.MATRIX)
def test_cacheproxy_takes_it(values: catalogue.Values, tmp_path: Path) -> None:
    """`cacheproxy check` accepts what is rendered, and listens where probes and Services look."""
    rendered = release(values)
    settings = _check(rendered, tmp_path)
    ports = {port["name"]: port["containerPort"] for port in rendered.container["ports"]}
    assert settings["server"]["listen"] == f"0.0.0.0:{ports['pull']}"
    assert settings["admin"]["listen"] == f"0.0.0.0:{ports['admin']}"
    assert settings["cache"]["directory"] == "/var/lib/cacheproxy"
    if "peers" in ports:
        assert settings["cluster"]["listen"] == f":{ports['peers']}"
    else:
        assert settings["cluster"] is None


def test_the_configuration_is_the_users() -> None:
    """The ConfigMap has `config` as it was written, with the chart's defaults, and nothing else."""
    written = yaml.safe_load(release(catalogue.EVERYTHING).config)
    own = catalogue.EVERYTHING["config"]
    assert written["upstreams"] == own["upstreams"]
    assert written["server"] == {"listen": "0.0.0.0:5000", **own["server"]}
    assert written["cache"] == {"directory": "/var/lib/cacheproxy", **own["cache"]}
    assert written.keys() == {"server", "admin", "cache", "upstreams"}


def test_secrets_reach_the_settings(tmp_path: Path) -> None:
    """Each login is that of its Secret, by its provider, also of a registry with a port."""
    settings = _check(release(catalogue.EVERYTHING), tmp_path)
    logins = {name: found["credentials"] for name, found in settings["upstreams"].items()}
    assert logins["docker.io"]["username"] == "from-docker-hub"
    assert logins["docker.io"]["password"] == "***"
    assert logins["registry.example.com:8443"]["username"] == "robot"
    assert logins["quay.io"]["provider"] == "docker-config"
    assert logins["quay.io"]["path"].endswith("/upstream-quay-io/login")
    assert logins["europe-docker.pkg.dev"]["provider"] == "google"
    files = {path.name: path.read_text() for path in tmp_path.glob("secrets/upstream-reg*/*")}
    assert files == {"login": "upstream-registry-example-com-8443-token\n"}


def test_replicas_have_addresses_of_their_own(tmp_path: Path) -> None:
    """A pod of a StatefulSet is its name in the headless Service, a DaemonSet's its address."""
    settings = _check(release(catalogue.EXTERNAL_REDIS), tmp_path)
    own = "rel-cacheproxy-0.rel-cacheproxy-replicas.ns.svc:5002"
    assert settings["cluster"]["advertise"] == own
    settings = _check(release(catalogue.SCRATCH), tmp_path)
    assert settings["cluster"]["advertise"] == "10.1.2.3:5002"
    six = release(catalogue.SCRATCH | {"cluster": {"advertise": "[$(POD_IP)]:5002"}})
    assert six.env["CACHEPROXY__CLUSTER__ADVERTISE"] == "[10.1.2.3]:5002"


def test_an_external_redis_with_tls(tmp_path: Path) -> None:
    """Its URL has the files of its Secret, after what the user's has, and no password."""
    settings = _check(release(catalogue.EXTERNAL_REDIS), tmp_path)
    url = settings["metadata"]["url"]
    assert url.startswith("rediss://puller@redis.example.com:6379?namespace=prod")
    for parameter in ("ca_file", "certificate", "key"):
        assert f"{parameter}=" in url
    assert settings["metadata"]["password"] == "***"


def test_sentinels_with_a_password(tmp_path: Path) -> None:
    """The Sentinels' user and password are theirs; the server's password is another Secret's."""
    rendered = release(catalogue.SENTINELS)
    settings = _check(rendered, tmp_path)["metadata"]
    assert settings["url"] == "redis+sentinel://puller@redis-a:26379,redis-b:26379/main"
    assert settings["sentinel_username"] == "asker"
    assert settings["sentinel_password"] == settings["password"] == "***"
    files = {path.parent.name: path.read_text() for path in tmp_path.glob("secrets/redis*/*")}
    assert files == {"redis": "redis-password\n", "redis-sentinel": "redis-sentinel-word\n"}


def test_the_redis_inside(tmp_path: Path) -> None:
    """It is found by its Service's name, with the password that it wants."""
    rendered = release(catalogue.EVERYTHING)
    settings = _check(rendered, tmp_path)
    assert settings["metadata"]["url"] == "redis://rel-cacheproxy-redis.ns.svc:6379"
    (volume,) = [v for v in rendered.pod["volumes"] if v["name"] == "redis"]
    (server,) = [
        v
        for v in rendered.one("Deployment", "-redis")["spec"]["template"]["spec"]["volumes"]
        if v["name"] == "password"
    ]
    assert volume["secret"]["secretName"] == server["secret"]["secretName"]
    assert rendered.one("Secret", "-redis")["data"].keys() == {"password"}


@pytest.mark.parametrize(
    ("values", "size"),
    [
        ({"mode": "daemonset"}, 80 * 1024**3),
        ({"persistence": {"enabled": False, "size": "10Gi"}}, 8 * 1024**3),
        (
            {
                "persistence": {"enabled": False, "size": "1T"},
                "config": {"cache": {"max_size": "33.5%"}},
            },
            335_000_000_000,
        ),
    ],
)
def test_a_share_of_a_disk_that_others_use(values: catalogue.Values, size: int) -> None:
    """Without a volume of its own, the cache's share is of `persistence.size`, not of the disk."""
    written = release(values).env["CACHEPROXY__CACHE__MAX_SIZE"]
    assert parse_size(written) == Bytes(size)


def test_a_share_of_a_volume_stays_one(tmp_path: Path) -> None:
    """With a volume of its own, the share is of that, however large it has become."""
    rendered = release({})
    assert "CACHEPROXY__CACHE__MAX_SIZE" not in rendered.env
    assert _check(rendered, tmp_path)["cache"]["max_size"] == "80%"


def test_the_default_upstreams_are_known() -> None:
    """The chart's list of what is served without `upstreams` is the program's."""
    text = (CHART / "templates/_checks.tpl").read_text()
    _, _, after = text.partition('{{- define "cacheproxy.defaultUpstreams" -}}\n')
    assert after.splitlines()[0].split() == list(DEFAULT_UPSTREAMS)
