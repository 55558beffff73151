"""What the priorities that Asterisk lists show of who is asked and who gives names."""

from tests.support.ami_messages import message
from vochi_agent.asterisk.examine_dialplan import judge_dialplan
from vochi_agent.diagnosis import Level

ASKS = ("from-trunk", "GoSub", "vochi,callerid,1(0901,${EXTEN})")


def judged(*entries: tuple[str, str, str]) -> list[tuple[Level, str]]:
    listed = [
        message([("Event", "ListDialplan"), ("Context", context), ("Application", application), ("AppData", data)])
        for context, application, data in entries
    ]
    return [(finding.level, finding.sentence) for finding in judge_dialplan("dialplan 0901", listed)]


def test_a_dialplan_that_asks_and_nothing_else_is_fine() -> None:
    assert judged(ASKS, ("vochi-ask", "AGI", "agi://${VOCHI_FASTAGI_a}/callerid,0901,1")) == [
        (Level.OK, "calls are named in [from-trunk]"),
        (Level.OK, "nothing else in it gives callers a name"),
    ]


def test_a_dialplan_that_never_asks_is_a_problem() -> None:
    (first, *_) = judged(("from-trunk", "Dial", "PJSIP/101"), ("vochi", "GoSub", "vochi-ask,s,1(a,callerid,,)"))

    assert first == (Level.PROBLEM, "no context calls GoSub(vochi,callerid,...): no call is named")


def test_an_agi_call_without_the_guard_is_named_with_its_context() -> None:
    for data in ("agi://127.0.0.1:4577/callerid,0901,1", "agi://${VOCHI_FASTAGI_a}/route,0901"):
        (_, bare, *_) = judged(ASKS, ("mine", "AGI", data))

        assert bare[0] is Level.WARNING
        assert bare[1].startswith("AGI() is called without our guard in [mine]")


def test_another_lookup_is_a_warning_and_other_names_are_unknown() -> None:
    found = judged(
        ASKS,
        ("cidlookup", "Set", "CALLERID(name)=${CURLRESULT}"),
        ("macro-user-callerid", "Set", "CALLERID(name)=${AMPUSERCIDNAME}"),
        ("ext-did", "AGI", "superfecta.agi"),
        ("x", "Set", "CALLERID(num)=1"),
    )

    assert found[1][0] is Level.WARNING
    assert found[1][1].startswith("another caller id lookup is there ([cidlookup], [ext-did])")
    assert found[2][0] is Level.UNKNOWN
    assert found[2][1].startswith("callers are given a name in [macro-user-callerid] too")


def test_many_contexts_are_counted_not_listed() -> None:
    (_, others) = judged(ASKS, *((f"c{number}", "Set", "CALLERID(all)=x") for number in range(8)))

    assert "[c4] and 3 more too" in others[1]
