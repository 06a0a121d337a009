"""What is decided without asking anybody."""

import asyncio
import ssl
import threading
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from yarl import URL

from cacheproxy.bootstrap.upstreams import make_routes
from cacheproxy.doctor.findings import Finding, in_thread
from cacheproxy.doctor.images import samples
from cacheproxy.doctor.shared_metadata import of_server
from cacheproxy.doctor.times import check_clock
from cacheproxy.doctor.way import answered, of_tls
from cacheproxy.domain.errors import RequestError
from cacheproxy.domain.routing import Routes
from cacheproxy.settings import load

KEY = "upstreams.docker.io"
_WARNS = ["ok", "warning"]


@pytest.mark.parametrize(
    ("skews", "state"),
    [
        ({"a": 0.0}, "ok"),
        ({"a": 60.0}, "ok"),
        ({"a": -61.0}, "warning"),
        ({"a": 301.0}, "failed"),
        ({"a": 9999.0, "b": 1.0, "c": 2.0}, "ok"),
        ({}, "skipped"),
    ],
)
def test_the_clock_in_the_middle_counts(skews: dict[str, float], state: str) -> None:
    """One upstream whose own clock is wrong accuses nobody."""
    found = check_clock(skews)
    assert found.state == state
    assert ("timedatectl" in found.advice) == (state in ("warning", "failed"))


def test_which_way_the_clock_is_off_is_said() -> None:
    """Upstream's clock ahead of ours is ours behind."""
    assert "400 seconds behind a" in check_clock({"a": 400.0}).said
    assert "400 seconds ahead of a" in check_clock({"a": -400.0}).said


@pytest.mark.parametrize(
    ("status", "state", "advice"),
    [
        (200, "ok", ""),
        (401, "ok", ""),
        (302, "failed", "the address of the API"),
        (403, "failed", "which addresses it lets in"),
        (404, "failed", f"{KEY}.url is where its API is"),
        (407, "failed", f"{KEY}.proxy_url"),
        (429, "warning", f"{KEY}.credentials"),
        (503, "failed", "status page"),
    ],
)
def test_each_answer_has_its_advice(status: int, state: str, advice: str) -> None:
    """What is answered at /v2/ says what to do."""
    found = answered("docker.io: /v2/", KEY, status, "https://hub.example/x?signature=s3cret")
    assert (found.state, advice in found.advice) == (state, True)
    assert "s3cret" not in found.said


@pytest.mark.parametrize(
    ("code", "said", "advice"),
    [
        (9, "not valid yet", "clock"),
        (10, "has expired", "renew"),
        (19, "nobody whom this machine trusts", f"{KEY}.ca_file"),
        (62, "not for registry.example", f"{KEY}.url"),
        (23, "not accepted: revoked", "renewed"),
    ],
)
def test_each_wrong_certificate_has_its_advice(code: int, said: str, advice: str) -> None:
    """What OpenSSL says of a certificate says what to do."""
    error = ssl.SSLCertVerificationError()
    error.verify_code, error.verify_message = code, "revoked"
    found = of_tls(error, KEY, URL("https://registry.example"))
    assert said in found[0]
    assert advice in found[1]


def _routes(text: str) -> Routes:
    with TemporaryDirectory() as directory:
        file = Path(directory) / "a.yaml"
        file.write_text(text)
        return make_routes(load(file, {}))


def test_well_known_registries_have_an_image() -> None:
    """Each default upstream is tried without being told with what."""
    routes = _routes("{}")
    found = samples((), routes)
    assert found.keys() == {route.registry for route in routes.by_host.values()}
    assert str(found["docker.io"]) == "docker.io/library/hello-world:latest"


def test_an_image_that_is_named_counts() -> None:
    """It is tried instead, by whichever name of its registry; `latest` where no tag is."""
    digest = "sha256:" + "a" * 64
    names = ("team/app", f"quay.io/team/app@{digest}")
    found = samples(names, _routes("upstreams: {docker.io: {}, quay.io: {}}"))
    assert [str(each) for each in found.values()] == [
        "docker.io/team/app:latest",
        f"quay.io/team/app@{digest}",
    ]
    assert all(each.is_named for each in found.values())


def test_an_image_that_the_rules_exclude_is_not_tried() -> None:
    """The server would refuse it, which says nothing of the upstream."""
    assert samples((), _routes("upstreams: {docker.io: {allow: [team/**]}}")) == {}


def test_an_image_of_another_registry_is_refused() -> None:
    """Nothing that is not configured is dialled."""
    with pytest.raises(RequestError, match="none of the configured"):
        samples(("gcr.io/a/b",), _routes("upstreams: {docker.io: {}}"))


def test_a_mirror_that_fails_is_a_warning() -> None:
    """Others stand in for it; what is well stays so."""
    assert Finding("a", "failed", "b", "c").as_warning == Finding("a", "warning", "b", "c")
    assert Finding("a", "ok", "b").as_warning.state == "ok"


async def test_a_thread_that_hangs_is_not_waited_for() -> None:
    """What comes of it later disturbs nobody, and what it raises is raised."""
    ended = threading.Event()
    with pytest.raises(TimeoutError):
        await in_thread(ended.wait, 0.01)
    ended.set()

    def fail() -> None:
        raise OSError("no")

    with pytest.raises(OSError, match="no"):
        await in_thread(fail, 5.0)
    assert await in_thread(lambda: 1, 5.0) == 1
    await asyncio.sleep(0)


@pytest.mark.parametrize(
    ("told", "states"),
    [
        ({"redis_version": "7.2.1", "maxmemory": 0}, ["ok", "ok"]),
        ({"redis_version": "6.0.16"}, ["failed", "ok"]),
        ({"redis_version": "6.2.0", "maxmemory": 1, "maxmemory_policy": "noeviction"}, _WARNS),
        ({"redis_version": "7.0.0", "maxmemory": 1, "maxmemory_policy": "allkeys-lru"}, _WARNS),
        (
            {"redis_version": "7.0.0", "maxmemory": 1, "maxmemory_policy": "volatile-lru"},
            ["ok", "ok"],
        ),
        ({"a:1": {"redis_version": "8.0.0", "maxmemory": 1}}, ["ok", "ok"]),
        ({}, ["ok", "ok"]),
    ],
)
def test_what_redis_says_of_itself(told: dict[str, Any], states: list[str]) -> None:
    """Too old a version fails, and an unfit policy is a warning; of a Cluster one counts."""
    found = of_server(told)
    assert [each.state for each in found] == states
    assert [bool(each.advice) for each in found] == [state != "ok" for state in states]
