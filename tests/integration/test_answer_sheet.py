"""What each outcome at upstream is to a client: status, code, fields, and nothing more."""

import asyncio
import json
from dataclasses import dataclass
from pathlib import Path

import pytest

from cacheproxy.domain.digest import Digest
from cacheproxy.domain.operation import PullBlob
from cacheproxy.domain.reference import Name, Repository
from tests.support import images
from tests.support.bare_core import WatchedMetadata, bare_core
from tests.support.hasty import HastyClock, HastyProxy, Wanted, hasty_proxy
from tests.support.scripted_registry import (
    Always,
    BigErrorBody,
    Fault,
    Garbage,
    HangUp,
    Match,
    NoAnswer,
    ScriptedRegistry,
    StatusFault,
    WithHeader,
)
from tests.support.seen import Seen, see

_IMAGE = images.simple(seed=21)
_BLOB = _IMAGE.layers[0]
_REPOSITORY = "library/app"

_SECRET = "upstream-says-this-to-us-alone"
_LEAKY = {
    "WWW-Authenticate": f'Basic realm="{_SECRET}"',
    "Set-Cookie": f"session={_SECRET}",
    "X-Upstream": _SECRET,
    "Content-Type": "text/html",
}


@dataclass(frozen=True, slots=True)
class _Asked:
    """Something to ask for, and what it is to be missing."""

    path: str
    missing: str


_ASKED = {
    "tag": _Asked("/v2/app/manifests/1", "MANIFEST_UNKNOWN"),
    "digest": _Asked(f"/v2/app/manifests/{_IMAGE.digest}", "MANIFEST_UNKNOWN"),
    "blob": _Asked(f"/v2/app/blobs/{_BLOB.digest}", "BLOB_UNKNOWN"),
    "tags": _Asked("/v2/app/tags/list", "NAME_UNKNOWN"),
    "referrers": _Asked(f"/v2/app/referrers/{_IMAGE.digest}", ""),
}
_EVERYTHING = [pytest.param(asked, id=name) for name, asked in _ASKED.items()]
_METHODS = ("GET", "HEAD")


@pytest.fixture
async def full(hub: ScriptedRegistry, proxy: HastyProxy) -> HastyProxy:
    """A proxy in front of a registry that has all that there is to ask for."""
    hub.add_image(_REPOSITORY, "1", _IMAGE)
    return proxy


def _keeps_nothing(proxy: HastyProxy) -> bool:
    return proxy.files("blobs") == []


async def _fails(
    hub: ScriptedRegistry, proxy: HastyProxy, path: str, fault: Fault
) -> dict[str, Seen]:
    """What GET and HEAD get while every request to upstream meets the fault."""
    hub.script(Match(), Always(fault))
    return {method: await see(proxy, path, method=method) for method in _METHODS}


