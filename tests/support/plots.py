"""A dashboard's panels drawn as SVG: curves, stacked bars, single values, bands of states. Pure; widths are guessed.

It is not Grafana. What stands in the panels is what Prometheus answered, in the places, names, units and colours of
the dashboard's own file.
"""

import html
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

__all__ = ["Curve", "Panel", "Place", "draw"]

FONT: Final = "'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"
# A cell of Grafana's grid of 24 columns, the room between two panels and around all.
CELL, LINE, GAP, MARGIN = 45, 26, 6, 10
SMALL, TITLE, LETTER = 11, 13, 6.3
REGULAR, BOLD = 400, 600
AXIS, HEAD, FOOT = 52, 30, 20
WALL, PAPER, EDGE, INK, FAINT, GRID = "#f0f2f5", "#ffffff", "#d8dce2", "#24292f", "#6a737d", "#e9ecef"
NAMED: Final = {"green": "#4b9e43", "orange": "#e8833a", "red": "#d0394a", "blue": "#3d71d9"}
PALETTE: Final = (
    *("#5aa64b", "#e0b400", "#3d85c6", "#e8833a", "#d0394a", "#8a63c4"),
    *("#2f9e9a", "#b5651d", "#7d8a97", "#a0b833", "#d16ba5", "#35618f"),
)
TICKS: Final = 4
LEGEND_LINES: Final = 4


