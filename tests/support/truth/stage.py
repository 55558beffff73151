"""The company on whose PBX the calls are played, and what a correct reading must record of each.

A call dials a number of its own, KIND SSSSS: by the serial Asterisk's records tell which call of the PBX it was.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from random import Random

from tests.support.ari_app import BridgingApp
from tests.support.asterisk import Asterisk
from tests.support.manager import Manager
from tests.support.polling import until
from tests.support.sip_phone import Handover, SecretaryPhone
from tests.support.sipp import RING_S, CallResult, Sipp

__all__ = [
    "ANSWER_S",
    "DEAD_MOBILE",
    "KINDS",
    "LINES",
    "MOBILE",
    "PATIENT_S",
    "SECRETARY",
    "Expected",
    "Kind",
    "Stage",
    "internal",
    "kind",
    "talked",
]

LINES = {"gsm1": "0001701", "sip2": "3880001"}
SECRETARY = "111"
MOBILE, DEAD_MOBILE = "104", "105"  # whose mobiles end with 77 and 98
PATIENT_S = 60.0
HIDDEN_SHARE = 0.1
# Answer() and ConfBridge() listen so long for the first sound of a caller, and ours are silent.
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
    ari: BridgingApp
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

    def speaks(self) -> bool:
        """Every second caller of those whom it matters to: who go through Local channels."""
        return self.dice.random() < 0.5

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
        speaks: bool = False,
    ) -> Expected:
        """A call from outside. `untalked_s`: so long after the answer nobody talked yet."""
        trunk = self.dice.choice(sorted(LINES))
        hidden = not caller and self.dice.random() < HIDDEN_SHARE
        caller = caller or f"3752955{dialled[4:9]}"
        shown = "anonymous" if hidden else caller
        result = await self.sipp.call(dialled, shown, hold_s, patience_s, trunk=trunk, speaks=speaks)
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
        patience_s: float = PATIENT_S, agent: str = "",
    ) -> Expected:  # fmt: skip
        """A call to the outside; the last digits say what happens there."""
        number, agent = f"8029{self.number()}{ending}", agent or self.dice.choice(("101", "102", "104", "107"))
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
        self,
        plan: Handover,
        path: Sequence[str],
        rung: Sequence[str] | frozenset[str],
        hold_s: float,
        number: str = "",
        *,
        ended: str = "hung_up",
        speaks: bool = False,
    ) -> Expected:
        """A caller of the secretary."""
        number = number or self.number()
        dialled, caller = f"7701{number}{SECRETARY}", f"3752955{number}"
        self.secretary.plans[caller] = plan
        phones = rung if isinstance(rung, frozenset) else tuple(rung)
        return await self.enter(
            dialled, ended, "talked", hold_s=hold_s, caller=caller, path=path, rung=phones, speaks=speaks
        )

    async def handed_over_by_code(
        self, plan: Handover, path: Sequence[str], rung: Sequence[str], hold_s: float
    ) -> Expected:
        """The same by feature code. While she asks he waits in a bridge without anybody, which is not talk."""
        call = await self.handed_over(replace(plan, by_code=True), path, rung, hold_s, speaks=self.speaks())
        return replace(call, talk_s=call.talk_s - self.secretary.apart_s.pop(f"3752955{call.dialled[4:9]}", RING_S))

    async def in_room(self, room: str) -> None:
        """Wait until somebody has come into a conference room."""
        async with self.asterisk.manager(events="off") as manager:

            async def there() -> bool:
                return f"\n{room} " in await manager.command("confbridge list")

            await until(there, within=PATIENT_S)


def talked(result: CallResult) -> float:
    """From the answer to the end, by the caller's clock."""
    return result.ended_s - result.answered_s if result.answered_s is not None else 0.0


def internal(
    dialled: str, caller: str, callee: str, reason: str, rung: tuple[str, ...] | frozenset[str], talk_s: float,
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
