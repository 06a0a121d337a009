"""The one dashboard: what the cache saves, and how it does."""

import json
from pathlib import Path

from dashboards.health import DISK, REPLICAS, UPSTREAMS
from dashboards.panels import SOURCE, Json, placed
from dashboards.savings import LATENCY, SAVINGS, WHERE

FILE = Path(__file__).parents[1] / "helm/cacheproxy/files/dashboard.json"


def _variable(name: str, query: str, label: str) -> Json:
    return {
        "name": name,
        "label": label,
        "type": "query",
        "datasource": SOURCE,
        "definition": query,
        "query": {"query": query, "refId": name},
        "includeAll": True,
        "allValue": ".*",
        "multi": True,
        "current": {"selected": True, "text": ["All"], "value": ["$__all"]},
        "refresh": 2,
        "sort": 1,
    }


def _variables() -> list[Json]:
    of_job = '{job=~"$job"}'
    currency = _variable(
        "currency", f"label_values(cacheproxy_price_per_gigabyte{of_job}, currency)", "Currency"
    )
    # Hidden: it is only for titles to name.
    currency |= {"hide": 2, "includeAll": False, "multi": False, "allValue": None, "current": {}}
    return [
        {"name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus"},
        _variable("job", "label_values(cacheproxy_build_info, job)", "Job"),
        _variable("instance", f"label_values(cacheproxy_build_info{of_job}, instance)", "Instance"),
        _variable(
            "upstream",
            f"label_values(cacheproxy_upstream_bytes_total{of_job}, upstream)",
            "Upstream",
        ),
        currency,
    ]


def dashboard() -> Json:
    """All of it."""
    rows = (
        ("What it saves", SAVINGS),
        ("Where", WHERE),
        ("How long clients wait", LATENCY),
        ("Disk", DISK),
        ("Upstreams", UPSTREAMS),
        ("Replicas", REPLICAS),
    )
    return {
        "uid": "cacheproxy",
        "title": "cacheproxy",
        "description": "A pull-through cache for container registries.",
        "tags": ["cacheproxy"],
        "schemaVersion": 39,
        "version": 1,
        "editable": False,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": "now-24h", "to": "now"},
        "timezone": "browser",
        "templating": {"list": _variables()},
        "annotations": {"list": []},
        "panels": list(placed(rows)),
    }


def written() -> str:
    """The file's text."""
    return json.dumps(dashboard(), indent=1) + "\n"
