from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from cacheproxy.cli import commands
from tests.support.cached import Cached

Run = Callable[..., Result]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a command in an empty directory, with no variables but those given."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CACHEPROXY_CONFIG", raising=False)

    def run_it(*arguments: str, **environ: str) -> Result:
        return CliRunner().invoke(commands, arguments, env=environ, prog_name="cacheproxy")

    return run_it


@pytest.fixture
def cache(run: Run) -> Cached:
    """A cache with nothing in it, for which `run` is configured; the directory is `cache`."""
    Path("config").mkdir()
    Path("config/cacheproxy.yaml").write_text(
        "admin: {listen: '127.0.0.1:1'}\n"  # where nobody listens
        "cache: {directory: cache, max_size: 1GiB, min_free: 1MiB}\n"
        "default_upstream: docker.io\n"
        "upstreams: {docker.io: {}, quay.io: {}}\n",
        encoding="utf-8",
    )
    return Cached(Path("cache"))
