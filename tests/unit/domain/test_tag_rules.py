"""Which policy is a tag's."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cacheproxy.domain.digest import Digest
from cacheproxy.domain.errors import (
    CacheproxyError,
    Denied,
    ManifestUnknown,
    UpstreamLimited,
    UpstreamOffline,
    UpstreamRefused,
    UpstreamResting,
    UpstreamTimeout,
    UpstreamUnavailable,
)
from cacheproxy.domain.freshness import TagPolicy, TagRecord, TagRules, survives

_SHORT, _LONG, _NONE = TagPolicy(fresh_for=1), TagPolicy(fresh_for=1e6), TagPolicy(fresh_for=0)
_RULES = TagRules(
    rules=(
        ("team/app:latest", _NONE),
        ("latest", _SHORT),
        ("v*", _LONG),
        ("ops/**:v?", _NONE),
        ("*:nightly-*", _NONE),
        ("v1", _NONE),
    )
)


@pytest.mark.parametrize(
    ("name", "tag", "expected"),
    [
        ("team/app", "latest", _NONE),
        ("team/other", "latest", _SHORT),
        ("team/app", "latest-2", _RULES.default),
        ("team/app", "v1", _LONG),
        ("team/app", "v1.2.3", _LONG),
        ("team/app", "1.v", _RULES.default),
        ("app", "nightly-7", _NONE),
        ("team/app", "nightly-7", _RULES.default),
        ("latest", "1", _RULES.default),
    ],
)
def test_the_first_rule_that_matches_counts(name: str, tag: str, expected: TagPolicy) -> None:
    """A pattern without a colon is for tags, one with a colon for `repository:tag`."""
    assert _RULES.of(name, tag) is expected


def test_a_rule_behind_one_that_matches_too_is_not_seen() -> None:
    """Of `v*` and `ops/**:v?` the one that is written first is a tag's."""
    assert _RULES.of("ops/a/b", "v1") is _LONG
    assert TagRules(rules=(_RULES.rules[3], _RULES.rules[2])).of("ops/a/b", "v1") is _NONE


@given(st.from_regex(r"[a-z]+(/[a-z]+)?", fullmatch=True), st.from_regex(r"\w+", fullmatch=True))
def test_without_rules_there_is_one_policy(name: str, tag: str) -> None:
    """Where nothing is written, every tag is treated alike."""
    assert TagRules(_LONG).of(name, tag) is _LONG
    assert TagRules(_LONG, (("**", _SHORT),)).of(name, tag) is _SHORT


_OLD = TagRecord(Digest.of(b""), checked_at=0.0)
_MUCH_LATER = 1e9


@pytest.mark.parametrize(
    ("error", "always", "auto"),
    [
        (UpstreamOffline("set so"), True, True),
        (UpstreamTimeout("silent"), False, True),
        (UpstreamUnavailable("down"), False, True),
        (UpstreamResting("down", 1.0), False, True),
        (UpstreamLimited("429"), False, False),
        (UpstreamRefused("400"), False, False),
        (Denied("403"), False, False),
        (ManifestUnknown("404"), False, False),
    ],
)
def test_how_old_a_tag_may_be_offline(error: CacheproxyError, always: bool, auto: bool) -> None:
    """Offline nothing is too old; `auto` is offline while nothing can be had of upstream."""
    assert survives(_OLD, TagPolicy(), _MUCH_LATER, error) is always
    assert survives(_OLD, TagPolicy(is_patient_offline=True), _MUCH_LATER, error) is auto
