"""Calls in RetailCRM's words: results spelt its two ways, times of the account, who sees a card."""

import json
from collections.abc import Mapping
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from tests.support.calls import answered, missed
from tests.support.cards import told
from vochi_agent.calls.model import Call, Direction, Phase, Reason
from vochi_agent.crm.retailcrm_calls import check_taken, event_of, upload_of
from vochi_agent.crm.retailcrm_module import module_of
from vochi_agent.errors import CrmRejected
from vochi_agent.ports import Popup

MINSK = ZoneInfo("Europe/Minsk")


def record(call: Call, recording_url: str = "") -> Any:
    (only,) = json.loads(upload_of(call, recording_url=recording_url, timezone=MINSK)["calls"])
    return only


def event(popup: Popup) -> Any:
    form = event_of(popup)
    return json.loads(form["event"]) if form else None


def popup(phase: Phase, *agents: str, began: tuple[str, ...] = (), **facts: Any) -> Popup:
    finished = facts.pop("finished", None)
    return Popup(progress=told(phase, agents=agents, **facts), customer=None, began=began, finished=finished)


def test_a_conversation_is_written_with_everything_the_list_has_a_place_for() -> None:
    assert record(answered(), "https://pbx.example/r/1.wav") == {
        "date": "2026-11-20 15:00:00",
        "type": "in",
        "phone": "375290000011",
        "result": "answered",
        "duration": 62,
        "durationWaiting": 5,
        "externalId": "0901-1795165024.84",
        "code": "151",
        "recordUrl": "https://pbx.example/r/1.wav",
    }


@pytest.mark.parametrize(
    ("reason", "result", "hangup"),
    [
        (Reason.NO_ANSWER, "no answer", "no answered"),
        (Reason.ABANDONED, "no answer", "cancel"),
        (Reason.BUSY, "busy", "busy"),
        (Reason.REJECTED, "busy", "busy"),
        (Reason.FAILED, "failed", "failed"),
        (Reason.FORBIDDEN, "not allowed", "failed"),
        (Reason.UNKNOWN_END, "unknown", "failed"),
    ],
)
def test_each_way_of_missing_a_call_is_spelt_twice(reason: Reason, result: str, hangup: str) -> None:
    call = missed(reason=reason)

    assert record(call)["result"] == result
    assert event(popup(Phase.HANGUP, finished=call))["hangupStatus"] == hangup


def test_a_missed_call_is_written_down_for_the_only_phone_that_rang_and_never_for_the_first_of_several() -> None:
    assert "code" not in record(missed(rung=("150", "151")))
    assert record(missed(rung=("150",)))["code"] == "150"
    assert record(missed(direction=Direction.OUT, first_agent="101", rung=()))["code"] == "101"


def test_cards_open_where_phones_begin_to_ring_and_close_for_all_at_the_end() -> None:
    rings = event(popup(Phase.DIAL, "150", "151", began=("151",)))
    ends = event(popup(Phase.HANGUP, finished=answered()))

    assert (rings["type"], rings["codes"], rings["callExternalId"]) == ("in", ["151"], "0901-1795165024.84")
    assert (ends["type"], ends["codes"], ends["hangupStatus"]) == ("hangup", ["150", "151"], "answered")


def test_who_picked_up_is_not_shown_his_card_twice_but_who_was_handed_over_to_is_shown_one() -> None:
    assert event(popup(Phase.BRIDGE, "151", began=("151",))) is None
    assert event(popup(Phase.BRIDGE, "151", "152", began=("152",)))["codes"] == ["152"]


def test_who_dials_out_sees_whom_he_calls() -> None:
    placed = event(popup(Phase.START, "101", began=("101",), direction=Direction.OUT))

    assert (placed["type"], placed["codes"]) == ("out", ["101"])
    assert event(popup(Phase.DIAL, "101", began=("101",), direction=Direction.OUT)) is None


def test_a_hidden_caller_opens_nothing() -> None:
    assert event(popup(Phase.DIAL, "150", began=("150",), phone=None)) is None


@pytest.mark.parametrize("answer", [{"processedCallsCount": 1}, {"duplicateCalls": ["0901-1"]}])
def test_a_duplicate_is_a_success_too(answer: Mapping[str, object]) -> None:
    check_taken(answer)


def test_an_upload_that_was_neither_new_nor_known_is_refused() -> None:
    with pytest.raises(CrmRejected, match="without taking"):
        check_taken({"success": True, "processedCallsCount": 0, "duplicateCalls": []})


def test_registering_again_keeps_what_people_entered() -> None:
    codes = [{"userId": 7, "code": "151"}, {"userId": 9, "code": "160"}]
    numbers = [{"siteCode": "main", "externalPhone": "375170000000"}]
    there = {
        "name": "Наша АТС",
        "integrations": {"telephony": {"additionalCodes": codes, "externalPhones": numbers, "makeCallUrl": "old"}},
    }
    module: Any = module_of(
        "vochi", there, public_url="https://pbx.example", call_url="new", agents={"7": "151", "8": "152", "x": "153"}
    )

    assert module["name"] == "Наша АТС"
    assert module["integrations"]["telephony"]["makeCallUrl"] == "new"
    assert module["integrations"]["telephony"]["additionalCodes"] == [*codes, {"userId": 8, "code": "152"}]
    assert module["integrations"]["telephony"]["externalPhones"] == numbers
