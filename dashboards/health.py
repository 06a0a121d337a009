"""How disk, upstreams and replicas do."""

from dashboards.panels import Panel, Query, states
from dashboards.queries import INSTANCE, UPSTREAM, rate

DISK = (
    states(
        "Store",
        "Whether blobs are stored. While the ledger cannot be written, what is not cached streams "
        "from upstream, and each client costs a download.",
        Query(f"cacheproxy_store_writable{{{INSTANCE}}}", "{{instance}}"),
        ("stored", "nothing is stored"),
    ),
    Panel(
        "Room",
        "A full cache is a cache at work. Reserved is for downloads under way.",
        [
            Query(f"cacheproxy_store_bytes{{{INSTANCE}}}", "{{instance}} taken"),
            Query(f"cacheproxy_store_reserved_bytes{{{INSTANCE}}}", "{{instance}} reserved"),
            Query(f"cacheproxy_store_max_bytes{{{INSTANCE}}}", "{{instance}} max_size"),
        ],
        "bytes",
        defaults={"min": 0},
    ),
    Panel(
        "Evictions",
        "Blobs that went: for the budget (size), unasked for (idle), or for a volume that was "
        "fuller than expected (space).",
        [Query(rate("cacheproxy_evictions_total", "reason", INSTANCE), "{{reason}}")],
        "cps",
    ),
    Panel(
        "Age of what was evicted",
        "How long it had been there, over six hours. If most of it came today, the cache is too "
        "small for what is pulled.",
        [
            Query(
                f"histogram_quantile({share}, sum by (le) (increase("
                f'cacheproxy_evicted_age_seconds_bucket{{{INSTANCE}, reason!="idle"}}[6h])))',
                name,
            )
            for share, name in ((0.1, "youngest tenth"), (0.5, "median"))
        ],
        "s",
    ),
    Panel(
        "Downloads under way",
        "Blobs that come in now.",
        [Query(f"sum by (instance) (cacheproxy_fills_in_flight{{{INSTANCE}}})", "{{instance}}")],
        "short",
    ),
    Panel(
        "Read again in the background",
        "Stored bytes that the scrub has looked at.",
        [Query(rate("cacheproxy_scrubbed_bytes_total", "instance", INSTANCE), "{{instance}}")],
        "Bps",
    ),
    Panel(
        "Damaged blobs",
        "Stored blobs that were not what their digests say. None reached a client, but a disk "
        "that does this should be looked at.",
        [
            Query(
                "sum by (instance, problem) "
                f"(increase(cacheproxy_damaged_blobs_total{{{INSTANCE}}}[1h]))",
                "{{instance}} {{problem}}",
            )
        ],
        "short",
    ),
)

UPSTREAMS = (
    states(
        "Upstreams",
        "Whether the last answer was one, and no 5xx, on the instance that fares worst.",
        Query(f"min by (upstream) (cacheproxy_upstream_up{{{UPSTREAM}}})", "{{upstream}}"),
        ("up", "down"),
    ),
    Panel(
        "Requests to upstream, by answer",
        "`none` is no answer at all.",
        [
            Query(
                rate("cacheproxy_upstream_requests_total", "upstream, status"),
                "{{upstream}} {{status}}",
            )
        ],
        "reqps",
    ),
    Panel(
        "Rate limits",
        "Pulls that are left by upstream's last word, and how many it grants.",
        [
            Query(
                f"min by (upstream) (cacheproxy_upstream_ratelimit_remaining{{{UPSTREAM}}})",
                "{{upstream}} left",
            ),
            Query(
                f"max by (upstream) (cacheproxy_upstream_ratelimit_limit{{{UPSTREAM}}})",
                "{{upstream}} of",
            ),
        ],
        "short",
        defaults={"min": 0},
    ),
    Panel(
        "Pulls, and those that upstream saw",
        "Manifests a second. The lower line is what a rate limit counts.",
        [
            Query(rate("cacheproxy_pulls_total", "upstream"), "{{upstream}} pulls"),
            Query(rate("cacheproxy_upstream_pulls_total", "upstream"), "{{upstream}} upstream"),
        ],
        "reqps",
    ),
    Panel(
        "Rests",
        "How often an upstream was given a rest within an hour, after failures in a row.",
        [
            Query(
                f"sum by (upstream) (increase(cacheproxy_upstream_pauses_total{{{UPSTREAM}}}[1h]))",
                "{{upstream}}",
            )
        ],
        "short",
    ),
    Panel(
        "What fails",
        "Requests that got 429 or 5xx, by status, and downloads that ended without a blob.",
        [
            Query(rate("cacheproxy_failures_total", "upstream, status"), "{{upstream}} {{status}}"),
            Query(
                rate("cacheproxy_fills_total", "upstream", f'{UPSTREAM}, outcome="failed"'),
                "{{upstream}} downloads",
            ),
        ],
        "reqps",
    ),
)

REPLICAS = (
    Panel(
        "Replicas",
        "How many each of them sees, itself included. All lines should be one.",
        [Query(f"cacheproxy_replicas{{{INSTANCE}}}", "{{instance}}")],
        "short",
        defaults={"min": 0, "decimals": 0},
    ),
    states(
        "Redis",
        "Whether the metadata that replicas share can be reached. Without it each goes by what it "
        "has seen itself.",
        Query(f"cacheproxy_metadata_up{{{INSTANCE}}}", "{{instance}}"),
        ("answers", "lost"),
    ),
    Panel(
        "Bytes between replicas",
        "What did not have to be fetched, since another replica had it.",
        [Query(rate("cacheproxy_peer_bytes_total", "direction", INSTANCE), "{{direction}}")],
        "Bps",
    ),
    Panel(
        "Calls to Redis",
        "By how they ended; those that were skipped cost nobody anything.",
        [Query(rate("cacheproxy_metadata_calls_total", "result", INSTANCE), "{{result}}")],
        "reqps",
    ),
    Panel(
        "Metadata that could not be kept",
        "Records that no store took (unwritten), and what others have put into Redis.",
        [
            Query(
                "sum by (problem) "
                f"(increase(cacheproxy_metadata_failures_total{{{INSTANCE}}}[1h]))",
                "{{problem}}",
            )
        ],
        "short",
    ),
    Panel(
        "Failures of background tasks",
        "Each failed task starts again; the work of one that keeps failing is not done.",
        [
            Query(
                "sum by (task) "
                f"(increase(cacheproxy_background_task_failures_total{{{INSTANCE}}}[1h]))",
                "{{task}}",
            )
        ],
        "short",
    ),
    Panel(
        "What runs",
        "Versions, and whether the last change of the configuration was taken over (1).",
        [
            Query(
                f"cacheproxy_build_info{{{INSTANCE}}} * on (job, instance) group_left () "
                f"cacheproxy_config_last_reload_success{{{INSTANCE}}}",
                is_table=True,
            )
        ],
        "none",
        "table",
        extra={
            "transformations": [
                {
                    "id": "organize",
                    "options": {
                        "excludeByName": {"Time": True},
                        "renameByName": {"Value": "configuration"},
                    },
                }
            ]
        },
    ),
)
