"""Customers who call in: telephones, groups, queues, mobiles, and whatever ends without any of them."""

import asyncio
from collections.abc import Sequence

from tests.support.sipp import RING_S
from tests.support.truth.stage import ANSWER_S, DEAD_MOBILE, MOBILE, PATIENT_S, Expected, Stage, kind

# ---------------------------------------------------------------- one phone


@kind
async def answered(stage: Stage) -> Sequence[Expected]:
    dialled = f"7701{stage.number()}101"
    hold_s = stage.dice.uniform(0.3, 5.0)
    return [await stage.enter(dialled, "hung_up", "talked", hold_s=hold_s, path=["101"], rung=("101",))]


@kind
async def two_calls_of_one_number_at_once(stage: Stage) -> Sequence[Expected]:
    caller = f"3752966{stage.number()}"

    async def one(extension: str, reason: str) -> Expected:
        dialled = f"7701{stage.number()}{extension}"
        path = ["101"] if reason == "talked" else []
        times = {"hold_s": stage.dice.uniform(0.5, 3.0), "patience_s": 2.0 if not path else PATIENT_S}
        ended = "hung_up" if path else "gave_up"
        return await stage.enter(dialled, ended, reason, caller=caller, path=path, rung=(extension,), **times)

    return await asyncio.gather(one("101", "talked"), one("103", "abandoned"), one("101", "talked"))


@kind
async def callee_hangs_up(stage: Stage) -> Sequence[Expected]:
    return [await stage.enter(f"7701{stage.number()}102", "far_end", "talked", path=["102"], rung=("102",))]


@kind
async def nobody_answers(stage: Stage) -> Sequence[Expected]:
    return [await stage.enter(f"7702{stage.number()}103", "refused", "no_answer", rung=("103",))]


@kind
async def gives_up_while_it_rings(stage: Stage) -> Sequence[Expected]:
    patience_s = stage.dice.uniform(0.3, 4.0)
    dialled = f"7701{stage.number()}104"
    return [await stage.enter(dialled, "gave_up", "abandoned", patience_s=patience_s, rung=("104",))]


@kind
async def busy(stage: Stage) -> Sequence[Expected]:
    return [await stage.enter(f"7701{stage.number()}105", "refused", "busy")]


@kind
async def declined(stage: Stage) -> Sequence[Expected]:
    return [await stage.enter(f"7701{stage.number()}108", "refused", "rejected")]


@kind
async def at_a_dead_address(stage: Stage) -> Sequence[Expected]:
    dialled = f"7702{stage.number()}109"
    cel: dict[str, object] = {"reason": "no_answer", "rung": ("109",)}
    return [await stage.enter(dialled, "refused", "unreachable", cel=cel)]


@kind
async def not_registered(stage: Stage) -> Sequence[Expected]:
    return [await stage.enter(f"7701{stage.number()}110", "refused", "unreachable")]


# ---------------------------------------------------------------- several phones


@kind
async def ring_group(stage: Stage) -> Sequence[Expected]:
    hold_s, rung = stage.dice.uniform(0.3, 4.0), frozenset({"101", "103", "104"})
    return [await stage.enter(f"7703{stage.number()}", "hung_up", "talked", hold_s=hold_s, path=["101"], rung=rung)]


@kind
async def ring_group_in_vain(stage: Stage) -> Sequence[Expected]:
    return [await stage.enter(f"7704{stage.number()}", "refused", "no_answer", rung=frozenset({"103", "104"}))]


@kind
async def gives_up_on_a_ring_group(stage: Stage) -> Sequence[Expected]:
    patience_s, rung = stage.dice.uniform(0.3, 2.2), frozenset({"103", "104"})
    return [await stage.enter(f"7704{stage.number()}", "gave_up", "abandoned", patience_s=patience_s, rung=rung)]


@kind
async def one_of_a_group_declines(stage: Stage) -> Sequence[Expected]:
    """Asterisk hands the cause of the one who declined on to the others."""
    return [await stage.enter(f"7718{stage.number()}", "refused", "no_answer", rung=("103",))]


@kind
async def gives_up_after_one_of_a_group_declined(stage: Stage) -> Sequence[Expected]:
    patience_s = stage.dice.uniform(0.3, 2.2)
    return [await stage.enter(f"7718{stage.number()}", "gave_up", "abandoned", patience_s=patience_s, rung=("103",))]


@kind
async def hunting(stage: Stage) -> Sequence[Expected]:
    hold_s, dialled = stage.dice.uniform(0.3, 4.0), f"7705{stage.number()}"
    return [await stage.enter(dialled, "hung_up", "talked", hold_s=hold_s, path=["101"], rung=("103", "101"))]


@kind
async def hunting_in_vain(stage: Stage) -> Sequence[Expected]:
    return [await stage.enter(f"7706{stage.number()}", "refused", "no_answer", rung=("103", "104"))]


# ---------------------------------------------------------------- nobody rings


