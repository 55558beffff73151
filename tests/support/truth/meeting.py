"""Calls in which people meet without one dialling the other: rooms, ARI applications, two calls at one phone."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace

from tests.support.sipp import CallResult
from tests.support.truth.stage import ANSWER_S, Expected, Stage, internal, kind, talked

# ---------------------------------------------------------------- rooms


@kind
async def conference(stage: Stage) -> Sequence[Expected]:
    """An agent waits in the room for one customer or for two; each of them has a call of his own."""
    room, agent, hold_s = stage.number(), stage.dice.choice(("104", "107")), stage.dice.uniform(0.5, 3.0)

    async def come() -> list[Expected]:
        await stage.in_room(room)
        dialled = [f"7719{room}{serial}" for serial in range(stage.dice.choice((1, 2)))]
        times = {"hold_s": ANSWER_S + hold_s, "untalked_s": ANSWER_S}
        coming = (stage.enter(number, "hung_up", "talked", path=[agent], **times) for number in dialled)
        return await asyncio.gather(*coming)

    hosted, calls = await asyncio.gather(stage.sipp.dial(agent, f"room{room}", hold_s + 4.0), come())
    stage.check(hosted, "hung_up", f"room{room}")
    return calls


@kind
async def agent_comes_into_a_conference_and_leaves(stage: Stage) -> Sequence[Expected]:
    room, agent, hold_s = stage.number(), stage.dice.choice(("104", "107")), stage.dice.uniform(0.5, 2.0)

    async def come() -> CallResult:
        await stage.in_room(room)
        result = await stage.sipp.dial(agent, f"room{room}", ANSWER_S + hold_s)
        stage.check(result, "hung_up", f"room{room}")
        return result

    call, hosted = await asyncio.gather(
        stage.enter(f"7719{room}0", "hung_up", "talked", hold_s=6.0, path=[agent]), come()
    )
    return [replace(call, talk_s=talked(hosted) - ANSWER_S)]


@kind
async def alone_in_a_conference(stage: Stage) -> Sequence[Expected]:
    """He heard nobody, and no phone was dialled."""
    dialled, hold_s = f"7719{stage.number()}0", stage.dice.uniform(0.5, 3.0)
    return [await stage.enter(dialled, "hung_up", "abandoned_greeting", hold_s=hold_s)]


@kind
async def colleagues_in_a_conference(stage: Stage) -> Sequence[Expected]:
    room, hold_s = stage.number(), stage.dice.uniform(0.5, 2.0)
    first, second = f"room{room}a", f"room{room}b"

    async def come() -> CallResult:
        await stage.in_room(room)
        return await stage.sipp.dial("107", second, ANSWER_S + hold_s)

    hosted, joined = await asyncio.gather(stage.sipp.dial("106", first, hold_s + 4.0), come())
    stage.check(hosted, "hung_up", first)
    stage.check(joined, "hung_up", second)
    return [internal(first, "106", "107", "talked", (), talked(joined) - ANSWER_S)]


# ---------------------------------------------------------------- an ARI application


@kind
async def bridged_by_ari(stage: Stage) -> Sequence[Expected]:
    """Also when the application does not say for whom it rings, and the phone's linkedid is its own."""
    dialled, hold_s = f"{stage.dice.choice(('7723', '7725'))}{stage.number()}101", stage.dice.uniform(0.5, 3.0)
    return [await stage.enter(dialled, "hung_up", "talked", hold_s=hold_s, path=["101"], rung=("101",))]


@kind
async def not_answered_for_ari(stage: Stage) -> Sequence[Expected]:
    return [await stage.enter(f"7723{stage.number()}103", "refused", "no_answer", rung=("103",))]


@kind
async def gives_up_on_ari(stage: Stage) -> Sequence[Expected]:
    dialled, patience_s = f"7723{stage.number()}104", stage.dice.uniform(1.2, 2.4)
    return [await stage.enter(dialled, "gave_up", "abandoned", patience_s=patience_s, rung=("104",))]


# ---------------------------------------------------------------- call waiting


@kind
async def rings_at_a_phone_in_a_conversation(stage: Stage) -> Sequence[Expected]:
    """Two calls that know nothing of each other, at one phone."""
    dialled = f"7702{stage.number()}104"

    async def ring() -> Expected:
        await asyncio.sleep(1.0)
        return await stage.enter(dialled, "refused", "no_answer", rung=("104",))

    return await asyncio.gather(stage.leave("10", "hung_up", "talked", hold_s=5.0, agent="104"), ring())
