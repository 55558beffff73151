"""What CEL says in ways of its own, each seen on Asterisk 22.10 in the truth run."""

import json
from collections import Counter
from pathlib import Path

import pytest

from vochi_agent.asterisk.cel import COLUMNS, CelRow, cel_row
from vochi_agent.asterisk.translate_cel import CelTranslator
from vochi_agent.calls.layout import Layout
from vochi_agent.calls.model import Call, CallFinished, Source
from vochi_agent.calls.tracker import Tracker
from vochi_agent.config import load

LAYOUT = Layout(load(Path(__file__).parents[2] / "scenarios" / "lab.toml").enterprises[0])
CALLER, ONE, TWO = "PJSIP/trunk-01", "PJSIP/103-02", "PJSIP/105-03"


def row(event: str, at: float, channel: str, uniqueid: str, **columns: str) -> CelRow:
    fields = dict.fromkeys(COLUMNS, "") | {"EventType": event, "ChanName": channel, "UniqueID": uniqueid}
    made = cel_row(fields | {"LinkedID": "1.0", "Exten": "s"} | columns, at, Counter())
    assert made is not None
    return made


def hangup(at: float, channel: str, uniqueid: str, cause: int, *, own: bool) -> list[CelRow]:
    extra = json.dumps({"hangupcause": cause, "hangupsource": channel if own else "", "dialstatus": ""})
    return [row("HANGUP", at, channel, uniqueid, EventExtra=extra), row("CHAN_END", at, channel, uniqueid)]


def record(rows: list[CelRow]) -> Call:
    tracker, translator = Tracker(LAYOUT, source=Source.RECOVERY), CelTranslator()
    updates = [update for each in rows for event in translator.translate(each) for update in tracker.receive(event)]
    return next(update.call for update in updates if isinstance(update, CallFinished))


def entered() -> CelRow:
    return row("CHAN_START", 0.0, CALLER, "1.0", Exten="375172000001", CIDnum="375290000001")


def dial(at: float, event: str, data: str, uniqueid: str = "1.0", channel: str = CALLER) -> CelRow:
    return row(event, at, channel, uniqueid, AppName="Dial", AppData=data)


def test_a_call_of_a_registration_without_a_number_comes_in() -> None:
    """It begins at `s`, as a leg does that the PBX makes; but its caller has a number from the first row."""
    rows = [
        row("CHAN_START", 0.0, CALLER, "1.0", CIDnum="375290000001", Context="from-trunk"),
        dial(0.1, "APP_START", "PJSIP/103,20"),
        row("CHAN_START", 0.1, ONE, "1.1", CIDnum="103"),
        *hangup(3.0, CALLER, "1.0", 16, own=True),
        *hangup(3.0, ONE, "1.1", 16, own=False),
    ]

    call = record(rows)

    assert (call.direction, call.phone, call.reason, call.rung) == ("in", "+375290000001", "abandoned", ("103",))


def test_a_telephone_that_begins_at_s_was_called() -> None:
    """Originate shows the telephone its own number, and the customer is dialled when it is picked up."""
    trunk = "PJSIP/trunk-02"
    rows = [
        row("CHAN_START", 0.0, ONE, "1.0", CIDnum="103", Context="internal"),
        row("ANSWER", 1.0, ONE, "1.0", AppName="AppDial2", AppData="(Outgoing Line)"),
        dial(1.1, "APP_START", "PJSIP/80290000098@trunk,20", channel=ONE),
        row("CHAN_START", 1.1, trunk, "1.1"),
        *hangup(9.0, ONE, "1.0", 16, own=True),
        *hangup(9.0, trunk, "1.1", 16, own=False),
    ]

    call = record(rows)

    assert (call.direction, call.phone, call.first_agent) == ("out", "+375290000098", "103")


def test_a_busy_phone_does_not_make_the_others_of_its_group_busy() -> None:
    """Asterisk hands the cause 17 on to the phone that it gives up with the caller."""
    rows = [
        entered(),
        dial(0.1, "APP_START", "PJSIP/103&PJSIP/105,20"),
        row("CHAN_START", 0.1, ONE, "1.1"),
        row("CHAN_START", 0.1, TWO, "1.2"),
        *hangup(0.2, TWO, "1.2", 17, own=True),
        *hangup(3.0, CALLER, "1.0", 17, own=True),
        *hangup(3.0, ONE, "1.1", 17, own=False),
    ]

    call = record(rows)

    assert (call.reason, call.rung) == ("abandoned", ("103",))


