"""The proxy itself, as its users run it: `cacheproxy serve` in a process of its own."""

import contextlib
import json
import os
import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tests.support.parts import wire
from tests.support.parts.namespace import Namespace
from tests.support.parts.process import Daemon, NotReadyError, free_port
from tests.support.parts.scratch import scratch
from tests.support.parts.user import as_user

_START = 60.0  # seconds
_DRAIN = 30.0  # seconds
_ATTEMPTS = 3  # ports are free when they are chosen, and may be taken a moment later
_CLASH = "address already in use"

Upstreams = Mapping[str, str | Mapping[str, Any]]


class Proxy:
    """A proxy with an empty cache, and the names that its contract gives to users."""

    def __init__(
        self,
        directory: Path,
        settings: Mapping[str, Any],
        user: int | None = None,
        place: Namespace | None = None,
    ) -> None:
        self.directory = directory
        who = _Who(user, place)
        self._daemon, document, self._configuration = _start(directory, settings, who)
        self.document = document
        self.host: str = document["server"]["listen"]
        self.url = f"http://{self.host}"
        self.admin_url = f"http://{document['admin']['listen']}"
        self._stopped = False

    @property
    def pid(self) -> int:
        return self._daemon.pid

    @property
    def port(self) -> int:
        return urlsplit(self.url).port or 0

    def log(self) -> str:
        """All that it has printed so far, on both streams."""
        return self._daemon.stdout() + self._daemon.stderr()

    def log_lines(self) -> list[dict[str, Any]]:
        """What it has logged so far: a JSON document a line, and nothing else."""
        return [json.loads(line) for line in self.log().splitlines()]

    def terminate(self) -> None:
        """Sends SIGTERM, and does not wait."""
        self._daemon.signal(signal.SIGTERM)

    def rewrite(self, document: Mapping[str, Any]) -> None:
        """Writes another configuration in the place of its own."""
        self._configuration.write_text(json.dumps(document))

    def reload(self, document: Mapping[str, Any]) -> None:
        """The same, and sends SIGHUP."""
        self.rewrite(document)
        self._daemon.signal(signal.SIGHUP)

    def exit_code(self, deadline: float = _DRAIN) -> int | None:
        """Its exit code, waited for; None when it runs on after `deadline` seconds."""
        code = self._daemon.exit_code(deadline)
        if code is not None:
            self.abandon()  # ends workers that have outlived it
        return code

    def stop(self) -> None:
        """Stops it as an operator would.

        Raises:
            AssertionError: SIGTERM did not end it in time with exit code 0.
        """
        if self._stopped:
            return
        self._stopped = True
        code = self._daemon.stop(_DRAIN)
        assert code == 0, f"cacheproxy ended with {code}\n{self._daemon.stderr()[-4000:]}"

    def kill(self) -> None:
        """SIGKILL for it and all that it has started."""
        self._stopped = True
        os.killpg(self.pid, signal.SIGKILL)
        self._daemon.exit_code(_DRAIN)

    def pause(self) -> None:
        """SIGSTOP for it and all that it has started: its connections stay open."""
        os.killpg(self.pid, signal.SIGSTOP)

    def go_on(self) -> None:
        """SIGCONT; also where nobody is left to go on."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGCONT)

    def abandon(self) -> None:
        """Stops it without a word about how it ended: there is a failure to report already."""
        self._stopped = True
        self._daemon.stop(_DRAIN)


@contextmanager
def proxy(
    upstreams: Upstreams, *, settings: Mapping[str, Any] | None = None, user: int | None = None
) -> Iterator[Proxy]:
    """A running proxy for `upstreams`: names with a URL, or with all settings of an upstream.

    Args:
        upstreams: the closed world; a plain string is short for `{"url": …}`.
        settings: further sections of the configuration file, which replace the ones set here.
        user: who runs it, by number, if not who runs the tests.
    """
    with scratch() as directory:
        document = {
            # Tests must not depend on how full this machine's disk is.
            "cache": {"directory": str(directory / "cache"), "min_free": "1B"},
            "metadata": {"url": "embedded:"},
            "default_upstream": "docker.io",
            "upstreams": {
                name: {"url": value} if isinstance(value, str) else dict(value)
                for name, value in upstreams.items()
            },
        }
        if user is not None:
            directory.chmod(0o755)
        running = Proxy(directory, document | dict(settings or {}), user)
        try:
            yield running
        except BaseException:
            running.abandon()
            raise
        running.stop()


def refused(settings: Mapping[str, Any], *, user: int | None = None) -> str:
    """The one sentence that a start says which must fail, with exit code 1.

    Args:
        settings: the configuration, but for the ports.
        user: who starts it, by number, if not who runs the tests.
    """
    with scratch() as directory:
        directory.chmod(0o755)
        document = dict(settings)
        for section in ("server", "admin"):
            document[section] = dict(settings.get(section, {})) | {"listen": "127.0.0.1:0"}
        path = directory / "cacheproxy.yaml"
        path.write_text(json.dumps(document))
        daemon = Daemon(_Who(user).command(path), directory)
        code = daemon.exit_code(_START)
        daemon.stop()
        assert code == 1, f"exit code {code}\n{daemon.stdout()}\n{daemon.stderr()}"
        (sentence,) = daemon.stderr().splitlines()
        return sentence


@dataclass(frozen=True, slots=True)
class _Who:
    """By whom it is started, and where."""

    user: int | None = None
    place: Namespace | None = None

    def address(self) -> str:
        """For it to listen at."""
        return f"{self.place.address if self.place else '127.0.0.1'}:{free_port()}"

    def command(self, path: Path) -> list[str]:
        """Start it with a file of settings."""
        command = str(Path(sys.executable).with_name("cacheproxy"))
        argv = [command, "serve", "--config", str(path)]
        if self.user is not None:
            argv = as_user(self.user, argv, path.parent)
        return argv if self.place is None else self.place.inside(argv)


def _start(
    directory: Path, settings: Mapping[str, Any], who: _Who
) -> tuple[Daemon, dict[str, Any], Path]:
    """Starts it on two free ports, and on two others if somebody else was faster."""
    for attempt in range(_ATTEMPTS):
        document = dict(settings)
        for section in ("server", "admin"):
            document[section] = dict(settings.get(section, {})) | {"listen": who.address()}
        output = directory / f"start-{attempt}"
        output.mkdir()
        try:
            path = output / "cacheproxy.yaml"
            return _start_once(output, path, document, who), document, path
        except NotReadyError as error:
            if _CLASH not in str(error).lower() or attempt == _ATTEMPTS - 1:
                raise
    raise AssertionError  # the last attempt has returned or raised


def _start_once(output: Path, path: Path, document: Mapping[str, Any], who: _Who) -> Daemon:
    path.write_text(json.dumps(document, indent=1))  # which is YAML too
    daemon = Daemon(who.command(path), output)
    try:
        ready = f"http://{document['admin']['listen']}/readyz"
        daemon.ready(partial(wire.answers, ready), _START)
    except BaseException:
        daemon.stop()
        raise
    return daemon
