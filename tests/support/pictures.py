"""Cards as people see them in Telegram, drawn as SVG from the same texts as the golden file.

Browsers have the letters and the emoji; here only widths are guessed, with some room, so that lines break alike
everywhere. `python -m tests.support.cards` writes the pictures of docs/pictures anew.
"""

import html
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Final

__all__ = ["sheet"]

FONT: Final = "'Segoe UI', Roboto, 'Helvetica Neue', Arial, 'Noto Color Emoji', 'Apple Color Emoji', sans-serif"
SIZE, LEADING = 15, 20
COLUMN, GAP, MARGIN = 372, 18, 18
PADDING, BAR, BUTTON = 11, 12, 32
# A folded quote shows so many lines.
FOLDED: Final = 3
INK, LINK, FAINT, LABEL, NAME = "#0f1419", "#2481cc", "#8a99a6", "#52674f", "#c0561f"
PAPER, WALL, TINT, KEY = "#ffffff", "#d3e0d0", "#eaf3fb", "#8aa585"

Keyboards = Mapping[str, Sequence[Sequence[str]]]
NO_BUTTONS: Final[Keyboards] = MappingProxyType({})

_TAG = re.compile(r"<(/?)([a-z]+)([^>]*)>")
# What Telegram's programs make links of by themselves.
_SELF_LINKED = re.compile(r"(\+\d[\d ()*-]{6,}\d|#[\w]+|/[a-z]+\b)")
_EMOJI = re.compile("[\u2190-\u2bff\u3030\U0001f000-\U0001faff]")
_NO_WIDTH = re.compile("[\ufe0f\u200d\U0001f3fb-\U0001f3ff]")
_WIDE, _NARROW = set("ЖМФШЩЫЮЖшщмжыфюWMmw@%№—…"), set(" .,:;!|'·()[]-ijltfrIГг1")


@dataclass(frozen=True, slots=True)
class Run:
    """Words in one style."""

    text: str
    link: bool = False
    bold: bool = False


@dataclass(frozen=True, slots=True)
class Line:
    """A line as it is seen; `quoted`: which quote of the card it stands in, 0 for none."""

    runs: tuple[Run, ...]
    quoted: int = 0
    folded: bool = False


def sheet(cards: Sequence[tuple[str, str]], *, columns: int, title: str, buttons: Keyboards = NO_BUTTONS) -> str:
    """Cards beside and below each other, each under its name.

    Args:
        buttons: By the name of a card: the rows of words on its buttons.
    """
    heights, parts = [MARGIN] * columns, []
    for name, text in cards:
        column = heights.index(min(heights))
        x = MARGIN + column * (COLUMN + GAP)
        drawn, height = _card(name, text, x, heights[column])
        parts.append(drawn)
        heights[column] += height
        for row in buttons.get(name, ()):
            parts.append(_row(row, x, heights[column] + 4))
            heights[column] += BUTTON + 4
        heights[column] += GAP
    width, height = MARGIN * 2 + columns * COLUMN + (columns - 1) * GAP, max(heights) - GAP + MARGIN
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
        f'role="img" font-family="{FONT}" font-size="{SIZE}">\n<title>{html.escape(title)}</title>\n'
        f'<rect width="{width}" height="{height}" rx="12" fill="{WALL}"/>\n' + "".join(parts) + "</svg>\n"
    )


def _card(name: str, text: str, x: int, y: int) -> tuple[str, int]:
    """The name of a card and its bubble, and how high both are."""
    names = [line.runs[0].text for line in _wrapped([Line((Run(name),))], COLUMN - 8)]
    top = y + len(names) * 17 + 4
    lines = _folded(_wrapped(list(_lines(text)), COLUMN - PADDING * 2))
    # The name of the bot above, the time below.
    height = PADDING + LEADING * (len(lines) + 1) + 8 + PADDING
    out = [_text(x + 4, y + 12 + 17 * at, [Run(line)], LABEL, 13) for at, line in enumerate(names)]
    out.append(f'<path d="{_bubble(x, top, COLUMN, height)}" fill="{PAPER}"/>\n')
    out.append(_text(x + PADDING, top + PADDING + 12, [Run("Телефония", bold=True)], NAME, 14))
    baseline = top + PADDING + LEADING + 13
    for quote in sorted({line.quoted for line in lines} - {0}):
        at = [number for number, line in enumerate(lines) if line.quoted == quote]
        out.append(_quote(x + PADDING, baseline + LEADING * at[0] - 15, LEADING * len(at)))
    for number, line in enumerate(lines):
        left = x + PADDING + (BAR if line.quoted else 0)
        out.append(_text(left, baseline + LEADING * number, line.runs, INK, SIZE))
        if line.folded:
            out.append(_text(x + COLUMN - PADDING - 18, baseline + LEADING * number, [Run("⌄")], LINK, SIZE))
    out.append(_text(x + COLUMN - PADDING - 30, top + height - 8, [Run("10:01")], FAINT, 12))
    return "".join(out), top - y + height


