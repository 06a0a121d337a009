"""The dashboard that is in the tree: made from what makes it, and nothing in it made up."""

import itertools
import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from dashboards.overview import FILE, written
from tests.support.counted import sample_names
from tests.support.parts.process import require
from tests.support.promql import grouped, matched, names

_SCRAPED = {"job", "instance"}
_DASHBOARD: dict[str, Any] = json.loads(FILE.read_text(encoding="utf-8"))
_PANELS: list[dict[str, Any]] = [each for each in _DASHBOARD["panels"] if each["type"] != "row"]
_EXPRESSIONS: list[tuple[str, str]] = [
    (panel["title"], target["expr"]) for panel in _PANELS for target in panel["targets"]
]
_VARIABLES = {each["name"]: each for each in _DASHBOARD["templating"]["list"]}

every_panel = pytest.mark.parametrize("panel", _PANELS, ids=lambda panel: panel["title"])


def _plain(expression: str) -> str:
    """With a value in the place of each of Grafana's variables."""
    return re.sub(r"\$\w+", "x", re.sub(r"\$__\w+", "5m", expression))


def test_the_file_is_what_is_made() -> None:
    """Nobody has edited the file by hand; `python -m dashboards` writes it anew."""
    assert FILE.read_text(encoding="utf-8") == written()


def test_every_query_parses(tmp_path: Path) -> None:
    """Prometheus' own parser takes each query, once Grafana has put its values in."""
    rules = [
        {"record": f"query{at}", "expr": _plain(expression)}
        for at, (_, expression) in enumerate(_EXPRESSIONS)
    ]
    checked = _check(tmp_path, rules)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert f"{len(rules)} rules found" in checked.stdout
    assert len(rules) > 40


def test_a_query_that_does_not_parse_is_found(tmp_path: Path) -> None:
    """The parser is asked: one bracket too few is an error."""
    assert _check(tmp_path, [{"record": "query", "expr": "sum(up"}]).returncode != 0


@pytest.mark.parametrize(("title", "expression"), _EXPRESSIONS)
def test_every_metric_and_label_exists(title: str, expression: str) -> None:
    """A query names metrics of the page only, by labels that they have."""
    known = sample_names()
    plain = _plain(expression)
    assert names(plain)
    assert names(plain) <= known.keys(), title
    for name, label in matched(plain):
        assert label in known[name] | _SCRAPED, f"{title}: {name} has no {label}"
    of_all = frozenset().union(*(known[name] for name in names(plain)))
    assert grouped(plain) <= of_all | _SCRAPED, title


@pytest.mark.parametrize(("title", "expression"), _EXPRESSIONS)
def test_what_is_chosen_counts(title: str, expression: str) -> None:
    """Each metric of a query is of the instances chosen, and of the upstreams if it has them."""
    known = sample_names()
    chosen = set(matched(_plain(expression)))
    for name in names(_plain(expression)):
        wanted = _SCRAPED | (known[name] & {"upstream"})
        assert {(name, label) for label in wanted} <= chosen, title


def test_every_variable_exists() -> None:
    """Queries, titles and variables use only variables that the dashboard has."""
    used = set(re.findall(r"\$\{?([a-z]+)", FILE.read_text(encoding="utf-8")))
    assert used == _VARIABLES.keys()
    for name in ("job", "instance", "upstream", "currency"):
        query = re.fullmatch(
            r"label_values\((\w+)(?:\{.*\})?, (\w+)\)", _VARIABLES[name]["query"]["query"]
        )
        assert query is not None
        assert query[2] in sample_names()[query[1]] | _SCRAPED


@every_panel
def test_a_panel_says_what_it_shows(panel: dict[str, Any]) -> None:
    """Each panel has a description, a unit, the chosen Prometheus, and named series."""
    assert panel["description"].endswith(".")
    assert panel["fieldConfig"]["defaults"]["unit"]
    assert panel["datasource"]["uid"] == "${datasource}"
    for target in panel["targets"]:
        assert target["datasource"]["uid"] == "${datasource}"
        assert target.get("instant") or target["legendFormat"] != "__auto"
    references = [target["refId"] for target in panel["targets"]]
    assert len(set(references)) == len(references)


@every_panel
def test_a_series_is_named_by_its_labels(panel: dict[str, Any]) -> None:
    """A legend names labels that the query's answer still has."""
    for target in panel["targets"]:
        named = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
        plain = _plain(target["expr"])
        left = grouped(plain) if "by (" in plain else _SCRAPED
        assert named <= left, target["expr"]


def test_nothing_lies_upon_anything_else() -> None:
    """Panels are within the page's 24 columns, and no two of them overlap."""
    placed = [panel["gridPos"] for panel in _DASHBOARD["panels"]]
    assert all(place["x"] + place["w"] <= 24 for place in placed)
    for one, other in itertools.combinations(placed, 2):
        apart = (
            one["x"] + one["w"] <= other["x"]
            or other["x"] + other["w"] <= one["x"]
            or one["y"] + one["h"] <= other["y"]
            or other["y"] + other["h"] <= one["y"]
        )
        assert apart, (one, other)
    numbers = [panel["id"] for panel in _DASHBOARD["panels"]]
    assert len(set(numbers)) == len(numbers)


def _check(directory: Path, rules: list[dict[str, str]]) -> subprocess.CompletedProcess[str]:
    promtool = require("promtool", "prometheus")
    file = directory / "rules.json"  # which is YAML too
    file.write_text(json.dumps({"groups": [{"name": "queries", "rules": rules}]}))
    return subprocess.run(
        [promtool, "check", "rules", file], capture_output=True, text=True, timeout=100, check=False
    )
