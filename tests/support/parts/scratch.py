"""A directory for the state of one part, which is gone afterwards, mounts included."""

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def scratch() -> Iterator[Path]:
    """A new directory with a short path: a unix socket's may have 107 characters at most."""
    directory = Path(tempfile.mkdtemp(prefix="cpx-")).resolve()
    try:
        yield directory
    finally:
        for mounted in mounts_below(directory):
            subprocess.run(["umount", "--lazy", str(mounted)], check=True)
        shutil.rmtree(directory)


def mounts_below(directory: Path) -> list[Path]:
    """Where something is mounted in `directory`, deepest first."""
    try:
        table = Path("/proc/self/mounts").read_text()
    except OSError:
        return []
    points = [Path(line.split()[1]) for line in table.splitlines()]
    return sorted((p for p in points if p.is_relative_to(directory)), reverse=True)
