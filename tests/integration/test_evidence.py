"""The evidence of a call is stored beside its record, and goes the way of the record."""

from dataclasses import replace

import pytest

from tests.support.calls import answered, missed
from tests.support.renderers import no_cards
from vochi_agent.calls.evidence import LegEvidence, LegRole, StayEvidence
from vochi_agent.calls.model import Call, Source
from vochi_agent.store.postgres import PostgresStore

LEG = LegEvidence(
    endpoint="PJSIP/101",
    extension="101",
    role=LegRole.AGENT,
    entered=False,
    started=0.25,
    rang=0.5,
    up=3.125,
    ended=9.0,
    cause=16,
    dial_status="ANSWER",
    stays=(StayEvidence("9b7f3a60", 3.125, None),),
)


async def stored(store: PostgresStore, call: Call) -> Call:
    await store.calls.record(call, no_cards)
    found = await store.reports.call(call.linkedid)
    assert found is not None
    return found


async def test_evidence_comes_back_as_it_was(store: PostgresStore) -> None:
    assert (await stored(store, answered(evidence=(LEG, replace(LEG, rang=None))))).evidence == (
        LEG,
        replace(LEG, rang=None),
    )


async def test_a_record_without_evidence_has_none(store: PostgresStore) -> None:
    assert (await stored(store, answered())).evidence == ()


async def test_a_correction_brings_its_own_evidence(store: PostgresStore) -> None:
    better = replace(LEG, cause=26)
    await store.calls.record(missed(partial=True, evidence=(LEG,)), no_cards)

    assert (await stored(store, answered(evidence=(better,)))).evidence == (better,)


async def test_a_worse_record_does_not_take_the_evidence_away(store: PostgresStore) -> None:
    await store.calls.record(answered(evidence=(LEG,)), no_cards)

    assert (await stored(store, answered(source=Source.RECOVERY, partial=True))).evidence == (LEG,)


@pytest.mark.parametrize("text", ["PJSIP/1\0", "\udc80", "'; DROP TABLE calls; --", '"}]'])
async def test_hostile_evidence_is_stored_as_far_as_it_can_be(store: PostgresStore, text: str) -> None:
    hostile = replace(LEG, endpoint=text, stays=(StayEvidence(text, 0.0, 1.0),))

    (found,) = (await stored(store, answered(evidence=(hostile,)))).evidence

    assert found.endpoint == text.replace("\0", "").replace("\udc80", "?")
