"""Calls of the company's own: to the outside, to colleagues, by a click in a CRM."""

from collections.abc import Sequence

from tests.support.truth.stage import LINES, PATIENT_S, Expected, Stage, internal, kind, talked

# ---------------------------------------------------------------- to the outside


@kind
async def outbound(stage: Stage) -> Sequence[Expected]:
    ending = stage.dice.choice(("10", "11", "95"))
    return [await stage.leave(ending, "hung_up", "talked", hold_s=stage.dice.uniform(0.5, 4.0))]


@kind
async def outbound_far_end_hangs_up(stage: Stage) -> Sequence[Expected]:
    return [await stage.leave("94", "far_end", "talked")]


@kind
async def outbound_busy(stage: Stage) -> Sequence[Expected]:
    return [await stage.leave("99", "refused", "busy")]


@kind
async def outbound_declined(stage: Stage) -> Sequence[Expected]:
    return [await stage.leave("93", "refused", "rejected")]


@kind
async def outbound_no_answer(stage: Stage) -> Sequence[Expected]:
    return [await stage.leave("98", "refused", "no_answer")]


@kind
async def outbound_cancelled(stage: Stage) -> Sequence[Expected]:
    return [await stage.leave("98", "gave_up", "cancelled", patience_s=stage.dice.uniform(0.3, 3.0))]


@kind
async def outbound_congestion(stage: Stage) -> Sequence[Expected]:
    """Every line refuses; the last one tried is named."""
    return [await stage.leave("97", "refused", "failed", line="sip2")]


@kind
async def outbound_cancelled_on_the_second_line(stage: Stage) -> Sequence[Expected]:
    number = stage.number()
    dialled, patience_s = f"fail{number}", stage.dice.uniform(0.3, 3.0)
    stage.check(await stage.sipp.dial("101", dialled, PATIENT_S, patience_s), "gave_up", dialled)
    return [
        Expected(
            dialled=dialled,
            direction="out",
            reason="cancelled",
            phone=f"+37529{number}98",
            line=LINES["sip2"],
            first_agent="101",
        )
    ]


@kind
async def outbound_by_the_second_line(stage: Stage) -> Sequence[Expected]:
    """The first one refuses; the line is the one that carried the call."""
    number, agent = stage.number(), stage.dice.choice(("101", "104"))
    result = await stage.sipp.dial(agent, f"other{number}", stage.dice.uniform(0.5, 4.0))
    stage.check(result, "hung_up", f"other{number}")
    return [
        Expected(
            dialled=f"other{number}",
            direction="out",
            reason="talked",
            phone=f"+37529{number}10",
            line=LINES["sip2"],
            path=(agent,),
            first_agent=agent,
            talk_s=talked(result),
        )
    ]


@kind
async def outbound_wrong_number(stage: Stage) -> Sequence[Expected]:
    return [await stage.leave("96", "refused", "failed")]


# ---------------------------------------------------------------- colleagues


@kind
async def colleague(stage: Stage) -> Sequence[Expected]:
    return [await stage.ask("101", "hung_up", "talked", hold_s=stage.dice.uniform(0.5, 3.0), rung=("101",))]


@kind
async def colleague_hangs_up(stage: Stage) -> Sequence[Expected]:
    return [await stage.ask("102", "far_end", "talked", rung=("102",))]


@kind
async def colleague_does_not_answer(stage: Stage) -> Sequence[Expected]:
    return [await stage.ask("103", "refused", "no_answer", rung=("103",))]


@kind
async def colleague_called_in_vain(stage: Stage) -> Sequence[Expected]:
    patience_s = stage.dice.uniform(0.3, 2.0)
    return [await stage.ask("104", "gave_up", "cancelled", patience_s=patience_s, rung=("104",))]


@kind
async def colleague_is_busy(stage: Stage) -> Sequence[Expected]:
    extension, reason = stage.dice.choice((("105", "busy"), ("108", "rejected"), ("110", "unreachable")))
    return [await stage.ask(extension, "refused", reason)]


@kind
async def department(stage: Stage) -> Sequence[Expected]:
    dialled, agent = f"dept{stage.number()}2", stage.dice.choice(("106", "107"))
    result = await stage.sipp.dial(agent, dialled, stage.dice.uniform(0.5, 3.0))
    stage.check(result, "hung_up", dialled)
    return [internal(dialled, agent, "101", "talked", frozenset({"101", "103"}), talked(result))]


@kind
async def department_in_vain(stage: Stage) -> Sequence[Expected]:
    dialled, agent = f"dept{stage.number()}", stage.dice.choice(("106", "107"))
    which, reason, rung = stage.dice.choice((("3", "no_answer", {"103", "104"}), ("4", "unreachable", set())))
    stage.check(await stage.sipp.dial(agent, dialled + which, PATIENT_S), "refused", dialled + which)
    return [internal(dialled + which, agent, "", reason, frozenset(rung), 0.0)]


# ---------------------------------------------------------------- click to call


@kind
async def click_to_call(stage: Stage) -> Sequence[Expected]:
    return [await stage.click("94", "talked")]


@kind
async def click_to_call_client_busy(stage: Stage) -> Sequence[Expected]:
    return [await stage.click("99", "busy")]


@kind
async def click_to_call_client_does_not_answer(stage: Stage) -> Sequence[Expected]:
    return [await stage.click("98", "no_answer")]


@kind
async def click_to_call_agent_loses_patience(stage: Stage) -> Sequence[Expected]:
    return [await stage.click("98", "cancelled", agent="102")]


@kind
async def click_to_call_agent_does_not_pick_up(stage: Stage) -> Sequence[Expected]:
    await stage.click("94", "none", agent=stage.dice.choice(("103", "105", "108")), timeout_s=2.0)
    return []
