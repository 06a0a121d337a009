"""What doctor finds of upstreams that fail in each of the ways in which they do."""

import datetime as dt
import email.utils
import json
import socket
import ssl
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import trustme

from cacheproxy.bootstrap.metadata import Surroundings
from cacheproxy.bootstrap.upstreams import make_routes
from cacheproxy.doctor.findings import Finding
from cacheproxy.doctor.images import samples
from cacheproxy.doctor.shared_metadata import check_redis
from cacheproxy.doctor.times import check_clock
from cacheproxy.doctor.upstreams import Report, check_upstream
from cacheproxy.domain.redis_url import parse_redis_url
from cacheproxy.inprocess.clock import SystemClock
from cacheproxy.inprocess.tasks import Tasks
from cacheproxy.metadata.cluster_clock import ClusterClock
from cacheproxy.ops.observers import Observers
from cacheproxy.settings import load
from cacheproxy.settings.model import MetadataSettings
from tests.support import images
from tests.support.egress import Egress
from tests.support.parts.process import free_port
from tests.support.parts.redis import Engine, RedisServer, on_each_engine
from tests.support.scripted_registry import (
    Always,
    Basic,
    Bearer,
    Match,
    NoAnswer,
    ScriptedRegistry,
    StatusFault,
    WithHeader,
)
from tests.support.unreachable import black_hole, distrusted, nameless

IMAGE = images.simple(1, 1000)
SHORT = {"connect_timeout": "300ms", "answer_timeout": "300ms"}
LOGIN = {"username": "puller", "password": "n0t-to-be-shown"}


class Doctor:
    """Looks at one upstream."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._tasks = Tasks()

    async def report(
        self, url: str, image: str = "docker.io/library/app:1", **settings: Any
    ) -> Report:
        """What is found of the registry at a URL, as docker.io."""
        file = self._directory / "cacheproxy.json"
        file.write_text(json.dumps({"upstreams": {"docker.io": {"url": url, **settings}}}))
        loaded = load(file, {})
        chosen = samples([image] if image else [], make_routes(loaded))
        clock = SystemClock()
        around = Surroundings(Observers(()), clock, self._tasks, ClusterClock(clock))
        return await check_upstream(loaded.upstreams["docker.io"], chosen.get("docker.io"), around)

    async def look(self, url: str, **settings: Any) -> dict[str, Finding]:
        """The same by the step's name; no secret is in it."""
        findings = (await self.report(url, **settings)).findings
        assert LOGIN["password"] not in repr(findings)
        return {finding.name.removeprefix("docker.io: "): finding for finding in findings}

    async def close(self) -> None:
        await self._tasks.close()


@pytest.fixture
async def doctor(tmp_path: Path) -> AsyncIterator[Doctor]:
    """One who has a place for the configuration."""
    running = Doctor(tmp_path)
    yield running
    await running.close()


def _stocked(registry: ScriptedRegistry) -> ScriptedRegistry:
    registry.add_image("library/app", "1", IMAGE)
    return registry


def _failed(found: dict[str, Finding]) -> dict[str, Finding]:
    return {name: each for name, each in found.items() if each.state == "failed"}


async def test_all_is_well(doctor: Doctor, hub: ScriptedRegistry) -> None:
    """Each step is told, and the manifest's digest is that of the image."""
    found = await doctor.look(_stocked(hub).url)
    assert {name: each.state for name, each in found.items()} == {
        "name": "ok",
        "connection": "ok",
        "/v2/": "ok",
        "login": "skipped",
        "manifest": "ok",
    }
    assert IMAGE.digest in found["manifest"].said


async def test_a_login_that_is_right(doctor: Doctor) -> None:
    """It is shown, and accepted, and the manifest is pulled with it."""
    async with _stocked(ScriptedRegistry(auth=Basic(**_basic()))) as hub:
        found = await doctor.look(hub.url, credentials=LOGIN)
    assert found["login"].state == found["manifest"].state == "ok"


def _basic() -> dict[str, str]:
    return {"user": LOGIN["username"], "password": LOGIN["password"]}


