"""Conditions and ranges on what is cached (RFC 9110 §13 and §14)."""

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support import images
from tests.support.hasty import HastyProxy, hasty_proxy
from tests.support.scripted_registry import ScriptedRegistry
from tests.support.seen import Seen, see

_REPOSITORY = "team/app"
_IMAGE = images.simple(seed=101)
_MIB = 1024 * 1024
_OTHER = images.sha256(b"something else")


@dataclass(frozen=True, slots=True)
class _Warm:
    """A proxy with one blob and one manifest in it, whose upstream is down."""

    proxy: HastyProxy
    body: bytes
    digest: str

    async def blob(self, method: str = "GET", **fields: str) -> Seen:
        """The blob; fields are named with underscores."""
        return await self._see(f"blobs/{self.digest}", method, fields)

    async def manifest(self, reference: str, method: str = "GET", **fields: str) -> Seen:
        """The manifest, likewise."""
        return await self._see(f"manifests/{reference}", method, fields)

    async def _see(self, what: str, method: str, fields: dict[str, str]) -> Seen:
        headers = {name.replace("_", "-"): value for name, value in fields.items()}
        return await see(self.proxy, f"/v2/{_REPOSITORY}/{what}", method=method, headers=headers)


@asynccontextmanager
async def _warmed(hub: ScriptedRegistry, directory: Path, body: bytes) -> AsyncIterator[_Warm]:
    hub.add_image(_REPOSITORY, "1", _IMAGE)
    digest = hub.add_blob(_REPOSITORY, body)
    async with hasty_proxy({"docker.io": hub}, directory) as proxy:
        warm = _Warm(proxy, body, digest)
        await warm.manifest("1")
        await warm.blob()
        while "hit" not in (await warm.blob()).cache:
            pass  # all of it has been served, but it has no name yet
        await hub.stop()
        yield warm


@pytest.fixture
async def warm(hub: ScriptedRegistry, tmp_path: Path) -> AsyncIterator[_Warm]:
    """With a blob of 2048 bytes, as the conformance suite has it."""
    async with _warmed(hub, tmp_path, random.Random(1).randbytes(2048)) as warmed:
        yield warmed


@pytest.fixture
async def large(hub: ScriptedRegistry, tmp_path: Path) -> AsyncIterator[_Warm]:
    """With a blob that is sent in several pieces."""
    async with _warmed(hub, tmp_path, random.Random(2).randbytes(3 * _MIB + 17)) as warmed:
        yield warmed


def _is_part(answer: Seen, body: bytes, first: int, last: int) -> bool:
    """Whether it is a 206 of exactly these bytes; `last` is inclusive, as on the wire."""
    part = body[first : last + 1]
    return (
        answer.status == 206
        and answer.headers["Content-Range"] == f"bytes {first}-{last}/{len(body)}"
        and answer.headers["Content-Length"] == str(len(part))
        and answer.body == part
    )


def _is_whole(answer: Seen, body: bytes) -> bool:
    return (
        answer.status == 200
        and answer.body == body
        and "Content-Range" not in answer.headers
        and answer.headers["Content-Length"] == str(len(body))
    )


@pytest.mark.parametrize(
    ("field", "first", "last"),
    [
        # The conformance suite's own.
        ("bytes=500-1499", 500, 1499),
        ("bytes=500-", 500, 2047),
        ("bytes=-500", 1548, 2047),
        ("bytes=2000-5000", 2000, 2047),
        # RFC 9110 §14.1.2 and its corners.
        ("bytes=0-", 0, 2047),
        ("bytes=0-0", 0, 0),
        ("bytes=0-2047", 0, 2047),
        ("bytes=0-2048", 0, 2047),
        ("bytes=2047-", 2047, 2047),
        ("bytes=2047-2047", 2047, 2047),
        ("bytes=-1", 2047, 2047),
        ("bytes=-2048", 0, 2047),
        ("bytes=-2049", 0, 2047),
        ("bytes=-999999999999", 0, 2047),
        ("bytes=5-9999999999999999999", 5, 2047),
        ("bytes=0000500-01499", 500, 1499),
        ("bytes= 500-1499 ", 500, 1499),
    ],
)
async def test_ranges(warm: _Warm, field: str, first: int, last: int) -> None:
    """A range that lies within the blob is a 206 of exactly its bytes."""
    answer = await warm.blob(Range=field)
    assert _is_part(answer, warm.body, first, last)
    assert answer.headers["Docker-Content-Digest"] == warm.digest
    assert answer.headers["ETag"] == f'"{warm.digest}"'
    assert answer.cache == {"hit": True}


