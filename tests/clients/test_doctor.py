"""`cacheproxy doctor` beside real parts: the proxy, its registries, Redis, and volumes."""

import datetime as dt
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import trustme
from click.testing import CliRunner

from cacheproxy.cli import commands
from tests.clients.stage import Registries, Stage, staged
from tests.support.parts.process import free_port
from tests.support.parts.proxy import proxy
from tests.support.parts.redis import redis_cluster, redis_server
from tests.support.parts.registry import PASSWORD, USER, docker_registry
from tests.support.parts.scratch import scratch
from tests.support.parts.volume import filled, read_only, small_volume
from tests.support.unreachable import black_hole

pytestmark = pytest.mark.clients

IMAGES = ("--image=app:1", "--image=registry.example.com/team/app:1")
Found = dict[str, dict[str, str]]


def _doctor(document: Mapping[str, Any], *options: str) -> tuple[int, Found]:
    """The exit code, and what was found, by its name."""
    with scratch() as directory:
        file = directory / "cacheproxy.yaml"
        file.write_text(json.dumps(document))
        result = CliRunner().invoke(
            commands, ["doctor", f"--config={file}", "--json", *options], catch_exceptions=False
        )
    told = json.loads(result.stdout)
    assert told["ok"] == (result.exit_code == 0)
    return result.exit_code, {each["name"]: each for each in told["findings"]}


def _alone(**sections: Any) -> dict[str, Any]:
    """A configuration for one of the checks: its upstream is never asked, and nothing runs."""
    return {
        "server": {"listen": f"127.0.0.1:{free_port()}"},
        "upstreams": {"docker.io": {"offline": True}},
        **sections,
    }


def _failed(found: Found) -> list[str]:
    return [name for name, each in found.items() if each["state"] == "failed"]


def test_all_is_well(stage: Stage) -> None:
    """With both upstreams and the server as they should be, everything is ok, and it exits 0."""
    code, found = _doctor(stage.proxy.document, *IMAGES)
    # How much room this machine has is not the test's.
    found.pop("cache directory: room")
    found.pop("cache directory: file system")
    assert {name: each["state"] for name, each in found.items()} == {
        "configuration": "ok",
        "cache directory": "ok",
        "certificate": "skipped",
        "Redis": "skipped",
        **{
            f"{name}: {step}": state
            for name in ("docker.io", "registry.example.com")
            for step, state in [
                ("name", "ok"),
                ("connection", "ok"),
                ("/v2/", "ok"),
                ("login", "skipped"),
                ("manifest", "ok"),
            ]
        },
        "clock": "ok",
        "server": "ok",
        "admin port": "ok",
        "server: docker.io": "ok",
        "server: registry.example.com": "ok",
    }
    assert code == 0
    assert found["server: docker.io"]["said"].startswith(
        "docker.io/library/app:1 by ?ns=, /v2/docker.io/, /docker.io/v2/: sha256:"
    )


def test_what_people_read(stage: Stage) -> None:
    """Each finding is a line, what to do stands below it, and the last line counts."""
    with scratch() as directory:
        file = directory / "cacheproxy.yaml"
        file.write_text(json.dumps(stage.proxy.document))
        result = CliRunner().invoke(commands, ["doctor", f"--config={file}", "--image=none:1"])
    assert result.exit_code == 1
    lines = result.stdout.splitlines()
    assert lines[0].startswith("ok       configuration: valid; 2 upstreams: docker.io, ")
    number = next(i for i, line in enumerate(lines) if line.startswith("FAILED   docker.io: man"))
    assert lines[number + 1] == "         -> see that the image's name is spelt right"
    assert lines[-1].endswith(" skipped")
    assert ", 2 FAILED, " in lines[-1]


def test_what_is_offline_need_not_have_any_image(registries: Registries) -> None:
    """Through the server nothing is pulled of an upstream that is never asked, unless named."""
    with proxy({"docker.io": {"url": registries.hub.url, "offline": True}}) as running:
        code, found = _doctor(running.document)
        assert (code, found["server: docker.io"]["state"]) == (0, "skipped")
        code, found = _doctor(running.document, IMAGES[0])
        assert (code, found["server: docker.io"]["state"]) == (1, "failed")