@dataclass(frozen=True, slots=True)
class Curve:
    """What one line of a panel shows.

    Attributes:
        points: Seconds of UNIX and value, the oldest first.
    """

    name: str
    points: Sequence[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a panel lies in the grid: columns and lines from the left upper corner."""

    x: int
    y: int
    width: int
    height: int


@dataclass(frozen=True, slots=True, eq=False)
class Panel:
    """One panel, or the heading of a row of them.

    Attributes:
        kind: As Grafana calls it: `row`, `stat`, `timeseries`, `state-timeline`.
        questions: PromQL with Grafana's variables, and the pattern of the names in the legend.
        unit: `short`, `s`, `bytes`.
        bars: Stacked bars in place of lines.
        thresholds: From which value on which colour; the first one has no value.
        words: Value -> what is shown in its place, and its colour or "".
    """

    kind: str
    title: str
    place: Place
    questions: Sequence[tuple[str, str]]
    unit: str
    bars: bool
    thresholds: Sequence[tuple[float | None, str]]
    words: Mapping[str, tuple[str, str]]


@dataclass(frozen=True, slots=True)
class _Box:
    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True, slots=True)
class _Scale:
    """From times and values to the picture."""

    box: _Box
    begin: float
    end: float
    top: float

    def x(self, at: float) -> float:
        return self.box.x + self.box.width * (at - self.begin) / (self.end - self.begin)

    def y(self, value: float) -> float:
        return self.box.y + self.box.height * (1 - value / self.top)


def draw(shown: Mapping[Panel, Sequence[Curve]], *, begin: float, end: float) -> str:
    """The dashboard: each panel in its place.

    Args:
        begin, end: The time from left to right, seconds of UNIX.
    """
    lines = max(panel.place.y + panel.place.height for panel in shown)
    width, height = MARGIN * 2 + CELL * 24, MARGIN * 2 + LINE * lines
    parts = [part for panel, curves in shown.items() for part in _panel(panel, curves, begin, end)]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
        f'role="img" font-family="{FONT}" font-size="{SMALL}">\n<title>vochi-agent: the dashboard</title>\n'
        f'<rect width="{width}" height="{height}" rx="10" fill="{WALL}"/>\n' + "\n".join(parts) + "\n</svg>\n"
    )


def _panel(panel: Panel, curves: Sequence[Curve], begin: float, end: float) -> Iterator[str]:
    place = panel.place
    x, y = MARGIN + CELL * place.x + GAP / 2, MARGIN + LINE * place.y + GAP / 2
    box = _Box(x, y, CELL * place.width - GAP, LINE * place.height - GAP)
    if panel.kind == "row":
        yield _text(box.x + 4, box.y + 15, panel.title, size=14, weight=BOLD)
        return
    yield f'<rect {_rect(box)} rx="4" fill="{PAPER}" stroke="{EDGE}"/>'
    if panel.kind == "stat":
        yield from _stat(panel, curves, box)
        return
    yield _text(box.x + 10, box.y + 19, panel.title, size=TITLE, weight=BOLD)
    legend = list(_legend([curve.name for curve in curves], box))
    rows = 1 + max((row for row, _, _ in legend), default=0)
    field = _Box(box.x + AXIS, box.y + HEAD, box.width - AXIS - 12, box.height - HEAD - FOOT - 16 * rows - 4)
    if panel.kind == "state-timeline":
        yield from _bands(panel, curves, _Scale(field, begin, end, 1))
    else:
        yield from _plot(panel, curves, field, begin, end)
    for (row, left, name), colour in zip(legend, _colours(len(legend)), strict=True):
        y = box.y + box.height - 16 * rows + 16 * row + 6
        if panel.kind != "state-timeline":
            yield f'<rect x="{left:.1f}" y="{y - 3:.1f}" width="12" height="4" rx="2" fill="{colour}"/>'
            yield _text(left + 16, y + 3, name, colour=FAINT)


def _stat(panel: Panel, curves: Sequence[Curve], box: _Box) -> Iterator[str]:
    """The newest value on a ground that says how bad it is."""
    value = curves[0].points[-1][1] if curves else math.nan
    colour = [name for least, name in panel.thresholds if least is None or value >= least][-1]
    word, _ = panel.words.get(f"{value:g}", (_amount(value, panel.unit), ""))
    yield f'<rect {_rect(box)} rx="4" fill="{NAMED[colour]}"/>'
    yield _text(box.x + 10, box.y + 19, panel.title, size=TITLE, weight=BOLD, colour=PAPER)
    middle, foot = box.x + box.width / 2, box.y + box.height - 24
    yield _text(middle, foot, word, size=34, weight=BOLD, colour=PAPER, anchor="middle")


def _plot(panel: Panel, curves: Sequence[Curve], field: _Box, begin: float, end: float) -> Iterator[str]:
    stacked = _stacked(curves) if panel.bars else [(curve.points, ()) for curve in curves]
    highest = max((value for points, _ in stacked for _, value in points), default=0.0)
    ticks = _ticks(highest, panel.unit)
    scale = _Scale(field, begin, end, ticks[-1])
    yield from _axes(scale, ticks, panel.unit)
    for (points, below), colour in zip(stacked, _colours(len(stacked)), strict=True):
        if panel.bars:
            yield _bars(scale, points, below, colour)
        else:
            yield _curve(scale, points, colour)


def _stacked(curves: Sequence[Curve]) -> list[tuple[list[tuple[float, float]], Sequence[float]]]:
    """Each curve upon those before it: its upper ends, and where each of its bars stands."""
    ground: dict[float, float] = {}
    found = []
    for curve in curves:
        below = [ground.get(at, 0.0) for at, _ in curve.points]
        above = [(at, low + value) for (at, value), low in zip(curve.points, below, strict=True)]
        ground |= dict(above)
        found.append((above, below))
    return found


def _axes(scale: _Scale, ticks: Sequence[float], unit: str) -> Iterator[str]:
    box = scale.box
    for tick in ticks:
        y = scale.y(tick)
        yield f'<path d="M{box.x:.1f},{y:.1f}h{box.width:.1f}" stroke="{GRID}"/>'
        yield _text(box.x - 6, y + 4, _amount(tick, unit), colour=FAINT, anchor="end")
    yield from _times(scale)


def _times(scale: _Scale) -> Iterator[str]:
    every = 60 if scale.box.width > 60 * LETTER else 120
    for at in range(math.ceil(scale.begin / every) * every, int(scale.end), every):
        name = datetime.fromtimestamp(at, UTC).strftime("%H:%M")
        yield _text(scale.x(at), scale.box.y + scale.box.height + 15, name, colour=FAINT, anchor="middle")


def _bars(scale: _Scale, points: Sequence[tuple[float, float]], below: Sequence[float], colour: str) -> str:
    width = scale.box.width / max(len(points), 60) * 0.8
    drawn = [
        f"M{scale.x(at) - width / 2:.1f},{scale.y(low):.1f}V{scale.y(high):.1f}h{width:.1f}V{scale.y(low):.1f}z"
        for (at, high), low in zip(points, below, strict=True)
        if high > low
    ]
    return f'<path d="{"".join(drawn)}" fill="{colour}"/>'


def _curve(scale: _Scale, points: Sequence[tuple[float, float]], colour: str) -> str:
    line = "L".join(f"{scale.x(at):.1f},{scale.y(value):.1f}" for at, value in points)
    return f'<path d="M{line}" fill="none" stroke="{colour}" stroke-width="1.6" stroke-linejoin="round"/>'


def _bands(panel: Panel, curves: Sequence[Curve], scale: _Scale) -> Iterator[str]:
    """One band a curve, its colour the state; neighbours of one state are one piece, which says it where it fits."""
    yield from _times(scale)
    height = min(34.0, scale.box.height / max(len(curves), 1) - 24)
    for number, curve in enumerate(curves):
        y = scale.box.y + number * (height + 24) + 18
        yield _text(scale.box.x, y - 5, curve.name, colour=FAINT)
        for begin, end, value in _pieces(curve.points, scale.end):
            word, colour = panel.words.get(f"{value:g}", (f"{value:g}", "blue"))
            box = _Box(scale.x(begin), y, scale.x(end) - scale.x(begin), height)
            yield f'<rect {_rect(box)} fill="{NAMED[colour or "blue"]}"/>'
            if box.width > LETTER * len(word) + 8:
                yield _text(box.x + box.width / 2, y + height / 2 + 4, word, colour=PAPER, anchor="middle")


def _pieces(points: Sequence[tuple[float, float]], end: float) -> Iterator[tuple[float, float, float]]:
    before = [math.nan, *(value for _, value in points)]
    begins = [point for point, last in zip(points, before, strict=False) if point[1] != last]
    for (begin, value), following in zip(begins, [*begins[1:], (end, 0.0)], strict=True):
        yield begin, following[0], value


def _legend(names: Sequence[str], box: _Box) -> Iterator[tuple[int, float, str]]:
    """Line, left end and name of each, as many in a line as fit; who does not fit into the lines is left out."""
    row, left = 0, box.x + 12
    for name in names:
        width = 16 + LETTER * len(name) + 12
        if left > box.x + 12 and left + width > box.x + box.width:
            row, left = row + 1, box.x + 12
        if row == LEGEND_LINES:
            return
        yield row, left, name
        left += width


def _ticks(highest: float, unit: str) -> list[float]:
    """Round values from 0 to above the highest."""
    least = {"s": 0.001, "bytes": 1024.0}.get(unit, 1.0)
    raw = max(highest, least) / TICKS
    if unit == "bytes":
        step = 2.0 ** math.ceil(math.log2(raw))
    else:
        power = 10.0 ** math.floor(math.log10(raw))
        step = next(power * round_ for round_ in (1, 2, 2.5, 5, 10) if power * round_ >= raw)
        step = max(step, 1.0) if unit == "short" else step
    return [step * number for number in range(math.ceil(max(highest, least) / step) + 1)]


def _amount(value: float, unit: str) -> str:
    """With its unit, as people say it."""
    if math.isnan(value):
        return "no data"
    if unit == "bytes":
        power = max(0, min(3, int(math.log2(value) // 10))) if value else 0
        return f"{value / 1024**power:.3g} {('B', 'KiB', 'MiB', 'GiB')[power]}"
    if unit == "s" and 0 < value < 1:
        return f"{value * 1000:.3g} ms"
    return f"{value:.3g}{' s' if unit == 's' else ''}"


def _colours(count: int) -> list[str]:
    return [PALETTE[number % len(PALETTE)] for number in range(count)]


def _rect(box: _Box) -> str:
    return f'x="{box.x:.1f}" y="{box.y:.1f}" width="{box.width:.1f}" height="{box.height:.1f}"'


def _text(
    x: float,
    y: float,
    words: str,
    *,
    size: int = SMALL,
    weight: int = REGULAR,
    colour: str = INK,
    anchor: str = "start",
) -> str:
    style = f' font-weight="{weight}"' if weight != REGULAR else ""
    style += f' text-anchor="{anchor}"' if anchor != "start" else ""
    words = html.escape(words, quote=False)
    return f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" fill="{colour}"{style}>{words}</text>'
