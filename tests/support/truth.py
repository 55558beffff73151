"""Every kind of call a company has, played on a real PBX, each with the record that a correct reading gives.

A call dials a number of its own, KIND SSSSS: by the serial Asterisk's records tell which call of the PBX it was.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from random import Random

from tests.support.asterisk import Asterisk
from tests.support.manager import Manager, is_event
from tests.support.sip_phone import Handover, SecretaryPhone
from tests.support.sipp import RING_S, CallResult, Sipp

__all__ = ["KINDS", "Expected", "Stage"]

LINES = {"gsm1": "0001701", "sip2": "3880001"}
SECRETARY = "111"
MOBILE, DEAD_MOBILE = "104", "105"  # whose mobiles end with 77 and 98
PATIENT_S = 60.0
HIDDEN_SHARE = 0.1
# Answer() listens so long for the first sound of a caller, and ours are silent.
ANSWER_S = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """One record, and by what it is found.

    Attributes:
        dialled: The number of its own that this call dialled; of a call that an action began its linkedid.
        rung: A set where the order is a race.
        talk_s: Seconds; a result of sipp's own clock where there is one.
        cel: What CEL says instead, where it cannot know better.
    """

    dialled: str
    direction: str
    reason: str
    phone: str | None = None
    line: str | None = None
    path: tuple[str, ...] = ()
    rung: tuple[str, ...] | frozenset[str] = ()
    first_agent: str | None = None
    talk_s: float = 0.0
    cel: dict[str, object] = field(default_factory=dict)

    @property
    def status(self) -> str:
        """As the record has it."""
        return "answered" if self.reason == "talked" else "missed"


@dataclass
class Stage:
    """The company. Each kind of call is a method that plays one and tells what must be recorded.

    Attributes:
        answering, silent: Queues that nobody waits in now: who waits behind another is not rung.
        broken: What sipp saw that was not as planned.
    """

    asterisk: Asterisk
    sipp: Sipp
    secretary: SecretaryPhone
    manager: Manager
    dice: Random
    serial: int = 0
    answering: asyncio.Queue[str] = field(default_factory=asyncio.Queue)
    silent: asyncio.Queue[str] = field(default_factory=asyncio.Queue)
    acting: asyncio.Lock = field(default_factory=asyncio.Lock)
    broken: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        for name in "012":
            self.answering.put_nowait(name)
        for name in "567":
            self.silent.put_nowait(name)

    def number(self) -> str:
        """Five digits that no other call has."""
        self.serial += 1
        return f"{self.serial:05d}"

    def check(self, result: CallResult, ended: str, dialled: str) -> None:
        """Note when it did not go for the caller as it was planned."""
        if result.ended != ended:
            self.broken.append(f"{result.started_at:%T} {dialled} {ended} was {result.ended} ({result.code})")

    async def enter(
        self,
        dialled: str,
        ended: str,
        reason: str,
        *,
        hold_s: float = PATIENT_S,
        patience_s: float = PATIENT_S,
        caller: str = "",
        untalked_s: float = 0.0,
        path: Sequence[str] = (),
        rung: tuple[str, ...] | frozenset[str] = (),
        cel: dict[str, object] | None = None,
    ) -> Expected:
        """A call from outside. `untalked_s`: so long after the answer nobody talked yet."""
        trunk = self.dice.choice(sorted(LINES))
        hidden = not caller and self.dice.random() < HIDDEN_SHARE
        caller = caller or f"3752955{dialled[4:9]}"
        shown = "anonymous" if hidden else caller
        result = await self.sipp.call(dialled, shown, hold_s, patience_s, trunk=trunk)
        self.check(result, ended, dialled)
        return Expected(
            dialled=dialled,
            direction="in",
            reason=reason,
            phone=None if hidden else f"+{caller}",
            line=LINES[trunk],
            path=tuple(path),
            rung=rung,
            first_agent=path[0] if path else None,
            talk_s=talked(result) - untalked_s if reason == "talked" else 0.0,
            cel=cel or {},
        )

    async def leave(
        self, ending: str, ended: str, reason: str, *, line: str = "gsm1", hold_s: float = PATIENT_S,
        patience_s: float = PATIENT_S,
    ) -> Expected:  # fmt: skip
        """A call to the outside; the last digits say what happens there."""
        number, agent = f"8029{self.number()}{ending}", self.dice.choice(("101", "102", "104", "107"))
        result = await self.sipp.dial(agent, number, hold_s, patience_s)
        self.check(result, ended, number)
        return Expected(
            dialled=number,
            direction="out",
            reason=reason,
            phone=f"+375{number[2:]}",
            line=LINES[line],
            path=(agent,) if reason == "talked" else (),
            first_agent=agent,
            talk_s=talked(result) if reason == "talked" else 0.0,
        )

    async def ask(
        self, extension: str, ended: str, reason: str, *, hold_s: float = PATIENT_S, patience_s: float = PATIENT_S,
        rung: tuple[str, ...] = (), cel: dict[str, object] | None = None,
    ) -> Expected:  # fmt: skip
        """A call to a colleague."""
        dialled, agent = f"call{self.number()}{extension}", self.dice.choice(("106", "107"))
        result = await self.sipp.dial(agent, dialled, hold_s, patience_s)
        self.check(result, ended, dialled)
        return internal(dialled, agent, extension, reason, rung, talked(result), cel)

    async def click(
        self, ending: str, reason: str, *, agent: str = "101", timeout_s: float = 20.0, hang_up_after_s: float = 0.0
    ) -> Expected:
        """A call that a CRM asks for: the agent's phone first, then the customer."""
        number = f"8029{self.number()}{ending}"
        linkedid = f"click-{number}"
        async with self.acting:
            await self.manager.action(
                "Originate", Channel=f"PJSIP/{agent}", Context="click-to-call", Exten=number, Priority="1",
                CallerID=f"<{agent}>", ChannelId=linkedid, Timeout=str(round(timeout_s * 1000)), Async="true",
            )  # fmt: skip
        if hang_up_after_s:
            await asyncio.sleep(hang_up_after_s)
            async with self.acting:
                await self.manager.action("Hangup", Channel=linkedid)
        return Expected(
            dialled=linkedid,
            direction="out",
            reason=reason,
            phone=f"+375{number[2:]}",
            line=LINES["gsm1"],
            path=(agent,) if reason == "talked" else (),
            first_agent=agent,
            talk_s=3.0 if reason == "talked" else 0.0,
        )

    @asynccontextmanager
    async def queue(self, of: asyncio.Queue[str]):  # type: ignore[no-untyped-def]
        """A queue for one caller alone."""
        name = await of.get()
        try:
            yield name
        finally:
            of.put_nowait(name)

    async def handed_over(
        self, plan: Handover, path: Sequence[str], rung: Sequence[str], hold_s: float, number: str = ""
    ) -> Expected:
        """A caller of the secretary."""
        number = number or self.number()
        dialled, caller = f"7701{number}{SECRETARY}", f"3752955{number}"
        self.secretary.plans[caller] = plan
        return await self.enter(dialled, "hung_up", "talked", hold_s=hold_s, caller=caller, path=path, rung=tuple(rung))


def talked(result: CallResult) -> float:
    """From the answer to the end, by the caller's clock."""
    return result.ended_s - result.answered_s if result.answered_s is not None else 0.0


def internal(
    dialled: str, caller: str, callee: str, reason: str, rung: tuple[str, ...], talk_s: float,
    cel: dict[str, object] | None = None,
) -> Expected:  # fmt: skip
    """A record of two colleagues."""
    return Expected(
        dialled=dialled,
        direction="internal",
        reason=reason,
        path=(caller, callee) if reason == "talked" else (),
        rung=rung,
        first_agent=caller,
        talk_s=talk_s if reason == "talked" else 0.0,
        cel=cel or {},
    )


Kind = Callable[[Stage], Awaitable[Sequence[Expected]]]
KINDS: list[Kind] = []


def kind(play: Kind) -> Kind:
    """Register a kind of call."""
    KINDS.append(play)
    return play


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
    dialled, hold_s = f"{stage.dice.choice(('7711', '7712'))}{stage.number()}", stage.dice.uniform(0.5, 4.0)
    return [await stage.enter(dialled, "hung_up", "talked", hold_s=hold_s, path=[MOBILE], rung=(MOBILE,))]


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


# ---------------------------------------------------------------- handing over


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
