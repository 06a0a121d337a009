import pytest

from cacheproxy.domain.retry import RetryPolicy

_POLICY = RetryPolicy(attempts=4, base=0.5, cap=3.0)


@pytest.mark.parametrize(
    ("failures", "least", "most"),
    [
        pytest.param(1, 0.25, 0.5, id="first"),
        pytest.param(2, 0.5, 1.0, id="second"),
        pytest.param(3, 1.0, 2.0, id="third"),
        pytest.param(4, 1.5, 3.0, id="capped"),
    ],
)
def test_waits_double_up_to_the_cap(failures: int, least: float, most: float) -> None:
    """Each wait is twice as long as the one before, halved at most by jitter."""
    assert _POLICY.delay(failures, 0.0) == least
    assert _POLICY.delay(failures, 1.0) == most


def test_the_last_failure_is_final() -> None:
    """After as many failures as there are attempts nothing is tried again."""
    assert _POLICY.delay(5, 0.5) is None
    assert RetryPolicy(attempts=0).delay(1, 0.5) is None


def test_a_very_patient_policy_does_not_overflow() -> None:
    """However many failures there were, the wait is a number, and no longer than the cap."""
    assert RetryPolicy(attempts=10**6, cap=7.0).delay(10**6, 1.0) == 7.0


@pytest.mark.parametrize(("attempts", "expected"), [(0, 0), (2, 2), (4, 4), (9, 4)])
def test_a_policy_can_be_cut(attempts: int, expected: int) -> None:
    """A limit takes attempts away and never adds any; everything else stays."""
    assert _POLICY.at_most(attempts) == RetryPolicy(expected, 0.5, 3.0)
