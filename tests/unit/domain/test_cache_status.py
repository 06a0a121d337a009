import pytest

from cacheproxy.domain.cache_status import HIT, CacheStatus


@pytest.mark.parametrize(
    ("status", "field"),
    [
        pytest.param(HIT, "cp; hit", id="hit"),
        pytest.param(CacheStatus("hit", ttl=59.6), "cp; hit; ttl=60", id="hit with a ttl"),
        pytest.param(
            CacheStatus("stale", ttl=-30.4, detail="upstream-timeout"),
            "cp; hit; ttl=-30; detail=upstream-timeout",
            id="stale",
        ),
        pytest.param(
            CacheStatus("hit", ttl=60.0, forward_status=200, is_revalidated=True),
            "cp; fwd=stale; fwd-status=200; ttl=60",
            id="revalidated",
        ),
        pytest.param(
            CacheStatus("hit", forward_status=200), "cp; hit", id="a hit was not forwarded"
        ),
        pytest.param(
            CacheStatus("hit", ttl=60, forward_status=200, is_revalidated=True),
            "cp; fwd=stale; fwd-status=200; ttl=60",
            id="revalidated",
        ),
        pytest.param(CacheStatus("miss"), "cp; fwd=miss", id="miss"),
        pytest.param(
            CacheStatus("miss", ttl=60.0, forward_status=200),
            "cp; fwd=miss; fwd-status=200; ttl=60",
            id="a HEAD that upstream answered",
        ),
        pytest.param(
            CacheStatus("miss", forward_status=200, stored=True),
            "cp; fwd=miss; fwd-status=200; stored",
            id="miss that is stored",
        ),
        pytest.param(
            CacheStatus("joined", forward_status=200, stored=True),
            "cp; fwd=miss; collapsed; fwd-status=200; stored",
            id="joined",
        ),
        pytest.param(
            CacheStatus("bypass", forward_status=206), "cp; fwd=bypass; fwd-status=206", id="bypass"
        ),
        pytest.param(CacheStatus("error", detail="DENIED"), "cp; detail=DENIED", id="error"),
        pytest.param(
            CacheStatus("error", forward_status=503),
            "cp; fwd=miss; fwd-status=503",
            id="their error",
        ),
    ],
)
def test_the_field_says_what_happened(status: CacheStatus, field: str) -> None:
    """Each outcome is worded as RFC 9211 words it."""
    assert status.field("cp") == field
