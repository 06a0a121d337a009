import pytest

from cacheproxy.domain.digest import Digest
from cacheproxy.domain.errors import (
    CacheproxyError,
    ContentInvalid,
    Denied,
    DigestMismatch,
    ManifestInvalid,
    ManifestUnknown,
    NameInvalid,
    RepositoryUnknown,
    StorageError,
    UpstreamLimited,
    UpstreamRefused,
    UpstreamTimeout,
    UpstreamUnavailable,
)
from cacheproxy.domain.freshness import (
    Freshness,
    TagPolicy,
    TagRecord,
    judge,
    lifetime,
    moment_after,
    newest,
    survives,
    ttl,
)

_POLICY = TagPolicy(fresh_for=60, stale_while_revalidate=30, stale_if_error=1000, not_found_for=10)
_FOUND = TagRecord(Digest.of(b""), checked_at=5000.0)
_MISSING = TagRecord(None, checked_at=5000.0)
_OUTAGE = UpstreamUnavailable("down")


@pytest.mark.parametrize(
    ("record", "age", "expected"),
    [
        pytest.param(_FOUND, 0, Freshness.FRESH, id="just checked"),
        pytest.param(_FOUND, 59.9, Freshness.FRESH, id="a moment before the end"),
        pytest.param(_FOUND, 60, Freshness.REVALIDATE_BEHIND, id="at the end"),
        pytest.param(_FOUND, 89.9, Freshness.REVALIDATE_BEHIND, id="while revalidating"),
        pytest.param(_FOUND, 90, Freshness.REVALIDATE, id="after that"),
        pytest.param(_FOUND, 1e9, Freshness.REVALIDATE, id="decades later"),
        pytest.param(_MISSING, 9.9, Freshness.FRESH, id="not found a moment ago"),
        pytest.param(_MISSING, 10, Freshness.REVALIDATE, id="not found a while ago"),
        pytest.param(_MISSING, 15, Freshness.REVALIDATE, id="never stale while revalidating"),
        pytest.param(_FOUND, -0.9, Freshness.FRESH, id="another clock"),
        pytest.param(_FOUND, -1.1, Freshness.REVALIDATE_BEHIND, id="clock set back"),
        pytest.param(_MISSING, -1.1, Freshness.REVALIDATE, id="not found, clock set back"),
    ],
)
def test_a_record_ages(record: TagRecord, age: float, expected: Freshness) -> None:
    """A record is fresh, then served while it is checked, then checked first."""
    assert judge(record, _POLICY, record.checked_at + age) is expected


@pytest.mark.parametrize(
    ("age", "left"),
    [(0, 60), (25, 35), (60, 0), (100, -40), (-0.5, 60), (-1.5, 0), (-1e9, 0)],
)
def test_the_ttl_counts_down_and_never_exceeds_the_policy(age: float, left: float) -> None:
    """What is left is the lifetime less the age; a clock that was set back leaves nothing."""
    assert ttl(_FOUND, _POLICY, _FOUND.checked_at + age) == left


@pytest.mark.parametrize("record", [_FOUND, _MISSING])
@pytest.mark.parametrize("back", [1.5, 3600, 1e9])
def test_a_clock_that_was_set_back_has_upstream_asked(record: TagRecord, back: float) -> None:
    """A record from the future is looked up again, lest it be believed until its time comes."""
    policy = TagPolicy(fresh_for=60, stale_if_error=1000)
    now = record.checked_at - back
    assert judge(record, policy, now) is Freshness.REVALIDATE
    assert ttl(record, policy, now) == 0
    assert survives(record, policy, now, _OUTAGE) is (record is _FOUND)


def test_a_missing_tag_has_a_lifetime_of_its_own() -> None:
    """That there is no such tag is believed for another time than what there is."""
    assert (lifetime(_FOUND, _POLICY), lifetime(_MISSING, _POLICY)) == (60, 10)


