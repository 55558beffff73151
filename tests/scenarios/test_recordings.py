"""Real streams of Asterisk 16.28 and 22.10, each with the calls a correct reading gives. See README.md beside this."""

import json
from pathlib import Path

import pytest

from vochi_agent.asterisk.replay import replay_ami, replay_cel
from vochi_agent.calls.layout import Layout
from vochi_agent.calls.model import Call, CallFinished
from vochi_agent.config import load

HERE = Path(__file__).parent
SCENARIOS = sorted(path.parent.name for path in HERE.glob("*/expected.json"))
TOLERANCE_S = 0.3  # between what sipp was told to do and what Asterisk did
SAME_MOMENT_S = 0.05  # between AMI and CEL of one call

# CEL has no ringing events: a phone that was dialled at a dead address looks like one that rang (docs/calls.md).
CEL_CANNOT_KNOW = {"inbound-unreachable": {"reason": "no_answer", "rung": ["109"]}}


@pytest.fixture(scope="module")
def layout() -> Layout:
    return Layout(load(HERE / "lab.toml").enterprises[0])


def finished(updates) -> list[Call]:
    calls = {update.call.linkedid: update.call for update in updates if isinstance(update, CallFinished)}
    return sorted(calls.values(), key=lambda call: call.ended_at)


@pytest.mark.parametrize("name", SCENARIOS)
def test_ami_gives_the_expected_calls(name, layout):
    """Every fact that the scenario fixes is in the record, and nothing was missed on the way."""
    expected = json.loads((HERE / name / "expected.json").read_text())

    calls = finished(replay_ami(HERE / name / "ami.raw", layout))

    assert len(calls) == len(expected)
    for call, facts in zip(calls, expected, strict=True):
        record = call.as_json()
        for key, value in facts.items():
            if isinstance(value, float):
                assert record[key] == pytest.approx(value, abs=TOLERANCE_S), key
            elif value is not None or key not in ("rung", "wait_seconds"):
                assert record[key] == value, key
        assert not call.partial


@pytest.mark.parametrize("name", SCENARIOS)
def test_cel_gives_the_same_calls_as_ami(name, layout):
    """The recovery path tells the same, but for what CEL cannot know."""
    live = finished(replay_ami(HERE / name / "ami.raw", layout))

    recovered = finished(replay_cel(HERE / name / "cel.csv", layout))

    assert [call.linkedid for call in recovered] == [call.linkedid for call in live]
    for one, two in zip(live, recovered, strict=True):
        expected, found = one.as_json(), two.as_json()
        assert found.pop("source") == "recovery"
        expected.pop("source")
        expected |= CEL_CANNOT_KNOW.get(name, {})
        for key in ("started_at", "answered_at", "ended_at"):
            expected.pop(key)
            found.pop(key)
            if (moment := getattr(one, key)) is None:
                assert getattr(two, key) is None
            else:
                assert abs((getattr(two, key) - moment).total_seconds()) < SAME_MOMENT_S, key
        for key in ("wait_seconds", "talk_seconds"):
            assert found.pop(key) == pytest.approx(expected.pop(key), abs=0.11), key
        assert found == expected
