"""The Cache-Status field is a structured field, and says what RFC 9211 lets it say."""

from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cacheproxy.domain.cache_status import CacheStatus, Outcome
from tests.support.structured_fields import read_item

_PARAMETERS = {"hit", "fwd", "fwd-status", "ttl", "stored", "collapsed", "key", "detail"}
_FORWARDS = {"bypass", "method", "uri-miss", "vary-miss", "miss", "request", "stale", "partial"}

_statuses = st.builds(
    CacheStatus,
    st.sampled_from(get_args(Outcome)),
    ttl=st.none() | st.floats(-1e9, 1e9),
    forward_status=st.none() | st.integers(100, 599),
    stored=st.booleans(),
    detail=st.none() | st.sampled_from(("upstream-timeout", "size", "DENIED")),
    is_revalidated=st.booleans(),
)


@given(_statuses)
def test_the_field_is_a_structured_field(status: CacheStatus) -> None:
    """Whatever happened, the field names the cache, and is read back with the RFC's words only."""
    name, parameters = read_item(status.field("cacheproxy"))
    assert name == "cacheproxy"
    assert set(parameters) <= _PARAMETERS
    assert parameters.get("fwd", "miss") in _FORWARDS
    assert not ("hit" in parameters and "fwd" in parameters)
    assert not ("hit" in parameters and "fwd-status" in parameters)
    if status.is_revalidated and status.outcome in ("hit", "stale"):
        assert parameters["fwd"] == "stale"
    assert "collapsed" not in parameters or "fwd" in parameters
    assert "stored" not in parameters or "fwd" in parameters or status.outcome == "error"
    assert parameters.get("ttl") == (None if status.ttl is None else round(status.ttl))
    assert parameters.get("detail") == status.detail


@pytest.mark.parametrize("text", ["", "a b", "a; B", "a; b=", "a; b=1.", "a; b; b", 'a; b="c', "1"])
def test_the_reader_refuses_what_is_none(text: str) -> None:
    """The reader of these tests refuses what is no structured field."""
    with pytest.raises(ValueError, match="is n"):
        read_item(text)