def test_nothing_is_fresh_where_the_policy_says_so() -> None:
    """With all times at zero upstream is asked every time, and nothing outlives an error."""
    never = TagPolicy(0, 0, 0, not_found_for=0)
    for record in (_FOUND, _MISSING):
        assert judge(record, never, record.checked_at) is Freshness.REVALIDATE
        assert judge(record, never, record.checked_at - 1) is Freshness.REVALIDATE
    assert not survives(_FOUND, never, _FOUND.checked_at, _OUTAGE)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        pytest.param(UpstreamUnavailable("x"), True, id="unavailable"),
        pytest.param(UpstreamTimeout("x"), True, id="timeout"),
        pytest.param(UpstreamLimited("x", 5), True, id="limited"),
        pytest.param(UpstreamRefused("x"), True, id="refused"),
        pytest.param(ContentInvalid("x"), True, id="nonsense"),
        pytest.param(DigestMismatch("x"), True, id="wrong bytes"),
        pytest.param(ManifestInvalid("x"), True, id="no manifest"),
        pytest.param(Denied("x"), False, id="denied"),
        pytest.param(StorageError("x"), False, id="our disk"),
        pytest.param(NameInvalid("x"), False, id="the client's mistake"),
    ],
)
@pytest.mark.parametrize("on_not_found", ["keep", "drop"])
def test_what_a_record_survives(error: CacheproxyError, expected: bool, on_not_found: str) -> None:
    """A record outlives upstream's failures, and no refusal."""
    policy = TagPolicy(on_not_found="keep" if on_not_found == "keep" else "drop")
    assert survives(_FOUND, policy, _FOUND.checked_at + 3600, error) is expected


@pytest.mark.parametrize(("age", "expected"), [(3600, True), (8 * 86400, False)])
def test_a_refusal_is_the_operators_choice(age: float, expected: bool) -> None:
    """A 401 or 403 keeps what is cached for `stale_if_error`, if the policy allows it."""
    now, error = _FOUND.checked_at + age, Denied("x")
    assert survives(_FOUND, TagPolicy(stale_if_denied=True), now, error) is expected
    assert not survives(_FOUND, TagPolicy(), now, error)


@pytest.mark.parametrize("error", [ManifestUnknown("x"), RepositoryUnknown("x")])
def test_a_deleted_tag_is_the_operators_choice(error: CacheproxyError) -> None:
    """A 404 keeps or drops what is cached, as the policy says."""
    now = _FOUND.checked_at + 3600
    assert survives(_FOUND, TagPolicy(on_not_found="keep"), now, error)
    assert not survives(_FOUND, TagPolicy(on_not_found="drop"), now, error)


@pytest.mark.parametrize(
    ("record", "age", "expected"),
    [
        pytest.param(_FOUND, 1059, True, id="within"),
        pytest.param(_FOUND, 1060, False, id="over"),
        pytest.param(_FOUND, -1e6, True, id="clock set back"),
        pytest.param(_MISSING, 0, False, id="nothing to serve"),
        pytest.param(None, 0, False, id="no record"),
    ],
)
def test_an_outage_is_survived_for_a_time(
    record: TagRecord | None, age: float, expected: bool
) -> None:
    """What there was is served for `stale_if_error` after it was fresh; nothing never is."""
    assert survives(record, _POLICY, 5000.0 + age, _OUTAGE) is expected


_OF_EPOCH = [
    TagRecord(Digest.of(b""), checked_at, epoch) for epoch, checked_at in ((2, 50), (1, 90))
]


@pytest.mark.parametrize(
    ("records", "expected"),
    [
        pytest.param([], None, id="nothing is known"),
        pytest.param([None, _FOUND], _FOUND, id="only one is known"),
        pytest.param(_OF_EPOCH, _OF_EPOCH[0], id="a later epoch"),
        pytest.param([_FOUND, TagRecord(None, 5000.5)], TagRecord(None, 5000.5), id="later"),
        pytest.param([_FOUND, TagRecord(None, 8600.0, 9)], _FOUND, id="from the future"),
    ],
)
def test_the_newest_record_counts(
    records: list[TagRecord | None], expected: TagRecord | None
) -> None:
    """Epochs are compared before times, and what lies in the future counts last, in any order."""
    for order in (records, records[::-1]):
        assert newest(order, 5000.0) == expected


def test_an_answer_is_later_than_what_was_known() -> None:
    """An answer counts before the record that was known when it was asked for, unless that lies."""
    assert moment_after(None, 4000.0) == 4000.0
    assert moment_after(_FOUND, 6000.0) == 6000.0
    assert 5000.0 < moment_after(_FOUND, 4999.5) < 5000.001
    assert moment_after(_FOUND, 4000.0) == 4000.0
