"""Finds the file that MixMonitor made of a call. Blocking: call it in a thread.

`dialplan/` writes `YYYY/MM/DD/<linkedid>.wav`, FreePBX names that hold the uniqueid of the recorded channel, older
dialplans `<uniqueid>.wav` beside each other: so a name that holds the linkedid, in the folder or in that of the day.
"""

import os
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

__all__ = ["find_recording"]

# A wav of this size is a header: the monitor began and nobody spoke.
HEADER_BYTES: Final = 44
SOUNDS: Final = (".wav", ".mp3", ".ogg", ".opus", ".gsm", ".wav49")


def find_recording(folder: Path, linkedid: str, started_at: datetime) -> str:
    """The largest recording of a call, as a path below `folder`; "" when there is none, or nothing in it."""
    found = max(_candidates(folder, linkedid, started_at), default=None)
    return "" if found is None else found[1].relative_to(folder).as_posix()


def _candidates(folder: Path, linkedid: str, started_at: datetime) -> Iterator[tuple[int, Path]]:
    # `…24.8` is no call of `…24.84`: a box that has just booted gives many numbers within a second.
    names = re.compile(rf"(?<!\d){re.escape(linkedid)}(?!\d)")
    # The day is that of the PBX's clock, whose zone nobody tells us.
    days = {(started_at.astimezone(UTC) + timedelta(hours=hours)).date() for hours in (-12, 0, 14)}
    for place in (folder, *(folder / f"{day:%Y/%m/%d}" for day in sorted(days))):
        try:
            with os.scandir(place) as entries:
                for entry in entries:
                    if names.search(entry.name) and entry.name.lower().endswith(SOUNDS) and entry.is_file():
                        size = entry.stat().st_size
                        if size > HEADER_BYTES:
                            yield size, Path(entry.path)
        except OSError:
            continue  # no such day, or not ours to read: then there is no link
