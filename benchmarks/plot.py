"""All promises in one picture: how far on the right side of its promise each figure is. Written as SVG by hand."""

import html
from collections.abc import Iterator, Sequence
from math import ceil, floor, log2

from benchmarks.report import Together, written

__all__ = ["plot"]

STYLE = "font-family=\"'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif\" font-size=\"13\""
INK, FAINT, GRID, PAPER, KEPT, MISSED = "#1b1f24", "#66707a", "#d8dde2", "#ffffff", "#2f7f86", "#c0561f"
HALO = f' stroke="{PAPER}" stroke-width="4" paint-order="stroke"'  # grid lines stay behind the figures
WIDTH, LABELS, MARGIN, STEP, BAR = 980, 352, 20, 30, 16
TOP, BOTTOM = 64, 30


def plot(rows: Sequence[Together]) -> str:
    """Bars on a logarithmic scale: 1 is the promise, 2 is twice as good; towards the left it is missed."""
    low = min(-1, floor(min(log2(_times(row)) for row in rows)))
    high = max(1, ceil(max(log2(_times(row)) for row in rows)))
    height = TOP + STEP * len(rows) + BOTTOM
    size = f'width="{WIDTH}" height="{height}"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" {size} {STYLE}>',
        f'<rect {size} rx="8" fill="{PAPER}"/>',
        _text(MARGIN, 26, "How many times better than promised", fill=INK, size=15),
        *_scale(low, high, height),
        *(part for number, row in enumerate(rows) for part in _bar(row, low, high, TOP + STEP * number)),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _times(row: Together) -> float:
    """How many times better than the promise."""
    reach, figure = row.row.reach, max(row.figure, 1e-9)
    return figure / reach.at_least if reach.at_least else (reach.at_most or 1.0) / figure


def _x(power: float, low: int, high: int) -> float:
    room = WIDTH - LABELS - MARGIN - 150  # behind the longest bar its figure is written
    return LABELS + room * (power - low) / (high - low)


def _scale(low: int, high: int, height: int) -> Iterator[str]:
    for power in range(low, high + 1):
        x = _x(power, low, high)
        ink, name = (INK, "promise") if power == 0 else (FAINT, f"{1 << power}×" if power > 0 else f"1/{1 << -power}")
        yield (
            f'<line x1="{x:.1f}" y1="{TOP - 8}" x2="{x:.1f}" y2="{height - BOTTOM + 4}" '
            f'stroke="{INK if power == 0 else GRID}" stroke-width="{1 if power else 1.5}"/>'
        )
        yield _text(x, TOP - 14, name, anchor="middle", fill=ink, size=11)


def _bar(row: Together, low: int, high: int, top: float) -> Iterator[str]:
    start, end = sorted((_x(0, low, high), _x(log2(_times(row)), low, high)))
    middle = top + STEP / 2 + 4.5
    yield _text(LABELS - 12, middle, row.row.work, anchor="end", fill=INK)
    yield (
        f'<rect x="{start:.1f}" y="{top + (STEP - BAR) / 2}" width="{max(end - start, 1.5):.1f}" height="{BAR}" rx="2" '
        f'fill="{KEPT if row.held else MISSED}"/>'
    )
    yield _text(end + 7, middle, f"{written(row.figure, row.row.unit)} ({row.row.reach})", fill=INK, more=HALO)


def _text(x: float, y: float, text: str, *, fill: str, anchor: str = "start", size: int = 13, more: str = "") -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{fill}" font-size="{size}"{more}>'
        f"{html.escape(text)}</text>"
    )
