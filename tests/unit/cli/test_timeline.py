"""The evidence of a call in words."""

import json
from pathlib import Path

import pytest

from vochi_agent.asterisk.replay import replay_ami
from vochi_agent.calls.evidence import MAX_LEGS
from vochi_agent.calls.layout import Layout
from vochi_agent.calls.model import Call, CallFinished
from vochi_agent.cli.timeline import timeline
from vochi_agent.config import load

SCENARIOS = Path(__file__).parents[2] / "scenarios"
LAYOUT = Layout(load(SCENARIOS / "lab.toml").enterprises[0])
# Where nobody was called there is no record.
RECORDED = sorted(path.parent.name for path in SCENARIOS.glob("*/expected.json") if json.loads(path.read_text()))


def call(name: str) -> Call:
    updates = replay_ami(SCENARIOS / name / "ami.raw", LAYOUT)
    return next(update.call for update in updates if isinstance(update, CallFinished))


@pytest.mark.parametrize("name", RECORDED)
def test_every_recording_can_be_told_from_its_start_to_its_end(name: str) -> None:
    found = call(name)

    told = timeline(found)

    assert [at for at, _ in told] == sorted(at for at, _ in told)
    assert told[0][0] <= 0.0
    assert any(word in told[-1][1] for word in ("ends", "hangs up", "leaves", "refuses"))
    assert len(found.evidence) <= MAX_LEGS


def test_a_time_line_says_who_rang_who_talked_and_who_hung_up() -> None:
    told = [sentence for _, sentence in timeline(call("inbound-hunt"))]

    assert told[0] == "the customer comes in through PJSIP/trunk"
    assert "103 rings" in told
    assert any(sentence.startswith("the customer and 101 are in one bridge for") for sentence in told)
    assert any(sentence.startswith("the customer hangs up") for sentence in told)


def test_a_refusal_is_told_with_its_cause() -> None:
    told = [sentence for _, sentence in timeline(call("inbound-declined"))]

    assert "108 refuses (cause 21, declined)" in told


def test_a_mobile_is_told_as_its_agent() -> None:
    told = [sentence for _, sentence in timeline(call("followme-local"))]

    assert "104 (PJSIP/trunk) answers" in told
