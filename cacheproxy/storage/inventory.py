"""Looking through the directory: what is there, whatever the ledger says."""

import contextlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from cacheproxy.domain import manifest as manifests
from cacheproxy.domain.budget import Entry, Kind
from cacheproxy.domain.digest import Digest
from cacheproxy.domain.errors import DigestInvalid, ManifestInvalid
from cacheproxy.storage.layout import Layout, ingested, room
from cacheproxy.storage.leftovers import is_locked

# Manifests are JSON objects; most blobs are not, and are not read.
_JSON = b"{"


@dataclass(slots=True)
class Stock:
    """How the directory differs from the ledger.

    Attributes:
        unknown: blobs that the ledger lacks, manifests with what they refer to.
        missing: blobs that only the ledger has.
        partial: bytes of downloads that nobody goes on with right now.
    """

    unknown: list[tuple[Entry, tuple[Digest, ...]]] = field(default_factory=list)
    missing: set[Digest] = field(default_factory=set)
    partial: dict[Digest, int] = field(default_factory=dict)


def look_through(layout: Layout, known: Mapping[Digest, int]) -> Stock:
    """Compare the directory with what is known.

    What is no blob by its name, or no regular file, is left alone: somebody put it there. So is
    what is in a directory that we may not read.
    """
    stock = Stock(missing=set(known))
    for digest, path in _blobs(layout.root / "blobs", may_skip=(PermissionError,)):
        stock.missing.discard(digest)
        if digest not in known:
            with contextlib.suppress(FileNotFoundError):  # evicted meanwhile
                status = path.stat(follow_symlinks=False)
                stock.unknown.append(_entry(digest, Path(path.path), status))
    for leftover in (layout.root / "ingest").iterdir():
        with contextlib.suppress(DigestInvalid, FileNotFoundError):
            partial, status = ingested(leftover.name), leftover.lstat()
            # An empty one has just been begun: to look at its lock could keep its writer from it.
            if status.st_size and not is_locked(leftover):
                stock.partial[partial] = room(status)
    return stock


def stored(layout: Layout) -> list[tuple[Digest, int]]:
    """Every blob that is there with its bytes, in the order of the digests.

    Raises:
        OSError: a directory cannot be read.
    """
    found = []
    for digest, path in _blobs(layout.root / "blobs"):
        with contextlib.suppress(FileNotFoundError):  # evicted meanwhile
            found.append((digest, path.stat(follow_symlinks=False).st_size))
    return sorted(found)


def _blobs(
    root: Path, may_skip: tuple[type[OSError], ...] = ()
) -> Iterator[tuple[Digest, "os.DirEntry[str]"]]:
    for algorithm in _directories(root):
        for shard in _directories(Path(algorithm.path)):
            with contextlib.suppress(*may_skip), os.scandir(shard.path) as found:
                for path in found:
                    digest = _digest(f"{algorithm.name}:{path.name}")
                    if digest is not None and _is_blob(digest, shard.name, path):
                        yield digest, path


def _is_blob(digest: Digest, shard: str, path: "os.DirEntry[str]") -> bool:
    """Whether it is where it would be looked for, and a file."""
    return digest.encoded[:2] == shard and path.is_file(follow_symlinks=False)


def _directories(root: Path) -> Iterator["os.DirEntry[str]"]:
    with os.scandir(root) as found:
        yield from (path for path in found if path.is_dir(follow_symlinks=False))


def _digest(text: str) -> Digest | None:
    try:
        return Digest.parse(text)
    except DigestInvalid:
        return None


def _entry(digest: Digest, path: Path, status: os.stat_result) -> tuple[Entry, tuple[Digest, ...]]:
    """What a file is to the ledger: used last when it was stored, for all that is known."""
    children = _children(path, status.st_size)
    kind: Kind = "blob" if children is None else "manifest"
    at = status.st_mtime
    entry = Entry(digest, room(status), kind, "", at, at, 1.0)
    return entry, children or ()


def _children(path: Path, size: int) -> tuple[Digest, ...] | None:
    """What a manifest refers to; None for what is none, or is not ours to read."""
    if size > manifests.SIZE_LIMIT:
        return None
    try:
        with path.open("rb") as file:
            if file.read(1) != _JSON:
                return None
            body = _JSON + file.read()
        return tuple(child.digest for child in manifests.parse(body, None).children)
    except (ManifestInvalid, PermissionError):
        return None