@pytest.mark.parametrize("kind", ["basic", "bearer"])
async def test_a_wrong_password(doctor: Doctor, kind: str) -> None:
    """Whose login is refused is said; it is shown twice, so that no account is locked."""
    users = {"puller": "another"}
    auth = Basic("puller", "another") if kind == "basic" else Bearer(users, anonymous=False)
    async with _stocked(ScriptedRegistry(auth=auth)) as hub:
        found = await doctor.look(hub.url, credentials=LOGIN)
        shown = [each for each in hub.journal if "Authorization" in each.headers]
    assert len(shown) == 2
    assert list(_failed(found)) == ["login"]
    assert found["manifest"].state == "skipped"
    assert "refuses docker.io's credentials (password)" in found["login"].said
    assert "replace them in upstreams.docker.io.credentials" in found["login"].advice


async def test_no_login_where_one_is_wanted(doctor: Doctor) -> None:
    """An anonymous pull that is refused has its advice."""
    async with _stocked(ScriptedRegistry(auth=Basic("puller", "x"))) as hub:
        found = await doctor.look(hub.url)
    assert list(_failed(found)) == ["manifest"]
    assert "upstreams.docker.io.credentials" in found["manifest"].advice


async def test_each_account_is_tried(doctor: Doctor) -> None:
    """One of two that is wrong is found, though pulls go by the other one."""
    async with _stocked(ScriptedRegistry(auth=Basic(**_basic()))) as hub:
        wrong = {"username": "puller", "password": "wrong"}
        report = await doctor.report(hub.url, credentials=[LOGIN, wrong])
    logins = [each for each in report.findings if each.name.endswith("login")]
    assert [each.state for each in logins] == ["ok", "failed"]
    assert "credentials[1]" in logins[1].said
    assert report.findings[-1].state == "ok"


async def test_credentials_that_cannot_be_had(doctor: Doctor, tmp_path: Path) -> None:
    """A command that fails is not the registry's fault."""
    command = {"provider": "exec", "command": ["false"]}
    async with _stocked(ScriptedRegistry(auth=Basic(**_basic()))) as hub:
        found = await doctor.look(hub.url, credentials=command)
    assert found["login"].state == "failed"
    assert "run the command" in found["login"].advice


async def test_a_name_that_nobody_knows(doctor: Doctor) -> None:
    """It is said of the name; what needs it is skipped."""
    with nameless() as place:
        found = await doctor.look(place.url)
    assert {name: each.state for name, each in found.items()} == {
        "name": "failed",
        "login": "skipped",
        "manifest": "skipped",
    }
    assert "upstreams.docker.io.url is spelt right" in found["name"].advice


async def test_a_connection_that_is_refused(doctor: Doctor) -> None:
    """The port is named, and the firewall."""
    port = free_port()
    found = await doctor.look(f"http://127.0.0.1:{port}")
    assert list(_failed(found)) == ["connection"]
    assert found["connection"].said == "127.0.0.1: connection refused"
    assert f"listens at port {port}" in found["connection"].advice
    assert "upstreams.docker.io.proxy_url" in found["connection"].advice


@pytest.mark.alone
async def test_a_black_hole_is_given_up(doctor: Doctor) -> None:
    """Who takes no connection is not waited for beyond `connect_timeout`."""
    begun = time.monotonic()
    with black_hole() as place:
        found = await doctor.look(place.url, **SHORT)
    assert time.monotonic() - begun < 30.0  # the kernel would wait for two minutes
    assert list(_failed(found)) == ["connection"]
    assert "no answer within 0.3 s" in found["connection"].said
    assert "firewall" in found["connection"].advice


async def test_one_who_never_answers_is_given_up(doctor: Doctor, hub: ScriptedRegistry) -> None:
    """Who takes the connection and says nothing is not waited for beyond `answer_timeout`."""
    hub.script(Match(), Always(NoAnswer()))
    found = await doctor.look(hub.url, **SHORT)
    assert list(_failed(found)) == ["/v2/"]
    assert "did not answer within 0.3 s" in found["/v2/"].said
    assert "upstreams.docker.io.answer_timeout" in found["/v2/"].advice


