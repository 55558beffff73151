"""CDR of months is read as CDR of minutes is, and not all at once."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from datetime import UTC, datetime
from pathlib import Path

from tests.support.pbx_records import LAYOUT, SCENARIOS, cdr_history
from vochi_agent.asterisk.cdr_sources import CdrFile
from vochi_agent.calls.events import Event
from vochi_agent.calls.model import Call

EVER, NEVER = datetime(2020, 1, 1, tzinfo=UTC), datetime(2030, 1, 1, tzinfo=UTC)
NAMES = ("inbound-answered", "inbound-noanswer", "outbound-answered", "attended-transfer")


async def read(path: Path) -> AsyncGenerator[Sequence[Event | Call], None]:
    async with aclosing(CdrFile(path, lambda: LAYOUT, UTC).read(EVER, NEVER)) as batches:
        async for batch in batches:
            yield batch


def file_of(folder: Path, rounds: int) -> Path:
    path = folder / f"{rounds}.csv"
    with (SCENARIOS / NAMES[0] / "cdr.csv").open(encoding="utf-8") as recorded:
        path.write_text(recorded.readline() + cdr_history(NAMES, rounds))
    return path


async def test_the_calls_are_the_same_and_the_first_ones_come_long_before_the_last_row(tmp_path: Path) -> None:
    """Rows are held for the length of the longest call: those of a whole file would fill the memory."""
    one = [call async for batch in read(file_of(tmp_path, 1)) for call in batch if isinstance(call, Call)]
    many = file_of(tmp_path, 600)
    found = [call async for batch in read(many) for call in batch if isinstance(call, Call)]
    async with aclosing(read(many)) as batches:
        first = await anext(batches)

    assert len(one) >= len(NAMES)
    assert len(found) == 600 * len(one)
    assert {_facts(call) for call in found} == {_facts(call) for call in one}
    assert len({call.linkedid for call in found}) == len(found)
    assert len(first) < len(found) / 5


def _facts(call: Call) -> tuple[object, ...]:
    return call.direction, call.status, call.reason, call.phone, call.path, call.wait_seconds