@pytest.mark.parametrize(
    "field",
    ["bytes=2048-", "bytes=5000-10000", "bytes=500-0", "bytes=-0", "bytes=999999999999-"],
)
async def test_unsatisfiable(warm: _Warm, field: str) -> None:
    """A range of which the blob has no byte is a 416 that says how many it has."""
    answer = await warm.blob(Range=field)
    assert answer.status == 416
    assert answer.headers["Content-Range"] == "bytes */2048"
    assert answer.code == "SIZE_INVALID"


@pytest.mark.parametrize(
    "field",
    [
        pytest.param("bytes=0-1,5-6", id="several"),
        pytest.param("bytes=0-0, -1", id="several with a space"),
        pytest.param("bytes=" + ",".join(f"{n}-{n}" for n in range(0, 2000, 2)), id="thousands"),
        pytest.param("items=0-5", id="unknown unit"),
        pytest.param("bytes", id="only a unit"),
        pytest.param("bytes=", id="nothing"),
        pytest.param("bytes=-", id="only a dash"),
        pytest.param("bytes=a-b", id="words"),
        pytest.param("bytes=1", id="no dash"),
        pytest.param("bytes=--5", id="two dashes"),
        pytest.param("bytes=5--1", id="negative end"),
        pytest.param("bytes=0x1-0x5", id="hexadecimal"),
        pytest.param("bytes=1.0-2.0", id="fractions"),
        pytest.param("bytes=" + "9" * 5000 + "-", id="thousands of digits"),
        pytest.param("0-5", id="no unit"),
        pytest.param("", id="empty"),
    ],
)
async def test_ignored(warm: _Warm, field: str) -> None:
    """Several ranges, an unknown unit, and what is no range at all get the whole blob."""
    assert _is_whole(await warm.blob(Range=field), warm.body)


@pytest.mark.parametrize("field", ["bytes=0-3,4-9", "bytes=5-9, 0-6", "bytes=0-9,0-9"])
async def test_coalesced(warm: _Warm, field: str) -> None:
    """Several ranges that overlap or touch get one part."""
    answer = await warm.blob(Range=field)
    assert (answer.status, answer.body) == (206, warm.body[:10])
    assert answer.headers["Content-Range"] == "bytes 0-9/2048"


async def test_any_range(large: _Warm) -> None:
    """Every range is what slicing the blob gives, around the pieces that it is sent in as well."""
    chance, size = random.Random(3), len(large.body)
    corners = [0, 1, _MIB - 1, _MIB, _MIB + 1, 2 * _MIB, size - 2, size - 1]
    for _ in range(60):
        first, last = sorted(
            chance.choice([*corners, chance.randrange(size), chance.randrange(size)])
            for _ in range(2)
        )
        assert _is_part(await large.blob(Range=f"bytes={first}-{last}"), large.body, first, last)
        suffix = size - first
        assert _is_part(await large.blob(Range=f"bytes=-{suffix}"), large.body, first, size - 1)
        assert _is_part(await large.blob(Range=f"bytes={first}-"), large.body, first, size - 1)
    assert _is_whole(await large.blob(), large.body)


async def test_ranges_of_an_empty_blob(hub: ScriptedRegistry, tmp_path: Path) -> None:
    """An empty blob has no range, but is still whole."""
    async with _warmed(hub, tmp_path, b"") as warm:
        for field in ("bytes=0-", "bytes=0-0", "bytes=-1", "bytes=-0"):
            answer = await warm.blob(Range=field)
            assert answer.status == 416
            assert answer.headers["Content-Range"] == "bytes */0"
        assert _is_whole(await warm.blob(), b"")


async def test_ranges_of_a_single_byte(hub: ScriptedRegistry, tmp_path: Path) -> None:
    """A blob of one byte has one."""
    async with _warmed(hub, tmp_path, b"x") as warm:
        for field in ("bytes=0-", "bytes=0-0", "bytes=-1", "bytes=0-5", "bytes=-5"):
            assert _is_part(await warm.blob(Range=field), b"x", 0, 0)
        assert (await warm.blob(Range="bytes=1-")).status == 416


@pytest.mark.parametrize("field", ["bytes=0-5", "bytes=5000-", "bytes=-0"])
async def test_range_of_a_head(warm: _Warm, field: str) -> None:
    """Ranges are of GET: a HEAD says what the whole is."""
    answer = await warm.blob("HEAD", Range=field)
    assert answer.status == 200
    assert answer.headers["Content-Length"] == "2048"
    assert "Content-Range" not in answer.headers


