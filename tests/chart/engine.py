"""Helm's own engine, in a process of its own: it brings Go's runtime, threads and open files."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

CHART = Path(__file__).parents[2] / "helm" / "cacheproxy"
NAME = "rel"
NAMESPACE = "ns"


class RefusedError(Exception):
    """Helm does not take it; `str()` is what it says."""


class Engine:
    """A process that renders, lints and installs, one request after the other."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    def ask(self, what: str, **arguments: Any) -> Any:
        """What Helm answers.

        Raises:
            RefusedError: it says no.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps([what, arguments]).encode() + b"\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        if "refused" in answer:
            raise RefusedError(answer["refused"])
        return answer["answer"]

    def stop(self) -> None:
        """Ends it."""
        self._process.communicate()


_running: list[Engine] = []


@contextmanager
def started() -> Iterator[None]:
    """An engine for all that happens meanwhile."""
    engine = Engine()
    _running.append(engine)
    try:
        yield
    finally:
        _running.remove(engine)
        engine.stop()


def ask(what: str, **arguments: Any) -> Any:
    """As `Engine.ask`, of the one that is running."""
    return _running[-1].ask(what, **arguments)


def _serve(requests: IO[str]) -> None:
    """Answer a request a line, until there are no more."""
    import helm_python

    chart = helm_python.Chart.load(CHART)

    def render(values: dict[str, Any]) -> dict[str, str]:
        return chart.render(values, name=NAME, namespace=NAMESPACE)

    def lint(values: dict[str, Any], version: str) -> dict[str, Any]:
        return helm_python.chart.lint(CHART, values, strict=True, kube_version=f"v{version}.0")

    def manifest(values: dict[str, Any], kubeconfig: str) -> str:
        """What an installation would send to a cluster, which it looks at."""
        with helm_python.Config(
            kubeconfig_content=kubeconfig, namespace=NAMESPACE, storage_driver="memory"
        ) as cluster:
            done = cluster.install(chart, NAME, values, namespace=NAMESPACE, dry_run="server")
            return str(done["manifest"])

    known: dict[str, Callable[..., Any]] = {"render": render, "lint": lint, "manifest": manifest}
    for line in requests:
        what, arguments = json.loads(line)
        try:
            answer = {"answer": known[what](**arguments)}
        except helm_python.HelmError as error:
            answer = {"refused": str(error)}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    _serve(sys.stdin)
