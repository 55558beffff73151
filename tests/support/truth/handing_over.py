"""Customers who are handed over: by SIP, by feature code, by the manager; pick-up and parking."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace

from tests.support.manager import is_event
from tests.support.sip_phone import Handover
from tests.support.sipp import RING_S, CallResult
from tests.support.truth.stage import (
    ANSWER_S,
    LINES,
    MOBILE,
    PATIENT_S,
    SECRETARY,
    Expected,
    Stage,
    internal,
    kind,
    talked,
)

# Whoever is called at a number that ends so hangs up by himself.
LEAVES, LEAVES_AFTER_S = "94", 3.0


@kind
async def blind_transfer(stage: Stage) -> Sequence[Expected]:
    plan = Handover("101", "blind", talk_s=stage.dice.uniform(0.5, 2.0))
    call = await stage.handed_over(plan, [SECRETARY, "101"], [SECRETARY, "101"], stage.dice.uniform(3.5, 6.0))
    return [replace(call, talk_s=call.talk_s - RING_S)]


@kind
async def attended_transfer(stage: Stage) -> Sequence[Expected]:
    plan = Handover(f"call{stage.number()}101", "attended", talk_s=stage.dice.uniform(0.5, 1.5), ask_s=1.0)
    return [await stage.handed_over(plan, [SECRETARY, "101"], [SECRETARY, "101"], stage.dice.uniform(4.5, 7.0))]


@kind
async def chain_of_transfers(stage: Stage) -> Sequence[Expected]:
    """The secretary hands over to 106, who hands over to 101 after 2 s."""
    plan, path = Handover("106", "blind", stage.dice.uniform(0.5, 1.0)), [SECRETARY, "106", "101"]
    call = await stage.handed_over(plan, path, path, stage.dice.uniform(5.5, 7.0))
    return [replace(call, talk_s=call.talk_s - 2 * RING_S)]


@kind
async def attended_transfer_to_a_mobile(stage: Stage) -> Sequence[Expected]:
    plan = Handover(f"home{stage.number()}", "attended", talk_s=stage.dice.uniform(0.5, 1.5), ask_s=1.0)
    return [await stage.handed_over(plan, [SECRETARY, MOBILE], [SECRETARY, MOBILE], stage.dice.uniform(4.5, 7.0))]


@kind
async def asked_at_his_mobile_and_kept(stage: Stage) -> Sequence[Expected]:
    """A question to a colleague, though a trunk carries it: nobody's call to the outside."""
    ask_s, dialled = stage.dice.uniform(0.6, 1.5), f"home{stage.number()}"
    plan = Handover(dialled, "kept", talk_s=stage.dice.uniform(0.5, 1.5), ask_s=ask_s)
    call = await stage.handed_over(plan, [SECRETARY], [SECRETARY], stage.dice.uniform(4.5, 6.0))
    return [call, internal(dialled, SECRETARY, MOBILE, "talked", (MOBILE,), ask_s)]


@kind
async def asked_and_kept(stage: Stage) -> Sequence[Expected]:
    ask_s, dialled = stage.dice.uniform(0.6, 1.5), f"call{stage.number()}101"
    plan = Handover(dialled, "kept", talk_s=stage.dice.uniform(0.5, 1.5), ask_s=ask_s)
    call = await stage.handed_over(plan, [SECRETARY], [SECRETARY], stage.dice.uniform(4.5, 6.0))
    return [call, internal(dialled, SECRETARY, "101", "talked", ("101",), ask_s)]


@kind
async def asked_in_vain(stage: Stage) -> Sequence[Expected]:
    dialled = f"call{stage.number()}103"
    plan = Handover(dialled, "in vain", talk_s=stage.dice.uniform(0.5, 1.5), ask_s=1.0)
    call = await stage.handed_over(plan, [SECRETARY], [SECRETARY], stage.dice.uniform(3.5, 5.0))
    return [call, internal(dialled, SECRETARY, "103", "cancelled", ("103",), 0.0)]


