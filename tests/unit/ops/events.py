"""Events as the core and the edge state them, with nothing to say but what a test changes."""

from dataclasses import replace

from cacheproxy.domain.digest import Digest
from cacheproxy.domain.events import Asked, Responded

DIGEST = Digest.of(b"")

BLOB = Responded(
    Asked(
        method="GET",
        target=f"/v2/library/nginx/blobs/{DIGEST}?ns=docker.io",
        client="192.0.2.7",
        user_agent="containerd/2.1.0",
        operation="blob",
        registry="docker.io",
        repository="library/nginx",
        reference=DIGEST,
    ),
    outcome="hit",
    status=200,
    body_bytes=1000,
    source="store",
    first_byte=0.00251,
    duration=0.2,
)


def by(user_agent: str) -> Responded:
    """The same response, to somebody else."""
    return replace(BLOB, asked=replace(BLOB.asked, user_agent=user_agent))
