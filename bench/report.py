"""The table, the ratios that the project promises, and JSON."""

import json
from collections.abc import Sequence
from pathlib import Path

from bench.cases import Table
from bench.measured import Measured

_FIRST = 38
_WIDTH = 25
_COLD = "cold blob, {} clients: {}"


def table(measured: Table, columns: Sequence[str]) -> str:
    """A row for each thing measured: the median, and the best round in brackets."""
    lines = ["".ljust(_FIRST) + "".join(name.rjust(_WIDTH) for name in columns)]
    for row, cells in measured.items():
        shown = (_cell(cells.get(name)) for name in columns)
        lines.append(row.ljust(_FIRST) + "".join(cell.rjust(_WIDTH) for cell in shown))
    return "\n".join(lines)


def ratios(measured: Table, ours: Sequence[str], peers: Sequence[str]) -> str:
    """How each of ours compares with each of its peers, by medians."""
    pairs = [(name, peer) for name in ours for peer in peers]
    lines = ["", "Ratio of the medians, ours ÷ theirs".ljust(_FIRST) + _heads(ours, peers)]
    for row, cells in measured.items():
        shown = (_ratio(cells.get(name), cells.get(peer)) for name, peer in pairs)
        lines.append(row.ljust(_FIRST) + "".join(cell.rjust(_WIDTH) for cell in shown))
    return "\n".join(lines)


def _heads(ours: Sequence[str], peers: Sequence[str]) -> str:
    first = (name.partition(", ")[2] for name in ours for _ in peers)
    second = [peer.partition(",")[0] for _ in ours for peer in peers]
    return "".join(f"{a} ÷ {b}".rjust(_WIDTH) for a, b in zip(first, second, strict=True))


def _ratio(ours: Measured | None, theirs: Measured | None) -> str:
    return f"{ours.median / theirs.median:.3g}" if ours and theirs and theirs.median else "-"


def write_json(path: Path, measured: Table, about: dict[str, object]) -> None:
    """Everything, with each round's value."""
    rows = {
        row: {
            name: {"unit": cell.unit, "median": cell.median, "best": cell.best} | _rounds(cell)
            for name, cell in cells.items()
        }
        for row, cells in measured.items()
    }
    path.write_text(json.dumps({"about": about, "measured": rows}, indent=1, ensure_ascii=False))


def _rounds(cell: Measured) -> dict[str, list[float]]:
    return {"rounds": cell.rounds}


def _cell(cell: Measured | None) -> str:
    if cell is None:
        return "-"
    best = f" ({_number(cell.best)})" if len(cell.rounds) > 1 else ""
    return f"{_number(cell.median)}{best} {cell.unit}".rstrip()


def _number(value: float) -> str:
    if value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.2f}" if value < 100 else f"{value:.0f}"
