"""Well-known registries, as sets of quirks."""

from collections.abc import Mapping

PROFILES: Mapping[str, frozenset[str]] = {
    name: frozenset(quirks)
    for name, quirks in {
        "Docker Hub": (
            "challenge-comma-in-scope",
            "rate-limit-fields",
            "rate-limit-empty",
            "blob-redirected",
            "referrers-404",
        ),
        "GitHub Container Registry": (
            "token-as-token",
            "blob-url-works-once",
            "storage-refuses-head",
            "referrers-web-interface",
        ),
        "Quay": ("token-no-lifetime", "blob-redirected", "link-opaque-cursor"),
        "Google Artifact Registry, gcr.io": (
            "blob-redirected-relatively",
            "referrers-login-page",
            "range-unannounced",
        ),
        "Amazon ECR": (
            "basic-only",
            "get-manifest-no-digest",
            "blob-redirected",
            "tags-type-plain",
        ),
        "Amazon ECR Public": ("challenge-scope-aws", "head-blob-401", "blob-redirected"),
        "Azure Container Registry": (
            "token-as-access-token",
            "token-no-lifetime",
            "blob-redirected",
            "link-behind-a-gateway",
        ),
        "GitLab": (
            "token-no-lifetime",
            "storage-refuses-head",
            "fallback-tag-is-the-subject",
        ),
        "Harbor": (
            "token-server-redirects",
            "head-manifest-bare",
            "head-blob-404",
            "referrers-401",
        ),
        "Artifactory": (
            "head-manifest-no-length",
            "link-short-name",
            "referrers-406",
            "basic-only",
        ),
        "Nexus": (
            "challenge-upper-case",
            "head-manifest-404",
            "link-path-in-front",
            "referrers-404",
        ),
        "Gitea": ("challenge-scope-star", "referrers-404"),
        "registry.k8s.io": ("facade", "referrers-login-page"),
        "Microsoft Container Registry": ("blob-redirected", "range-unannounced"),
        "NVIDIA NGC": ("challenge-no-service", "challenge-comma-in-scope", "referrers-404"),
    }.items()
}
