"""What the cache saves, and for whom."""

from dashboards.panels import Panel, Query, stat, table
from dashboards.queries import (
    PRICE,
    UPSTREAM,
    amplification,
    byte_hit_ratio,
    first_byte,
    hit_ratio,
    increase,
    quantiles,
    rate,
)

SAVINGS = (
    stat(
        "Bytes saved",
        "What clients got beyond what crossed the upstream link, in the chosen range of time.",
        increase("cacheproxy_saved_bytes_total"),
        "decbytes",
    ),
    stat(
        "Money saved ($currency)",
        "The same at each upstream's price_per_gb; nothing where none has one.",
        "sum(sum by (job, instance, upstream) "
        f"(increase(cacheproxy_saved_bytes_total{{{UPSTREAM}}}[$__range])) / 1e9 * {PRICE})",
        "none",
    ),
    stat(
        "Byte-hit ratio",
        "Of the bytes that clients got, how many did not cross the link.",
        byte_hit_ratio("increase", "$__range"),
        "percentunit",
    ),
    stat(
        "Hit ratio",
        "Of the answered requests for manifests and blobs, how many cost no fetch.",
        hit_ratio("increase", "$__range"),
        "percentunit",
    ),
    stat(
        "Amplification",
        "Bytes that crossed the link for each byte of a blob that was kept. 1 is best; more is "
        "downloads that broke, or that the disk did not take.",
        amplification("$__range"),
        "none",
    ),
    stat(
        "Pulls avoided",
        "Manifests that clients pulled beyond those that upstream gave: what its rate limit "
        "was spared.",
        f"{increase('cacheproxy_pulls_total')} - {increase('cacheproxy_upstream_pulls_total')}",
        "short",
    ),
    Panel(
        "Bytes served and fetched",
        "What went out to clients, and what came in over the link.",
        [
            Query(rate("cacheproxy_served_bytes_total", "job"), "served"),
            Query(rate("cacheproxy_upstream_bytes_total", "job"), "fetched"),
        ],
        "Bps",
    ),
    Panel(
        "Hit ratios",
        "Of requests, and of bytes. Bytes fall below 0 while more comes in than goes out.",
        [
            Query(hit_ratio("rate", "$__rate_interval"), "hits"),
            Query(byte_hit_ratio("rate", "$__rate_interval"), "byte hits"),
        ],
        "percentunit",
        defaults={"max": 1},
    ),
    Panel(
        "Amplification over six hours",
        "As above; while a large download is under way it is above 1 for a while.",
        [Query(amplification("6h"), "amplification")],
        "none",
    ),
)

WHERE = (
    Panel(
        "Bytes saved, by upstream",
        "Where the savings come from.",
        [Query(rate("cacheproxy_saved_bytes_total", "upstream"), "{{upstream}}")],
        "Bps",
    ),
    Panel(
        "Money saved an hour, by upstream ($currency)",
        "At each upstream's price_per_gb.",
        [
            Query(
                "sum by (upstream) (sum by (job, instance, upstream) "
                f"(rate(cacheproxy_saved_bytes_total{{{UPSTREAM}}}[$__rate_interval])) "
                f"* 3600 / 1e9 * {PRICE})",
                "{{upstream}}",
            )
        ],
        "none",
        defaults={"decimals": 2},
    ),
    Panel(
        "Bytes served, by source",
        "From disk (store), from a download under way (fill), from another replica (peer), or "
        "past the disk (upstream).",
        [Query(rate("cacheproxy_served_bytes_total", "source"), "{{source}}")],
        "Bps",
        defaults={"custom": {"stacking": {"mode": "normal"}, "fillOpacity": 30}},
    ),
    table(
        "Upstreams",
        "In the chosen range of time.",
        [
            (name, f"sum by (upstream) (increase({metric}{{{UPSTREAM}}}[$__range]))")
            for name, metric in (
                ("served", "cacheproxy_served_bytes_total"),
                ("fetched", "cacheproxy_upstream_bytes_total"),
                ("saved", "cacheproxy_saved_bytes_total"),
            )
        ],
        "decbytes",
        "saved",
    ),
    table(
        "Repositories",
        "Since the cache was made. Each replica names the 20 with the most bytes; (other) is "
        "the rest.",
        [
            (
                name,
                f"sum by (upstream, repository) (cacheproxy_repository_{name}_bytes{{{UPSTREAM}}})",
            )
            for name in ("served", "fetched", "saved")
        ],
        "decbytes",
        "saved",
    ),
)

LATENCY = (
    Panel(
        "First byte of a manifest",
        "From a request to the head of its answer: from the cache (warm), and from upstream "
        "(cold).",
        first_byte("manifest"),
        "s",
    ),
    Panel("First byte of a blob", "The same for blobs.", first_byte("blob"), "s"),
    Panel(
        "Upstream's answers",
        "From a request to upstream to its answer's head: the least that a cold pull waits.",
        quantiles("cacheproxy_upstream_answer_seconds", UPSTREAM, "upstream", "{{upstream}}"),
        "s",
    ),
)
