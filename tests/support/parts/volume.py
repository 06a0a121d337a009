"""Volumes of a test's own: small ones, full ones, and some that turn read-only."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.support.parts.process import leave_out, require_root

_STEP = 64 * 1024


@contextmanager
def small_volume(directory: Path, size: int, *options: str) -> Iterator[Path]:
    """A file system of `size` bytes at `directory`, which is made; `scratch` takes it away.

    Args:
        directory: where it is.
        size: in bytes.
        options: further ones of tmpfs.
    """
    require_root("a small file system")
    directory.mkdir()
    _mount("-t", "tmpfs", "-o", ",".join([f"size={size}", *options]), "tmpfs", str(directory))
    yield directory


@contextmanager
def read_only(directory: Path) -> Iterator[None]:
    """Whoever opens something below `directory` meanwhile finds a read-only volume.

    What was opened before is still written to: the kernel makes no volume read-only that
    somebody has a file open on for writing, but for a disk that has failed.
    """
    require_root("a read-only file system")
    _mount("--bind", str(directory), str(directory))
    _mount("-o", "remount,bind,ro", str(directory))
    try:
        yield
    finally:
        # Lazily: somebody may look at it in this moment.
        subprocess.run(["umount", "--lazy", str(directory)], check=True)


@contextmanager
def filled(volume: Path, spare: int = 0) -> Iterator[None]:
    """Another program has taken all that is left of a volume, but for a spare."""
    filler = volume / "filler"
    with filler.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(_STEP))
    os.truncate(filler, filler.stat().st_size - spare)
    try:
        yield
    finally:
        filler.unlink()


def _mount(*arguments: str) -> None:
    done = subprocess.run(["mount", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        leave_out(f"nothing can be mounted here: {done.stderr}")
