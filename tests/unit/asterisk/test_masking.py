"""A masked stream hides people and gives the same calls."""

import io
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.ami_messages import message
from vochi_agent.asterisk.masking import Mask
from vochi_agent.asterisk.recorder import Recorder
from vochi_agent.asterisk.replay import replay_ami
from vochi_agent.calls.layout import Layout
from vochi_agent.calls.model import Call, CallFinished
from vochi_agent.config import load
from vochi_agent.protocols.ami import AmiReader, Message

SCENARIOS = Path(__file__).parents[2] / "scenarios"
NAMES = sorted(path.parent.name for path in SCENARIOS.glob("*/ami.raw"))
ENTERPRISE = load(SCENARIOS / "lab.toml").enterprises[0]


def messages(name: str) -> list[Message]:
    return AmiReader().receive_data((SCENARIOS / name / "ami.raw").read_bytes())


def recorded(name: str, path: Path, mask: Mask | None) -> Path:
    with path.open("wb") as stream:
        recorder = Recorder(stream, mask, lambda: 0.0)
        for message in messages(name):
            recorder.receive(message)
    return path


def finished(path: Path) -> list[Call]:
    calls = {u.call.linkedid: u.call for u in replay_ami(path, Layout(ENTERPRISE)) if isinstance(u, CallFinished)}
    return list(calls.values())


def without_numbers(call: Call) -> dict[str, object]:
    return {key: value for key, value in call.as_json().items() if key not in ("phone", "raw_number")}


def values(path: Path) -> Iterator[str]:
    for event in AmiReader().receive_data(path.read_bytes()):
        yield from (value for _, value in event.headers)


@pytest.mark.parametrize("name", NAMES)
def test_a_recording_gives_the_same_calls(name, tmp_path):
    assert finished(recorded(name, tmp_path / "plain.raw", None)) == finished(SCENARIOS / name / "ami.raw")


@pytest.mark.parametrize("name", NAMES)
def test_a_masked_recording_gives_the_same_calls_but_for_the_numbers(name, tmp_path):
    plain = finished(SCENARIOS / name / "ami.raw")
    masked = finished(recorded(name, tmp_path / "masked.raw", Mask(ENTERPRISE)))

    assert list(map(without_numbers, masked)) == list(map(without_numbers, plain))
    pairs = {(one.phone, two.phone) for one, two in zip(plain, masked, strict=True)}
    assert len({one for one, _ in pairs}) == len({two for _, two in pairs}) == len(pairs)
    assert all((one is None) == (two is None) for one, two in pairs)
    assert all(one is None or (one[:6] == two[:6] and len(one) == len(two)) for one, two in pairs)


@pytest.mark.parametrize("name", NAMES)
def test_no_customers_number_and_no_name_is_left(name, tmp_path):
    everything = "\n".join(values(recorded(name, tmp_path / "masked.raw", Mask(ENTERPRISE))))
    customers = {call.phone for call in finished(SCENARIOS / name / "ami.raw")} - {None}

    assert not [phone for phone in customers if phone[-9:] in everything]
    assert not re.search(r"[А-Яа-я]", everything)
    assert "Заказ" not in everything


def masked(*headers: tuple[str, str], mask: Mask | None = None) -> dict[str, str]:
    return dict((mask or Mask(ENTERPRISE)).event([("Event", "Newchannel"), *headers]))


def test_one_number_in_every_spelling_stays_one_number():
    mask = Mask(ENTERPRISE)
    spellings = ["+375291234567", "375291234567", "80291234567", "0291234567", "291234567"]

    tails = {masked(("CallerIDNum", number), mask=mask)["CallerIDNum"][-7:] for number in spellings}

    assert len(tails) == 1
    assert tails != {"1234567"}


@pytest.mark.parametrize(
    "value",
    [
        "375172000000", "+375172000000",  # the line
        "80290000077",  # an agent's mobile
        "101", "10155", "s", "<unknown>", "anonymous",
        "1795170244.0", "pbx-1795170244.12", "1795170244.448676", "2026-11-20T10:24:04.339+0000",
        "PJSIP/trunk-00000012", "PJSIP/101-12345678", "Local/101@from-queue-00000000;1",
        "12345678-1234-1234-1234-123456789012", "0x559085df8070",
    ],
)  # fmt: skip
def test_what_is_no_customers_number_stays(value):
    assert masked(("Channel", value))["Channel"] == value


