"""An explanation as lines of text."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from cacheproxy.cli import words

if TYPE_CHECKING:
    from cacheproxy.ops.api.reports import Explanation, Fate, Part

_ORDER = {
    "lru": "what was asked for longest ago goes first",
    "lfu-decay": "what is asked for least goes first",
    "gdsf-decay": "what is asked for least for the room it takes goes first",
}


def lines(explanation: "Explanation", now: float) -> Iterator[str]:
    """Write it down."""
    yield explanation.asked
    for label, text in _facts(explanation, now):
        yield f"  {label:<13}{text}"
    content = explanation.content
    if content is not None and content.parts:
        yield from _parts(content)


def _facts(explanation: "Explanation", now: float) -> Iterator[tuple[str, str]]:
    content = explanation.content
    if explanation.checked_at is not None:
        said = "upstream named it" if explanation.digest else "upstream had no such tag"
        yield "tag", f"{said} {words.moment(explanation.checked_at, now)}"
    if explanation.digest is not None and explanation.digest != explanation.asked:
        yield "digest", explanation.digest
    if content is not None:
        if content.media_type:
            yield "type", content.media_type
        yield "size", _size(content, explanation.bytes_here)
    yield from _account(explanation, now)
    for label, values in (
        ("tags", explanation.tags),
        ("held by", explanation.repositories or []),
        ("part of", explanation.part_of),
    ):
        for number, value in enumerate(values):
            yield label if number == 0 else "", value
    yield from _fate(explanation, now)


def _size(content: "Part", here: int) -> str:
    if not content.is_here:
        known = f"; {words.size(content.size)}" if content.size is not None else ""
        return f"not here{known}"
    own = words.size(content.size or 0)
    return f"{own}; with all its parts that are here {words.size(here)}" if content.parts else own


def _account(explanation: "Explanation", now: float) -> Iterator[tuple[str, str]]:
    entry, heat = explanation.entry, explanation.heat
    if entry is None or heat is None:
        if explanation.content is not None and explanation.content.is_here:
            yield "ledger", "does not list it yet: the server takes it in when it starts"
        return
    if explanation.content is not None and not explanation.content.is_here:
        yield "ledger", "lists it, but the file is gone: cacheproxy scrub strikes it out"
    yield "cached", f"since {words.moment(entry.since, now)}"
    yield "last used", words.moment(entry.last_used, now)
    yield "heat", f"{heat:.2f} (uses, each of which counts half after two days)"
    if entry.registry:
        yield "from", entry.registry


def _fate(explanation: "Explanation", now: float) -> Iterator[tuple[str, str]]:
    fate, entry = explanation.fate, explanation.entry
    if fate is None or entry is None:
        return
    if fate.pins:
        yield "goes", f"never: pinned by {', '.join(fate.pins)}"
        return
    yield "goes", f"{_after(fate.bytes_before or 0)}, when room is needed"
    yield "", f"{words.size(fate.room)} more may come before anything must go"
    if fate.share is not None:
        yield "", _share(fate)
    if fate.idle_at is not None:
        yield "", f"if nobody asks for it until {words.moment(fate.idle_at, now)}"
    last = "; manifests after all blobs" if entry.kind == "manifest" else ""
    yield "policy", f"{fate.policy}: {_ORDER[fate.policy]}{last}"


def _share(fate: "Fate") -> str:
    share = fate.share
    assert share is not None  # noqa: S101 - asked just before
    return (
        f"of {share.registry}'s share: {_after(share.bytes_before or 0)}; "
        f"{words.size(share.room)} more may come"
    )


def _after(before: int) -> str:
    return f"after {words.size(before)} of others" if before else "first"


def _parts(content: "Part") -> Iterator[str]:
    here = sum(part.is_here for part in content.parts)
    yield f"  {'parts':<13}{here} of {len(content.parts)} are here"
    yield from _tree(content, "    ")


def _tree(content: "Part", indent: str) -> Iterator[str]:
    for part in content.parts:
        mark = "+" if part.is_here else "-"
        size = words.size(part.size) if part.size is not None else "?"
        before = "" if part.bytes_before is None else f"goes {_after(part.bytes_before)}"
        what = part.platform or (part.media_type or "").removeprefix("application/vnd.")
        yield f"{indent}{mark} {part.digest}  {size:>11}  {what}  {before}".rstrip()
        yield from _tree(part, indent + "  ")
