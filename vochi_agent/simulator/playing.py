"""Plays a scenario on the simulated PBX, with whom the configuration names: its lines, its agents, invented callers."""

import asyncio
import heapq
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final

import phonenumbers

from vochi_agent.config import Enterprise, Line

from .crm_server import CrmServer, Fault
from .pbx import Far, Pbx
from .pbx_channels import Channel
from .pbx_dialplan import Subroutine
from .pbx_switch import Switch
from .scenario import HIDDEN, NOBODY, CallPlan, Scenario, Trouble

__all__ = ["Player", "Tally", "phones_of", "unplayable"]

# Who works in a company whose configuration lists nobody.
UNLISTED: Final = ("150", "151", "152")
INVENTED_DIGITS: Final = 6
# For a country without mobile telephones: Belarus.
UNPLACED: Final = "+375290"
NOT_ASKED: Final = "not asked"

Moment = tuple[float, Callable[[], Coroutine[None, None, str]]]


@dataclass(slots=True)
class Tally:
    """What came of it.

    Attributes:
        placed: Calls by kind.
        statuses: What the dialplan was told of those who came in (VOCHI_STATUS); `not asked` when it went on without.
        slowest_s: The longest that a call was held for it.
    """

    placed: Counter[str] = field(default_factory=Counter)
    statuses: Counter[str] = field(default_factory=Counter)
    slowest_s: float = 0.0


class Player:
    """Places the calls of a scenario in time, and breaks what it says is to break."""

    def __init__(
        self, pbx: Pbx, scenario: Scenario, enterprise: Enterprise, *, speed: float, crm: CrmServer | None
    ) -> None:
        """`crm` is the one that is played, None when there is none."""
        self.tally = Tally()
        self._pbx = pbx
        self._scenario = scenario
        self._speed = speed
        self._crm = crm
        self._lines = enterprise.lines
        self._agents = _agents(enterprise)
        self._members = {queue.name: queue.agents or self._agents for queue in scenario.queues}
        self._strangers = _strangers(enterprise.country)

    async def play(self) -> None:
        """From the first call to the end of the last one."""
        if self._pbx.subroutine:
            self._pbx.subroutine = _Measured(self._pbx.subroutine, self.tally)
        clock = asyncio.get_running_loop().time
        started = clock()
        troubles = [self._break(trouble) for trouble in self._scenario.troubles]
        async with asyncio.TaskGroup() as breaking:
            broken = [breaking.create_task(trouble, name="trouble") for trouble in troubles]
            async with asyncio.TaskGroup() as calls:
                for at, place in self._moments():
                    await asyncio.sleep(started + at / self._speed - clock())
                    calls.create_task(place(), name="a simulated call")
            for task in broken:
                task.cancel()

    def _moments(self) -> Iterator[Moment]:
        return heapq.merge(*map(self._of_plan, self._scenario.calls), key=lambda moment: moment[0])

    def _of_plan(self, plan: CallPlan) -> Iterator[Moment]:
        place = {"in": self._inbound, "out": self._outbound, "internal": self._internal}[plan.kind]
        for turn in range(plan.count):
            yield plan.start_s + turn * plan.every_s, partial(place, plan, turn)

    async def _inbound(self, plan: CallPlan, turn: int) -> str:
        self.tally.placed["in"] += 1
        line = self._line(plan, turn)
        caller = _in_turn(plan.callers, turn) or self._stranger(turn)
        ring = self._members[plan.queue] if plan.queue else plan.ring or self._agents
        return await self._pbx.inbound(
            trunk=line.endpoint,
            did=line.dids[0],
            caller="anonymous" if caller == HIDDEN else caller,
            ring=ring,
            answer=_answerer(plan, ring, turn),
            after_s=plan.after_s,
            talk_s=plan.talk_s,
            timeout_s=plan.ring_s,
            gives_up_s=plan.gives_up_s or None,
            greeting_s=plan.greeting_s,
            far=dict.fromkeys(ring, Far(plan.far)),
            queue=plan.queue,
            transfer_to=plan.transfer_to,
        )

    async def _outbound(self, plan: CallPlan, turn: int) -> str:
        self.tally.placed["out"] += 1
        line = self._line(plan, turn)
        return await self._pbx.outbound(
            extension=_in_turn(plan.by or self._agents, turn),
            number=line.dial_prefix + (_in_turn(plan.to, turn) or self._stranger(turn)),
            trunk=line.endpoint,
            line=line.id,
            far=Far(plan.far),
            answered=plan.answer != NOBODY,
            after_s=plan.after_s,
            talk_s=plan.talk_s,
            timeout_s=plan.ring_s,
            gives_up_s=plan.gives_up_s or None,
        )

    async def _internal(self, plan: CallPlan, turn: int) -> str:
        self.tally.placed["internal"] += 1
        caller = _in_turn(plan.by or self._agents, turn)
        others = [extension for extension in plan.to or self._agents if extension != caller] or [caller]
        return await self._pbx.internal(
            extension=caller,
            to=_in_turn(others, turn),
            far=Far(plan.far),
            answered=plan.answer != NOBODY,
            after_s=plan.after_s,
            talk_s=plan.talk_s,
            timeout_s=plan.ring_s,
            gives_up_s=plan.gives_up_s or None,
        )

    def _line(self, plan: CallPlan, turn: int) -> Line:
        lines = [line for line in self._lines if not plan.line or line.id == plan.line]
        return lines[turn % len(lines)]

    def _stranger(self, turn: int) -> str:
        return f"{self._strangers}{turn % self._scenario.strangers:0{INVENTED_DIGITS}d}"

    async def _break(self, trouble: Trouble) -> None:
        await asyncio.sleep(trouble.from_s / self._speed)
        self._set(trouble, broken=True)
        try:
            await asyncio.sleep((trouble.to_s - trouble.from_s) / self._speed)
        finally:
            self._set(trouble, broken=False)

    def _set(self, trouble: Trouble, *, broken: bool) -> None:
        if trouble.part == "crm" and self._crm:
            self._crm.fault = Fault(trouble.how) if broken else None
        elif trouble.how == "frozen":
            self._pbx.manager.freeze(frozen=broken)
        elif broken:
            self._pbx.manager.disconnect()


