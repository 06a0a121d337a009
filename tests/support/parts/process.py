"""Programs that a test starts: found or skipped, each in a group of its own, always stopped."""

import contextlib
import itertools
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import NoReturn, TypeVar

import pytest

_Found = TypeVar("_Found")
_SYSTEM_PATH = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])
_POLL = 0.02  # seconds between two looks at something that is starting
# Below those that Linux gives to whoever asks for any port, and to each connection.
_PORTS = range(16384, 32768)
_turn = itertools.count(os.getpid() * 257)  # several processes ask, each from another one on


class NotReadyError(AssertionError):
    """A part did not come up in time, or died; the message ends with what it printed."""


def find(command: str) -> str | None:
    """The path of an installed program, also where a user's PATH leaves out sbin."""
    return shutil.which(command, path=_SYSTEM_PATH)


def require(command: str, package: str) -> str:
    """The path of a program; a test that needs a missing one skips (in CI: fails)."""
    path = find(command)
    if path is None:
        leave_out(f"{command} is not installed (Debian package: {package})", package)
    return path


def require_module(name: str, package: str) -> None:
    """Skips (in CI: fails) a test of what needs a module that is missing."""
    if find_spec(name) is None:
        leave_out(f"{name} is not installed (Python package: {package})")


def require_root(part: str) -> None:
    """Skips (in CI: fails) a test of what only root can do."""
    if os.geteuid() != 0:
        leave_out(f"{part} needs root")


def leave_out(reason: str, part: str | None = None) -> NoReturn:
    """Skips a test of what cannot be had here; in CI, where nothing may skip, it fails.

    It skips in CI, too, where the part is one that CI has said it could not have.
    """
    if part in os.environ.get("CACHEPROXY_TEST_WITHOUT", "").split():
        pytest.skip(reason)
    if os.environ.get("CACHEPROXY_TEST_ALL") == "1":
        pytest.fail(reason + "; CACHEPROXY_TEST_ALL=1 allows no skipping")
    pytest.skip(reason)


def _tie() -> list[str]:
    """A prefix to a command that lets it end with us, where a `finally` is not reached."""
    setpriv = find("setpriv")
    return [setpriv, "--pdeathsig", "TERM", "--"] if setpriv else []


def free_port() -> int:
    """A port of 127.0.0.1 that was free a moment ago, and that nobody gets by chance."""
    for turn in itertools.islice(_turn, len(_PORTS)):
        port = _PORTS[turn % len(_PORTS)]
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise AssertionError("all ports are taken")


def wait_until(probe: Callable[[], _Found | None], deadline: float, what: str) -> _Found:
    """What `probe` returns once that is neither None nor False.

    Raises:
        NotReadyError: `deadline` seconds have passed.
    """
    end = time.monotonic() + deadline
    while True:
        found = probe()
        if found is not None and found is not False:
            return found
        if time.monotonic() > end:
            raise NotReadyError(f"{what}: not within {deadline:g} s")
        time.sleep(_POLL)


class Daemon:
    """A running program, with its standard output and its errors in two files.

    Files rather than pipes: a test that reads late cannot make the program wait.
    """

    def __init__(
        self, argv: Sequence[str], directory: Path, *, env: Mapping[str, str] | None = None
    ) -> None:
        self.name = Path(argv[0]).name
        self._stdout = directory / f"{self.name}.out"
        self._stderr = directory / f"{self.name}.err"
        with self._stdout.open("ab") as out, self._stderr.open("ab") as err:
            self._process = subprocess.Popen(
                [*_tie(), *argv],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                env=dict(os.environ) | dict(env or {}),
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    def stdout(self) -> str:
        """All that it has printed."""
        return self._stdout.read_text(errors="replace")

    def stderr(self) -> str:
        """All that it has complained about."""
        return self._stderr.read_text(errors="replace")

    def ready(self, probe: Callable[[], _Found | None], deadline: float) -> _Found:
        """Waits for `probe`, but not for a program that has already died.

        Raises:
            NotReadyError: the deadline has passed, or the program has ended.
        """

        def look() -> _Found | None:
            found = probe()
            if not found and self._process.poll() is not None:
                raise NotReadyError(f"{self.name} exited with {self._process.returncode}")
            return found

        try:
            return wait_until(look, deadline, f"{self.name} is ready")
        except NotReadyError as error:
            raise NotReadyError(
                f"{error}\n{self.stdout()[-2000:]}\n{self.stderr()[-4000:]}"
            ) from None

    def signal(self, number: signal.Signals) -> None:
        """Sends a signal to the program alone; how its children learn of it is its own business."""
        self._process.send_signal(number)

    def exit_code(self, deadline: float) -> int | None:
        """The exit code, waited for; None if it is still running after `deadline` seconds."""
        try:
            return self._process.wait(deadline)
        except subprocess.TimeoutExpired:
            return None

    def stop(self, deadline: float = 10.0) -> int | None:
        """SIGTERM, then SIGKILL for whatever of its group is left.

        Returns:
            Its exit code, or None if it had to be killed.
        """
        self.signal(signal.SIGTERM)
        code = self.exit_code(deadline)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()
        return code
