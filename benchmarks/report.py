"""What `make bench` found: kept as JSON, shown as tables. Pure but for reading and writing the file."""

import json
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from rich.table import Table

from benchmarks.row import Row

__all__ = ["Report", "Together", "markdown", "spread", "table", "together", "written"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """One run of the benchmarks.

    Attributes:
        at: When it began, ISO 8601 in UTC.
        machine: Versions, cores, processor.
        seconds: How long each benchmark took, by its module.
        failed: Which could not be measured, and why.
    """

    at: str
    machine: Mapping[str, Any]
    seconds: Mapping[str, float]
    failed: Mapping[str, str]
    rows: tuple[Row, ...]

    def save(self, path: Path) -> None:
        """Write it for people and programs."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(asdict(self), ensure_ascii=False, indent=2) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> Self:
        """The inverse of `save`."""
        found = json.loads(path.read_text(encoding="utf-8"))
        return cls(**(found | {"rows": tuple(Row.from_json(json.dumps(row)) for row in found["rows"])}))


@dataclass(frozen=True, slots=True)
class Together:
    """A promise as several runs saw it; `row` is of the run in the middle."""

    row: Row
    figures: tuple[float, ...]

    @property
    def figure(self) -> float:
        """The median of the runs."""
        return statistics.median(self.figures)

    @property
    def held(self) -> bool:
        """Whether the median keeps the promise."""
        return self.row.reach.holds(self.figure)

    @property
    def spread(self) -> float:
        """Between the smallest and the greatest, as a part of the median."""
        return (max(self.figures) - min(self.figures)) / self.figure if self.figure else 0.0


def together(reports: Sequence[Report]) -> list[Together]:
    """The rows of all runs, each promise once, in the order of the first run that has it."""
    found: dict[str, list[Row]] = {}
    for report in reports:
        for row in report.rows:
            found.setdefault(row.work, []).append(row)
    return [
        Together(sorted(rows, key=lambda row: row.figure)[(len(rows) - 1) // 2], tuple(row.figure for row in rows))
        for rows in found.values()
    ]


def table(report: Report) -> Table:
    """What was promised and what is."""
    drawn = Table(title=_title(report.machine), title_justify="left", title_style="")
    for heading in ("work", "vochi-agent", "beside", "that does"):
        drawn.add_column(heading)
    for heading in ("figure", "promise", ""):
        drawn.add_column(heading, justify="right", no_wrap=True)
    for row in report.rows:
        verdict = "[green]kept[/]" if row.held else "[bold red]missed[/]"
        drawn.add_row(
            row.work, row.ours, row.against, row.theirs, written(row.figure, row.unit), str(row.reach), verdict
        )
    for module, reason in report.failed.items():
        drawn.add_row(module, "", "", "", "", "", "[bold red]not measured[/]")
        drawn.add_row("", reason)
    return drawn


def spread(reports: Sequence[Report]) -> Table:
    """The runs side by side."""
    drawn = Table()
    drawn.add_column("work")
    for report in reports:
        drawn.add_column(report.at[:16], justify="right")
    drawn.add_column("spread", justify="right")
    runs = [{row.work: row for row in report.rows} for report in reports]
    for each in together(reports):
        rows = (run.get(each.row.work) for run in runs)
        cells = (written(row.figure, row.unit) if row else "–" for row in rows)
        drawn.add_row(each.row.work, *cells, f"{each.spread:.0%}")
    return drawn


def markdown(reports: Sequence[Report]) -> str:
    """The table of docs/performance.md."""
    return "\n".join(_markdown(reports)) + "\n"


def _markdown(reports: Sequence[Report]) -> Iterator[str]:
    machine = reports[0].machine
    runs = "One run" if len(reports) == 1 else f"The median of {len(reports)} runs"
    yield f"{runs} on {_title(machine)}."
    yield ""
    yield "| work | vochi-agent | beside | figure | promise | | spread |"
    yield "|---|---|---|---|---|---|---|"
    for each in together(reports):
        row = each.row
        beside = f"{row.against}: {row.theirs}".replace("|", r"\|") if row.against else "–"
        verdict = "kept" if each.held else "**missed**"
        between = f"{each.spread:.0%}" if len(each.figures) > 1 else "–"
        figure = written(each.figure, row.unit)
        yield f"| {row.work} | {row.ours} | {beside} | {figure} | {row.reach} | {verdict} | {between} |"


def written(figure: float, unit: str) -> str:
    """A figure with three digits that count, and its unit."""
    digits = f"{figure:,.0f}" if figure >= 100 else f"{figure:.3g}"  # noqa: PLR2004
    return f"{digits} {unit}"


def _title(machine: Mapping[str, Any]) -> str:
    return (
        f"{machine['cores']} cores of {machine['processor']}, Python {machine['python']}, "
        f"PostgreSQL {machine['postgresql']}"
    )
