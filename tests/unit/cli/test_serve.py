import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from cacheproxy.bootstrap import running
from cacheproxy.domain.errors import StartError
from cacheproxy.settings import Settings

Run = Callable[..., Result]


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[Settings]:
    """What is given to the server, which is not started."""
    settings: list[Settings] = []
    _replace_server(monkeypatch, settings.append)
    return settings


def _replace_server(monkeypatch: pytest.MonkeyPatch, serve: Callable[[Settings], None]) -> None:
    monkeypatch.setattr(running, "serve", lambda settings, *_: serve(settings))


def test_serve_serves_what_is_configured(run: Run, served: list[Settings]) -> None:
    """The settings of the file and the environment are served; the code is 0 afterwards."""
    Path("a.yaml").write_text("cache: {directory: x}\n", encoding="utf-8")
    result = run("serve", "--config", "a.yaml", CACHEPROXY__SERVER__WORKERS="2")
    assert (result.exit_code, result.output) == (0, "")
    assert [(s.cache.directory, s.server.workers) for s in served] == [(Path("x"), 2)]


def test_serve_does_not_start_with_a_wrong_configuration(run: Run, served: list[Settings]) -> None:
    """A wrong configuration is reported as by check, with code 2, and nothing is started."""
    result = run("serve", CACHEPROXY__SERVER__WORKERS="0")
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.splitlines()[-1] == (
        "$CACHEPROXY__SERVER__WORKERS: 0 is not within 1 and 1024"
    )
    assert served == []


def test_serve_says_why_it_cannot_start(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """What keeps the server from starting is one sentence on standard error, with code 1."""

    def refuse(_: Settings) -> None:
        raise StartError("port 5000 is in use; choose another server.listen")

    _replace_server(monkeypatch, refuse)
    Path("a.yaml").touch()
    result = run("serve", "--config", "a.yaml")
    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr == "cacheproxy: port 5000 is in use; choose another server.listen\n"


def test_a_bug_is_not_hidden(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error that is nobody's mistake but ours keeps its stack trace."""

    def fail(_: Settings) -> None:
        raise ZeroDivisionError

    _replace_server(monkeypatch, fail)
    assert isinstance(run("serve").exception, ZeroDivisionError)


_HANG_UP_AT_EACH_IMPORT = """
import os, signal, sys

SLOW = ("asyncio", "aiohttp", "pydantic", "cacheproxy.bootstrap", "cacheproxy.settings")

class Finder:
    def find_spec(self, name, path=None, target=None):
        if name in SLOW:
            print("hang-up at", name, file=sys.stderr)
            os.kill(os.getpid(), signal.SIGHUP)

sys.meta_path.insert(0, Finder())
from cacheproxy.cli import main
main()
"""


def test_a_hangup_does_not_end_a_start(tmp_path: Path) -> None:
    """SIGHUP while the server is imported does not end the process: it goes on to its settings."""
    done = subprocess.run(
        [sys.executable, "-c", _HANG_UP_AT_EACH_IMPORT, "serve"],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env=os.environ
        | {
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
            "CACHEPROXY__SERVER__WORKERS": "0",
        },
    )
    assert done.stderr.count("hang-up at") == 5
    assert (done.returncode, "0 is not within 1 and 1024" in done.stderr) == (2, True)
