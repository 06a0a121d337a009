"""Whatever works directly works through the proxy, whatever quirks a registry has."""

import asyncio
import re

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.differential.compare import differences
from tests.differential.faults import HiddenFrom
from tests.differential.page import unknown
from tests.differential.profiles import PROFILES
from tests.differential.quirk import Change, Quirk
from tests.differential.quirks import KINDS, NOT_YET, QUIRKS
from tests.support.scripted_registry import Match

_MENDED = sorted(QUIRKS.keys() - NOT_YET)
_EXAMPLES = 25  # of each kind
_AT_ONCE = 3  # quirks of one registry
_FEWEST = 60


def _quirks() -> list[object]:
    """All names; those that are not mended yet must fail."""
    fails = pytest.mark.xfail(strict=True, reason="not mended yet")
    return [pytest.param(name, marks=[fails] * (name in NOT_YET)) for name in QUIRKS]


@pytest.mark.parametrize("name", _quirks())
async def test_a_quirk(name: str) -> None:
    """A registry with one quirk can be pulled from through the proxy as it can directly."""
    assert await differences([QUIRKS[name]]) == []


@pytest.mark.parametrize("name", PROFILES)
async def test_a_registry(name: str) -> None:
    """A registry with the quirks of a well-known one can be pulled from as it can directly."""
    assert await differences([QUIRKS[each] for each in sorted(PROFILES[name] - NOT_YET)]) == []


@pytest.mark.parametrize("kind", KINDS)
@settings(
    derandomize=True,
    database=None,
    deadline=None,
    max_examples=_EXAMPLES,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)
@given(data=st.data())
def test_quirks_together(kind: str, data: st.DataObject) -> None:
    """A registry with several quirks can be pulled from through the proxy as it can directly."""
    first = data.draw(st.sampled_from([each for each in KINDS[kind] if each.name in _MENDED]))
    others = st.sets(st.sampled_from(_MENDED), min_size=1, max_size=_AT_ONCE - 1)
    names = sorted({first.name, *data.draw(others)})
    assert asyncio.run(differences([QUIRKS[name] for name in names])) == []


async def test_a_difference_is_found() -> None:
    """The comparison itself finds what works directly, and not through the proxy."""
    hidden = Change(HiddenFrom("cacheproxy"), Match("GET", path_regex="/blobs/"))
    planted = Quirk("hidden-from-the-proxy", "a/b#1", "Blobs are hidden.", (hidden,))
    found = await differences([planted])
    steps = {each.step for each in found if each.phase == "cold"}
    assert steps == {"range", "blob 0", "blob 1", "blob 2"}


def test_each_quirk_has_its_report() -> None:
    """Each quirk is named once, and after a public report."""
    assert len(QUIRKS) >= _FEWEST
    assert not unknown()
    for quirk in QUIRKS.values():
        assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", quirk.name)
        assert re.fullmatch(r"[\w.-]+/[\w.-]+#[0-9]+", quirk.source)
        assert re.fullmatch(r"[A-Z].*\.", quirk.summary)