async def test_one_in_trouble(doctor: Doctor, hub: ScriptedRegistry) -> None:
    """A 503 is upstream's own trouble."""
    hub.script(Match(), Always(StatusFault(503)))
    found = await doctor.look(hub.url)
    assert list(_failed(found)) == ["/v2/"]
    assert "status page" in found["/v2/"].advice


async def test_an_image_that_is_not_there(doctor: Doctor, hub: ScriptedRegistry) -> None:
    """One that was named fails; one that we chose is a warning, and another may be named."""
    found = await doctor.look(hub.url)
    assert list(_failed(found)) == ["manifest"]
    assert "spelt right" in found["manifest"].advice
    ours = await doctor.look(hub.url, image="")
    assert ours["manifest"].state == "warning"
    assert "--image docker.io/REPOSITORY:TAG" in ours["manifest"].advice


async def test_a_mirror_that_fails_is_a_warning(doctor: Doctor, hub: ScriptedRegistry) -> None:
    """The registry stands in for it, so the pull works."""
    dead = f"127.0.0.1:{free_port()}"
    report = await doctor.report(_stocked(hub).url, mirrors=[f"http://{dead}"])
    states = {each.name: each.state for each in report.findings}
    assert states[f"docker.io (mirror {dead}): connection"] == "warning"
    assert states["docker.io: manifest"] == "ok"


async def test_an_upstream_that_is_offline_is_not_asked(
    doctor: Doctor, hub: ScriptedRegistry
) -> None:
    """`offline: true` holds for doctor too."""
    report = await doctor.report(hub.url, offline=True)
    assert [each.state for each in report.findings] == ["skipped"]
    assert hub.requests() == ()


async def test_through_a_proxy(doctor: Doctor, hub: ScriptedRegistry) -> None:
    """The proxy is what is connected to; what it cannot reach is not blamed on the registry."""
    async with Egress({f"hub.example:{_stocked(hub).port}": hub.port}) as proxy:
        found = await doctor.look(f"http://hub.example:{hub.port}", proxy_url=proxy.url)
        lost = await doctor.look("https://other.example", proxy_url=_with_password(proxy.url))
    assert _failed(found) == {}
    assert "of the proxy" in found["connection"].said
    assert list(_failed(lost)) == ["/v2/"]
    assert "the proxy on the way answered 502" in lost["/v2/"].said
    assert "upstreams.docker.io.proxy_url" in lost["/v2/"].advice


def _with_password(url: str) -> str:
    return url.replace("://", f"://user:{LOGIN['password']}@")


# -- TLS -------------------------------------------------------------------------------


def _expired(authority: trustme.CA) -> ssl.SSLContext:
    then = dt.datetime.now(dt.UTC) - dt.timedelta(days=1)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    issued = authority.issue_cert("127.0.0.1", not_before=then - dt.timedelta(1), not_after=then)
    issued.configure_cert(context)
    return context


def _issued(authority: trustme.CA, name: str) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(name).configure_cert(context)
    return context


@pytest.fixture
def authority(tmp_path: Path) -> trustme.CA:
    """Who vouches for upstreams; its PEM is `ca.pem`."""
    made = trustme.CA()
    made.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    return made


async def test_a_certificate_that_is_right(
    doctor: Doctor, authority: trustme.CA, tmp_path: Path
) -> None:
    """The version of TLS is said."""
    tls = _issued(authority, "127.0.0.1")
    async with _stocked(ScriptedRegistry(tls=tls)) as hub:
        found = await doctor.look(hub.url, ca_file=str(tmp_path / "ca.pem"))
    assert found["TLS"].said == "TLSv1.3, and its certificate is right"
    assert found["manifest"].state == "ok"


async def test_a_certificate_that_has_expired(
    doctor: Doctor, authority: trustme.CA, tmp_path: Path
) -> None:
    """It is said to be that, and that the clock may be wrong."""
    async with ScriptedRegistry(tls=_expired(authority)) as hub:
        found = await doctor.look(hub.url, ca_file=str(tmp_path / "ca.pem"))
    assert list(_failed(found)) == ["TLS"]
    assert "has expired" in found["TLS"].said
    assert "renew it; if that is not so, set this machine's clock" in found["TLS"].advice


