"""`replay --cel` of a box whose clock went back to 1970 in the middle of the day."""

from pathlib import Path

from tests.support.pbx_records import LAYOUT, cel_lines, live_calls, moment_of
from vochi_agent.asterisk.replay import replay_cel
from vochi_agent.calls.model import CallFinished

THREE = ("inbound-answered", "inbound-noanswer", "outbound-answered")


def test_a_call_of_1970_is_told_like_any_other(tmp_path: Path):
    first, lost, last = (cel_lines(name) for name in THREE)
    moved = [line.replace(line.split('"')[3], f"{moment_of(line) - moment_of(lost[0]) + 30:.6f}") for line in lost]
    path = tmp_path / "vochi.csv"
    path.write_text("".join([*first, *moved, *last]), encoding="utf-8")

    calls = [update.call for update in replay_cel(path, LAYOUT) if isinstance(update, CallFinished)]

    assert [(call.linkedid, call.reason, call.partial) for call in calls] == [
        (call.linkedid, call.reason, False) for call in live_calls(THREE)
    ]
    assert calls == sorted(calls, key=lambda call: call.ended_at)
