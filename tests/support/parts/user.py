"""Programs that another user runs, who need not be allowed to look into this checkout."""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import cacheproxy
from tests.support.parts.process import require, require_root

NOBODY = 65534

# A view of the file system of its own, where directories of ours are open that are not. An
# overlay: what is changed there is changed in memory, and vanishes with the program.
_SCRIPT = """\
user=$1 hold=$2; shift 2
mount -t tmpfs none "$hold"
while [ "$1" != -- ]; do
  mkdir -p "$hold$1/upper" "$hold$1/work"
  mount -t overlay -o "lowerdir=$1,upperdir=$hold$1/upper,workdir=$hold$1/work" none "$1"
  chmod o+rx "$1"
  shift
done
shift
cd /
exec setpriv --reuid="$user" --regid="$user" --clear-groups -- "$@"
"""


def as_user(user: int, argv: Sequence[str], directory: Path) -> list[str]:
    """The command that has a user, by number, run a program of this checkout.

    Args:
        user: by number; has no group but the one of that number.
        argv: the program.
        directory: for what belongs to the one run.
    """
    require_root("to be another user")
    hold = directory / "hold"
    hold.mkdir()
    unshare = [require("unshare", "util-linux"), "--mount", "--propagation=slave"]
    closed = [str(path) for path in _closed()]
    return [*unshare, "sh", "-ec", _SCRIPT, "sh", str(user), str(hold), *closed, "--", *argv]


def _closed() -> list[Path]:
    """What keeps others from the interpreter and from the checkout, the outermost first."""
    needed = [sys.prefix, sys.base_prefix, sys.executable, cacheproxy.__file__]
    return sorted({path for name in needed for path in _closed_above(Path(name))})


def _closed_above(path: Path) -> Iterator[Path]:
    for way in (path.absolute(), path.resolve()):
        yield from (above for above in way.parents if not above.stat().st_mode & 0o001)
