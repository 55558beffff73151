"""The displays of telephones that ring, drawn as SVG from the INVITE that a real Asterisk sent to each of them.

`python -m tests.support.handset_pictures` places the call and draws docs/pictures/handsets.svg anew.
"""

import asyncio
import html
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final

from tests.support.asterisk import Asterisk
from tests.support.fetch import fetch
from tests.support.postgres import PostgresServer
from tests.support.sipp import Sipp
from tests.support.world import World, world_around
from vochi_agent.store.installations import find_installation

__all__ = ["HANDSETS", "PICTURE", "Screen", "draw", "screens"]

PICTURE: Final = Path(__file__).parents[2] / "docs" / "pictures" / "handsets.svg"
# What old telephones of the laboratory can show: `charset` and `name_width` of their agents.
HANDSETS: Final[Mapping[str, tuple[str, int]]] = MappingProxyType({"103": ("latin", 24), "104": ("ascii", 12)})
RING_GROUP, CALLER, PHONES = "0000230", "80290000022", ("101", "103", "104")

SANS: Final = "'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"
MONO: Final = "'DejaVu Sans Mono', Consolas, Menlo, 'Liberation Mono', monospace"
GAP, MARGIN, TOP, HEIGHT = 20, 20, 20, 212
BODY, EDGE, KEY, CAPTION = "#343a42", "#20242a", "#59616c", "#57606a"
# Width of the telephone, and of its display the ground, the ink and the size of the name's letters.
COLOUR: Final = (400, "#f4f8fc", "#10243a", 18)
GREY: Final = (340, "#c3cdb3", "#22291b", 19)
SMALL: Final = (270, "#c3cdb3", "#22291b", 24)


@dataclass(frozen=True, slots=True)
class Screen:
    """What one telephone was told.

    Attributes:
        extension: Whose telephone it is.
        name, number: Of From in its INVITE.
    """

    extension: str
    name: str
    number: str


async def screens(world: World) -> list[Screen]:
    """One call to a ring group, as three kinds of telephones see it come."""
    await world.sipp.call(RING_GROUP, CALLER, patience_s=1.5, hold_s=0.1)
    await world.asterisk.until_idle()
    told = [world.sipp.invites(phone)[0] for phone in PHONES]
    return [Screen(invite.number, invite.display_name, invite.caller) for invite in told]


def draw(shown: Sequence[Screen]) -> str:
    """Three telephones side by side: a new one, an old one, a small one."""
    x, parts = MARGIN, []
    for screen, look in zip(shown, (COLOUR, GREY, SMALL), strict=True):
        parts.append(_telephone(screen, look, x))
        x += look[0] + GAP
    width, height = x - GAP + MARGIN, TOP + HEIGHT + 44
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
        f'role="img" font-family="{SANS}">\n<title>One call on three telephones</title>\n'
        f'<rect width="{width}" height="{height}" rx="12" fill="#e9edf1"/>\n' + "".join(parts) + "</svg>\n"
    )


def _telephone(screen: Screen, look: tuple[int, str, str, int], x: int) -> str:
    width, ground, ink, size = look
    charset, letters = HANDSETS.get(screen.extension, ("utf-8", 60))
    left, middle = x + 20, x + width // 2
    keys = "".join(
        f'<rect x="{x + width * at // 4 - 24}" y="{TOP + HEIGHT - 39}" width="48" height="16" rx="8" fill="{KEY}"/>\n'
        for at in (1, 2, 3)
    )
    return (
        f'<rect x="{x}" y="{TOP}" width="{width}" height="{HEIGHT}" rx="16" fill="{BODY}" stroke="{EDGE}"/>\n'
        f'<rect x="{left}" y="{TOP + 20}" width="{width - 40}" height="136" rx="5" fill="{ground}" stroke="{EDGE}"/>\n'
        + _text(left + 12, TOP + 42, screen.extension, ink, 13)
        + f'<path d="M{left + 12},{TOP + 51}H{left + width - 52}" stroke="{ink}" stroke-opacity=".25"/>\n'
        + _text(middle, TOP + 95, screen.name, ink, size, "" if ground == COLOUR[1] else MONO)
        + _text(middle, TOP + 127, screen.number, ink, 17, "" if ground == COLOUR[1] else MONO)
        + keys
        + f'<circle cx="{x + width - 24}" cy="{TOP + 10}" r="4" fill="#e5484d"/>\n'
        + _text(middle, TOP + HEIGHT + 28, f'charset = "{charset}", name_width = {letters}', CAPTION, 13, MONO)
    )


def _text(x: int, y: int, words: str, colour: str, size: int, font: str = "") -> str:
    family = f' font-family="{font}"' if font else ""
    anchor = "" if size == 13 and not font else ' text-anchor="middle"'
    words = html.escape(words, quote=False)
    style = f'font-size="{size}" fill="{colour}"{family}{anchor} xml:space="preserve"'
    return f'<text x="{x}" y="{y}" {style}>{words}</text>\n'


async def main() -> None:
    """Place the call, draw."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        with PostgresServer(find_installation().path / "bin", folder) as server:
            await server.make_template()
            async with (
                Asterisk(fetch("asterisk22"), send_pai=True) as asterisk,
                Sipp(fetch("sipp"), asterisk.ports) as sipp,
                world_around(asterisk, sipp, server, folder, chats=(), handsets=HANDSETS) as world,
            ):
                PICTURE.write_text(draw(await screens(world)), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