@kind
async def gives_up_in_the_greeting(stage: Stage) -> Sequence[Expected]:
    patience_s = stage.dice.uniform(0.3, 4.0)
    return [await stage.enter(f"7707{stage.number()}", "gave_up", "abandoned_greeting", patience_s=patience_s)]


@kind
async def gives_up_in_an_answered_greeting(stage: Stage) -> Sequence[Expected]:
    hold_s = stage.dice.uniform(0.3, 4.0)
    return [await stage.enter(f"7708{stage.number()}", "hung_up", "abandoned_greeting", hold_s=hold_s)]


@kind
async def out_of_hours(stage: Stage) -> Sequence[Expected]:
    return [await stage.enter(f"7715{stage.number()}", "refused", "closed")]


@kind
async def black_list(stage: Stage) -> Sequence[Expected]:
    return [await stage.enter(f"7716{stage.number()}", "refused", "blocked")]


@kind
async def voicemail(stage: Stage) -> Sequence[Expected]:
    """The application that the PBX has, or one that the dialplan has built of others and tells by its mark."""
    application = "7720" if stage.asterisk.has_module("app_voicemail") else "7721"
    dialled, hold_s = (
        f"{stage.dice.choice((application, '7721', '7722'))}{stage.number()}",
        stage.dice.uniform(1.0, 3.0),
    )
    return [await stage.enter(dialled, "hung_up", "voicemail", hold_s=hold_s, rung=("103",))]


@kind
async def gives_up_before_the_voicemail(stage: Stage) -> Sequence[Expected]:
    dialled, patience_s = f"7722{stage.number()}", stage.dice.uniform(0.3, 1.5)
    return [await stage.enter(dialled, "gave_up", "abandoned", patience_s=patience_s, rung=("103",))]


# ---------------------------------------------------------------- queues

# Who is rung in each queue; see queues.conf.
MEMBERS = {"0": {"101", "103"}, "1": {"101", "104"}, "2": {"101"}, "5": {"103", "104"}, "6": {"103"}, "7": {"104"}}


@kind
async def queue_answered(stage: Stage) -> Sequence[Expected]:
    async with stage.queue(stage.answering) as queue:
        dialled, hold_s = f"7709{stage.number()}{queue}", stage.dice.uniform(1.5, 4.0)
        rung = frozenset(MEMBERS[queue])
        return [
            await stage.enter(
                dialled, "hung_up", "talked", hold_s=hold_s, untalked_s=ANSWER_S + RING_S, path=["101"], rung=rung
            )
        ]


@kind
async def gives_up_in_a_queue(stage: Stage) -> Sequence[Expected]:
    async with stage.queue(stage.silent) as queue:
        dialled, hold_s = f"7709{stage.number()}{queue}", stage.dice.uniform(ANSWER_S + 0.5, 5.0)
        rung = frozenset(MEMBERS[queue])
        return [await stage.enter(dialled, "hung_up", "abandoned_queue", hold_s=hold_s, rung=rung)]


@kind
async def queue_timeout(stage: Stage) -> Sequence[Expected]:
    async with stage.queue(stage.silent) as queue:
        dialled, rung = f"7710{stage.number()}{queue}", frozenset(MEMBERS[queue])
        return [await stage.enter(dialled, "far_end", "queue_timeout", rung=rung)]


# ---------------------------------------------------------------- mobiles


@kind
async def mobile(stage: Stage) -> Sequence[Expected]:
    """Through a Local pair that is optimised away as soon as he says something, or through one that stays."""
    dialled, hold_s = f"{stage.dice.choice(('7711', '7711', '7712'))}{stage.number()}", stage.dice.uniform(0.5, 4.0)
    return [
        await stage.enter(
            dialled, "hung_up", "talked", hold_s=hold_s, path=[MOBILE], rung=(MOBILE,), speaks=stage.speaks()
        )
    ]


@kind
async def mobile_beside_a_desk_phone(stage: Stage) -> Sequence[Expected]:
    dialled, hold_s, rung = f"7713{stage.number()}", stage.dice.uniform(0.5, 4.0), frozenset({"103", MOBILE})
    return [await stage.enter(dialled, "hung_up", "talked", hold_s=hold_s, path=[MOBILE], rung=rung)]


@kind
async def mobile_in_vain(stage: Stage) -> Sequence[Expected]:
    return [await stage.enter(f"7714{stage.number()}", "refused", "no_answer", rung=(DEAD_MOBILE,))]


@kind
async def forwarded_outside(stage: Stage) -> Sequence[Expected]:
    dialled, hold_s = f"7717{stage.number()}", stage.dice.uniform(0.5, 4.0)
    return [await stage.enter(dialled, "hung_up", "talked", hold_s=hold_s, path=["+375290000088"])]


@kind
async def follow_me(stage: Stage) -> Sequence[Expected]:
    dialled, hold_s = f"7724{stage.number()}", stage.dice.uniform(0.5, 4.0)
    return [await stage.enter(dialled, "hung_up", "talked", hold_s=hold_s, path=[MOBILE], rung=("103", MOBILE))]
