import os
import subprocess
import sys


def test_a_worker_loads_only_what_serves_pulls() -> None:
    """The admin port, the commands and clients of clouds cost a worker's start nothing."""
    code = "import sys, cacheproxy.bootstrap.worker; print(*sys.modules)"
    env = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=env)
    loaded = set(done.stdout.split())
    operators = {f"cacheproxy.bootstrap.{name}" for name in ("inspection", "operating", "planning")}
    commands = {f"cacheproxy.{name}" for name in ("cli", "clients", "doctor", "ops.page")}
    clouds = {"azure.identity", "botocore", "google.auth"}
    assert not loaded & (operators | commands | clouds)
    assert "cacheproxy.bootstrap.pulls" in loaded
