"""Who was missed, who called again, whom we called back."""

from datetime import UTC, datetime, timedelta
from itertools import permutations
from zoneinfo import ZoneInfo

from vochi_agent.calls.missed import MissedCalls, Row
from vochi_agent.calls.model import Call, Direction, Reason, Source, Status

NOON = datetime(2026, 11, 20, 9, 0, tzinfo=UTC)
MINSK = ZoneInfo("Europe/Minsk")
ANNA, OLEG = "+375290000033", "+375290000044"


def call(minute: float, phone: str | None, *, way: Direction = Direction.IN, answered: bool = False,
         line: str | None = "gsm1", rung: tuple[str, ...] = ("150",)) -> Call:  # fmt: skip
    at = NOON + timedelta(minutes=minute)
    return Call(
        enterprise_number="0",
        linkedid=f"{at.timestamp()}",
        direction=way,
        status=Status.ANSWERED if answered else Status.MISSED,
        reason=Reason.TALKED if answered else Reason.NO_ANSWER,
        phone=phone,
        raw_number=phone or "",
        line=line,
        started_at=at,
        answered_at=at if answered else None,
        ended_at=at + timedelta(seconds=20),
        wait_seconds=20.0,
        talk_seconds=0.0,
        first_agent=None,
        last_agent=None,
        path=(),
        rung=rung,
        source=Source.RECOVERY,
    )


def report(*calls: Call, days: int = 1) -> MissedCalls:
    counted = MissedCalls(MINSK, NOON - timedelta(days=days), NOON + timedelta(days=days))
    for each in calls:
        counted.receive(each)
    return counted


def test_a_missed_call_that_nobody_answers_for_is_owed() -> None:
    found = report(call(0, ANNA), call(5, ANNA, line="sip2"), call(7, OLEG))

    assert found.total == Row(missed=3)
    assert found.total.never == 3
    assert [(debt.phone, debt.missed, debt.line) for debt in found.owed()] == [(ANNA, 2, "sip2"), (OLEG, 1, "gsm1")]


def test_a_call_back_pays_all_earlier_debts_whether_it_is_answered_or_not() -> None:
    found = report(call(0, ANNA), call(5, ANNA), call(6, ANNA, way=Direction.OUT), call(9, ANNA))

    assert found.total == Row(missed=3, called_back=2)
    assert [debt.missed for debt in found.owed()] == [1]


def test_who_comes_again_and_is_answered_is_owed_nothing() -> None:
    found = report(call(0, ANNA), call(5, ANNA, answered=True))

    assert found.total == Row(missed=1, came_again=1)
    assert found.incoming == 2
    assert list(found.owed()) == []


def test_the_order_in_which_the_calls_are_told_does_not_matter() -> None:
    calls = [call(0, ANNA), call(5, ANNA, way=Direction.OUT), call(7, ANNA), call(8, OLEG)]
    rows = {str((found.total, list(found.owed()))) for order in permutations(calls) for found in [report(*order)]}

    assert len(rows) == 1


def test_who_hides_his_number_cannot_be_called_back() -> None:
    found = report(call(0, None))

    assert found.total == Row(missed=1, hidden=1)
    assert found.total.never == 0


def test_it_is_told_by_hour_of_the_zone_by_line_and_by_every_phone_that_rang() -> None:
    found = report(call(0, ANNA, rung=("150", "151")), call(61, OLEG, line=None, rung=()))

    assert found.by_hour == {12: Row(missed=1), 13: Row(missed=1)}
    assert found.by_line == {"gsm1": Row(missed=1), "": Row(missed=1)}
    assert found.by_agent == {"150": Row(missed=1), "151": Row(missed=1), "": Row(missed=1)}


def test_only_the_time_asked_for_is_counted_but_a_later_call_back_is_seen() -> None:
    month = MissedCalls(MINSK, NOON, NOON + timedelta(minutes=10))
    for each in (call(-5, OLEG), call(0, ANNA), call(10, OLEG), call(20, ANNA, way=Direction.OUT)):
        month.receive(each)

    assert month.total == Row(missed=1, called_back=1)
    assert month.incoming == 1


def test_internal_calls_are_nobodys_debt() -> None:
    assert report(call(0, None, way=Direction.INTERNAL)).total == Row()


def test_a_hostile_file_cannot_fill_the_memory_with_lines() -> None:
    found = report(*(call(number / 100, None, line=f"line{number}") for number in range(6000)))

    assert len(found.by_line) <= 5001
    assert sum(row.missed for row in found.by_line.values()) == 6000
