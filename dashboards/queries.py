"""What panels ask Prometheus, where several ask alike."""

from dashboards.panels import Query

# What the variables at the top choose: instances; and upstreams, where a metric has them.
INSTANCE = 'job=~"$job", instance=~"$instance"'
UPSTREAM = f'{INSTANCE}, upstream=~"$upstream"'
_CACHED = 'outcome=~"hit|joined|stale"'
_CONTENT = 'operation=~"manifest|blob"'
PRICE = f"on (job, instance, upstream) group_left () cacheproxy_price_per_gigabyte{{{UPSTREAM}}}"


def increase(metric: str, over: str = "$__range") -> str:
    """How much a counter has grown, all in all."""
    return f"sum(increase({metric}{{{UPSTREAM}}}[{over}]))"


def rate(metric: str, by: str, which: str = UPSTREAM) -> str:
    """How fast a counter grows, by some label."""
    return f"sum by ({by}) (rate({metric}{{{which}}}[$__rate_interval]))"


def hit_ratio(function: str, over: str) -> str:
    """Of answered requests for content, those that cost no fetch."""
    metric = "cacheproxy_requests_total"
    return (
        f"sum({function}({metric}{{{UPSTREAM}, {_CONTENT}, {_CACHED}}}[{over}]))"
        f' / (sum({function}({metric}{{{UPSTREAM}, {_CONTENT}, outcome!="error"}}[{over}])) > 0)'
    )


def byte_hit_ratio(function: str, over: str) -> str:
    """Of bytes that clients got, those that were not fetched."""
    return (
        f"1 - sum({function}(cacheproxy_upstream_bytes_total{{{UPSTREAM}}}[{over}]))"
        f" / (sum({function}(cacheproxy_served_bytes_total{{{UPSTREAM}}}[{over}])) > 0)"
    )


def amplification(over: str) -> str:
    """Bytes fetched for each byte of a blob that was kept."""
    return (
        f"sum(increase(cacheproxy_upstream_bytes_total{{{UPSTREAM}}}[{over}]))"
        f" / (sum(increase(cacheproxy_filled_bytes_total{{{UPSTREAM}}}[{over}])) > 0)"
    )


def quantiles(metric: str, which: str, by: str = "", legend: str = "") -> list[Query]:
    """A histogram's median and 99th percentile."""
    buckets = f"sum by (le{by and ', ' + by}) (rate({metric}_bucket{{{which}}}[$__rate_interval]))"
    return [
        Query(f"histogram_quantile({share}, {buckets})", f"{legend} {name}".strip())
        for share, name in ((0.5, "median"), (0.99, "p99"))
    ]


def first_byte(operation: str) -> list[Query]:
    """Those of an operation's first byte, warm and cold."""
    metric = "cacheproxy_time_to_first_byte_seconds"
    return [
        query
        for outcome, legend in (("hit|stale", "warm"), ("miss|joined", "cold"))
        for query in quantiles(
            metric, f'{INSTANCE}, operation="{operation}", outcome=~"{outcome}"', legend=legend
        )
    ]