@kind
async def pick_up(stage: Stage) -> Sequence[Expected]:
    dialled, hold_s = f"7701{stage.number()}103", stage.dice.uniform(0.5, 3.0)
    picker, caller = stage.dice.choice(("101", "102")), f"3752955{dialled[4:9]}"

    async def take() -> None:
        async with stage.asterisk.manager() as manager:
            await manager.wait_for(is_event("DialState", DialStatus="RINGING", CallerIDNum=caller))
        stage.check(await stage.sipp.dial(picker, f"pick{dialled}", PATIENT_S), "far_end", f"pick{dialled}")

    call, _ = await asyncio.gather(
        stage.enter(dialled, "hung_up", "talked", hold_s=hold_s, caller=caller, path=[picker], rung=("103",)), take()
    )
    return [call]


@kind
async def parked(stage: Stage) -> Sequence[Expected]:
    """The secretary parks the caller, a colleague fetches him."""
    talk_s, hold_s = stage.dice.uniform(0.5, 1.5), stage.dice.uniform(4.0, 6.0)
    number = stage.number()

    async def fetch() -> CallResult:
        async with stage.asterisk.manager() as manager:
            caller = f"3752955{number}"
            event = await manager.wait_for(is_event("ParkedCall", ParkeeCallerIDNum=caller))
        result = await stage.sipp.dial("104", event["ParkingSpace"], PATIENT_S)
        stage.check(result, "far_end", event["ParkingSpace"])
        return result

    plan = Handover("700", "blind", talk_s)
    handover = stage.handed_over(plan, [SECRETARY, "104"], [SECRETARY], hold_s, number)
    call, fetched = await asyncio.gather(handover, fetch())
    return [replace(call, talk_s=talk_s + talked(fetched) - ANSWER_S)]


@kind
async def gives_up_in_the_parking(stage: Stage) -> Sequence[Expected]:
    plan = Handover("700", "blind", stage.dice.uniform(0.5, 1.5))
    call = await stage.handed_over(plan, [SECRETARY], [SECRETARY], stage.dice.uniform(2.5, 4.0))
    return [replace(call, talk_s=plan.talk_s)]


@kind
async def transferred_to_nobody(stage: Stage) -> Sequence[Expected]:
    """The new phone rings in vain while he waits: he has talked, and 103 has rung for him."""
    plan = Handover("103", "blind", stage.dice.uniform(0.5, 1.5))
    call = await stage.handed_over(plan, [SECRETARY], [SECRETARY, "103"], stage.dice.uniform(2.5, 4.0))
    return [replace(call, talk_s=plan.talk_s)]


@kind
async def transferred_to_a_phone_in_a_conversation(stage: Stage) -> Sequence[Expected]:
    """Call waiting, and nobody takes it."""
    plan = Handover("103", "blind", stage.dice.uniform(0.5, 1.0))
    hold_s = stage.dice.uniform(2.5, 4.0)
    call, other = await asyncio.gather(
        stage.handed_over(plan, [SECRETARY], [SECRETARY, "103"], hold_s),
        stage.leave("10", "hung_up", "talked", hold_s=hold_s + 1.0, agent="103"),
    )
    return [replace(call, talk_s=plan.talk_s), other]


@kind
async def transferred_to_a_busy_phone(stage: Stage) -> Sequence[Expected]:
    plan = Handover("105", "blind", stage.dice.uniform(0.5, 1.5))
    call = await stage.handed_over(plan, [SECRETARY], [SECRETARY], PATIENT_S, ended="far_end")
    return [replace(call, talk_s=plan.talk_s)]


@kind
async def transferred_to_a_department(stage: Stage) -> Sequence[Expected]:
    plan, rung = Handover("902", "blind", stage.dice.uniform(0.5, 1.5)), frozenset({SECRETARY, "101", "103"})
    call = await stage.handed_over(plan, [SECRETARY, "101"], rung, stage.dice.uniform(3.0, 5.0))
    return [replace(call, talk_s=call.talk_s - RING_S)]


