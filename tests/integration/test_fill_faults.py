"""What upstream can do wrong in the middle of a blob, for one client and for twenty.

Either every client gets the blob, whole and right, at the price of one; or none gets anything
that could pass for it, and nothing is stored.
"""

import json
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cacheproxy.domain.events import FillEnded
from tests.integration.fills import (
    DIGEST,
    PATH,
    REPOSITORY,
    SIZE,
    all_of,
    cold,
    is_stored,
    pull,
    until,
)
from tests.support import images
from tests.support.hasty import Wanted
from tests.support.scripted_registry import (
    Always,
    CloseAfter,
    Fault,
    Garbage,
    GzipEncoded,
    HangUp,
    IgnoreRange,
    LongBody,
    Match,
    NoContentLength,
    Redirect,
    ResetAfter,
    ShortBody,
    SignedUrlExpired,
    StallAfter,
    StatusFault,
    Together,
    Trickle,
    Well,
    WrongBytes,
    WrongContentLength,
    WrongContentRange,
    rate_limited,
)

pytestmark = pytest.mark.parametrize("clients", [1, 20])

_HALF = SIZE // 2
# An upstream that says nothing for so long has stalled.
_IMPATIENT = Wanted(upstream={"idle_timeout": 0.2})

# Upstream's failures that a download survives: each client gets the blob.
_SURVIVED: dict[str, tuple[Fault, ...]] = {
    "reset in the middle": (ResetAfter(_HALF),),
    "reset before any byte": (ResetAfter(0),),
    "reset before the last byte": (ResetAfter(SIZE - 1),),
    "closed in the middle": (CloseAfter(_HALF),),
    "closed again and again": tuple(CloseAfter(at) for at in (_HALF, 100_000, 1, 0, 200_000)),
    "hangs up without an answer": (HangUp(), HangUp(reset=True)),
    "no HTTP": (Garbage(),),
    "a server error": (StatusFault(500), StatusFault(503)),
    "stalls in the middle": (StallAfter(_HALF),),
    "trickles": (Trickle(chunk=262_144, delay=0.005),),
    "no Content-Length": (NoContentLength(),),
    "no Content-Length, closed": (NoContentLength(chunked=False),),
    "a redirect": (Redirect(),),
    "redirects": (Redirect(hops=3),),
    "a relative redirect": (Redirect(relative=True),),
    "an expired redirect": (SignedUrlExpired(), Redirect()),
    "a 200 to a Range": (CloseAfter(_HALF), IgnoreRange()),
    "a 416 to a Range": (CloseAfter(_HALF), StatusFault(416)),
    "a server error to a Range": (CloseAfter(_HALF), StatusFault(502)),
    "a 429 to a Range": (CloseAfter(_HALF), rate_limited(1)),
    "a wrong Content-Range": (CloseAfter(_HALF), WrongContentRange()),
}

# Those that nobody can mend: no client gets anything that could pass for the blob.
_HOPELESS: dict[str, tuple[Fault, ...]] = {
    "the first byte is wrong": (Always(WrongBytes(at=0)),),
    "the last byte is wrong": (Always(WrongBytes(at=SIZE - 1)),),
    "too short": (Always(ShortBody(missing=1)),),
    "too long": (Always(LongBody()),),
    "too short, without a length": (Always(Together(ShortBody(1), NoContentLength())),),
    "too long, without a length": (Always(Together(LongBody(), NoContentLength())),),
    "wrong, without a length": (Always(Together(WrongBytes(5), NoContentLength())),),
    "gzip that nobody asked for": (Always(GzipEncoded()),),
    "a Content-Length that is too short": (Always(WrongContentLength(-10)),),
    "a Content-Length that is too long": (Always(WrongContentLength(+10)),),
    "always breaks": (Always(CloseAfter(0)),),
    "never more than a byte": (Always(CloseAfter(1)),),
    "not there": (Always(StatusFault(404)),),
    "not for us": (Always(StatusFault(403)),),
    "too many requests": (Always(StatusFault(429)),),
    "redirects for ever": (Always(Redirect(hops=9)),),
}


@pytest.mark.parametrize("faults", _SURVIVED.values(), ids=_SURVIVED.keys())
async def test_a_failure_that_can_be_mended_reaches_no_client(
    faults: tuple[Fault, ...], clients: int, tmp_path: Path
) -> None:
    """The download goes on from where it broke, and everybody gets the blob."""
    async with cold(tmp_path, *faults, wanted=_IMPATIENT) as (hub, proxy):
        pulled = await all_of([pull(proxy) for _ in range(clients)])
        assert [got.right for got in pulled] == [True] * clients
        await until(lambda: proxy.events.of(FillEnded))
        assert is_stored(proxy)
        hub.assert_spent()


@pytest.mark.parametrize("faults", _HOPELESS.values(), ids=_HOPELESS.keys())
async def test_a_failure_that_cannot_be_mended_shows(
    faults: tuple[Fault, ...], clients: int, tmp_path: Path
) -> None:
    """No client gets a body that could pass for the blob, and nothing is stored."""
    async with cold(tmp_path, *faults, wanted=_IMPATIENT) as (_, proxy):
        pulled = await all_of([pull(proxy) for _ in range(clients)])
        assert [got.harmless for got in pulled] == [True] * clients
        await until(lambda: proxy.events.of(FillEnded))
        assert all(event.error for event in proxy.events.of(FillEnded))
        assert not proxy.files("blobs")


