"""Prometheus, as an operator runs it: it scrapes a proxy every second, and goes by our rules."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from tests.support.parts import wire
from tests.support.parts.process import Daemon, free_port, require
from tests.support.parts.scratch import scratch

_START = 60.0  # seconds


class Prometheus:
    """A running one."""

    def __init__(self, url: str) -> None:
        self.url = url

    def query(self, expression: str) -> list[dict[str, Any]]:
        """What an expression gives now.

        Raises:
            AssertionError: it is none, or cannot be worked out.
        """
        result: list[dict[str, Any]] = self._get(f"query?query={quote(expression)}")["result"]
        return result

    def rules(self) -> list[dict[str, Any]]:
        """All rules, with how they do."""
        return [rule for group in self._get("rules")["groups"] for rule in group["rules"]]

    def alerts(self) -> set[str]:
        """The names of the alerts that are pending or firing."""
        return {alert["labels"]["alertname"] for alert in self._get("alerts")["alerts"]}

    def _get(self, path: str) -> Any:
        answer = json.loads(wire.get(f"{self.url}/api/v1/{path}").body)
        assert answer["status"] == "success", f"{path}: {answer}"
        return answer["data"]


@contextmanager
def prometheus(rules: Path, *admin_urls: str) -> Iterator[Prometheus]:
    """One that scrapes these admin ports and evaluates these rules, both every second."""
    program = require("prometheus", "prometheus")
    with scratch() as directory:
        configuration = {
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "rule_files": [str(rules)],
            "scrape_configs": [
                {
                    "job_name": "cacheproxy",
                    "static_configs": [{"targets": [urlsplit(url).netloc for url in admin_urls]}],
                }
            ],
        }
        file = directory / "prometheus.yaml"
        file.write_text(json.dumps(configuration))  # which is YAML too
        address = f"127.0.0.1:{free_port()}"
        daemon = Daemon(
            [
                program,
                f"--config.file={file}",
                f"--storage.tsdb.path={directory / 'tsdb'}",
                f"--web.listen-address={address}",
            ],
            directory,
        )
        try:
            daemon.ready(lambda: wire.answers(f"http://{address}/-/ready"), _START)
            yield Prometheus(f"http://{address}")
        finally:
            daemon.stop()