@pytest.mark.parametrize("field", ["bytes=0-5", "bytes=999999-", "bytes=0-1,4-5"])
@pytest.mark.parametrize("reference", ["1", _IMAGE.digest])
async def test_range_of_a_manifest(warm: _Warm, field: str, reference: str) -> None:
    """Manifests are served whole."""
    assert _is_whole(await warm.manifest(reference, Range=field), _IMAGE.manifest)


@pytest.mark.parametrize(
    ("written", "matches"),
    [
        pytest.param('"{}"', True, id="strong"),
        pytest.param('W/"{}"', True, id="weak"),
        pytest.param("{}", True, id="unquoted"),
        pytest.param("*", True, id="any"),
        pytest.param('"a", "{}"', True, id="list"),
        pytest.param('"a","{}","b"', True, id="list without spaces"),
        pytest.param('"a" , W/"{}"', True, id="list with spaces"),
        pytest.param('"other"', False, id="another"),
        pytest.param(f'"{_OTHER}"', False, id="another digest"),
        pytest.param('"{}x"', False, id="longer"),
        pytest.param('"sha256:"', False, id="shorter"),
        pytest.param("", False, id="empty"),
        pytest.param(",", False, id="comma"),
        pytest.param('"', False, id="quote"),
    ],
)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_if_none_match(warm: _Warm, written: str, matches: bool, method: str) -> None:
    """A client that has it already gets a 304 without a body."""
    answers = {
        warm.digest: await warm.blob(method, If_None_Match=written.format(warm.digest)),
    }
    for reference in ("1", _IMAGE.digest):
        field = written.format(_IMAGE.digest)
        answers[_IMAGE.digest] = await warm.manifest(reference, method, If_None_Match=field)
    for digest, answer in answers.items():
        assert answer.status == (304 if matches else 200)
        assert answer.headers["ETag"] == f'"{digest}"'
        assert not matches or answer.body == b""
        assert "Cache-Control" in answer.headers
        assert answer.cache["hit"] is True


async def test_if_none_match_goes_before_range(warm: _Warm) -> None:
    """A condition is looked at before the range (RFC 9110 §13.2.2), the impossible one too."""
    for field in ("bytes=0-5", "bytes=5000-"):
        answer = await warm.blob(If_None_Match=f'"{warm.digest}"', Range=field)
        assert answer.status == 304
    answer = await warm.blob(If_None_Match='"other"', Range="bytes=0-5")
    assert _is_part(answer, warm.body, 0, 5)


@pytest.mark.parametrize(
    ("written", "part"),
    [
        pytest.param('"{}"', True, id="the same"),
        pytest.param('W/"{}"', False, id="weak"),
        pytest.param("{}", False, id="unquoted"),
        pytest.param(f'"{_OTHER}"', False, id="another"),
        pytest.param("Thu, 01 Jan 1970 00:00:00 GMT", False, id="date"),
        pytest.param("*", False, id="any"),
        pytest.param('"a", "{}"', False, id="list"),
    ],
)
async def test_if_range(warm: _Warm, written: str, part: bool) -> None:
    """A range is of the blob that the client has a part of already, or it is ignored."""
    condition = written.format(warm.digest)
    answer = await warm.blob(If_Range=condition, Range="bytes=0-5")
    assert _is_part(answer, warm.body, 0, 5) if part else _is_whole(answer, warm.body)
    answer = await warm.blob(If_Range=condition, Range="bytes=5000-")
    assert answer.status == (416 if part else 200)
    assert _is_whole(await warm.blob(If_Range=condition), warm.body)


async def test_dates_are_no_conditions(warm: _Warm) -> None:
    """There is no Last-Modified, so a date conditions nothing."""
    date = "Fri, 01 Jan 2100 00:00:00 GMT"
    assert _is_whole(await warm.blob(If_Modified_Since=date), warm.body)
    assert _is_whole(await warm.manifest("1", If_Modified_Since=date), _IMAGE.manifest)


async def test_a_condition_opens_nothing(warm: _Warm) -> None:
    """A 304 says that the blob is there: not to those who may not know."""
    path = f"/v2/team/other/blobs/{warm.digest}"
    for headers in ({"If-None-Match": "*"}, {"If-None-Match": f'"{warm.digest}"'}):
        assert (await see(warm.proxy, path, headers=headers)).status == 502
    path = f"/v2/{_REPOSITORY}/blobs/{_OTHER}"
    assert (await see(warm.proxy, path, headers={"If-None-Match": "*"})).status == 502