@pytest.mark.parametrize("faults", _HOPELESS.values(), ids=_HOPELESS.keys())
async def test_a_failure_that_cannot_be_mended_shows_where_the_size_is_known(
    faults: tuple[Fault, ...], clients: int, tmp_path: Path
) -> None:
    """The same where a manifest has said how long the blob is, and upstream says otherwise."""
    layer = {"mediaType": images.OCI_LAYER, "digest": DIGEST, "size": SIZE}
    manifest = json.dumps({"schemaVersion": 2, "layers": [layer]}).encode()
    async with cold(tmp_path, *faults, wanted=_IMPATIENT) as (hub, proxy):
        hub.add_manifest(REPOSITORY, "1", manifest, images.OCI_MANIFEST)
        assert await proxy.body("/v2/app/manifests/1") == manifest
        pulled = await all_of([pull(proxy) for _ in range(clients)])
        assert [got.harmless for got in pulled] == [True] * clients
        await until(lambda: proxy.events.of(FillEnded))
        assert len(proxy.files("blobs")) == 1, "the manifest"


async def test_wrong_bytes_are_forgotten(clients: int, tmp_path: Path) -> None:
    """After upstream has mended itself the next client gets the blob."""
    async with cold(tmp_path, WrongBytes(at=9)) as (hub, proxy):
        pulled = await all_of([pull(proxy) for _ in range(clients)])
        assert [got.harmless for got in pulled] == [True] * clients
        await until(lambda: proxy.events.of(FillEnded))
        assert not proxy.files("ingest")
        assert (await pull(proxy)).right
        assert len(hub.blob_gets(DIGEST)) == 2


async def test_a_resumed_download_costs_no_byte_twice(clients: int, tmp_path: Path) -> None:
    """What upstream sends in all is the blob, and the Range is closed."""
    async with cold(tmp_path, CloseAfter(_HALF)) as (hub, proxy):
        assert all(got.right for got in await all_of([pull(proxy) for _ in range(clients)]))
        assert hub.body_bytes == SIZE
        ranges = [get.headers.get("Range") for get in hub.blob_gets(DIGEST)]
        assert ranges == [None, f"bytes={_HALF}-{SIZE - 1}"]


async def test_a_signed_url_that_expires_in_the_middle_is_asked_for_anew(
    clients: int, tmp_path: Path
) -> None:
    """The rest comes by a new redirect of the registry's, not from the URL that broke."""
    async with cold(tmp_path, Redirect(), SignedUrlExpired(), Redirect()) as (hub, proxy):
        hub.cdn.script(Match("GET"), CloseAfter(_HALF))
        assert all(got.right for got in await all_of([pull(proxy) for _ in range(clients)]))
        assert hub.body_bytes - SIZE < 1_000, "but for the refusal's"
        hub.assert_spent()


async def test_a_download_that_the_end_of_the_process_broke_is_resumed(
    clients: int, tmp_path: Path
) -> None:
    """The next process hashes again what is on disk, and fetches the rest."""
    async with cold(tmp_path, StallAfter(_HALF)) as (hub, proxy), proxy.get(PATH) as response:
        await response.content.readexactly(_HALF)
    assert [path.stat().st_size for path in (tmp_path / "cache" / "ingest").iterdir()] == [_HALF]
    async with cold(tmp_path) as (hub, proxy):
        assert all(got.right for got in await all_of([pull(proxy) for _ in range(clients)]))
        assert hub.body_bytes == SIZE - _HALF


async def test_a_damaged_leftover_is_found_out(clients: int, tmp_path: Path) -> None:
    """What a crash left behind is not believed: its hash is wrong, and it is thrown away."""
    async with cold(tmp_path) as (hub, proxy):
        leftover = proxy.directory / "ingest" / DIGEST.replace(":", "-")
        leftover.write_bytes(b"\0" * 100_000)
        pulled = await all_of([pull(proxy) for _ in range(clients)])
        assert [got.harmless for got in pulled] == [True] * clients
        assert (await pull(proxy)).right
        await until(lambda: is_stored(proxy))
        assert hub.blob_gets(DIGEST)[-1].headers.get("Range") is None


@contextmanager
def _disk_full_at(size: int) -> Iterator[None]:
    """No file may grow beyond this: what a full disk is to a writer."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


async def test_a_disk_that_fills_in_the_middle_is_no_clients_error(
    clients: int, tmp_path: Path
) -> None:
    """Each client goes on without the disk from where it is, and its bytes are verified."""
    async with cold(tmp_path) as (_, proxy):
        with _disk_full_at(_HALF):
            pulled = await all_of([pull(proxy) for _ in range(clients)])
        assert [got.right for got in pulled] == [True] * clients
        assert not proxy.files("ingest")
        assert not proxy.files("blobs")


async def test_a_disk_that_fills_is_no_excuse_for_wrong_bytes(clients: int, tmp_path: Path) -> None:
    """What goes past the disk is held back at its end until its digest is verified."""
    async with cold(tmp_path, Well(), Always(WrongBytes(at=0))) as (_, proxy):
        with _disk_full_at(_HALF):
            pulled = await all_of([pull(proxy) for _ in range(clients)])
        assert [got.harmless for got in pulled] == [True] * clients