class _Measured:
    """The dialplan's subroutine, with what came of it written down."""

    def __init__(self, subroutine: Subroutine, tally: Tally) -> None:
        self._subroutine = subroutine
        self._tally = tally

    async def run(self, switch: Switch, channel: Channel, cut: "asyncio.Future[Channel]") -> None:
        clock = asyncio.get_running_loop().time
        started = clock()
        await self._subroutine.run(switch, channel, cut)
        self._tally.slowest_s = max(self._tally.slowest_s, clock() - started)
        self._tally.statuses[channel.variables.get("VOCHI_STATUS", NOT_ASKED)] += 1


def phones_of(scenario: Scenario, enterprise: Enterprise) -> Mapping[str, str]:
    """Every extension that the configuration or the scenario names, with the name configured for it."""
    names = {agent.extension: agent.name for agent in enterprise.agents}
    named = [*_agents(enterprise), *(extension for queue in scenario.queues for extension in queue.agents)]
    for call in scenario.calls:
        named += [*call.by, *call.ring, call.transfer_to, *(call.to if call.kind == "internal" else ())]
        named += [] if call.answer == NOBODY else [call.answer]
    return {extension: names.get(extension, "") for extension in named if extension}


def unplayable(scenario: Scenario, enterprise: Enterprise, *, crm_is_played: bool) -> Iterator[str]:
    """What the scenario asks for and this configuration does not have."""
    lines = [line.id for line in enterprise.lines]
    if not lines:
        yield f"enterprise {enterprise.number} has no [[enterprises.lines]]; needed: a line for calls to come in by"
    for index, call in enumerate(scenario.calls):
        if call.line and call.line not in lines:
            yield f'calls[#{index + 1}].line is "{call.line}"; allowed: {", ".join(lines)}'
    needs_crm = [f"troubles[#{index + 1}]" for index, each in enumerate(scenario.troubles) if each.part == "crm"]
    needs_crm += ["customers"] if scenario.customers else []
    if needs_crm and not crm_is_played:
        yield (
            f"{', '.join(needs_crm)}: the CRM is not played; needed: enterprises.crm.retailcrm.url on this machine and "
            "on a free port, such as http://127.0.0.1:8091"
        )


def _agents(enterprise: Enterprise) -> Sequence[str]:
    return tuple(agent.extension for agent in enterprise.agents) or UNLISTED


def _strangers(country: str) -> str:
    """What the numbers of invented people of a country begin with."""
    example = phonenumbers.example_number_for_type(country, phonenumbers.PhoneNumberType.MOBILE)
    if example is None:
        return UNPLACED
    return phonenumbers.format_number(example, phonenumbers.PhoneNumberFormat.E164)[:-INVENTED_DIGITS]


def _answerer(plan: CallPlan, ring: Sequence[str], turn: int) -> str:
    return "" if plan.answer == NOBODY else plan.answer or ring[turn % len(ring)]


def _in_turn(values: Sequence[str], turn: int) -> str:
    return values[turn % len(values)] if values else ""