def test_a_server_that_is_not_running_is_skipped(registries: Registries) -> None:
    """Nothing listens, so nothing is pulled through it; that is no failure."""
    upstreams = {"docker.io": {"url": registries.hub.url}}
    code, found = _doctor(_alone(upstreams=upstreams), IMAGES[0])
    assert (code, found["server"]["state"]) == (0, "skipped")
    assert "cacheproxy serve" in found["server"]["advice"]


def test_a_server_with_another_configuration_is_found_out(stage: Stage) -> None:
    """It runs with fewer upstreams than the file has by now, and a port that is another's."""
    document = stage.proxy.document
    upstreams = {**document["upstreams"], "new.example.com": {"url": stage.hub.url}}
    code, found = _doctor(
        {**document, "upstreams": upstreams, "admin": {"listen": f"127.0.0.1:{free_port()}"}},
        "--image=new.example.com/library/app:1",
    )
    assert code == 1
    assert _failed(found) == ["admin port", "server: new.example.com"]
    assert "is not a configured upstream" in found["server: new.example.com"]["said"]
    assert "restart it" in found["server: new.example.com"]["advice"]
    assert "admin.listen" in found["admin port"]["advice"]


def test_another_program_at_the_server_s_port(registries: Registries) -> None:
    """What listens there is a Redis: no HTTP."""
    with redis_server() as redis:
        code, found = _doctor(_alone(server={"listen": redis.address}))
    assert (code, _failed(found)) == (1, ["server"])
    assert "another program may have this port" in found["server"]["advice"]


def test_a_password_of_a_real_registry() -> None:
    """The right one is accepted; a wrong one fails, and is not printed."""
    with docker_registry(password=True) as registry:

        def look(password: str) -> tuple[int, Found]:
            credentials = {"username": USER, "password": password}
            upstream = {"url": registry.url, "credentials": credentials}
            return _doctor(_alone(upstreams={"docker.io": upstream}))

        code, found = look(PASSWORD)
        assert (code, found["docker.io: login"]["state"]) == (0, "ok")
        # Nothing is in it, so the image that we chose is not there: a warning.
        assert found["docker.io: manifest"]["state"] == "warning"
        code, found = look("n0t-this-one")
    assert code == 1
    assert _failed(found) == ["docker.io: login"]
    assert "replace them" in found["docker.io: login"]["advice"]
    assert "n0t-this-one" not in json.dumps(found)


@pytest.mark.alone
def test_upstreams_are_looked_at_at_once() -> None:
    """Several that never answer take no longer than one, and none is waited for for long."""
    begun = time.monotonic()
    with black_hole() as place:
        upstream = {"url": place.url, "connect_timeout": "1s"}
        upstreams = {f"r{number}.example.com": upstream for number in range(5)}
        code, found = _doctor(_alone(upstreams=upstreams, default_upstream=None))
    assert time.monotonic() - begun < 4.0
    assert code == 1
    assert len(_failed(found)) == 5


# -- the certificate -------------------------------------------------------------------


def test_the_server_speaks_tls(registries: Registries, tmp_path: Path) -> None:
    """Pulls go through it by TLS; its certificate is looked at by itself."""
    begin, end = dt.datetime.now(dt.UTC) - dt.timedelta(9), dt.datetime.now(dt.UTC)
    issued = trustme.CA().issue_cert(
        "cache.example.com", not_before=begin, not_after=end + dt.timedelta(3)
    )
    certificate, key = tmp_path / "tls.pem", tmp_path / "tls.key"
    certificate.write_bytes(b"".join(part.bytes() for part in issued.cert_chain_pems))
    key.write_bytes(issued.private_key_pem.bytes())
    tls = {"certificate": str(certificate), "key": str(key)}
    with staged(registries, settings={"server": {"tls": tls}}) as stage:
        code, found = _doctor(stage.proxy.document, *IMAGES)
    assert code == 0
    assert found["server: registry.example.com"]["state"] == "ok"
    assert found["certificate"]["state"] == "warning"
    assert "renew it" in found["certificate"]["advice"]
    assert "cache.example.com" in found["certificate: names"]["said"]


