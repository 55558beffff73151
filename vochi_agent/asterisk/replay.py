"""Feeds a recorded stream through the same code as the daemon: codec, translation, call machine."""

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, tzinfo
from pathlib import Path

from vochi_agent.calls.layout import Layout
from vochi_agent.calls.model import CallUpdate, Source
from vochi_agent.calls.tracker import Tracker
from vochi_agent.protocols.ami import AmiReader

from .cel import mended, read_rows
from .translate_ami import ONLY, WANTED, translate
from .translate_cel import CelTranslator

__all__ = ["replay_ami", "replay_cel"]

CHUNK_BYTES = 1 << 16


def replay_ami(path: Path, layout: Layout) -> Iterator[CallUpdate]:
    """Every update a recorded AMI stream gives; calls still open at its end come out partial.

    Raises:
        RemoteProtocolError: the file is no AMI stream.
        OSError: it cannot be read.
    """
    tracker = Tracker(layout)
    reader = AmiReader(WANTED, only=ONLY)
    at = 0.0
    with path.open("rb") as stream:
        while chunk := stream.read(CHUNK_BYTES):
            for message in reader.receive_data(chunk):
                # A stream recorded without timestamps has no better clock than its last event.
                event = translate(message, at)
                if event is None:
                    continue
                at = max(at, event.at)
                yield from tracker.receive(event)
                yield from tracker.expire(at)
    yield from tracker.close(at)


def replay_cel(path: Path, layout: Layout, *, timezone: tzinfo = UTC) -> Iterator[CallUpdate]:
    """The same from a cel_custom file; the records have source `recovery`.

    Args:
        timezone: Of the PBX, for a `dateformat` in cel.conf.

    Raises:
        OSError: the file cannot be read.
    """
    tracker = Tracker(layout, source=Source.RECOVERY)
    translator = CelTranslator()
    at = 0.0
    for row in mended(read_rows(path, timezone, Counter())):
        for event in translator.translate(row):
            at = max(at, event.at)
            yield from tracker.receive(event)
        yield from tracker.expire(at)
    yield from tracker.close(at)
