"""One canonical line for each request, and no secret in any line or error body."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from cacheproxy.domain.events import FillEnded
from cacheproxy.settings.secret import Secret
from cacheproxy.settings.upstream_model import CredentialsSettings
from tests.support import images
from tests.support.egress import Egress
from tests.support.hasty import HastyProxy, Wanted, hasty_proxy
from tests.support.logged import Log
from tests.support.raw_http import request, said_to
from tests.support.scripted_registry import (
    Always,
    Basic,
    Bearer,
    Fault,
    HangUp,
    Match,
    Redirect,
    ScriptedRegistry,
    SignedUrlExpired,
    StatusFault,
)
from tests.support.seen import Seen, see

_REPOSITORY = "team/app"
_IMAGE = images.simple(seed=131)
_BLOB = _IMAGE.layers[0]
_BY_TAG = f"/v2/{_REPOSITORY}/manifests/1"
_BY_BLOB = f"/v2/{_REPOSITORY}/blobs/{_BLOB.digest}"
_FIELDS = {
    "event",
    "level",
    "timestamp",
    "method",
    "target",
    "status",
    "operation",
    "upstream",
    "repository",
    "reference",
    "cache",
    "source",
    "bytes",
    "first_byte",
    "duration",
    "client",
    "user_agent",
}


@dataclass(frozen=True, slots=True)
class _Stage:
    registry: ScriptedRegistry
    proxy: HastyProxy


@asynccontextmanager
async def _between(
    registry: ScriptedRegistry, directory: Path, **upstream: Any
) -> AsyncIterator[_Stage]:
    async with registry:
        registry.add_image(_REPOSITORY, "1", _IMAGE)
        wanted = Wanted(upstream={"retries": 1, **upstream})
        async with hasty_proxy({"docker.io": registry}, directory, wanted) as proxy:
            yield _Stage(registry, proxy)


@pytest.fixture
async def stage(log: Log, tmp_path: Path) -> AsyncIterator[_Stage]:
    """A registry with an image, and a proxy that logs."""
    async with _between(ScriptedRegistry(), tmp_path) as made:
        yield made


async def test_one_line(log: Log, stage: _Stage) -> None:
    """A request that goes well is one line with all that there is to say of it."""
    await see(stage.proxy, _BY_TAG + "?ns=docker.io", headers={"User-Agent": "test/1"})
    (line,) = log.requests
    assert set(line) == _FIELDS
    assert line["level"] == "info"
    expected = {
        "method": "GET",
        "target": _BY_TAG + "?ns=docker.io",
        "status": 200,
        "operation": "manifest",
        "upstream": "docker.io",
        "repository": _REPOSITORY,
        "reference": "1",
        "cache": "miss",
        "source": "upstream",
        "bytes": len(_IMAGE.manifest),
        "client": "127.0.0.1",
        "user_agent": "test/1",
    }
    assert {key: line[key] for key in expected} == expected
    assert 0 <= line["first_byte"] <= line["duration"] < 20


@pytest.mark.parametrize(
    ("target", "method", "fields"),
    [
        pytest.param(
            "/v2/", "GET", {"operation": "ping", "status": 200, "cache": "hit"}, id="ping"
        ),
        pytest.param(
            _BY_BLOB,
            "GET",
            {"operation": "blob", "reference": _BLOB.digest, "bytes": len(_BLOB.body)},
            id="blob",
        ),
        pytest.param(_BY_BLOB, "HEAD", {"operation": "blob", "status": 200, "bytes": 0}, id="HEAD"),
        pytest.param(
            f"/v2/{_REPOSITORY}/tags/list", "GET", {"operation": "tags", "reference": ""}, id="tags"
        ),
        pytest.param(
            f"/v2/{_REPOSITORY}/referrers/{_IMAGE.digest}",
            "GET",
            {"operation": "referrers", "reference": _IMAGE.digest},
            id="referrers",
        ),
        pytest.param(
            "/v2/App/manifests/1",
            "GET",
            {"operation": "invalid", "status": 404, "cache": "error", "upstream": ""},
            id="bad name",
        ),
        pytest.param(
            "/v2/x/blobs/uploads/", "POST", {"status": 405, "operation": "invalid"}, id="push"
        ),
        pytest.param(
            f"/v2/{_REPOSITORY}/manifests/absent",
            "GET",
            {"status": 404, "operation": "manifest", "reference": "absent", "source": "none"},
            id="absent",
        ),
    ],
)
async def test_each_operation(
    log: Log, stage: _Stage, target: str, method: str, fields: dict[str, Any]
) -> None:
    """Each request is exactly one line, which says what was asked and what came of it."""
    answer = await see(stage.proxy, target, method=method)
    (line,) = log.requests
    assert (line["method"], line["target"]) == (method, target)
    assert line["status"] == answer.status
    assert {key: line[key] for key in fields} == fields
    assert ("error" in line) is (answer.status >= 400)


async def test_a_range(log: Log, stage: _Stage) -> None:
    """Of a part the bytes of the part are logged."""
    answer = await see(stage.proxy, _BY_BLOB, headers={"Range": "bytes=0-99"})
    assert answer.status == 206
    assert (log.requests[0]["status"], log.requests[0]["bytes"]) == (206, 100)


@pytest.mark.parametrize(
    "agent",
    [
        pytest.param(b"\xff\xfe\x00".replace(b"\x00", b""), id="no UTF-8"),
        pytest.param("curl/é€😀".encode(), id="UTF-8"),
        pytest.param(b'"}{\\u0000\\"', id="JSON"),
        pytest.param(b"\x1b[31mred\x1b[0m", id="terminal"),
        pytest.param(b"a" * 8000, id="long"),
    ],
)
async def test_a_strange_user_agent(log: Log, stage: _Stage, agent: bytes) -> None:
    """A client may call itself anything: it is served, and its line can be read."""
    fields = b"User-Agent: " + agent
    heard = await said_to(stage.proxy.url, request(_BY_TAG.encode(), fields))
    if heard.status == 400:  # a control character, which HTTP does not allow
        assert b"\x1b" in agent
        return
    assert (heard.status, heard.body) == (200, _IMAGE.manifest)
    (line,) = log.requests
    assert len(line["user_agent"]) <= 1100
    assert line["user_agent"]


@pytest.mark.parametrize(
    "target",
    ["/v2/%0a%22event%22:%22forged%22/tags/list", "/v2/a\\u000ab/tags/list", "/v2/%1b[31m"],
)
async def test_a_strange_target(log: Log, stage: _Stage, target: str) -> None:
    """No target can forge a line."""
    await said_to(stage.proxy.url, request(target.encode()))
    assert {line["event"] for line in log.lines} <= {"request", "upstream answered"}
    assert len(log.requests) == 1


async def test_a_long_target(log: Log, stage: _Stage) -> None:
    """A target as long as HTTP allows is cut in the log."""
    await see(stage.proxy, "/v2/" + "a" * 20_000)
    assert len(log.requests[0]["target"]) <= 1024


def _texts(answers: list[Seen], log: Log) -> str:
    """Everything that anyone can read."""
    said = [f"{dict(answer.headers)} {answer.body!r}" for answer in answers]
    return "\n".join([*said, log.text])


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(Redirect(), id="a redirect"),
        pytest.param(Redirect(hops=9), id="too many redirects"),
        pytest.param(SignedUrlExpired(), id="an expired URL"),
        pytest.param(
            Redirect(location="http://127.0.0.1:1/x?X-Amz-Signature=s3cret"), id="refused"
        ),
        pytest.param(Redirect(location="ftp://h/x?X-Amz-Signature=s3cret"), id="a strange scheme"),
        pytest.param(
            Redirect(location="http://u:s3cret@[::1/x?X-Amz-Signature=s3cret"), id="a broken URL"
        ),
        pytest.param(
            Redirect(location="http://127.0.0.1:99999/x?X-Amz-Signature=s3cret"), id="a broken port"
        ),
    ],
)
async def test_signed_urls_are_secret(log: Log, stage: _Stage, fault: Fault) -> None:
    """Whatever becomes of a signed URL, neither the log nor a client sees its signature."""
    stage.registry.script(Match(), Always(fault))
    answers = [await see(stage.proxy, path) for path in (_BY_BLOB, _BY_TAG)]
    text = _texts(answers, log)
    assert "Signature" not in text
    assert "s3cret" not in text
    assert len(log.requests) == 2


async def test_a_storage_host_that_hangs_up(log: Log, stage: _Stage) -> None:
    """Also where the host of a signed URL fails."""
    stage.registry.script(Match(), Always(Redirect()))
    stage.registry.cdn.script(Match(), Always(HangUp()))
    answers = [await see(stage.proxy, path) for path in (_BY_BLOB, _BY_TAG)]
    assert {answer.status for answer in answers} == {502}
    assert "Signature" not in _texts(answers, log)


@pytest.mark.parametrize("wrong", [False, True], ids=["right", "wrong"])
@pytest.mark.parametrize("kind", ["basic", "bearer"])
async def test_credentials_are_secret(log: Log, tmp_path: Path, kind: str, wrong: bool) -> None:
    """Neither passwords nor tokens are ever said, whether they work or not."""
    auth = Basic("ada", "s3cret") if kind == "basic" else Bearer({"ada": "s3cret"})
    login = CredentialsSettings("ada", Secret("s3cret-wrong" if wrong else "s3cret"))
    async with _between(ScriptedRegistry(auth=auth), tmp_path, credentials=login) as stage:
        answers = [await see(stage.proxy, path) for path in (_BY_BLOB, _BY_TAG)]
        text = _texts(answers, log)
        assert {answer.status for answer in answers} == {403 if wrong else 200}
        for secret in ("s3cret", "YWRhOn", "token-1", "Bearer "):
            assert secret not in text


async def test_the_egress_proxys_password_is_secret(log: Log, tmp_path: Path) -> None:
    """Nor is the password of an egress proxy, also when that fails."""
    async with Egress({}) as egress:
        url = egress.url.replace("http://", "http://ada:s3cret@")
        async with _between(ScriptedRegistry(), tmp_path, proxy_url=url) as stage:
            answers = [await see(stage.proxy, path) for path in (_BY_BLOB, _BY_TAG)]
            assert {answer.status for answer in answers} == {502}
    text = _texts(answers, log)
    assert "s3cret" not in text
    assert "YWRhOn" not in text


async def test_clients_credentials_are_secret(log: Log, stage: _Stage) -> None:
    """What a client sends to prove itself elsewhere is not written down here."""
    headers = {"Authorization": "Basic YWRhOnMzY3JldA==", "Cookie": "a=s3cret"}
    answers = [await see(stage.proxy, path, headers=headers) for path in (_BY_TAG, "/v2/x")]
    text = _texts(answers, log)
    assert "YWRhOnMzY3JldA" not in text
    assert "s3cret" not in text


async def test_upstreams_words_are_not_logged(log: Log, stage: _Stage) -> None:
    """An error page of upstream is no line of the log."""
    stage.registry.script(Match(), Always(StatusFault(500, {}, b"<html>s3cret</html>")))
    answers = [await see(stage.proxy, path) for path in (_BY_BLOB, _BY_TAG)]
    assert "s3cret" not in _texts(answers, log)
    assert all(line["error"] for line in log.requests)


async def test_fills(log: Log, stage: _Stage) -> None:
    """The end of each download is a line of its own, the failed one's a warning."""
    await see(stage.proxy, _BY_BLOB)
    await see(stage.proxy, f"/v2/{_REPOSITORY}/blobs/{images.sha256(b'absent')}")
    async with asyncio.timeout(60):
        while len(stage.proxy.events.of(FillEnded)) < 2:  # noqa: ASYNC110  # nobody tells of it
            await asyncio.sleep(0.002)
    fills = {line["event"]: line for line in log.lines if line["event"].startswith("fill")}
    assert set(fills) == {"fill committed", "fill failed"}
    assert fills["fill committed"]["level"] == "info"
    assert fills["fill committed"]["bytes"] == len(_BLOB.body)
    assert fills["fill failed"]["level"] == "warning"
    assert "404" in fills["fill failed"]["error"]
