"""The rules that are in the tree: whether Prometheus takes them, and what they do."""

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.counted import sample_names
from tests.support.parts.process import require
from tests.support.promql import grouped, matched, names

_ROOT = Path(__file__).parents[2]
_FILE = _ROOT / "helm/cacheproxy/files/rules.yaml"
_TESTS = _ROOT / "tests/rules/alerts.yaml"
_OPERATIONS = _ROOT / "docs/operations.md"
_RULES: list[dict[str, Any]] = [
    rule for group in yaml.safe_load(_FILE.read_text())["groups"] for rule in group["rules"]
]
_ALERTS = {rule["alert"]: rule for rule in _RULES if "alert" in rule}
_RECORDED = {rule["record"]: rule for rule in _RULES if "record" in rule}
# Labels that Prometheus adds, and those of its own metric.
_SCRAPED = {"job", "instance", "namespace", "pod"}

every_rule = pytest.mark.parametrize(
    "rule", _RULES, ids=lambda rule: rule.get("alert") or rule["record"]
)
every_alert = pytest.mark.parametrize("name", _ALERTS)


def _promtool(*arguments: object) -> subprocess.CompletedProcess[str]:
    promtool = require("promtool", "prometheus")
    return subprocess.run(
        [promtool, *map(str, arguments)], capture_output=True, text=True, timeout=100, check=False
    )


def test_prometheus_takes_them() -> None:
    """Prometheus' own check finds nothing wrong, and all rules."""
    checked = _promtool("check", "rules", _FILE)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert f"{len(_RULES)} rules found" in checked.stdout


def test_they_do_what_they_should() -> None:
    """Each alert fires when it should and not otherwise; recorded numbers are right."""
    tested = _promtool("test", "rules", _TESTS)
    assert tested.returncode == 0, tested.stdout + tested.stderr


@every_alert
def test_an_alert_is_seen_to_fire_and_to_be_silent(name: str) -> None:
    """Of each alert there is a test in which it fires, and before that one in which none does."""
    for test in yaml.safe_load(_TESTS.read_text())["tests"]:
        expected = [
            any(f'alertname="{name}"' in sample["labels"] for sample in case["exp_samples"])
            for case in test["promql_expr_test"]
            if case["expr"].startswith("ALERTS")
        ]
        if True in expected:
            assert False in expected, test["name"]
            return
    pytest.fail(f"no test in which {name} fires")


@pytest.mark.parametrize("name", _RECORDED)
def test_a_recorded_number_is_held_against_one_worked_out(name: str) -> None:
    """Of each recording rule there is a test with its value."""
    cases = [
        case
        for test in yaml.safe_load(_TESTS.read_text())["tests"]
        for case in test["promql_expr_test"]
        if name in names(case["expr"]) and case["exp_samples"]
    ]
    assert cases


def test_the_table_has_every_recorded_number_and_no_other() -> None:
    """docs/operations.md says what each recording rule records."""
    table = re.findall(r"^\| `\w+:cacheproxy_.*$", _OPERATIONS.read_text(), re.MULTILINE)
    rows = re.findall(r"`(\w+:cacheproxy_\w+:\w+)`", "\n".join(table))
    assert sorted(rows) == sorted(_RECORDED)


@every_rule
def test_every_metric_and_label_exists(rule: dict[str, Any]) -> None:
    """A rule names metrics of the page and recorded ones only, by labels that they have."""
    known = {
        **sample_names(),
        **{name: frozenset(_SCRAPED | grouped(rule["expr"])) for name, rule in _RECORDED.items()},
        "up": frozenset[str](),
    }
    assert names(rule["expr"]) <= known.keys()
    for name, label in matched(rule["expr"]):
        assert label in known[name] | _SCRAPED, f"{name} has no {label}"
    of_all = frozenset().union(*(known[name] for name in names(rule["expr"])))
    assert grouped(rule["expr"]) <= of_all | _SCRAPED


@every_alert
def test_an_alert_says_what_to_do(name: str) -> None:
    """Each alert has a severity, a sentence and a description, and a place that says more."""
    rule = _ALERTS[name]
    assert name.startswith("Cacheproxy")
    assert rule["labels"]["severity"] in {"critical", "warning"}
    annotations = rule["annotations"]
    assert annotations.keys() == {"summary", "description", "runbook"}
    assert annotations["description"].endswith(".")
    page, _, anchor = annotations["runbook"].partition("#")
    assert anchor == f"alert-{name.lower()}"
    headings = re.findall(r"^#+ (.+)$", (_ROOT / page).read_text(), re.MULTILINE)
    assert anchor in {heading.lower().replace(" ", "-") for heading in headings}


def test_no_alert_is_explained_that_there_is_not() -> None:
    """Each explanation is of an alert, with the severity that it has."""
    explained = re.findall(r"^#+ Alert (\w+)\n\n(\w+)\.", _OPERATIONS.read_text(), re.MULTILINE)
    assert dict(explained) == {
        name: rule["labels"]["severity"].capitalize() for name, rule in _ALERTS.items()
    }
    assert len(explained) == len(_ALERTS)
