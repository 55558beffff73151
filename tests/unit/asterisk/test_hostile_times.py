"""Times that no clock shows: whoever writes them costs nobody his call."""

import pytest

from tests.support.ami_messages import message
from vochi_agent.asterisk.clock import epoch_of
from vochi_agent.asterisk.translate_ami import snapshot, translate
from vochi_agent.calls.layout import Layout
from vochi_agent.calls.model import CallFinished
from vochi_agent.calls.tracker import Tracker
from vochi_agent.config import Address, AsteriskConfig, Enterprise, Line, SecretStr

RECEIVED = 1_795_170_244.0
LAYOUT = Layout(
    Enterprise(
        number="0901",
        country="BY",
        asterisk=AsteriskConfig(ami=Address("127.0.0.1", 5038), ami_username="v", ami_secret=SecretStr("s")),
        lines=(Line(id="0001701", endpoint="PJSIP/gsm1"),),
    )
)
IMPOSSIBLE = ["17951702440000", "nan", "inf", "-inf", "1e999", "-1", "", "now", "4000000000"]


@pytest.mark.parametrize("text", IMPOSSIBLE)
def test_what_no_clock_shows_is_no_time(text: str) -> None:
    assert epoch_of(text) is None


@pytest.mark.parametrize(("text", "at"), [("0.000000", 0.0), ("1795170244.448676", 1795170244.448676)])
def test_a_clock_may_never_have_been_set(text: str, at: float) -> None:
    assert epoch_of(text) == at


@pytest.mark.parametrize("text", IMPOSSIBLE)
def test_an_event_with_an_impossible_time_is_taken_at_the_moment_it_came(text: str) -> None:
    """The year 570836 was found by fuzzing: no card and no record could be made of the call."""
    channel = [("Channel", "PJSIP/gsm1-1"), ("Uniqueid", "1.1"), ("Linkedid", "1.1"), ("Timestamp", text)]
    tracker = Tracker(LAYOUT)
    updates = []
    for event in ("Newchannel", "Hangup"):
        fact = translate(message([("Event", event), ("ChannelState", "4"), *channel]), RECEIVED)
        assert fact is not None
        assert fact.at == RECEIVED
        updates += tracker.receive(fact)

    (finished,) = (update for update in updates if isinstance(update, CallFinished))
    assert finished.call.as_json()["started_at"] == "2026-11-20T10:24:04.000Z"


@pytest.mark.parametrize("duration", ["9" * 4000 + ":00:00", "99999:00:00", "-1:00:00", "1:2", "a:b:c", "²:00:00"])
def test_an_impossible_age_is_none(duration: str) -> None:
    row = message([("Event", "CoreShowChannel"), ("Uniqueid", "1.1"), ("Duration", duration)])

    assert snapshot(RECEIVED, [row], [], {}).channels[0].age == 0.0