async def test_a_certificate_for_another_name(
    doctor: Doctor, authority: trustme.CA, tmp_path: Path
) -> None:
    """The URL is what may be wrong."""
    async with ScriptedRegistry(tls=_issued(authority, "a.example")) as hub:
        found = await doctor.look(hub.url, ca_file=str(tmp_path / "ca.pem"))
    assert list(_failed(found)) == ["TLS"]
    assert "is not for 127.0.0.1" in found["TLS"].said
    assert "upstreams.docker.io.url" in found["TLS"].advice


async def test_a_certificate_that_nobody_vouches_for(doctor: Doctor) -> None:
    """`ca_file` is what to set; where it is not verified at all, that is a warning."""
    async with _stocked(ScriptedRegistry(tls=distrusted())) as hub:
        found = await doctor.look(hub.url)
        blind = await doctor.look(hub.url, insecure=True)
    assert list(_failed(found)) == ["TLS"]
    assert "upstreams.docker.io.ca_file" in found["TLS"].advice
    assert (blind["TLS"].state, blind["manifest"].state) == ("warning", "ok")


@contextmanager
def _blocking(tls: ssl.SSLContext) -> Iterator[str]:
    """A server that says why it ends a connection, as Go's do and asyncio's do not."""
    listening = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            with connection, suppress(OSError), tls.wrap_socket(connection, server_side=True):
                pass

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield f"https://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        listening.shutdown(socket.SHUT_RDWR)
        listening.close()
        thread.join()


async def test_one_who_wants_our_certificate(
    doctor: Doctor, authority: trustme.CA, tmp_path: Path
) -> None:
    """TLS 1.3 says so after the handshake only; `client_certificate` is what to set."""
    tls = _issued(authority, "127.0.0.1")
    tls.verify_mode = ssl.CERT_REQUIRED
    authority.configure_trust(tls)
    with _blocking(tls) as url:
        found = await doctor.look(url, ca_file=str(tmp_path / "ca.pem"))
    assert list(_failed(found)) == ["/v2/"]
    assert "wants to see a certificate of ours" in found["/v2/"].said
    assert "upstreams.docker.io.client_certificate" in found["/v2/"].advice


async def test_plain_http_where_tls_is_meant(doctor: Doctor, hub: ScriptedRegistry) -> None:
    """https:// to a port without TLS is said to be that, and the other way round too."""
    found = await doctor.look(hub.url.replace("http://", "https://"))
    assert list(_failed(found)) == ["TLS"]
    assert "write http:// in upstreams.docker.io.url" in found["TLS"].advice
    async with ScriptedRegistry(tls=distrusted()) as secure:
        found = await doctor.look(secure.url.replace("https://", "http://"))
    assert list(_failed(found)) == ["/v2/"]
    assert "its scheme or its port" in found["/v2/"].advice


# -- the clock -------------------------------------------------------------------------


@pytest.mark.parametrize(("ahead", "state"), [(0, "ok"), (120, "warning"), (-4000, "failed")])
async def test_the_clock_is_compared_with_upstream_s(
    doctor: Doctor, hub: ScriptedRegistry, ahead: int, state: str
) -> None:
    """What the Date of an answer says of this machine's clock has its advice."""
    date = email.utils.formatdate(time.time() + ahead, usegmt=True)
    hub.script(Match(), Always(WithHeader("Date", date)))
    skew = (await doctor.report(_stocked(hub).url)).skew
    assert skew == pytest.approx(ahead, abs=3)
    found = check_clock({"docker.io": skew or 0.0})
    assert found.state == state
    assert ("timedatectl set-ntp true" in found.advice) == (state != "ok")


# -- Redis -----------------------------------------------------------------------------


@on_each_engine
async def test_it_is_said_whose_redis_it_is(redis: RedisServer, engine: Engine) -> None:
    """All is well with each of them, and Valkey is called by its name and its own version."""
    found = await check_redis(MetadataSettings(parse_redis_url(redis.url)))
    assert {each.state for each in found} == {"ok"}
    (version,) = [each.said for each in found if each.name == "Redis: version"]
    with redis.client() as client:
        own = client.info("server")[f"{engine}_version"]
    assert version == (f"Valkey {own}" if engine == "valkey" else own)