@pytest.mark.parametrize(
    ("header", "value"),
    [
        ("Channel", "Local/80291234567@followme-00000003;1"),
        ("Channel", "SIP/0001701/21375291234567-0000000a"),
        ("Channel", "DAHDI/i1/80291234567-1"),
        ("Channel", "SIP/375291234567-0000000a"),
        ("DialString", "375291234567@trunk"),
        ("ConnectedLineNum", "-375291234567"),
        ("CallerIDName", "+375 (29) 123-45-67"),
        ("CallerIDName", "-80291234567"),
        ("CallerIDNum", "+375 (29) 123-45-67"),
        ("CallerIDnum", "8.029.123.45.67"),
        ("Exten", "8 029 123 45 67"),
        ("URI", "sip:375291234567@127.0.0.1:5060"),
        ("DestCallerIDName", "1234567 Иван"),
        ("CallerIDNum", "375-29-123-45-67"),
        ("CallerIDNum", "(029) 123-45-67"),
        ("ConnectedLineNum", "8 029 123 45 67"),
        ("CallerIDNum", "0291234567.5"),
        ("Exten", "w80291234567"),
        ("Channel", "SIP/0001701/u80291234567-0000000a"),
        ("URI", "sip:%2B375291234567@127.0.0.1"),
        ("AOR", "gsm375291234567"),
        ("Channel", "Local/FMPR-21234567@from-internal-00000001;1"),
        ("ChanVariable", "CUSTOMER=80291234567"),
    ],
)
def test_a_number_is_hidden_wherever_it_stands(header, value):
    found = masked((header, value))[header]

    assert "1234567" not in re.sub(r"\D", "", found)


@pytest.mark.parametrize("value", ["375-29-123-45-67", "(029) 123-45-67", "8 029 123 45 67"])
def test_a_number_keeps_the_signs_between_its_digits(value):
    found = masked(("CallerIDNum", value))["CallerIDNum"]

    assert re.sub(r"\d", "0", found) == re.sub(r"\d", "0", value)


def test_endpoints_of_the_configuration_keep_their_names():
    """A trunk is mostly named after its number: by another name it would be nobody's."""
    line = ENTERPRISE.lines[0].model_copy(update={"endpoint": "SIP/375172000099"})
    mask = Mask(ENTERPRISE.model_copy(update={"lines": (line,)}))

    assert masked(("Channel", "SIP/375172000099-0000001a"), mask=mask)["Channel"] == "SIP/375172000099-0000001a"


@pytest.mark.parametrize(
    "headers",
    [
        [("CallerIDNum", "ivan.petrov")],
        [("CallerID", '"Ivan Petrov" <80291234567>')],
        [("ChanVariable", "CALLER=Ivan Petrov")], [("DestChanVariable", "CALLER=Ivan Petrov")],
        [("UserEvent", "CrmCall"), ("Name", "Ivan Petrov"), ("Phone", "+375 29 123-45-67")],
    ],
)  # fmt: skip
def test_what_other_programs_are_told_is_hidden(headers):
    event = [("Event", "UserEvent"), ("Context", "did"), *headers]
    found = " ".join(value for _, value in Mask(ENTERPRISE).event(event))

    assert not re.search("ivan|petrov|123.?45.?67", found.lower())
    assert "did" in found


def test_marks_of_our_own_dialplan_stay():
    event = [("Event", "UserEvent"), ("UserEvent", "VochiMark"), ("Reason", "closed")]

    assert Mask(ENTERPRISE).event(event) == event


def test_a_name_is_hidden_wherever_it_was_seen():
    found = masked(("CallerIDName", "Ivan Petrov"), ("Note", "calls Ivan Petrov back"), ("ConnectedLineName", "Ivan"))

    assert found == {
        "Event": "Newchannel", "CallerIDName": "Name 1", "Note": "calls Name 1 back", "ConnectedLineName": "Name 2",
    }  # fmt: skip


def test_variables_that_nobody_reads_are_emptied():
    mask = Mask(ENTERPRISE)
    secret = mask.event([("Event", "VarSet"), ("Variable", "CRM_TOKEN"), ("Value", "hush Ivan")])
    read = mask.event([("Event", "VarSet"), ("Variable", "DIALSTATUS"), ("Value", "CHANUNAVAIL")])
    app = mask.event([("Event", "Newexten"), ("Application", "Set"), ("AppData", "CALLERID(name)=Ivan")])

    assert [event[2][1] for event in (secret, read, app)] == ["", "CHANUNAVAIL", ""]


def test_every_recorded_event_says_when_it_happened():
    stream = io.BytesIO()
    recorder = Recorder(stream, None, lambda: 1795170244.5)
    recorder.receive(Message(b"Event: Hangup\r\nNote: two\nlines", "Hangup"))
    recorder.receive(message([("Response", "Success")]))

    events = AmiReader().receive_data(stream.getvalue())

    assert [event.headers for event in events] == [
        (("Event", "Hangup"), ("Timestamp", "1795170244.500000"), ("Note", "two lines"))
    ]
    assert recorder.events == 1
