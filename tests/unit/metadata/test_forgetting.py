"""What is recorded of what is gone goes after a while; what is stored keeps its links."""

import sqlite3
import time
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest

from cacheproxy.domain.digest import Digest
from cacheproxy.domain.errors import StorageError
from cacheproxy.domain.freshness import TagRecord
from cacheproxy.domain.records import Link, Listing
from cacheproxy.domain.reference import Name, Repository, Tag
from cacheproxy.metadata.embedded import EmbeddedMetadata
from cacheproxy.metadata.forgetting import Forgetting
from tests.support.clock import FakeClock

_APP = Repository("docker.io", Name("library/app"))
_HERE, _GONE = Digest.of(b"here"), Digest.of(b"gone")
_LISTING = "tags docker.io/library/app"
_DAY = 86400.0


@pytest.fixture
async def metadata(tmp_path: Path) -> AsyncIterator[EmbeddedMetadata]:
    """Records of something that is stored, and of something that is not."""
    made = EmbeddedMetadata(tmp_path)
    await made.add_links(_APP, {_HERE: Link(4), _GONE: Link(4)})
    for tag, digest in (("here", _HERE), ("gone", _GONE), ("none", None)):
        await made.put_tag(_APP, Tag(tag), TagRecord(digest, time.time()))
    await made.put_listing(_LISTING, Listing(b"{}", "application/json", None, None, 0.0))
    yield made
    await made.close()


async def _known(metadata: EmbeddedMetadata) -> set[str]:
    known = {
        tag for tag in ("here", "gone", "none") if await metadata.tag(_APP, Tag(tag)) is not None
    }
    for name, digest in (("link here", _HERE), ("link gone", _GONE)):
        if await metadata.link(_APP, digest) is not None:
            known.add(name)
    if await metadata.listing(_LISTING) is not None:
        known.add("listing")
    return known


def _forgetting(path: Path, days: float) -> Forgetting:
    """By a clock that is so many days ahead of when the records were written."""
    clock = FakeClock()
    clock.advance(time.time() - clock.now() + days * _DAY)
    return Forgetting(path, lambda digest: digest == _HERE, clock)


@pytest.mark.parametrize(
    ("days", "lost"),
    [
        (-1000, set()),
        (0, set()),
        (8, {"listing"}),
        (89, {"listing"}),
        (91, {"listing", "gone", "none", "link gone"}),
        (10_000, {"listing", "gone", "none", "link gone"}),
    ],
)
async def test_what_is_gone_is_forgotten(
    tmp_path: Path, metadata: EmbeddedMetadata, days: float, lost: set[str]
) -> None:
    """After 90 days, pages after 7; never what is stored, however far the clock jumps."""
    before = await _known(metadata)
    assert await _forgetting(tmp_path, days).run() == len(lost)
    assert before - await _known(metadata) == lost


async def test_what_is_written_again_stays(tmp_path: Path, metadata: EmbeddedMetadata) -> None:
    """A record that is renewed between the look at it and its removal is a new one."""

    def renewed(_: Digest) -> bool:
        with closing(sqlite3.connect(tmp_path / "cache.db")) as db:
            db.execute("UPDATE Cache SET store_time = store_time + 1 WHERE key LIKE 'link %'")
            db.commit()
        return False

    clock = FakeClock()
    clock.advance(time.time() - clock.now() + 91 * _DAY)
    await Forgetting(tmp_path, renewed, clock).run()
    assert await _known(metadata) == {"link here", "link gone"}


async def test_many_records_are_looked_through(tmp_path: Path, metadata: EmbeddedMetadata) -> None:
    """All of them, however many there are, in turns between which others come."""
    digests = [Digest.of(str(number).encode()) for number in range(2_300)]
    await metadata.add_links(_APP, {digest: Link(1) for digest in digests})
    assert await _forgetting(tmp_path, 91).run() == 2_304
    assert await metadata.link(_APP, digests[-1]) is None
    assert await metadata.link(_APP, _HERE) is not None


async def test_what_is_none_of_ours_stays(tmp_path: Path, metadata: EmbeddedMetadata) -> None:
    """Whatever else somebody has put there is not looked at; a link to nothing goes."""
    with closing(sqlite3.connect(tmp_path / "cache.db")) as db:
        for key in ("else", "link docker.io/x nothing", b"link"):
            db.execute(
                "INSERT INTO Cache (key, raw, store_time, value) VALUES (?, 1, 1, 'x')", (key,)
            )
        db.commit()
    await _forgetting(tmp_path, 0).run()
    with closing(sqlite3.connect(tmp_path / "cache.db")) as db:
        kept = {row[0] for row in db.execute("SELECT key FROM Cache WHERE store_time = 1")}
    assert kept == {"else", b"link"}


async def test_a_store_that_fails_is_said(tmp_path: Path) -> None:
    """Where there is no database, or none that can be read, that is an error of the store."""
    with pytest.raises(StorageError, match="the metadata store failed"):
        await _forgetting(tmp_path, 91).run()
    (tmp_path / "cache.db").write_bytes(b"x" * 4096)
    with pytest.raises(StorageError, match="the metadata store failed"):
        await _forgetting(tmp_path, 91).run()
