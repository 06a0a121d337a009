"""Looking through the directory: what is there, whatever the ledger says."""

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from stat import S_ISREG

from cacheproxy.domain import manifest as manifests
from cacheproxy.domain.budget import Entry, Kind
from cacheproxy.domain.digest import Digest
from cacheproxy.domain.errors import DigestInvalid, ManifestInvalid
from cacheproxy.storage.layout import Layout, ingested, room

# Manifests are JSON objects; most blobs are not, and are not read.
_JSON = b"{"


@dataclass(slots=True)
class Stock:
    """How the directory differs from the ledger.

    Attributes:
        unknown: blobs that the ledger lacks, manifests with what they refer to.
        missing: blobs that only the ledger has.
        partial: downloads of which something is there, under way or left over.
        unreadable: paths of directories and files that cannot be read.
    """

    unknown: list[tuple[Entry, tuple[Digest, ...]]] = field(default_factory=list)
    missing: set[Digest] = field(default_factory=set)
    partial: set[Digest] = field(default_factory=set)
    unreadable: set[str] = field(default_factory=set)

    def note(self, error: OSError) -> None:
        """Note what cannot be read."""
        self.unreadable.add(str(error.filename))


def look_through(layout: Layout, known: Mapping[Digest, int]) -> Stock:
    """Compare the directory with what is known.

    What is no blob by its name, or no regular file, is left alone: somebody put it there. What
    cannot be read is noted, and all else is looked at.
    """
    stock = Stock(missing=set(known))
    for digest, path in _blobs(layout.root / "blobs", stock.note):
        stock.missing.discard(digest)
        if digest not in known:
            with _noting(stock.note):
                status = path.stat(follow_symlinks=False)
                stock.unknown.append(_entry(digest, Path(path.path), status))
    for leftover in _entries(layout.root / "ingest", lambda _: True, stock.note):
        with contextlib.suppress(DigestInvalid), _noting(stock.note):
            partial, status = ingested(leftover.name), leftover.stat(follow_symlinks=False)
            # An empty one has just been begun: to look at its lock could keep its writer from it.
            if S_ISREG(status.st_mode) and status.st_size:
                stock.partial.add(partial)
    # What is in a directory that cannot be listed may be there, and take room.
    stock.missing = {one for one in stock.missing if not _is_below(layout, one, stock.unreadable)}
    return stock


def stored(
    layout: Layout, on_error: Callable[[OSError], None] | None = None
) -> list[tuple[Digest, int]]:
    """Return every blob that is there with its bytes, in the order of the digests.

    Args:
        layout: of the store.
        on_error: called with each error of a directory or file, which is left out then. By
            default the first error is raised.

    Raises:
        OSError: a directory cannot be read.
    """
    note = on_error or _raise
    found = []
    for digest, path in _blobs(layout.root / "blobs", note):
        with _noting(note):
            found.append((digest, path.stat(follow_symlinks=False).st_size))
    return sorted(found)


def _blobs(
    root: Path, note: Callable[[OSError], None]
) -> Iterator[tuple[Digest, "os.DirEntry[str]"]]:
    for algorithm in _entries(root, _is_directory, note):
        for shard in _entries(algorithm.path, _is_directory, note):
            for path in _entries(shard.path, _is_file, note):
                digest = _digest(f"{algorithm.name}:{path.name}")
                # Where it would be looked for.
                if digest is not None and digest.encoded[:2] == shard.name:
                    yield digest, path


def _entries(
    directory: Path | str,
    is_wanted: Callable[["os.DirEntry[str]"], bool],
    note: Callable[[OSError], None],
) -> Iterator["os.DirEntry[str]"]:
    """List a directory as far as it can be read."""
    try:
        with os.scandir(directory) as found:
            yield from filter(is_wanted, found)
    except OSError as error:
        error.filename = os.fspath(directory)
        note(error)


def _is_directory(path: "os.DirEntry[str]") -> bool:
    return path.is_dir(follow_symlinks=False)


def _is_file(path: "os.DirEntry[str]") -> bool:
    return path.is_file(follow_symlinks=False)


@contextlib.contextmanager
def _noting(note: Callable[[OSError], None]) -> Iterator[None]:
    """Note an error of a file; one that was evicted meanwhile is none."""
    try:
        yield
    except FileNotFoundError:
        pass
    except OSError as error:
        note(error)


def _raise(error: OSError) -> None:
    raise error


def _is_below(layout: Layout, digest: Digest, directories: set[str]) -> bool:
    """Whether a blob's file would be below one of these directories."""
    return bool(directories) and any(
        str(parent) in directories for parent in Path(layout.blob(digest)).parents
    )


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
    """What a manifest refers to; None for what is none, or cannot be read."""
    if size > manifests.SIZE_LIMIT:
        return None
    try:
        with path.open("rb") as file:
            if file.read(1) != _JSON:
                return None
            body = _JSON + file.read()
        return tuple(child.digest for child in manifests.parse(body, None).children)
    except FileNotFoundError:
        raise  # evicted meanwhile
    except (ManifestInvalid, OSError):
        return None
