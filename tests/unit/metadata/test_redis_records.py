from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cacheproxy.domain.digest import Digest
from cacheproxy.domain.errors import StorageError
from cacheproxy.domain.freshness import TagRecord
from cacheproxy.domain.records import Link, Listing
from cacheproxy.domain.reference import Name, Repository, Tag
from cacheproxy.metadata.redis_keys import RedisKeys
from cacheproxy.metadata.redis_messages import Message, read_message, write_message
from cacheproxy.metadata.redis_records import (
    UnreadableError,
    read_link,
    read_record,
    write_link,
    write_record,
)

_DIGEST = Digest.of(b"one")
_NOW = 1_700_000_000.0
_LATE = 2_000_000_000.0


@given(
    st.none() | st.integers(0, 10**20 - 1),
    st.none() | st.text(st.characters(exclude_categories=["Cs"]), min_size=1),
    st.booleans(),
)
def test_a_link_is_read_as_it_was_written(
    size: int | None, media_type: str | None, is_read: bool
) -> None:
    """Whatever a manifest states, its link comes back the same."""
    link = Link(size, media_type, is_read)
    assert read_link(write_link(link)) == link


@given(st.binary())
def test_anything_is_a_record_or_unreadable(value: bytes) -> None:
    """Whatever others put there is read, or refused as unreadable; a message likewise."""
    for read in (
        read_link,
        lambda each: read_record(each, TagRecord, 1),
        lambda each: read_record(each, Listing, 1),
    ):
        with suppress(UnreadableError):
            read(value)
    assert read_message(value) is None or isinstance(read_message(value), Message)


@pytest.mark.parametrize("value", [b"[" * 100_000, b"1" * 5000 + b",0,", b"1,2,", b"1,0", b""])
def test_what_nobody_wrote_is_unreadable(value: bytes) -> None:
    """Values that are deep, long or cut are refused, and nothing worse."""
    with pytest.raises(UnreadableError):
        read_link(value)
    with pytest.raises(UnreadableError):
        read_record(value, TagRecord, 1)


@pytest.mark.parametrize(
    ("ahead", "at", "expected"),
    [
        pytest.param(0.0, _NOW - 10.25, _NOW - 10.25, id="one clock"),
        pytest.param(0.5, _NOW - 10.0, _NOW - 10.5, id="hardly apart"),
        pytest.param(60.0, _NOW + 50, _NOW - 10, id="written by a fast clock"),
        pytest.param(-60.0, _NOW - 70, _NOW - 10, id="written by a slow clock"),
        pytest.param(0.0, _LATE, _LATE, id="far in the future"),
    ],
)
def test_an_earlier_version_is_read(ahead: float, at: float, expected: float) -> None:
    """A record of an earlier version has the cluster's time, and its epoch of now."""
    value = b'{"record":{"digest":"%s","checked_at":%f},"ahead":%f}' % (
        _DIGEST.encode(),
        at,
        ahead,
    )
    read = read_record(value, TagRecord, 7)
    assert (read.digest, read.checked_at, read.epoch) == (_DIGEST, expected, 7)


def test_a_record_keeps_its_stamp() -> None:
    """The time, the epoch and the writer of a record come back the same."""
    record = TagRecord(_DIGEST, _NOW, 5, "me")
    read = read_record(write_record(record), TagRecord, 7)
    assert (read, read.epoch, read.writer) == (record, 5, "me")


def test_what_is_no_unicode_is_our_error() -> None:
    """A text that cannot be written down is refused with an error of ours."""
    with pytest.raises(StorageError, match="cannot be written down"):
        write_link(Link(1, "\udcff"))
    with pytest.raises(StorageError, match="cannot be written down"):
        write_record(Listing(b"", "\udcff", None, None, 1.0))


def test_a_message_is_read_as_it_was_written() -> None:
    """A message comes back the same."""
    message = Message("a", "docker.io/team/app ", Tag("1"), is_purge=True)
    assert read_message(write_message(message)) == message


def test_what_is_of_a_repository_is_told_apart() -> None:
    """The keys of a repository, or of an upstream, are its own, however alike others are."""
    keys = RedisKeys("prod")
    app, apps = (Repository("docker.io", Name(name)) for name in ("team/app", "team/apps"))

    def of(repository: Repository) -> list[str]:
        return [
            keys.tag(repository, Tag("1")),
            keys.link(repository, _DIGEST),
            keys.listing(f"tags {repository} ()"),
            keys.listing(f"referrers {repository} {_DIGEST} ()"),
        ]

    assert all(keys.is_below(key, "docker.io/team/app ") for key in of(app))
    assert not any(keys.is_below(key, "docker.io/team/app ") for key in of(apps))
    assert all(keys.is_below(key, "docker.io/") for key in of(app) + of(apps))
    assert not any(keys.is_below(key, "docker.io:5000/") for key in of(app))
    assert not any(RedisKeys("pro").is_below(key, "docker.io/") for key in of(app))
