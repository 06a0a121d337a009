"""What is recorded of pulls, and that a plan made from it says what happened."""

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from random import Random
from typing import Any, get_args

import pytest
from click.testing import CliRunner

from cacheproxy.cli import commands
from cacheproxy.domain.accesses import Access, key_of
from cacheproxy.domain.budget import PolicyName
from cacheproxy.domain.digest import Digest
from cacheproxy.domain.events import FillEnded, FillStarted, Responded, UpstreamReceived
from cacheproxy.ops.access_records import Decoder
from cacheproxy.ops.access_segments import SegmentReader
from cacheproxy.settings.sizes import Bytes
from tests.integration.fills import until
from tests.support import images
from tests.support.hasty import HastyProxy, Wanted, hasty_proxy
from tests.support.scripted_registry import Match, NoContentLength, ScriptedRegistry

BODY = Random(7).randbytes(300_000)
DIGEST = Digest.of(BODY)
PATH = f"/v2/app/blobs/{DIGEST}"


def recorded(directory: Path) -> list[Access]:
    """What is in the log."""
    return list(SegmentReader(directory / "accesses", Decoder(["docker.io"])).accesses())


def _short(access: Access) -> tuple[Digest, int, int, str]:
    return access.key, access.size, access.served, access.kind


@asynccontextmanager
async def _running(
    hub: ScriptedRegistry, directory: Path, **cache: Any
) -> AsyncIterator[HastyProxy]:
    async with hasty_proxy({"docker.io": hub}, directory, Wanted(cache=cache)) as proxy:
        yield proxy


async def _after(hub: ScriptedRegistry, directory: Path, *asked: dict[str, Any]) -> list[Any]:
    """What is recorded of these requests for the blob, by the end of the process."""
    hub.add_blob("library/app", BODY)
    async with _running(hub, directory) as proxy:
        for options in asked:
            async with proxy.client.request(
                options.pop("method", "GET"), proxy.url + options.pop("path", PATH), **options
            ) as response:
                await response.read()
    key = key_of(DIGEST)
    return [_short(access) for access in recorded(directory) if access.key == key]


def _blob(served: int = len(BODY)) -> tuple[Digest, int, int, str]:
    return key_of(DIGEST), len(BODY), served, "blob"


async def test_a_pull_leaves_its_accesses(hub: ScriptedRegistry, tmp_path: Path) -> None:
    """A manifest and each of its blobs, cold and warm: one access for each response."""
    image = images.simple(seed=1, size=10_000)
    hub.add_image("library/app", "1", image)
    async with _running(hub, tmp_path) as proxy:
        for _ in range(2):
            await proxy.body("/v2/app/manifests/1")
            for blob in image.blobs:
                await proxy.body(f"/v2/app/blobs/{blob.digest}")
        now = proxy.clock.now()
    expected = [
        (key_of(Digest(image.digest)), len(image.manifest), len(image.manifest), "manifest"),
        *((key_of(Digest(b.digest)), len(b.body), len(b.body), "blob") for b in image.blobs),
    ]
    found = recorded(tmp_path)
    assert [_short(access) for access in found] == expected * 2
    assert {access.registry for access in found} == {"docker.io"}
    assert all(now - 60 < access.at <= now for access in found)


async def test_a_part_is_an_access_of_the_whole(hub: ScriptedRegistry, tmp_path: Path) -> None:
    """A range says how much was served of how much there is, cold and warm."""
    ranges = ({"headers": {"Range": f"bytes={span}"}} for span in ("0-99", "1000-1999", "-5"))
    assert await _after(hub, tmp_path, *ranges) == [_blob(100), _blob(1000), _blob(5)]


async def test_what_is_no_access(hub: ScriptedRegistry, tmp_path: Path) -> None:
    """HEADs, 304s, ranges beyond the end and errors leave nothing."""
    etag = {"If-None-Match": f'"{DIGEST}"'}
    asked: list[dict[str, Any]] = [
        {"method": "HEAD"},
        {"headers": etag},
        {"headers": {"Range": "bytes=9999999-"}},
        {"path": "/v2/app/blobs/sha256:" + "0" * 64},
        {"path": "/v2/app/manifests/none"},
        {"path": "/v2/app/tags/list"},
        {"path": "/v2/"},
    ]
    assert await _after(hub, tmp_path, {}, *asked) == [_blob()]
    assert len(recorded(tmp_path)) == 1


async def test_who_joins_a_download_is_an_access_too(hub: ScriptedRegistry, tmp_path: Path) -> None:
    """Ten clients of one cold blob are ten accesses, of which one was fetched."""
    hub.add_blob("library/app", BODY)
    async with _running(hub, tmp_path) as proxy:
        await asyncio.gather(*(proxy.body(PATH) for _ in range(10)))
        assert len(hub.blob_gets(DIGEST)) == 1
    assert [_short(access) for access in recorded(tmp_path)] == [_blob()] * 10


