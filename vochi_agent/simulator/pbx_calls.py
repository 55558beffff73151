"""How a call goes in the simulated PBX: dial, ring, answer or not, talk, hang up, in the order of a real Asterisk.

The order of the events is that of the recordings of Asterisk 22 for the same scenario (a test compares them).
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum

from .pbx_channels import CallerId, Channel
from .pbx_switch import BUSY, DOWN, RINGING, UP, Switch

__all__ = ["ELSEWHERE", "NOBODY", "NORMAL", "NOT_TOLD", "Call", "Dialled", "Far", "HandOver", "Target"]

NORMAL = 16
NO_ANSWER = 19
NO_ROUTE = 3
ELSEWHERE = 26
INTERWORKING = 127
NOT_TOLD = 0
NOT_FOUND = 404
TEMPORARILY_UNAVAILABLE = 480
REQUEST_TERMINATED = 487
SERVER_ERROR = 500
TRANSFERRED_RINGS_S = 20.0


class Far(Enum):
    """How the far end of a leg behaves; whether it answers is the call's own plan."""

    RINGS = "rings"
    BUSY = "busy"
    DECLINES = "declines"
    CONGESTED = "congested"
    WRONG_NUMBER = "wrong number"
    UNREACHABLE = "unreachable"
    """Registered at an address where nobody is: dialled, but it never rings."""
    OFFLINE = "offline"
    """Not registered: no leg at all."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """What a far end that does not ring says: Q.850 cause, SIP code, DialStatus of the event and of the variable."""

    cause: int
    code: int
    event_status: str
    status: str


# Asterisk calls a declined call NOANSWER in DialEnd and CHANUNAVAIL in DIALSTATUS; only the cause tells.
REFUSALS = {
    Far.BUSY: Refusal(17, 486, "BUSY", "BUSY"),
    Far.DECLINES: Refusal(21, 603, "NOANSWER", "CHANUNAVAIL"),
    Far.CONGESTED: Refusal(34, 503, "CONGESTION", "CONGESTION"),
    Far.WRONG_NUMBER: Refusal(1, 404, "NOANSWER", "CHANUNAVAIL"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One destination of a Dial.

    Attributes:
        dialled: What follows `TECH/` in Dial(): `151`, or `80290000001@gsm1`.
        identity: Number and name configured for a phone; a trunk has none of its own.
        answers_after_s: Seconds of ringing until it answers, None never.
    """

    endpoint: str
    dialled: str
    context: str
    identity: CallerId | None
    far: Far = Far.RINGS
    answers_after_s: float | None = None


@dataclass(frozen=True, slots=True)
class Dialled:
    """How a Dial ended.

    Attributes:
        status: DIALSTATUS.
        leg: Who answered.
        cause: Hangup cause the dialplan would pass on.
        code: The SIP code behind it.
    """

    status: str
    leg: Channel | None = None
    cause: int = NO_ANSWER
    code: int = TEMPORARILY_UNAVAILABLE


@dataclass(frozen=True, slots=True)
class HandOver:
    """A blind transfer: after so many seconds of talk whoever took the call sends the caller on to another phone."""

    to: Target
    after_s: float


NOBODY = Dialled("CHANUNAVAIL", cause=NO_ROUTE, code=NOT_FOUND)
"""Nothing could be dialled."""


