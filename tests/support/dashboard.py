"""monitoring/grafana.json, and what a real Prometheus says to it: the source of docs/pictures/dashboard*.svg.

`python -m tests.support.dashboard` plays a working day of five minutes to a real daemon, asks every question of the
dashboard and draws the pictures anew; look at what changed before keeping it. Grafana is no package of Debian: the
panels are drawn by tests/support/plots.py, from the same file, the same questions and the same answers.
"""

import asyncio
import json
import re
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Final

from tests.support.fetch import fetch
from tests.support.plots import Curve, Panel, Place, draw
from tests.support.postgres import PostgresServer
from tests.support.prometheus import Prometheus
from tests.support.working_day import working_day
from vochi_agent.store.installations import find_installation

__all__ = ["FIRST_SCREEN", "WHOLE", "answers", "first_screen", "panels"]

ROOT: Final = Path(__file__).parents[2]
DASHBOARD: Final = ROOT / "monitoring" / "grafana.json"
# What is seen when it is opened, above the row of this name, and all of it.
FIRST_SCREEN: Final = ROOT / "docs" / "pictures" / "dashboard.svg"
FURTHER_DOWN: Final = "CRMs"
WHOLE: Final = ROOT / "docs" / "pictures" / "dashboard-whole.svg"
# As Grafana asks: so many points a panel, and a rate over four scrapes at least.
POINTS: Final = 75
SCRAPES: Final = 4
SCRAPED_EVERY_S: Final = 4


@cache
def panels() -> Sequence[Panel]:
    """Every panel and every heading of a row, as the file has them."""
    return [_panel(panel) for panel in json.loads(DASHBOARD.read_text(encoding="utf-8"))["panels"]]


def first_screen() -> list[Panel]:
    """Those that are seen without scrolling."""
    (fold,) = (panel.place.y for panel in panels() if panel.title == FURTHER_DOWN)
    return [panel for panel in panels() if panel.place.y < fold]


async def answers(prometheus: Prometheus, panel: Panel, *, begin: float, end: float) -> list[list[Curve]]:
    """What Prometheus says to each question of a panel, under the names that its legend gives.

    Args:
        begin, end: Seconds of UNIX.
    """
    step = max((end - begin) / POINTS, prometheus.interval_s)
    rate = max(step + prometheus.interval_s, SCRAPES * prometheus.interval_s)
    found = []
    for expr, legend in panel.questions:
        filled = expr.replace("$__rate_interval", f"{rate:.0f}s").replace("$enterprise", ".*")
        series = await prometheus.series(filled, begin=begin, end=end, step_s=step)
        found.append([Curve(_named(legend, each.labels), each.points) for each in series if each.points])
    return found


def _panel(panel: Mapping[str, Any]) -> Panel:
    defaults = panel.get("fieldConfig", {}).get("defaults", {})
    mappings = {word: shown for each in defaults.get("mappings", []) for word, shown in each["options"].items()}
    place = panel["gridPos"]
    return Panel(
        kind=panel["type"],
        title=panel["title"],
        place=Place(place["x"], place["y"], place["w"], place["h"]),
        questions=[(each["expr"], each["legendFormat"]) for each in panel.get("targets", [])],
        unit=defaults.get("unit", "short"),
        bars=defaults.get("custom", {}).get("drawStyle") == "bars",
        thresholds=[(each["value"], each["color"]) for each in defaults.get("thresholds", {}).get("steps", [])],
        words={word: (shown["text"], shown.get("color", "")) for word, shown in mappings.items()},
    )


def _named(legend: str, labels: Mapping[str, str]) -> str:
    return re.sub(r"\{\{(\w+)\}\}", lambda found: labels.get(found[1], ""), legend).strip()


async def main() -> None:
    """Play, ask, draw."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        with PostgresServer(find_installation().path / "bin", folder) as server:
            await server.make_template()
            async with working_day(folder, server, fetch("prometheus"), scraped_every_s=SCRAPED_EVERY_S) as day:
                begin = time.time()
                await day.play(speed=1)
                end = time.time()
                shown = {
                    panel: [
                        curve
                        for curves in await answers(day.prometheus, panel, begin=begin, end=end)
                        for curve in curves
                    ]
                    for panel in panels()
                }
    for path, chosen in {FIRST_SCREEN: first_screen(), WHOLE: panels()}.items():
        path.write_text(draw({panel: shown[panel] for panel in chosen}, begin=begin, end=end), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