async def test_a_length_that_upstream_does_not_say(hub: ScriptedRegistry, tmp_path: Path) -> None:
    """The size of a blob that came in chunks is known when it has come."""
    hub.script(Match.blob(DIGEST), NoContentLength())
    assert await _after(hub, tmp_path, {}) == [_blob()]


async def test_a_response_says_what_its_body_is(hub: ScriptedRegistry, tmp_path: Path) -> None:
    """Digest and whole size of the content; none where there is no body, or it is no content's."""
    image = images.simple(seed=1, size=10_000)
    hub.add_image("library/app", "1", image)
    hub.add_blob("library/app", BODY)
    hub.script(Match.blob(DIGEST), NoContentLength())
    async with _running(hub, tmp_path) as proxy:
        await proxy.body("/v2/app/manifests/1")
        await proxy.body(PATH)
        for path in ("/v2/app/manifests/1", PATH):
            async with proxy.head(path):
                pass
        await proxy.body("/v2/app/tags/list")
        await proxy.body("/v2/app/manifests/none")
    said = [(event.digest, event.size) for event in proxy.events.of(Responded)]
    content = [(image.digest, len(image.manifest)), (DIGEST, len(BODY))]
    assert said == [*content, *[(None, None)] * 4]


async def test_zero_records_nothing(hub: ScriptedRegistry, tmp_path: Path) -> None:
    """With `cache.access_log: 0` there is no log."""
    hub.add_blob("library/app", BODY)
    async with _running(hub, tmp_path, access_log=0) as proxy:
        await proxy.body(PATH)
    assert not (tmp_path / "accesses").exists()


async def test_a_log_that_cannot_be_written_costs_no_pull(
    hub: ScriptedRegistry, tmp_path: Path
) -> None:
    """With something else in its place, pulls go on as ever."""
    hub.add_blob("library/app", BODY)
    (tmp_path / "accesses").write_bytes(b"in the way")
    async with _running(hub, tmp_path) as proxy:
        assert await proxy.body(PATH) == BODY
    assert (tmp_path / "accesses").read_bytes() == b"in the way"


@pytest.mark.parametrize("policy", get_args(PolicyName))
async def test_the_plan_says_what_was_fetched(
    hub: ScriptedRegistry, tmp_path: Path, policy: PolicyName
) -> None:
    """For the size and policy that it ran with, `plan` comes to the bytes that were fetched."""
    random, size = Random(20261124), 1024 * 1024
    bodies = [random.randbytes(random.randint(20_000, 300_000)) for _ in range(12)]
    digests = [Digest(hub.add_blob("library/app", body)) for body in bodies]
    asked = random.choices(digests, [1 / rank for rank in range(1, 13)], k=80)
    async with _running(hub, tmp_path / "cache", policy=policy, max_size=Bytes(size)) as proxy:
        for number, digest in enumerate(asked, 1):
            since = int(proxy.clock.now())
            await proxy.body(f"/v2/app/blobs/{digest}")
            await _is_over(proxy, number, digest, since)
            # Not before the first pull: what lands while stock is taken counts by its file's time.
            proxy.clock.advance(600)
        fetched = sum(event.body_bytes for event in proxy.events.of(UpstreamReceived))
    report = await asyncio.to_thread(_planned, tmp_path, size, policy)
    (today,) = [row for row in report["rows"] if row["is_today"]]
    assert today["upstream_bytes"] == fetched
    assert sum(map(len, bodies)) < fetched < sum(map(len, bodies)) * 4
    assert report["everything_kept"]["upstream_bytes"] == sum(
        len(body) for body in bodies if Digest.of(body) in asked
    )
    assert report["basis"]["accesses"] == 80


async def _is_over(proxy: HastyProxy, pulls: int, digest: Digest, since: float) -> None:
    """Wait until so many pulls are over, and the ledger knows of the last one.

    While somebody still reads a blob it cannot go, and another would in its place.

    Args:
        proxy: from which was pulled.
        pulls: how many there were.
        digest: of the last one.
        since: a time before it.
    """
    events = proxy.events

    def is_known() -> bool:
        with closing(sqlite3.connect(proxy.directory / "ledger.db")) as ledger:
            row = ledger.execute(
                "SELECT last_used FROM blob WHERE digest = ?", (digest,)
            ).fetchone()
        return row is not None and row[0] >= since

    await until(lambda: len(events.of(Responded)) == pulls)
    await until(lambda: len(events.of(FillStarted)) == len(events.of(FillEnded)))
    await until(is_known)


def _planned(root: Path, size: int, policy: PolicyName) -> Any:
    config = root / "config.yaml"
    config.write_text(
        f"cache: {{directory: {root / 'cache'}, max_size: {size}, policy: {policy}}}\n"
        "upstreams: {docker.io: {}}\n"
    )
    result = CliRunner().invoke(commands, ["plan", "--json", "--config", str(config)])
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)
