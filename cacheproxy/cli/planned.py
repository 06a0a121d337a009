"""A plan as lines of text."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from cacheproxy.cli import words

if TYPE_CHECKING:
    from cacheproxy.ops.api.reports import Basis, PlanReport, PlanRow


def lines(plan: "PlanReport", now: float) -> Iterator[str]:
    """Write it down."""
    yield from _basis(plan.basis, now)
    yield ""
    yield from _table(plan)
    yield ""
    yield from _legend(plan)


def weaknesses(basis: "Basis") -> list[str]:
    """Why one should not rely on it, if one should not."""
    from cacheproxy.ops.api.reports import LONG_ENOUGH, MANY_ENOUGH  # noqa: PLC0415

    found = []
    if basis.until - basis.since < LONG_ENOUGH:
        spanned = words.span(basis.until - basis.since)
        found.append(f"it spans {spanned}, so what is pulled once a week says little in it")
    if basis.accesses < MANY_ENOUGH:
        found.append(f"it has only {words.counted(basis.accesses, 'access', 'accesses')}")
    return found


def _basis(basis: "Basis", now: float) -> Iterator[str]:
    accesses = words.counted(basis.accesses, "access", "accesses")
    yield (
        f"{accesses} to {words.counted(basis.blobs, 'blob')} of {words.size(basis.blob_bytes)}; "
        f"clients got {words.size(basis.served_bytes)}"
    )
    yield f"  from {words.moment(basis.since, now)}"
    yield f"  to   {words.moment(basis.until, now)}"
    if basis.accesses_before:
        before = words.counted(basis.accesses_before, "access", "accesses")
        yield f"  {before} before that fill the caches, and do not count"
    for reason in weaknesses(basis):
        yield f"  a weak base: {reason}"
    for count, what in (
        (basis.newer_segments, "of a later version of cacheproxy"),
        (basis.foreign_segments, "that cannot be read"),
    ):
        if count:
            yield f"  left out: {words.counted(count, 'segment')} {what}"


def _table(plan: "PlanReport") -> Iterator[str]:
    policies = max(len(row.policy) for row in plan.rows)
    yield (
        f"  {'max_size':>11}  {'policy':<{policies}}  {'byte hits':>9}  {'hits':>6}"
        f"  {'upstream':>11}  than today"
    )
    size = 0
    for row in plan.rows:
        shown, size = words.size(row.max_size) if row.max_size != size else "", row.max_size
        yield (
            f"{'*' if row.is_today else ' '} {shown:>11}  {row.policy:<{policies}}"
            f"  {_percent(row.byte_hit_ratio):>9}  {_percent(row.hit_ratio):>6}"
            f"  {words.size(row.upstream_bytes):>11}  {_step(row, plan.today)}"
        ).rstrip()
    bound = plan.everything_kept
    yield (
        f"  {'all is kept':>11}  {'':<{policies}}  {_percent(bound.byte_hit_ratio):>9}"
        f"  {_percent(bound.hit_ratio):>6}  {words.size(bound.upstream_bytes):>11}"
        f"  {_difference(bound.upstream_bytes, plan.today.upstream_bytes)}"
    )


def _step(row: "PlanRow", today: "PlanRow") -> str:
    return "" if row.is_today else _difference(row.upstream_bytes, today.upstream_bytes)


def _difference(fetched: int, today: int) -> str:
    """What it buys against today, or what it costs."""
    if fetched == today:
        return "the same"
    share = f" ({abs(fetched - today) / today:.1%})" if today else ""
    return f"{words.size(abs(fetched - today))} {'less' if fetched < today else 'more'}{share}"


def _legend(plan: "PlanReport") -> Iterator[str]:
    yield "* is today's cache. byte hits: of the bytes that clients got, what was not fetched."
    yield "foresight knows what will be asked for: so much another policy could save, or hardly"
    yield "more. All begin empty: the first pull of a blob is fetched, whatever the size."
    too_large = sorted({row.max_size for row in plan.rows if row.max_size > plan.volume_bytes})
    if too_large:
        sizes = ", ".join(map(words.size, too_large))
        yield f"The volume of this cache has {words.size(plan.volume_bytes)}, less than {sizes}."


def _percent(ratio: float) -> str:
    return f"{100 * ratio:.1f}%"
