"""Whether the file that recovery reads is there, readable, and has the columns of contract §3 in their order."""

import csv
import os
from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import Final

from vochi_agent.config import AsteriskConfig
from vochi_agent.diagnosis import Finding, fine, problem, unknown

from .cel import COLUMNS

__all__ = ["COST", "CURE", "examine_cel"]

COST: Final = "calls that end while we are down stay unknown"
CURE: Final = "cel.conf and cel_custom.conf as in dialplan/, then: module reload cel, module reload cel_custom.so"
ROWS_LOOKED_AT: Final = 20
LONGEST_LINE: Final = 1 << 16
EVENT_TYPES: Final = ("CHAN_START", "CHAN_END", "ANSWER", "HANGUP", "APP_START", "APP_END", "LINKEDID_END")


def examine_cel(enterprise_number: str, config: AsteriskConfig) -> list[Finding]:
    """Read the beginning of the file that is configured; blocks as reading a local file does."""
    part = f"cel {enterprise_number}"
    place = config.cel
    file = Path(place)
    try:
        with file.open(encoding="utf-8", errors="replace", newline="") as stream:
            lines = list(islice(iter(lambda: stream.readline(LONGEST_LINE), ""), ROWS_LOOKED_AT))
    except FileNotFoundError:
        return [problem(part, f"{file} does not exist: {COST}", CURE)]
    except OSError as exc:
        cure = f"let this user read it and its folder: the group of {file} is usually asterisk (usermod -aG asterisk …)"
        return [problem(part, f"{file} cannot be read ({exc.strerror}) by {_user()}: {COST}", cure)]
    return [_judged(part, file, lines)]


def _judged(part: str, file: Path, lines: Iterable[str]) -> Finding:
    try:
        rows = [row for row in csv.reader(line.replace("\0", "") for line in lines) if row]
    except csv.Error as exc:
        return problem(part, f"{file} is no CSV file ({exc}): {COST}", CURE)
    if not rows:
        return unknown(part, f"{file} is empty: its columns show after the first call")
    if rows[0][0] == COLUMNS[0]:
        different = [f"{found} stands where {wanted} belongs" for wanted, found in zip(COLUMNS, rows[0], strict=False)
                     if wanted != found]  # fmt: skip
        if different or len(rows[0]) < len(COLUMNS):
            why = different[0] if different else f"it has {len(rows[0])} columns of {len(COLUMNS)}"
            return problem(part, f"{file} has other columns than we read: {why}", CURE)
        rows = rows[1:]
    widths = {len(row) for row in rows}
    if any(width != len(COLUMNS) for width in widths):
        return problem(part, f"{file} has rows of {min(widths)} columns; {len(COLUMNS)} are needed", CURE)
    if rows and not any(row[0] in EVENT_TYPES for row in rows):
        return problem(part, f"{file} does not begin its rows with the type of the event", CURE)
    return fine(part, f"{file} is readable and has our {len(COLUMNS)} columns")


def _user() -> str:
    return f"user id {os.geteuid()}"
