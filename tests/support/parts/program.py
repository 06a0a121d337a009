"""A client program that runs to its end: output kept, failures told in full."""

import os
import subprocess
from collections.abc import Mapping, Sequence

_TIMEOUT = 60.0  # seconds


def run(argv: Sequence[str], *, env: Mapping[str, str] | None = None) -> bytes:
    """Runs a program and returns what it printed.

    Raises:
        AssertionError: it failed; the message has all that it said.
        subprocess.TimeoutExpired: it did not end.
    """
    done = subprocess.run(
        argv,
        env=dict(os.environ) | dict(env or {}),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=_TIMEOUT,
        check=False,
    )
    said = done.stdout[-2000:] + done.stderr[-4000:]
    assert done.returncode == 0, f"{' '.join(argv)}: {done.returncode}\n{said.decode()}"
    return done.stdout