@kind
async def blind_transfer_by_code(stage: Stage) -> Sequence[Expected]:
    plan = Handover("101", "blind", stage.dice.uniform(0.5, 1.5))
    return [await stage.handed_over_by_code(plan, [SECRETARY, "101"], [SECRETARY, "101"], stage.dice.uniform(5.0, 7.0))]


@kind
async def attended_transfer_by_code(stage: Stage) -> Sequence[Expected]:
    plan = Handover("101", "attended", stage.dice.uniform(0.5, 1.5), ask_s=1.0)
    return [await stage.handed_over_by_code(plan, [SECRETARY, "101"], [SECRETARY, "101"], stage.dice.uniform(6.0, 8.0))]


@kind
async def asked_by_code_and_kept(stage: Stage) -> Sequence[Expected]:
    """One call of the PBX, question and all: nothing but the customer's record."""
    how, target = stage.dice.choice((("kept", "101"), ("in vain", "103")))
    plan = Handover(target, how, stage.dice.uniform(0.5, 1.5), ask_s=1.0)
    return [await stage.handed_over_by_code(plan, [SECRETARY], [SECRETARY], stage.dice.uniform(6.0, 8.0))]


@kind
async def transferred_by_the_manager(stage: Stage) -> Sequence[Expected]:
    """As the button of a CRM does it."""
    dialled, caller = f"7701{stage.number()}101", f"3752977{stage.number()}"

    async def transfer() -> None:
        async with stage.asterisk.manager() as manager:
            event = await manager.wait_for(is_event("BridgeEnter", ConnectedLineNum=caller))
            await asyncio.sleep(0.5)
            await manager.action("BlindTransfer", Channel=event["Channel"], Context="internal", Exten="102")

    call, _ = await asyncio.gather(
        stage.enter(dialled, "far_end", "talked", caller=caller, path=["101", "102"], rung=("101", "102")), transfer()
    )
    return [replace(call, talk_s=call.talk_s - RING_S)]


# ---------------------------------------------------------------- customers whom the secretary has called


def called(number: str, path: Sequence[str], talk_s: float) -> Expected:
    return Expected(
        dialled=number,
        direction="out",
        reason="talked",
        phone=f"+375{number[2:]}",
        line=LINES["gsm1"],
        path=(SECRETARY, *path),
        first_agent=SECRETARY,
        talk_s=talk_s,
    )


@kind
async def called_and_handed_over(stage: Stage) -> Sequence[Expected]:
    number, how = f"8029{stage.number()}{LEAVES}", stage.dice.choice(("blind", "attended"))
    target = "101" if how == "blind" else f"call{stage.number()}101"
    await stage.secretary.call_out(number, Handover(target, how, talk_s=0.5, ask_s=0.5))
    return [called(number, ["101"], LEAVES_AFTER_S - (RING_S if how == "blind" else 0.0))]


@kind
async def called_and_handed_over_outside(stage: Stage) -> Sequence[Expected]:
    """The customer is the one who was called, not the one he was handed to."""
    serial, talk_s = stage.number(), stage.dice.uniform(0.5, 1.5)
    number, target = f"8029{serial}10", f"8029{stage.number()}{LEAVES}"
    await stage.secretary.call_out(number, Handover(target, "blind", talk_s))
    return [called(number, [f"+375{target[2:]}"], talk_s + LEAVES_AFTER_S)]


@kind
async def called_for_a_colleague(stage: Stage) -> Sequence[Expected]:
    """She talks with the colleague first: that becomes part of the customer's call, which begins with him."""
    number, colleague = f"8029{stage.number()}{LEAVES}", f"call{stage.number()}101"
    await stage.secretary.call_out(colleague, Handover(number, "attended", talk_s=0.5, ask_s=1.0))
    return [called(number, ["101"], LEAVES_AFTER_S)]
