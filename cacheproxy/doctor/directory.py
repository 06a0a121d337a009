"""The cache directory: whose it is, what it is on, whether it can be written, and its room."""

import errno
import os
import pwd
import tempfile
from pathlib import Path

from cacheproxy.bootstrap.budget import budget_on
from cacheproxy.bootstrap.offline import is_made, open_cache
from cacheproxy.doctor.findings import Finding
from cacheproxy.domain.errors import CacheproxyError
from cacheproxy.settings.model import Settings

_NAME = "cache directory"
_MOUNTS = Path("/proc/self/mountinfo")
_OF_NETWORKS = frozenset(
    {"9p", "afs", "beegfs", "ceph", "cifs", "gfs2", "gpfs", "lustre", "ncpfs", "nfs", "nfs4"}
    | {"ocfs2", "smb3", "smbfs", "fuse.glusterfs", "fuse.s3fs", "fuse.sshfs"}
)
_OF_MEMORY = frozenset({"ramfs", "tmpfs"})
_TRIED = 4096  # bytes
_GIB = 1024**3


def check_directory(settings: Settings) -> list[Finding]:
    """Look at the directory, or at where it is to be. May wait for a file server; no loop."""
    directory = settings.cache.directory.absolute()
    try:
        place = _nearest(directory)
    except OSError as error:
        return [_unusable(directory, error)]
    findings = [_writing(directory, place)]
    if place == directory:
        findings += _owner(directory)
    return [*findings, *_room(settings, place), *check_file_system(place, _MOUNTS.read_text())]


def check_file_system(place: Path, mounts: str) -> list[Finding]:
    """What kind of file system a directory is on.

    Args:
        place: a directory that exists.
        mounts: the table of mounts, as in /proc/self/mountinfo.
    """
    kind = _kind(place.resolve(), mounts)
    name = f"{_NAME}: file system"
    if kind in _OF_NETWORKS:
        return [
            Finding(
                name,
                "warning",
                f"{place} is on {kind}, over the network",
                "put cache.directory on a disk of this machine: locks and SQLite need one, and "
                "the network would be crossed for each pull",
            )
        ]
    if kind in _OF_MEMORY:
        return [
            Finding(
                name,
                "warning",
                f"{place} is on {kind}: memory, which is empty after a restart",
                "put cache.directory on a disk, unless that is meant",
            )
        ]
    return [Finding(name, "ok", f"{kind or 'of a kind that is not said'}")]


def _nearest(directory: Path) -> Path:
    """The directory, or what is above it and exists."""
    for place in (directory, *directory.parents):
        try:
            place.stat()
        except FileNotFoundError:
            continue
        return place
    return Path("/")


def _writing(directory: Path, place: Path) -> Finding:
    try:
        if not place.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        # It has no name, so that nothing is seen of it, nor left if this process is killed.
        with tempfile.TemporaryFile(dir=place) as file:
            file.write(bytes(_TRIED))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        return _unusable(place, error)
    made = "is writable" if place == directory else f"will be made; {place} is writable"
    return Finding(_NAME, "ok", f"{directory} {made}")


def _unusable(place: Path, error: OSError) -> Finding:
    match error.errno:
        case errno.ENOSPC | errno.EDQUOT:
            advice = "free some of its volume, or put cache.directory on another"
        case errno.EROFS:
            advice = "mount its volume writable, or put cache.directory on another"
        case errno.ENOTDIR | errno.EEXIST:
            advice = "something is in the way: remove it, or set cache.directory to another"
        case errno.EACCES | errno.EPERM:
            advice = f"{_who()} must own it: chown it, or run this as the user that the server is"
        case _:
            advice = "look at the volume (dmesg), or put cache.directory on another"
    return Finding(_NAME, "failed", f"{place} cannot be written: {error.strerror}", advice)


def _owner(directory: Path) -> list[Finding]:
    owner = directory.stat().st_uid
    if owner == os.geteuid():
        return []
    return [
        Finding(
            f"{_NAME}: owner",
            "warning",
            f"it is {_name_of(owner)}'s, and this is run by {_who()}",
            "run doctor as the user that the server runs as; if that is this one, chown it",
        )
    ]


def _who() -> str:
    return _name_of(os.geteuid())


def _name_of(user: int) -> str:
    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:
        return f"user {user}"


def _room(settings: Settings, place: Path) -> list[Finding]:
    name = f"{_NAME}: room"
    try:
        volume = os.statvfs(place)
    except OSError as error:
        return [Finding(name, "failed", f"cannot be asked for: {error.strerror}", "")]
    size, free = volume.f_blocks * volume.f_frsize, volume.f_bavail * volume.f_frsize
    budget = budget_on(settings, size)
    held = _held(settings)
    reach = free + held - budget.min_free
    facts = f"{_gib(free)} free of {_gib(size)}; the cache has {_gib(held)}"
    if reach <= 0:
        return [
            Finding(
                name,
                "failed",
                f"{facts}, and cache.min_free is {_gib(budget.min_free)}: nothing can be kept",
                "free some of the volume, or make cache.min_free smaller",
            )
        ]
    if budget.max_size > reach:
        return [
            Finding(
                name,
                "warning",
                f"{facts}: it can grow to {_gib(reach)}, not to cache.max_size, "
                f"{_gib(budget.max_size)}",
                "free some of the volume, or make cache.max_size smaller",
            )
        ]
    return [Finding(name, "ok", f"{facts}, and may have {_gib(budget.max_size)}")]


def _held(settings: Settings) -> int:
    if not is_made(settings):
        return 0
    try:
        with open_cache(settings, with_metadata=False) as cache:
            return sum(entry.size for entry in cache.ledger.entries())
    except CacheproxyError:
        return 0  # it may be another user's, which is said of the owner


def _kind(place: Path, mounts: str) -> str:
    """The type of the file system that a path is on: of the longest mount point, the last."""
    found, longest = "", -1
    for line in mounts.splitlines():
        before, _, after = line.partition(" - ")
        point = before.split()[4].replace("\\040", " ")
        if place.is_relative_to(point) and len(point) >= longest:
            found, longest = after.split()[0], len(point)
    return found


def _gib(count: int) -> str:
    return f"{count / _GIB:.1f} GiB" if count >= _GIB // 10 else f"{count / 1024**2:.1f} MiB"