def _row(labels: Sequence[str], x: int, y: int) -> str:
    """Buttons that share the width of a card."""
    width = (COLUMN - 4 * (len(labels) - 1)) // len(labels)
    return "".join(
        f'<rect x="{x + at * (width + 4)}" y="{y}" width="{width}" height="{BUTTON}" rx="7" fill="{KEY}"/>\n'
        f'<text x="{x + at * (width + 4) + width // 2}" y="{y + 21}" fill="{PAPER}" font-size="14" font-weight="600" '
        f'text-anchor="middle">{html.escape(label, quote=False)}</text>\n'
        for at, label in enumerate(labels)
    )


def _lines(text: str) -> Iterator[Line]:
    """The markup of a card as lines of runs."""
    link = bold = False
    quoted, quotes, folds = 0, 0, False
    for source in text.split("\n"):
        runs: list[Run] = []
        position, here = 0, quoted
        for tag in [*_TAG.finditer(source), None]:
            words = html.unescape(source[position : tag.start() if tag else len(source)])
            runs += [
                Run(part, link=link or bool(_SELF_LINKED.fullmatch(part)), bold=bold)
                for part in _SELF_LINKED.split(words)
                if part
            ]
            if tag is None:
                break
            position, opens = tag.end(), not tag[1]
            match tag[2]:
                case "a":
                    link = opens
                case "b":
                    bold = opens
                case "blockquote" if opens:
                    quotes += 1
                    quoted = here = quotes
                    folds = "expandable" in tag[3]
                case "blockquote":
                    quoted = 0
        yield Line(tuple(runs), here, folded=folds and bool(here))


def _wrapped(lines: Sequence[Line], width: int) -> list[Line]:
    """The same lines, none of them wider than this."""
    out = []
    for line in lines:
        room = width - (BAR if line.quoted else 0)
        row: list[Run] = []
        used = 0.0
        for run in line.runs:
            for word in re.findall(r"\S+\s*|\s+", run.text):
                if row and used + _width(word.rstrip()) > room:
                    out.append(replace(line, runs=tuple(row)))
                    row, used = [], 0.0
                used += _width(word)
                if row and (row[-1].link, row[-1].bold) == (run.link, run.bold):
                    row[-1] = replace(row[-1], text=row[-1].text + word)
                else:
                    row.append(replace(run, text=word))
        out.append(replace(line, runs=tuple(row)))
    return out


def _folded(lines: Sequence[Line]) -> list[Line]:
    """Of quotes that open on a tap the first lines, the last of them with the sign for it."""
    out: list[Line] = []
    shown: dict[int, int] = {}
    for line in lines:
        if line.folded:
            shown[line.quoted] = shown.get(line.quoted, 0) + 1
            if shown[line.quoted] > FOLDED:
                continue
            out.append(replace(line, folded=shown[line.quoted] == FOLDED))
        else:
            out.append(line)
    return out


def _width(text: str) -> float:
    """About how wide it is."""
    return sum(_glyph(letter) for letter in _NO_WIDTH.sub("", text)) * SIZE


def _glyph(letter: str) -> float:
    if _EMOJI.match(letter):
        return 1.35
    if letter in _NARROW:
        return 0.36
    return 0.86 if letter in _WIDE else 0.7 if letter.isupper() else 0.58


def _text(x: int, y: int, runs: Sequence[Run], colour: str, size: int) -> str:
    spans = "".join(
        f"<tspan{_style(run)}>{html.escape(run.text, quote=False)}</tspan>"
        if run.link or run.bold
        else html.escape(run.text, quote=False)
        for run in runs
    )
    return f'<text x="{x}" y="{y}" fill="{colour}" font-size="{size}" xml:space="preserve">{spans}</text>\n'


def _style(run: Run) -> str:
    return (f' fill="{LINK}"' if run.link else "") + (' font-weight="600"' if run.bold else "")


def _quote(x: int, y: int, height: int) -> str:
    width = COLUMN - PADDING * 2
    return (
        f'<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="4" fill="{TINT}"/>\n'
        f'<rect x="{x}" y="{y}" width="3" height="{height}" rx="1.5" fill="{LINK}"/>\n'
    )


def _bubble(x: int, y: int, width: int, height: int, radius: int = 13) -> str:
    """A rounded box whose lower left corner points at who speaks."""
    right, bottom = x + width, y + height
    return (
        f"M{x + radius},{y} H{right - radius} Q{right},{y} {right},{y + radius} V{bottom - radius} "
        f"Q{right},{bottom} {right - radius},{bottom} H{x - 7} Q{x},{bottom - 3} {x},{bottom - radius} "
        f"V{y + radius} Q{x},{y} {x + radius},{y} Z"
    )
