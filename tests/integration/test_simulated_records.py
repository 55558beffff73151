"""What the simulated PBX writes into CEL tells the same calls as its AMI does."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import UTC
from pathlib import Path

import pytest

from tests.support.ami_messages import message
from vochi_agent.asterisk.cel import mended, read_text
from vochi_agent.asterisk.translate_ami import translate
from vochi_agent.asterisk.translate_cel import CelTranslator
from vochi_agent.calls.events import Event
from vochi_agent.calls.layout import Layout
from vochi_agent.calls.model import CallFinished, Source
from vochi_agent.calls.tracker import Tracker
from vochi_agent.config import Address, AsteriskConfig, Enterprise, Line, SecretStr
from vochi_agent.simulator.pbx import Far, Pbx
from vochi_agent.simulator.pbx_cel import COLUMNS, CelWriter

TRUNK = "PJSIP/gsm1"
PHONES = {"150": "Первый", "151": "Второй", "152": "Третий"}
LAYOUT = Layout(
    Enterprise(
        number="0901",
        country="BY",
        asterisk=AsteriskConfig(ami=Address("127.0.0.1", 5038), ami_username="v", ami_secret=SecretStr("s")),
        lines=(Line(id="0001701", endpoint=TRUNK),),
    )
)
CALLER = "+375290000022"


def inbound(**plan: object) -> Callable[[Pbx], Awaitable[str]]:
    usual = {"trunk": TRUNK, "did": "0001701", "caller": CALLER, "ring": ["150", "151"]}
    return lambda pbx: pbx.inbound(**{**usual, **plan})  # type: ignore[arg-type]


PLAYS: dict[str, Callable[[Pbx], Awaitable[str]]] = {
    "answered": inbound(answer="150"),
    "answered, the agent hangs up": inbound(answer="151", caller_hangs_up=False),
    "not answered": inbound(timeout_s=4.0),
    "busy": inbound(ring=["150"], far={"150": Far.BUSY}),
    "declined": inbound(ring=["150"], far={"150": Far.DECLINES}),
    "not registered": inbound(ring=["150"], far={"150": Far.OFFLINE}),
    "the caller gives up": inbound(gives_up_s=2.5),
    "hunted": inbound(ring=["150"], then=[["151"]], answer="151", timeout_s=2.0),
    "hidden": inbound(caller="anonymous", answer="150"),
    "answered in a queue": inbound(queue="sales", answer="150"),
    "abandoned in a queue": inbound(queue="sales", gives_up_s=3.0),
    "too long in a queue": inbound(queue="sales", timeout_s=3.0),
    "handed over": inbound(answer="150", transfer_to="152"),
    "handed over out of a queue": inbound(queue="sales", answer="151", transfer_to="152"),
    "called out": lambda pbx: pbx.outbound(extension="150", number="80290000011", trunk=TRUNK),
    "called out, busy": lambda pbx: pbx.outbound(extension="150", number="80290000011", trunk=TRUNK, far=Far.BUSY),
    "called out in vain": lambda pbx: pbx.outbound(
        extension="150", number="80290000011", trunk=TRUNK, answered=False, gives_up_s=3.0
    ),
    "internal": lambda pbx: pbx.internal(extension="150", to="151"),
    "internal, not answered": lambda pbx: pbx.internal(extension="150", to="151", answered=False, timeout_s=3.0),
}
EXPECTED = {
    "answered": ("answered", "talked", ("150",)),
    "too long in a queue": ("missed", "queue_timeout", ()),
    "abandoned in a queue": ("missed", "abandoned_queue", ()),
    "handed over": ("answered", "talked", ("150", "152")),
    "handed over out of a queue": ("answered", "talked", ("151", "152")),
}


class Overheard(CelWriter):
    """The writer, with what AMI was told beside it."""

    def __init__(self) -> None:
        self.rows: list[str] = []
        self.events: list[Event] = []
        super().__init__(self.rows.append)

    def receive(self, headers: list[tuple[str, str]]) -> None:
        """Keep both."""
        if (event := translate(message(headers), 0.0)) is not None:
            self.events.append(event)
        super().receive(headers)


def told(events: list[Event], source: Source) -> list[dict[str, object]]:
    tracker = Tracker(LAYOUT, source=source)
    updates = [update for event in events for update in tracker.receive(event)]
    assert tracker.open_channels == 0
    finished = {update.call.linkedid: update.call for update in updates if isinstance(update, CallFinished)}
    return [
        {key: value for key, value in call.as_json().items() if key != "source"} for call in finished.values()
    ]  # the last word about each


@pytest.mark.parametrize("play", PLAYS)
async def test_cel_tells_what_ami_told(play: str) -> None:
    overheard = Overheard()
    async with asyncio.timeout(20), Pbx(phones=PHONES, trunks=[TRUNK], users={}, speed=50.0, cel=overheard) as pbx:
        await PLAYS[play](pbx)
    translator, problems = CelTranslator(), Counter[str]()
    facts = [fact for row in mended(read_text(overheard.rows, UTC, problems)) for fact in translator.translate(row)]

    (live,) = told(overheard.events, Source.LIVE)
    (recovered,) = told(facts, Source.RECOVERY)
    assert recovered == live
    assert problems == Counter()
    if play in EXPECTED:
        assert (live["status"], live["reason"], tuple(live["path"])) == EXPECTED[play]  # type: ignore[arg-type]


def test_the_columns_are_those_of_a_recorded_file() -> None:
    recorded = Path(__file__).parent.parent / "scenarios/inbound-answered/cel.csv"

    assert recorded.read_text(encoding="utf-8").splitlines()[0] == ",".join(COLUMNS)
