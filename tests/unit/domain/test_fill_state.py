import re
from collections.abc import Callable
from itertools import pairwise

import pytest

from cacheproxy.domain import fill_state
from cacheproxy.domain.errors import DigestMismatch
from cacheproxy.domain.fill_state import HOLD_BACK, FillState, Phase

_SIZE = 3 * HOLD_BACK
# The words of the drawing in the module's docstring.
_STEPS: dict[str, Callable[[FillState], FillState]] = {
    "opened": lambda state: state.opened(_SIZE),
    "verified": FillState.verified,
    "committed": FillState.committed,
    "failed": FillState.failed,
}


def _drawn() -> set[tuple[Phase, str, Phase]]:
    """The arrows of the drawing: along its first line, and down from a name to its last."""
    lines = (fill_state.__doc__ or "").splitlines()
    chain = next(line for line in lines if "OPENING" in line)
    bottom = next(line for line in lines if "└" in line)
    names = list(re.finditer(r"[A-Z]+", chain))
    words = re.findall(r"[a-z]+", chain)
    (target,) = re.findall(r"[A-Z]+", bottom)
    (word,) = re.findall(r"[a-z]+", bottom)
    arrows = {
        (Phase[one[0]], step, Phase[other[0]])
        for (one, other), step in zip(pairwise(names), words, strict=True)
    }
    for corner in re.finditer("[└┴]", bottom):
        above = next(name for name in names if name.start() <= corner.start() < name.end())
        arrows.add((Phase[above[0]], word, Phase[target]))
    return arrows


_DRAWN = _drawn()
_ILLEGAL = sorted(
    (phase.name, step)
    for phase in Phase
    for step in _STEPS
    if not any((start, word) == (phase, step) for start, word, _ in _DRAWN)
)


def test_the_drawing_is_the_table() -> None:
    """The docstring draws exactly the transitions that the code has."""
    coded = {(start, end) for start, ends in fill_state._NEXT.items() for end in ends}
    assert {(start, end) for start, _, end in _DRAWN} == coded
    assert len(_DRAWN) == 6


@pytest.mark.parametrize(
    ("start", "step", "end"),
    sorted((start.name, step, end.name) for start, step, end in _DRAWN),
)
def test_a_drawn_step_is_taken(start: str, step: str, end: str) -> None:
    """Each arrow of the drawing is a step that leads where it points."""
    assert _STEPS[step](FillState(Phase[start], _SIZE, _SIZE)).phase is Phase[end]


@pytest.mark.parametrize(("start", "step"), _ILLEGAL)
def test_no_other_step_is(start: str, step: str) -> None:
    """Every step that is not drawn is a mistake of ours, and says so."""
    with pytest.raises(AssertionError, match=f"a fill cannot go from {start}"):
        _STEPS[step](FillState(Phase[start], _SIZE, _SIZE))


def test_there_are_as_many_others_as_there_must_be() -> None:
    """Of the twenty steps from five phases six are drawn."""
    assert len(_ILLEGAL) == len(Phase) * len(_STEPS) - len(_DRAWN)


@pytest.mark.parametrize("phase", [phase for phase in Phase if phase is not Phase.STREAMING])
def test_bytes_come_only_while_streaming(phase: Phase) -> None:
    """A fill grows while it streams and at no other time."""
    with pytest.raises(AssertionError, match="cannot grow"):
        FillState(phase, _SIZE, 5).grown(6)


def test_bytes_do_not_vanish() -> None:
    """A fill never has fewer bytes than it had."""
    streaming = FillState().opened(_SIZE, 5)
    assert streaming.grown(5).received == 5
    with pytest.raises(AssertionError, match="cannot grow"):
        streaming.grown(4)


@pytest.mark.parametrize(
    ("size", "received", "readable"),
    [
        pytest.param(_SIZE, 0, 0, id="nothing there"),
        pytest.param(_SIZE, 100, 100, id="the beginning is not held back"),
        pytest.param(_SIZE, _SIZE - HOLD_BACK, _SIZE - HOLD_BACK, id="up to the held-back end"),
        pytest.param(_SIZE, _SIZE - 1, _SIZE - HOLD_BACK, id="all but one"),
        pytest.param(_SIZE, _SIZE, _SIZE - HOLD_BACK, id="all there"),
        pytest.param(HOLD_BACK, HOLD_BACK, 0, id="a blob as small as what is held back"),
        pytest.param(HOLD_BACK + 1, HOLD_BACK + 1, 1, id="a byte more"),
        pytest.param(1, 1, 0, id="one byte"),
        pytest.param(0, 0, 0, id="an empty blob"),
        pytest.param(None, HOLD_BACK, 0, id="unknown size, little there"),
        pytest.param(None, _SIZE, _SIZE - HOLD_BACK, id="unknown size: behind what is there"),
    ],
)
def test_the_end_is_held_back_until_verified(
    size: int | None, received: int, readable: int
) -> None:
    """The last bytes become readable with the digest's comparison and not before."""
    streaming = FillState().opened(size, received)
    assert streaming.readable == readable
    assert streaming.failed().readable == readable
    verified = streaming.verified()
    assert verified.readable == verified.committed().readable == received
    assert verified.size == received


def test_what_was_verified_stays_readable() -> None:
    """A store that fails to keep a verified blob takes nothing from its followers."""
    failed = FillState().opened(_SIZE, _SIZE).verified().failed()
    assert failed.readable == _SIZE
    assert failed.over


@pytest.mark.parametrize(
    ("state", "over"),
    [
        pytest.param(FillState(), False, id="opening"),
        pytest.param(FillState().opened(_SIZE, _SIZE), False, id="streaming"),
        pytest.param(FillState().opened(_SIZE, _SIZE).verified(), True, id="verified"),
        pytest.param(FillState().opened(_SIZE, _SIZE).verified().committed(), True, id="committed"),
        pytest.param(FillState().failed(), True, id="failed"),
    ],
)
def test_it_is_over_when_nothing_more_will_be_readable(state: FillState, over: bool) -> None:
    """There is more to wait for until the digest has been compared, or it has failed."""
    assert state.over is over


def test_more_bytes_than_the_blob_has_are_wrong_bytes() -> None:
    """What is longer than the blob is refused, when it comes and when it was there already."""
    with pytest.raises(DigestMismatch):
        FillState().opened(10, 10).grown(11)
    with pytest.raises(DigestMismatch):
        FillState().opened(10, 11)
    assert FillState().opened(None, 10).grown(10**12).received == 10**12
