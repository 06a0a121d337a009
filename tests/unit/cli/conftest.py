from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from cacheproxy.cli import commands

Run = Callable[..., Result]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a command in an empty directory, with no variables but those given."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CACHEPROXY_CONFIG", raising=False)

    def run_it(*arguments: str, **environ: str) -> Result:
        return CliRunner().invoke(commands, arguments, env=environ, prog_name="cacheproxy")

    return run_it