class Call:
    """One call while it is made. Whoever hangs up early, by his own will or by AMI, resolves `cut`.

    Attributes:
        cut: The channel whose side ends the call.
        displayed: Told of each handset as it begins to show a caller.
        hand_over: What becomes of the next conversation, None when it is simply had.
    """

    def __init__(self, switch: Switch, *, speed: float, displayed: Callable[[Channel], None]) -> None:
        """Prepare.

        Args:
            switch: Where the channels live.
            speed: How many times faster than life.
            displayed: See above.
        """
        self.cut: asyncio.Future[Channel] = asyncio.get_running_loop().create_future()
        self._switch = switch
        self._speed = speed
        self._ended_from_outside = False
        self.displayed = displayed
        self.hand_over: HandOver | None = None

    def hang_up_by(self, channel: Channel) -> None:
        """This side ends the call now."""
        if not self.cut.done():
            self.cut.set_result(channel)

    def end_from_outside(self, channel: Channel) -> None:
        """Somebody ends this side over AMI: no far end asked for it, so there is no HangupRequest."""
        self._ended_from_outside = not self.cut.done()
        self.hang_up_by(channel)

    async def pause(self, seconds: float) -> Channel | None:
        """Let simulated time pass; a side that hangs up meanwhile ends the pause and is returned."""
        done, _ = await asyncio.wait({self.cut}, timeout=seconds / self._speed)
        return self.cut.result() if done else None

    async def go(
        self,
        source: Channel,
        groups: Sequence[Sequence[Target]],
        timeout_s: float,
        talk_s: float,
        *,
        source_hangs_up: bool,
    ) -> None:
        """Dial one group after the other, then talk, then end."""
        outcome = self.leave(source) if self.cut.done() else NOBODY
        for group in groups:
            if outcome.status == "CANCEL":
                break
            outcome = await self.dial(source, group, timeout_s)
            if outcome.leg:
                await self.talk(source, outcome.leg, talk_s, source_hangs_up=source_hangs_up)
                return
        self.end(source, outcome)

    async def dial(self, source: Channel, targets: Sequence[Target], timeout_s: float) -> Dialled:
        """Dial every target at once; the first that answers wins. When the caller leaves, status is CANCEL."""
        switch = self._switch
        targets_named = "&".join(f"{target.endpoint.partition('/')[0]}/{target.dialled}" for target in targets)
        switch.begin_application(source, "Dial", f"{targets_named},{timeout_s:g}")
        switch.set_variable(source, "DIALSTATUS", "")
        legs = [(self._leg(source, target), target) for target in targets if target.far is not Far.OFFLINE]
        for leg, target in legs:
            switch.dial_begin(source, leg, target.dialled)
        if len(legs) == 1:
            switch.set_connected(source, legs[0][0].caller)
        ringing, refused = self._ring(source, legs)
        outcome = await self._wait_for_answer(source, ringing, timeout_s) if ringing else refused
        switch.set_variable(source, "DIALSTATUS", outcome.status)
        return outcome

    async def talk(self, source: Channel, leg: Channel, talk_s: float, *, source_hangs_up: bool) -> None:
        """Bridge the two, let them talk, and end the call from one side, or hand it over to somebody else."""
        self._switch.bridge(leg, source)
        plan, self.hand_over = self.hand_over, None
        ender = await self.pause(plan.after_s if plan else talk_s)
        if plan and ender is None:
            await self._transfer(source, leg, plan.to, talk_s, source_hangs_up=source_hangs_up)
            return
        self._part(source, leg, ender or (source if source_hangs_up else leg))

    async def _transfer(
        self, source: Channel, leg: Channel, to: Target, talk_s: float, *, source_hangs_up: bool
    ) -> None:
        """The phone that talks refers the caller to another one and is gone, whatever becomes of that."""
        switch = self._switch
        switch.blind_transfer(leg, source, context=to.context, exten=to.dialled)
        switch.leave_bridge(leg)
        source.context, source.exten = to.context, to.dialled
        switch.leave_bridge(source)
        switch.hang_up(leg, NORMAL)
        outcome = await self.dial(source, [to], TRANSFERRED_RINGS_S)
        if outcome.leg:
            await self.talk(source, outcome.leg, talk_s, source_hangs_up=source_hangs_up)
        else:
            self.end(source, outcome)

    def _part(self, source: Channel, leg: Channel, ender: Channel) -> None:
        switch = self._switch
        self._request_hangup(ender, NORMAL)
        switch.leave_bridge(ender)
        if ender is source:
            switch.soft_hangup(source)
            switch.leave_bridge(leg)
            switch.hang_up(source, NORMAL)
            switch.hang_up(leg, NORMAL)
            return
        switch.hang_up(leg, NORMAL)
        switch.leave_bridge(source)
        switch.soft_hangup(source)
        switch.hang_up(source, NORMAL)

    def end(self, source: Channel, outcome: Dialled) -> None:
        """The dialplan ends a call that nobody answered: `Busy()` for a busy one, else `Hangup()`."""
        switch = self._switch
        if outcome.status == "BUSY" and source.state != UP:
            source.tech_cause = outcome.code
            switch.set_state(source, BUSY)
            switch.request_hangup(source, outcome.cause)
        switch.soft_hangup(source)
        source.tech_cause = outcome.code
        switch.hang_up(source, outcome.cause)

    def leave(self, source: Channel) -> Dialled:
        """The caller hangs up before anybody was dialled, or while phones ring."""
        # A SIP CANCEL carries no reason, hence 127; a BYE does.
        by_bye = source.state == UP or self._ended_from_outside
        cause, code = (NORMAL, 0) if by_bye else (INTERWORKING, REQUEST_TERMINATED)
        source.tech_cause = code
        self._request_hangup(source, cause)
        return Dialled("CANCEL", cause=cause, code=code)

    def _request_hangup(self, channel: Channel, cause: int) -> None:
        if not self._ended_from_outside:
            self._switch.request_hangup(channel, cause)

    def _leg(self, source: Channel, target: Target) -> Channel:
        switch = self._switch
        leg = self.new_leg(source, target)
        if target.identity is None:
            switch.set_caller(leg, CallerId(source.exten, source.connected.name))
        switch.set_connected(leg, source.caller)
        return leg

    def new_leg(self, source: Channel, target: Target) -> Channel:
        """The channel to a destination; it knows nothing yet of who calls."""
        leg = self._switch.new_channel(
            target.endpoint,
            state=DOWN,
            caller=target.identity or CallerId(),
            context=target.context,
            exten="s",
            parent=source,
        )
        leg.exten = source.exten
        return leg

    def _ring(self, source: Channel, legs: Sequence[tuple[Channel, Target]]) -> tuple[list["Ringing"], Dialled]:
        """Let every leg ring or refuse; returns those that may still answer and what the refusals amount to."""
        ringing: list[Ringing] = []
        refused = NOBODY
        for leg, target in legs:
            if refusal := REFUSALS.get(target.far):
                self._refuse(source, leg, refusal)
                if refused.status != "BUSY":
                    refused = Dialled(refusal.status, cause=refusal.cause, code=refusal.code)
                continue
            if target.far is Far.RINGS:
                self._switch.set_state(leg, RINGING)
                self._switch.dial_ringing(source, leg)
                self.displayed(leg)
            ringing.append((leg, target.answers_after_s if target.far is Far.RINGS else None))
        return ringing, refused

    def _refuse(self, source: Channel, leg: Channel, refusal: Refusal) -> None:
        leg.tech_cause = refusal.code
        self._switch.request_hangup(leg, refusal.cause)
        self._switch.dial_end(source, leg, refusal.event_status)
        self._switch.hang_up(leg, refusal.cause)

    async def _wait_for_answer(self, source: Channel, ringing: Sequence["Ringing"], timeout_s: float) -> Dialled:
        plans = [(after_s, leg) for leg, after_s in ringing if after_s is not None and after_s < timeout_s]
        first = min(plans, key=lambda plan: plan[0], default=None)
        legs = [leg for leg, _ in ringing]
        if await self.pause(first[0] if first else timeout_s):
            return self._cancel(source, legs)
        if first:
            return self._answer(source, first[1], [leg for leg in legs if leg is not first[1]])
        for leg in legs:
            self._switch.dial_end(source, leg, "NOANSWER")
        for leg in legs:
            self._switch.hang_up(leg, NOT_TOLD)
        return Dialled("NOANSWER")

    def _answer(self, source: Channel, leg: Channel, losers: Sequence[Channel]) -> Dialled:
        switch = self._switch
        switch.set_state(leg, UP)
        switch.set_connected(source, leg.caller)
        for loser in losers:
            switch.dial_end(source, loser, "CANCEL")
            switch.hang_up(loser, ELSEWHERE)
        leg.exten = ""
        switch.dial_end(source, leg, "ANSWER")
        switch.set_state(source, UP)
        return Dialled("ANSWER", leg, NORMAL, 0)

    def _cancel(self, source: Channel, legs: Sequence[Channel]) -> Dialled:
        outcome = self.leave(source)
        for leg in legs:
            self._switch.dial_end(source, leg, "CANCEL")
        for leg in legs:
            leg.tech_cause = SERVER_ERROR if outcome.code else 0
            self._switch.hang_up(leg, outcome.cause)
        return outcome


Ringing = tuple[Channel, float | None]
"""A leg that may still answer, and after how many seconds it will."""
