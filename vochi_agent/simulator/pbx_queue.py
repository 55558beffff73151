"""A caller in a queue of the simulated PBX: everybody rings at once (`ringall`) until somebody answers or he leaves.

The order of the events is that of the recordings of Asterisk 22 (a test compares them).
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from .pbx_calls import ELSEWHERE, NORMAL, NOT_TOLD, Call, Far, Target
from .pbx_channels import Channel
from .pbx_switch import RINGING, UP, Switch

__all__ = ["Waiting", "wait_in_queue"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """How one caller waits.

    Attributes:
        queue: Its name.
        members: The phones that ring; one that does not ring is passed over.
        timeout_s: Seconds until the dialplan takes him out again.
        callers: Those who wait now, by queue; kept by the PBX.
    """

    queue: str
    members: Sequence[Target]
    timeout_s: float
    callers: Counter[str]


async def wait_in_queue(
    switch: Switch, call: Call, source: Channel, plan: Waiting, talk_s: float, *, source_hangs_up: bool
) -> None:
    """From `Answer()` and `Queue()` to the end of the call."""
    if call.cut.done():
        call.end(source, call.leave(source))
        return
    switch.set_state(source, UP)
    switch.begin_application(source, "Queue", f"{plan.queue},tT,,,{plan.timeout_s:g}")
    plan.callers[plan.queue] += 1
    switch.join_queue(source, plan.queue, waiting=plan.callers[plan.queue])
    legs = [(call.new_leg(source, member), member) for member in plan.members if member.far is Far.RINGS]
    for leg, member in legs:
        switch.dial_begin(source, leg, member.dialled)
    for leg, _ in legs:
        switch.set_state(leg, RINGING)
        switch.set_connected(leg, source.caller)
        switch.dial_ringing(source, leg)
        call.displayed(leg)
    answers = [(member.answers_after_s, leg) for leg, member in legs if member.answers_after_s is not None]
    first = min(answers, key=lambda answer: answer[0], default=None)
    in_time = first is not None and first[0] < plan.timeout_s
    left = await call.pause(first[0] if first and in_time else plan.timeout_s)
    plan.callers[plan.queue] -= 1
    if left is None and first and in_time:
        _connect(switch, source, plan, first[1], [leg for leg, _ in legs if leg is not first[1]])
        await call.talk(source, first[1], talk_s, source_hangs_up=source_hangs_up)
        return
    _give_up(switch, call, source, plan, [leg for leg, _ in legs])


def _connect(switch: Switch, source: Channel, plan: Waiting, leg: Channel, losers: Sequence[Channel]) -> None:
    switch.set_state(leg, UP)
    switch.dial_end(source, leg, "ANSWER")
    for _ in range(2):  # app_queue says it twice (seen on 22.10)
        for loser in losers:
            switch.dial_end(source, loser, "CANCEL")
    switch.set_connected(source, leg.caller)
    for loser in losers:
        switch.hang_up(loser, ELSEWHERE)
    switch.leave_queue(source, plan.queue, waiting=plan.callers[plan.queue])


def _give_up(switch: Switch, call: Call, source: Channel, plan: Waiting, legs: Sequence[Channel]) -> None:
    """The caller left, or has waited as long as the queue lets him."""
    abandoned = call.cut.done()
    if abandoned:
        call.leave(source)
    for status in ("CANCEL", "CANCEL") if abandoned else ("NOANSWER", "CANCEL"):
        for leg in legs:
            switch.dial_end(source, leg, status)
    if abandoned:
        switch.abandon_queue(source, plan.queue, held_s=switch.clock() - source.created_at)
    else:
        for leg in legs:
            switch.hang_up(leg, NOT_TOLD)
    switch.leave_queue(source, plan.queue, waiting=plan.callers[plan.queue])
    if not abandoned:
        switch.set_variable(source, "QUEUESTATUS", "TIMEOUT")
    switch.soft_hangup(source)
    switch.hang_up(source, NOT_TOLD if abandoned else NORMAL)
    for leg in legs if abandoned else ():
        switch.hang_up(leg, NOT_TOLD)