# -- Redis -----------------------------------------------------------------------------


def test_redis_as_it_should_be() -> None:
    """Its answer, its version, and what it does when it is full are told."""
    with redis_server("--maxmemory", "100mb", "--maxmemory-policy", "volatile-lru") as redis:
        code, found = _doctor(_alone(metadata={"url": redis.url}))
    assert code == 0
    assert [found[name]["state"] for name in ("Redis", "Redis: version")] == ["ok", "ok"]
    assert found["Redis: memory"]["said"] == "maxmemory-policy is volatile-lru"


def test_a_cluster() -> None:
    """One of its servers speaks for all."""
    with redis_cluster() as servers:
        url = f"redis+cluster://{','.join(server.address for server in servers)}"
        code, found = _doctor(_alone(metadata={"url": url}))
    assert (code, found["Redis: version"]["state"]) == (0, "ok")


def test_a_redis_that_drops_nothing_is_a_warning() -> None:
    """With a bound and `noeviction` it turns read-only one day."""
    with redis_server("--maxmemory", "100mb", "--maxmemory-policy", "noeviction") as redis:
        code, found = _doctor(_alone(metadata={"url": redis.url}))
    assert (code, found["Redis: memory"]["state"]) == (0, "warning")
    assert "volatile-lru" in found["Redis: memory"]["advice"]


def test_a_redis_that_is_not_there() -> None:
    """It is said where it was looked for."""
    port = free_port()
    code, found = _doctor(_alone(metadata={"url": f"redis://127.0.0.1:{port}/0"}))
    assert (code, _failed(found)) == (1, ["Redis"])
    assert "cannot be reached" in found["Redis"]["said"]
    assert "the right host and port" in found["Redis"]["advice"]


@pytest.mark.parametrize("password", [None, "n0t-this-one"])
def test_a_redis_that_wants_another_password(password: str | None) -> None:
    """None and a wrong one are told apart from being away, and none is printed."""
    with redis_server("--requirepass", "right") as redis:
        metadata = {"url": redis.url} | ({"password": password} if password else {})
        code, found = _doctor(_alone(metadata=metadata))
        right, _ = _doctor(_alone(metadata={"url": redis.url, "password": "right"}))
    assert (code, right, _failed(found)) == (1, 0, ["Redis"])
    assert "set metadata.password" in found["Redis"]["advice"]
    assert "n0t-this-one" not in json.dumps(found)


@pytest.mark.alone
def test_a_redis_that_never_answers() -> None:
    """It is not waited for beyond `metadata.timeout`."""
    begun = time.monotonic()
    with redis_server() as redis:
        redis.pause()
        code, found = _doctor(_alone(metadata={"url": redis.url, "timeout": "300ms"}))
    assert time.monotonic() - begun < 4.0
    assert (code, _failed(found)) == (1, ["Redis"])
    assert "firewall" in found["Redis"]["advice"]


# -- the directory ---------------------------------------------------------------------


def test_a_full_volume() -> None:
    """What cannot be written has its advice, and so has the room that there is not."""
    with (
        scratch() as directory,
        small_volume(directory / "v", 2 * 1024**2) as volume,
        filled(volume),
    ):
        code, found = _doctor(_alone(cache={"directory": str(volume / ".")}))
    assert (code, _failed(found)) == (1, ["cache directory", "cache directory: room"])
    assert "No space left" in found["cache directory"]["said"]
    assert "free some of its volume" in found["cache directory"]["advice"]
    assert "free some of the volume" in found["cache directory: room"]["advice"]
    assert found["cache directory: file system"]["state"] == "warning"


def test_a_read_only_volume() -> None:
    """It is said to be that."""
    with scratch() as directory:
        (directory / "cache").mkdir()
        with read_only(directory / "cache"):
            code, found = _doctor(_alone(cache={"directory": str(directory / "cache")}))
    assert (code, _failed(found)) == (1, ["cache directory"])
    assert "mount its volume writable" in found["cache directory"]["advice"]
