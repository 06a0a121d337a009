"""Grafana's panels, as far as we use them, and where they go on the page."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

Json = dict[str, Any]

SOURCE: Json = {"type": "prometheus", "uid": "${datasource}"}
_COLUMNS = 24
_WITH_LINES = {"drawStyle": "line", "fillOpacity": 10, "lineWidth": 1, "showPoints": "never"}


@dataclass(frozen=True, slots=True)
class Query:
    """What a panel asks Prometheus.

    Attributes:
        expr: in PromQL, with Grafana's variables.
        legend: of its series.
        is_table: only the value of now (or of the whole range), as rows.
    """

    expr: str
    legend: str = ""
    is_table: bool = False

    def at(self, place: int) -> Json:
        """As the panel's query of that number."""
        made: Json = {
            "datasource": SOURCE,
            "expr": self.expr,
            "legendFormat": self.legend or "__auto",
            "refId": chr(ord("A") + place),
        }
        return made | {"format": "table", "instant": True} if self.is_table else made


@dataclass(frozen=True, slots=True)
class Panel:
    """One picture.

    Attributes:
        title: a few words.
        description: what it shows, and what to think of it.
        queries: what for.
        unit: one of Grafana's.
        kind: which of Grafana's panels.
        width: of 24 columns.
        height: in rows.
        defaults: more of Grafana's `fieldConfig.defaults`.
        extra: more of the panel's keys.
    """

    title: str
    description: str
    queries: Sequence[Query]
    unit: str
    kind: str = "timeseries"
    width: int = 8
    height: int = 8
    defaults: Json | None = None
    extra: Json | None = None

    def at(self, number: int, x: int, y: int) -> Json:
        """As Grafana's JSON, in its place."""
        defaults: Json = {"unit": self.unit, **(self.defaults or {})}
        if self.kind == "timeseries":
            defaults["custom"] = _WITH_LINES | defaults.get("custom", {})
        return {
            "id": number,
            "type": self.kind,
            "title": self.title,
            "description": self.description,
            "datasource": SOURCE,
            "gridPos": {"x": x, "y": y, "w": self.width, "h": self.height},
            "targets": [query.at(place) for place, query in enumerate(self.queries)],
            "fieldConfig": {"defaults": defaults, "overrides": []},
            "options": _OPTIONS[self.kind],
            **(self.extra or {}),
        }


_OPTIONS: dict[str, Json] = {
    "timeseries": {
        "legend": {"displayMode": "list", "placement": "bottom"},
        "tooltip": {"mode": "multi", "sort": "desc"},
    },
    "stat": {
        "colorMode": "none",
        "graphMode": "none",
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
    },
    "state-timeline": {"mergeValues": True, "showValue": "never", "rowHeight": 0.9},
    "table": {"cellHeight": "sm", "showHeader": True},
}


def stat(title: str, description: str, expr: str, unit: str) -> Panel:
    """One number, of the whole range of time."""
    query = Query(expr, is_table=True)
    return Panel(title, description, [query], unit, "stat", width=4, height=4)


def states(title: str, description: str, query: Query, words: tuple[str, str]) -> Panel:
    """When something was well (1) and when it was not (0), in words for each."""
    good, bad = words
    mapping = {
        "type": "value",
        "options": {
            "0": {"text": bad, "color": "red", "index": 0},
            "1": {"text": good, "color": "green", "index": 1},
        },
    }
    defaults: Json = {"mappings": [mapping], "min": 0, "max": 1}
    return Panel(title, description, [query], "none", "state-timeline", defaults=defaults)


def table(
    title: str, description: str, columns: Sequence[tuple[str, str]], unit: str, sort: str
) -> Panel:
    """Rows by their labels, with a column for each query; the largest of `sort` first."""
    queries = [Query(expr, is_table=True) for _, expr in columns]
    names = {f"Value #{chr(ord('A') + at)}": name for at, (name, _) in enumerate(columns)}
    transformations = [
        {"id": "merge", "options": {}},
        {"id": "organize", "options": {"excludeByName": {"Time": True}, "renameByName": names}},
        {"id": "sortBy", "options": {"sort": [{"field": sort, "desc": True}]}},
    ]
    extra = {"transformations": transformations}
    return Panel(title, description, queries, unit, "table", width=12, height=10, extra=extra)


def placed(rows: Iterable[tuple[str, Sequence[Panel]]]) -> Iterator[Json]:
    """All panels in their places: rows with a title each, filled from the left."""
    number, y = 0, 0
    for title, panels in rows:
        number += 1
        yield {
            "id": number,
            "type": "row",
            "title": title,
            "collapsed": False,
            "gridPos": {"x": 0, "y": y, "w": _COLUMNS, "h": 1},
            "panels": [],
        }
        x, y, below = 0, y + 1, y + 1
        for panel in panels:
            if x + panel.width > _COLUMNS:
                x, y = 0, below
            number += 1
            yield panel.at(number, x, y)
            x, below = x + panel.width, max(below, y + panel.height)
        y = below
