"""Well-known registries, as sets of quirks that reports tell of them."""

from collections.abc import Mapping

PROFILES: Mapping[str, frozenset[str]] = {
    name: frozenset(quirks)
    for name, quirks in {
        "Docker Hub": (
            "blob-redirected",
            "index-sizes-wrong",
            "manifest-digest-of-another",
            "rate-limit-empty",
            "rate-limit-fields",
            "referrers-404",
        ),
        "GitHub Container Registry": (
            "blob-url-works-once",
            "referrers-web-interface",
            "storage-refuses-head",
            "token-as-token",
        ),
        "Quay": (
            "blob-redirected",
            "link-opaque-cursor",
            "manifest-type-html",
            "token-no-lifetime",
        ),
        "Google Artifact Registry, gcr.io": (
            "blob-redirected-relatively",
            "config-type-html",
            "range-unannounced",
            "referrers-login-page",
        ),
        "Amazon ECR": (
            "basic-only",
            "blob-redirected",
            "get-manifest-no-digest",
            "tags-type-plain",
        ),
        "Amazon ECR Public": ("blob-redirected", "challenge-scope-aws", "head-blob-401"),
        "Azure Container Registry": (
            "blob-redirected",
            "link-behind-a-gateway",
            "manifest-type-parameter",
            "token-as-access-token",
        ),
        "GitLab": ("fallback-tag-is-the-subject", "range-refused", "storage-refuses-head"),
        "Harbor": (
            "head-blob-404",
            "head-manifest-bare",
            "referrers-401",
            "token-server-redirects",
        ),
        "Artifactory": ("head-manifest-no-length", "link-short-name", "referrers-406"),
        "Nexus": ("challenge-upper-case", "head-manifest-404", "link-path-in-front"),
        "Gitea": ("challenge-scope-star",),
        "registry.k8s.io": ("facade", "range-unannounced", "referrers-login-page"),
        "Microsoft Container Registry": ("blob-redirected", "range-unannounced"),
        "NVIDIA NGC": ("challenge-comma-in-scope", "challenge-no-service"),
    }.items()
}