def test_a_phone_that_is_busy_without_saying_so_itself_is_still_busy() -> None:
    """Drivers that name no source of a hangup: the cause is the phone's own, nobody had it before."""
    rows = [
        entered(),
        dial(0.1, "APP_START", "PJSIP/105,20"),
        row("CHAN_START", 0.1, TWO, "1.2"),
        *hangup(0.2, TWO, "1.2", 17, own=False),
        *hangup(0.3, CALLER, "1.0", 17, own=False),
    ]

    assert record(rows).reason == "busy"


@pytest.mark.parametrize("event", ["VOCHI_MARK", "USER_DEFINED"])
def test_a_mark_is_read_whatever_the_driver_calls_its_row(event: str) -> None:
    """cel_custom writes the mark's name in place of USER_DEFINED."""
    extra = json.dumps({"extra": "closed"})
    mark = row(event, 0.1, CALLER, "1.0", UserDefType="VOCHI_MARK", EventExtra=extra)

    assert record([entered(), mark, *hangup(0.2, CALLER, "1.0", 31, own=False)]).reason == "closed"


def test_the_number_of_a_second_dial_is_known_from_its_end() -> None:
    """A Dial() that follows another at once has no APP_START."""
    phone = "PJSIP/101-01"
    first, second = "PJSIP/trunk-02", "PJSIP/trunk-03"
    rows = [
        row("CHAN_START", 0.0, phone, "1.0", Exten="80290000010", CIDnum="101"),
        dial(0.1, "APP_START", "PJSIP/80290000097@trunk,9", channel=phone),
        row("CHAN_START", 0.1, first, "1.1"),
        *hangup(0.2, first, "1.1", 34, own=True),
        row("CHAN_START", 0.2, second, "1.2"),
        dial(1.0, "APP_END", "PJSIP/80290000098@trunk,9", channel=phone),
        *hangup(1.0, phone, "1.0", 34, own=True),
        *hangup(1.0, second, "1.2", 34, own=False),
    ]

    call = record(rows)

    assert (call.phone, call.reason) == ("+375290000098", "cancelled")


def pair(at: float, number: str) -> list[CelRow]:
    """The two halves of a Local channel."""
    return [
        row("CHAN_START", at, f"Local/{number}@office-09;{half}", f"1.9{half}", Exten=number, Context="office")
        for half in "12"
    ]


def through_the_pair(at: float, number: str) -> list[CelRow]:
    """What the inner half dials rings in vain until 9 s, when the caller has gone."""
    inner = f"Local/{number}@office-09;2"
    return [
        dial(at, "APP_START", "PJSIP/103,20", "1.92", inner),
        row("CHAN_START", at, ONE, "1.3"),
        *hangup(9.0, CALLER, "1.0", 16, own=True),
        *hangup(9.0, inner, "1.92", 0, own=False),
        *hangup(9.0, inner[:-1] + "1", "1.91", 0, own=False),
        *hangup(9.0, ONE, "1.3", 16, own=False),
    ]


def test_where_a_telephone_forwards_its_call_rings_for_the_caller() -> None:
    """302: Asterisk dials a pair that no application has asked for, and says so in a row of its own."""
    forward = row("FORWARD", 0.2, CALLER, "1.0", AppName="Dial", EventExtra=json.dumps({"forward": "103"}))
    rows = [
        entered(),
        dial(0.1, "APP_START", "PJSIP/105,20"),
        row("CHAN_START", 0.1, TWO, "1.2"),
        *pair(0.2, "103"),
        forward,
        *hangup(0.2, TWO, "1.2", 23, own=True),
        *through_the_pair(0.3, "103"),
    ]

    assert record(rows).rung == ("105", "103")


def test_a_pair_that_a_second_dial_rings_is_known_from_its_end() -> None:
    """As a mobile through Local beside the phones; that Dial() has no APP_START."""
    rows = [
        entered(),
        dial(0.1, "APP_START", "PJSIP/105,20"),
        row("CHAN_START", 0.1, TWO, "1.2"),
        *hangup(0.2, TWO, "1.2", 17, own=True),
        *pair(0.2, "8000"),
        *through_the_pair(0.3, "8000"),
    ]
    rows.insert(-6, dial(9.0, "APP_END", "Local/8000@office/n,20"))

    assert record(rows).rung == ("103",)