@pytest.mark.parametrize("asked", _EVERYTHING)
@pytest.mark.parametrize(
    ("fault", "status", "code"),
    [
        pytest.param(StatusFault(400), 502, "UNKNOWN", id="400"),
        pytest.param(StatusFault(401), 403, "DENIED", id="401 without a challenge"),
        pytest.param(StatusFault(401, _LEAKY, b""), 403, "DENIED", id="401 with a challenge"),
        pytest.param(StatusFault(403), 403, "DENIED", id="403"),
        pytest.param(StatusFault(408), 504, "UNAVAILABLE", id="408"),
        pytest.param(StatusFault(410), 502, "UNKNOWN", id="410"),
        pytest.param(StatusFault(418), 502, "UNKNOWN", id="418"),
        pytest.param(StatusFault(429), 429, "TOOMANYREQUESTS", id="429"),
        pytest.param(StatusFault(500), 502, "UNAVAILABLE", id="500"),
        pytest.param(StatusFault(502), 502, "UNAVAILABLE", id="502"),
        pytest.param(StatusFault(503), 502, "UNAVAILABLE", id="503"),
        pytest.param(StatusFault(504), 504, "UNAVAILABLE", id="504"),
        pytest.param(StatusFault(599), 502, "UNAVAILABLE", id="599"),
        pytest.param(StatusFault(304), 502, "UNAVAILABLE", id="304 to no condition"),
        pytest.param(StatusFault(300), 502, "UNAVAILABLE", id="300 without a location"),
        pytest.param(HangUp(), 502, "UNAVAILABLE", id="hangs up"),
        pytest.param(HangUp(reset=True), 502, "UNAVAILABLE", id="resets"),
        pytest.param(Garbage(), 502, "UNAVAILABLE", id="garbage"),
        pytest.param(Garbage(b"HTTP/1.1 200 OK\r\nContent-"), 502, "UNAVAILABLE", id="half a head"),
        pytest.param(
            Garbage(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx"),
            502,
            "UNAVAILABLE",
            id="two lengths",
        ),
        pytest.param(BigErrorBody(10 * 1024 * 1024), 502, "UNAVAILABLE", id="10 MB error"),
        pytest.param(BigErrorBody(10 * 1024 * 1024, 403), 403, "DENIED", id="10 MB refusal"),
    ],
)
async def test_failures(
    hub: ScriptedRegistry, full: HastyProxy, asked: _Asked, fault: Fault, status: int, code: str
) -> None:
    """A failure of upstream has one status and code, whatever was asked for, and is not kept."""
    answers = await _fails(hub, full, asked.path, fault)
    assert (answers["GET"].status, answers["GET"].code) == (status, code)
    assert answers["HEAD"].status == status
    assert _keeps_nothing(full)


@pytest.mark.parametrize("asked", _EVERYTHING)
async def test_silence(hub: ScriptedRegistry, tmp_path: Path, asked: _Asked) -> None:
    """An upstream that takes requests and says nothing is a 504, after `idle_timeout`."""
    wanted = Wanted(upstream={"idle_timeout": 0.1})
    async with hasty_proxy({"docker.io": hub}, tmp_path, wanted) as proxy:
        answers = await _fails(hub, proxy, asked.path, NoAnswer())
        assert (answers["GET"].status, answers["GET"].code) == (504, "UNAVAILABLE")
        assert answers["HEAD"].status == 504


@pytest.mark.parametrize("asked", _EVERYTHING)
async def test_lateness(hub: ScriptedRegistry, tmp_path: Path, asked: _Asked) -> None:
    """So is one that is slower than `response_timeout`, whatever it would have said."""
    wanted = Wanted(server={"response_timeout": 0.1})
    over = asyncio.Event()
    async with hasty_proxy({"docker.io": hub}, tmp_path, wanted) as proxy:
        answers = await _fails(hub, proxy, asked.path, NoAnswer(over))
        assert (answers["GET"].status, answers["GET"].code) == (504, "UNAVAILABLE")
        assert answers["HEAD"].status == 504
        over.set()


@pytest.mark.parametrize("asked", _EVERYTHING[:4])
async def test_missing(hub: ScriptedRegistry, proxy: HastyProxy, asked: _Asked) -> None:
    """What upstream does not have is a 404 with the code of what was asked for."""
    for method in _METHODS:
        answer = await see(proxy, asked.path, method=method)
        assert answer.status == 404
        if method == "GET":
            assert answer.code == asked.missing
    assert len(hub.requests()) >= 1


async def test_no_referrers(hub: ScriptedRegistry, proxy: HastyProxy) -> None:
    """Referrers of what upstream does not have are an empty list, never a 404."""
    answer = await see(proxy, _ASKED["referrers"].path)
    assert answer.status == 200
    assert json.loads(answer.body)["manifests"] == []
    assert len(hub.requests()) >= 1


@pytest.mark.parametrize("asked", _EVERYTHING)
async def test_refused_connection(hub: ScriptedRegistry, full: HastyProxy, asked: _Asked) -> None:
    """An upstream that is down is a 502 for what is not cached."""
    await hub.stop()
    for method in _METHODS:
        answer = await see(full, asked.path, method=method)
        assert answer.status == 502
        assert method == "HEAD" or answer.code == "UNAVAILABLE"


@pytest.mark.parametrize("asked", _EVERYTHING)
@pytest.mark.parametrize("status", [400, 401, 403, 404, 429, 500, 503])
async def test_upstreams_words_do_not_leak(
    hub: ScriptedRegistry, full: HastyProxy, asked: _Asked, status: int
) -> None:
    """Neither body nor header fields of upstream's errors reach a client."""
    body = f"<html>{_SECRET}</html>".encode()
    answers = await _fails(hub, full, asked.path, StatusFault(status, _LEAKY, body))
    for answer in answers.values():
        sent = answer.body + "".join(f"{k}: {v}\n" for k, v in answer.headers.items()).encode()
        assert _SECRET.encode() not in sent
        assert "X-Upstream" not in answer.headers


@pytest.mark.parametrize("asked", _EVERYTHING[:4])
@pytest.mark.parametrize(
    ("sent", "passed_on"),
    [
        pytest.param(None, "30", id="none"),
        pytest.param("7", "7", id="seconds"),
        pytest.param("0", "1", id="zero"),
        pytest.param("-5", "1", id="negative"),
        pytest.param("1.2", "2", id="fraction"),
        pytest.param("86400", "300", id="a day"),
        pytest.param("nan", "1", id="not a number"),
        pytest.param("1e400", "300", id="infinite"),
        pytest.param("soon", "30", id="a word"),
        pytest.param("Thu, 01 Jan 1970 00:00:00 GMT", "1", id="a date gone by"),
        pytest.param("Fri, 01 Jan 2100 00:00:00 GMT", "300", id="a date far off"),
        pytest.param("4102444800", "300", id="a Unix time far off"),
        pytest.param("1000000001", "1", id="a Unix time gone by"),
    ],
)
async def test_retry_after(
    hub: ScriptedRegistry, full: HastyProxy, asked: _Asked, sent: str | None, passed_on: str
) -> None:
    """A 429 is passed on with a Retry-After that can be waited for: 1 s to 5 minutes."""
    fault = StatusFault(429, {} if sent is None else {"Retry-After": sent})
    answers = await _fails(hub, full, asked.path, fault)
    for answer in answers.values():
        assert answer.status == 429
        assert answer.headers["Retry-After"] == passed_on


@pytest.mark.parametrize("asked", _EVERYTHING)
@pytest.mark.parametrize("status", [400, 404, 500])
async def test_no_retry_after_otherwise(
    hub: ScriptedRegistry, full: HastyProxy, asked: _Asked, status: int
) -> None:
    """Only a limit and a 503 say when to come back."""
    fault = StatusFault(status, {"Retry-After": "5"})
    for answer in (await _fails(hub, full, asked.path, fault)).values():
        assert "Retry-After" not in answer.headers


async def test_an_error_for_each_of_many(hub: ScriptedRegistry, full: HastyProxy) -> None:
    """All who wait for an upstream request that fails get the error, and none a success."""
    hub.script(Match(), Always(StatusFault(500)))
    for asked in _ASKED.values():
        answers = await asyncio.gather(*(see(full, asked.path) for _ in range(20)))
        # 503 once it is given a rest.
        assert {answer.status for answer in answers} <= {502, 503}
        assert {answer.code for answer in answers} == {"UNAVAILABLE"}


@pytest.mark.parametrize("asked", _EVERYTHING)
async def test_after_a_failure_all_is_well(
    hub: ScriptedRegistry, full: HastyProxy, asked: _Asked
) -> None:
    """A server error is not remembered: the next request asks upstream again."""
    hub.script(Match(), *[StatusFault(500)] * (3 if "/blobs/" in asked.path else 1))
    assert (await see(full, asked.path)).status == 502
    assert (await see(full, asked.path)).status == 200


@pytest.mark.parametrize("asked", _EVERYTHING)
@pytest.mark.parametrize("warm", [pytest.param(False, id="cold"), pytest.param(True, id="warm")])
async def test_head_is_a_get_without_a_body(full: HastyProxy, asked: _Asked, warm: bool) -> None:
    """HEAD has the header fields of GET, the length included."""
    if warm:
        await see(full, asked.path)
    head = await see(full, asked.path, method="HEAD")
    get = await see(full, asked.path)
    assert (head.status, get.status) == (200, 200)
    assert head.stable == get.stable
    assert int(head.headers["Content-Length"]) == len(get.body)


@pytest.mark.parametrize(
    ("name", "stored"),
    [("tag", False), ("digest", True), ("blob", False), ("tags", True), ("referrers", True)],
)
async def test_a_cold_head_is_a_miss(full: HastyProxy, name: str, stored: bool) -> None:
    """A HEAD that upstream was asked for is no hit, and stored only where there was a body."""
    cache = (await see(full, _ASKED[name].path, method="HEAD")).cache
    assert (cache["fwd"], cache["fwd-status"]) == ("miss", 200)
    assert "hit" not in cache
    assert ("stored" in cache) is stored


async def test_a_blob_that_is_fetched_in_no_time_is_a_miss(
    hub: ScriptedRegistry, tmp_path: Path
) -> None:
    """Who starts a download is told of a miss, also where it is over before the answer."""
    digest = Digest(hub.add_blob(_REPOSITORY, _BLOB.body))
    asked = PullBlob(Repository("docker.io", Name(_REPOSITORY)), digest)
    slow = WatchedMetadata(seconds=0.2)
    async with bare_core(hub, tmp_path, slow, HastyClock()) as core:
        pulling = await asyncio.gather(core.blob(asked, head=False), core.blob(asked, head=False))
        for answer in pulling:
            assert answer.content is not None
            assert await answer.content.read(0, len(_BLOB.body)) == _BLOB.body
            answer.content.close()
        assert [answer.status.outcome for answer in pulling] == ["miss", "joined"]
        assert {answer.source for answer in pulling} == {"fill"}


@pytest.mark.parametrize(
    "path",
    [
        "/v2/App/manifests/1",
        "/v2/app/blobs/sha256:x",
        "/v2/app/manifests/.x",
        "/v2/unknown.example/app/manifests/1",
        "/v2/app/manifests/1?ns=a.b&ns=c.d",
        "/v2/_catalog",
        "/",
    ],
)
async def test_head_of_a_refusal(proxy: HastyProxy, path: str) -> None:
    """A HEAD that is refused has the header fields of the GET that is."""
    head, get = await see(proxy, path, method="HEAD"), await see(proxy, path)
    assert head.status == get.status
    assert head.stable == get.stable
    assert int(head.headers["Content-Length"]) == len(get.body)


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        pytest.param("/v2/App/manifests/1", 404, "NAME_INVALID", id="name"),
        pytest.param("/v2/app/manifests/.INVALID_MANIFEST_NAME", 404, "MANIFEST_UNKNOWN", id="tag"),
        pytest.param("/v2/app/manifests/sha256:totallywrong", 400, "DIGEST_INVALID", id="digest"),
        pytest.param("/v2/app/blobs/sha256:totallywrong", 400, "DIGEST_INVALID", id="blob"),
        pytest.param("/v2/app/referrers/sha256:wrong", 400, "DIGEST_INVALID", id="referrers"),
        pytest.param("/v2/quay.io/app/manifests/1", 404, "NAME_UNKNOWN", id="upstream"),
        pytest.param("/v2/_catalog", 404, "UNSUPPORTED", id="catalog"),
        pytest.param("/v2/_catalog?n=99999999999", 404, "UNSUPPORTED", id="huge catalog"),
        pytest.param("/v2/_oci/ext/discover", 404, "UNSUPPORTED", id="extensions"),
        pytest.param("/v1/repositories/app/tags", 404, "UNSUPPORTED", id="v1"),
        pytest.param("/v2/app/blobs/uploads/", 404, "UNSUPPORTED", id="uploads"),
        pytest.param("/v2/app/blobs/uploads/3a7b", 404, "UNSUPPORTED", id="an upload"),
        pytest.param("/metrics", 404, "UNSUPPORTED", id="what the admin port has"),
    ],
)
async def test_refusals(
    hub: ScriptedRegistry, proxy: HastyProxy, path: str, status: int, code: str
) -> None:
    """What cannot be is refused without asking upstream."""
    answer = await see(proxy, path)
    assert (answer.status, answer.code) == (status, code)
    assert hub.requests() == ()


async def test_ping(proxy: HastyProxy) -> None:
    """The ping is 200, `{}`, and says that this is a registry."""
    answer = await see(proxy, "/v2/")
    assert (answer.status, answer.body) == (200, b"{}")
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.headers["Docker-Distribution-API-Version"] == "registry/2.0"


@pytest.mark.parametrize("asked", _EVERYTHING)
async def test_success_is_upstreams_content_under_our_fields(
    hub: ScriptedRegistry, full: HastyProxy, asked: _Asked
) -> None:
    """Of upstream's fields a client sees only those that say something of the content."""
    for method in _METHODS:
        hub.script(Match(method), Always(WithHeader("X-Upstream", _SECRET)))
    for method in _METHODS:
        answer = await see(full, asked.path, method=method)
        assert answer.status == 200
        assert "X-Upstream" not in answer.headers
        assert answer.headers["Server"] == "cacheproxy"
    assert [entry.status for entry in hub.requests()] == [200] * len(hub.requests())
