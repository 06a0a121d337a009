from cacheproxy.upstream.head_support import HeadSupport
from tests.support.hasty import HastyClock


def test_a_get_that_succeeds_is_evidence() -> None:
    """A refused HEAD and a GET of the same manifest that succeeds turn HEAD off for a while."""
    clock = HastyClock()
    heads = HeadSupport(clock)
    heads.on_refusal("a")
    seen = [heads.is_missing]
    heads.on_success("a")
    seen.append(heads.is_missing)
    clock.advance(601)
    seen.append(heads.is_missing)
    assert seen == [False, True, False]


def test_another_manifest_is_no_evidence() -> None:
    """A GET of another manifest, or a HEAD that was not refused, changes nothing."""
    heads = HeadSupport(HastyClock())
    heads.on_refusal("a")
    heads.on_success("b")
    assert not heads.is_missing


def test_a_manifest_may_be_pushed_in_between() -> None:
    """A GET that succeeds long after a refused HEAD is of a manifest that came later."""
    clock = HastyClock()
    heads = HeadSupport(clock)
    heads.on_refusal("a")
    clock.advance(60)
    heads.on_success("a")
    assert not heads.is_missing
