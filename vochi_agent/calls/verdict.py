"""The verdict: what a finished group of legs was, as one record a customer's leg.

Pure function of the legs: the same whether they were read from AMI or CEL, live or after the fact. The rules stand in
docs/calls.md; each branch here is one of its sentences.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from vochi_agent.calls.events import Origin
from vochi_agent.calls.evidence import MAX_LEGS, LegEvidence
from vochi_agent.calls.layout import Layout, Role, dialled_digits
from vochi_agent.calls.legs import TEARDOWN_S, Leg
from vochi_agent.calls.model import Call, Direction, Reason, Source, Status
from vochi_agent.calls.parts import Part, parts_of, placed_by, serves_customer
from vochi_agent.calls.talk import Talk, talks, total
from vochi_agent.config import Line

__all__ = ["Group", "judge"]

# Q.850 causes as Asterisk gives them (include/asterisk/causes.h).
BUSY, DECLINED, NO_ROUTE, ANSWERED_ELSEWHERE = 17, 21, 3, 26
# An outbound leg that ends with one of these was not refused by the network: cleared, rang out, not told, cancelled.
ORDINARY_CAUSES = frozenset({0, 16, 18, 19, 26, 31, 127})
# A gateway that reports CHANUNAVAIL after seconds of progress means "subscriber did not answer"; a dead trunk is quick.
REFUSED_WITHIN_S = 2.0
# The marks a dialplan may set, strongest first (contract §3, §5).
MARKS = (Reason.BLOCKED, Reason.FORBIDDEN, Reason.CLOSED, Reason.VOICEMAIL)


@dataclass(slots=True, kw_only=True)
class Group:
    """Everything known of one call: its legs, what the dialplan said, and whether something was missed."""

    legs: Sequence[Leg]
    marks: frozenset[str] = frozenset()
    marked_line: str = ""
    dial_refused: bool = False
    partial: bool = False
    until: float = 0.0


def judge(group: Group, layout: Layout, source: Source) -> list[Call]:
    """The records of a finished group: one for each customer it was with, else one internal."""
    parts = parts_of(group.legs)
    customers = {leg for part in parts for leg in part.customers}
    humans = [leg for leg in group.legs if leg not in customers and leg.role in (Role.EXTENSION, Role.TRUNK)]
    if parts[0].direction is not Direction.INTERNAL:
        tell = {Direction.IN: _inbound, Direction.OUT: _outbound}
        return [tell[part.direction](group, part, humans, layout, source) for part in parts]
    if _refused_outbound(group, layout):
        return [_outbound(group, parts[0]._replace(direction=Direction.OUT), humans, layout, source)]
    return _internal(group, parts[0], layout, source)


# ---------------------------------------------------------------- inbound


def _inbound(group: Group, part: Part, humans: Sequence[Leg], layout: Layout, source: Source) -> Call:
    customer = part.main
    line = layout.inbound_line(customer.endpoint.name, customer.exten)
    until = customer.ended if customer.ended is not None else group.until
    spoken = talks([customer], humans, group.legs, until)
    path = _path(spoken, layout)
    talked_legs = {talk.leg for talk in spoken}
    reason = Reason.TALKED if spoken else _inbound_reason(group, customer, humans)
    return _record(
        group,
        layout,
        source,
        part,
        ended=until,
        end_unseen=customer.end_unseen or customer.ended is None,
        spoken=spoken,
        reason=reason,
        phone=layout.caller(customer.number, line),
        raw_number=customer.number,
        line=line,
        path=path,
        rung=agents_rung(group.legs, customer, talked_legs),
        first_agent=path[0] if path else None,
    )


def _inbound_reason(group: Group, customer: Leg, humans: Sequence[Leg]) -> Reason:
    """Why nobody talked: the first that fits (contract §5)."""
    for mark in MARKS:
        if mark.value in group.marks:
            return mark
    left_at = customer.hangup_requested
    if left_at is not None and any(stay.covers(left_at) for stay in customer.queues):
        return Reason.ABANDONED_QUEUE
    if customer.queues:
        return Reason.QUEUE_TIMEOUT
    if left_at is not None and any(leg.rings_at(left_at) for leg in humans):
        return Reason.ABANDONED
    tried = bool(humans) or any(leg.dialled for leg in group.legs) or group.dial_refused
    # Without class `dialplan` an unregistered phone leaves one trace: the PBX, not the caller, ends the call, cause 3.
    tried = tried or (left_at is None and customer.cause == NO_ROUTE)
    if not tried:
        return Reason.ABANDONED_GREETING
    return _phones_reason(humans)


def _phones_reason(phones: Sequence[Leg]) -> Reason:
    """What the phones that were dialled did."""
    causes = {leg.own_cause for leg in phones}
    rang = [leg for leg in phones if leg.rang is not None]
    if DECLINED in causes and not any(leg.own_cause not in (DECLINED, BUSY) for leg in rang):
        return Reason.REJECTED
    if (BUSY in causes or any(leg.dial_status == "BUSY" for leg in phones)) and not rang:
        return Reason.BUSY
    return Reason.NO_ANSWER if rang else Reason.UNREACHABLE


def agents_rung(legs: Iterable[Leg], customer: Leg, talked: Iterable[Leg]) -> tuple[str, ...]:
    """Extensions whose phones rang for the customer, in order of first ring, once each."""
    known = {leg.uniqueid: leg for leg in legs}
    by_name = {leg.channel: leg for leg in known.values() if leg.role is Role.LOCAL}
    spoke = set(talked)
    rang = [
        leg
        for leg in known.values()
        if leg.agent
        and leg.origin is not Origin.ENTERED
        and (leg.rang is not None or leg in spoke)
        and (leg in spoke or serves_customer(leg, customer, known, by_name))
    ]
    # A phone that answers without alerting rang for no time at all.
    rang.sort(key=lambda leg: leg.rang if leg.rang is not None else leg.up or leg.started)
    return tuple(dict.fromkeys(leg.agent for leg in rang))


# ---------------------------------------------------------------- outbound


def _refused_outbound(group: Group, layout: Layout) -> bool:
    """An agent dialled a number outside and no trunk could even be asked: Asterisk makes no channel then."""
    caller = placed_by(group.legs)
    return (
        group.dial_refused
        and caller is not None
        and len([leg for leg in group.legs if leg.agent]) == 1
        and Reason.FORBIDDEN.value not in group.marks
        and not layout.is_known_extension(caller.exten)
        and layout.callee(caller.exten, None) is not None
    )


def _outbound(group: Group, part: Part, humans: Sequence[Leg], layout: Layout, source: Source) -> Call:
    attempts = part.customers
    caller = part.main if part.main.agent else None
    until = max((leg.ended if leg.ended is not None else group.until for leg in attempts), default=group.until)
    spoken = talks(attempts, humans, group.legs, until)
    answered = tuple(leg for leg in attempts if leg.up is not None and leg.bridges) or attempts
    last = (answered if spoken else attempts)[-1] if attempts else None
    digits = dialled_digits(last.dial_string) or last.number if last else caller.exten if caller else ""
    shown = caller.number if caller else ""
    line = (
        layout.outbound_line(last.endpoint.name, marked=group.marked_line, digits=digits, shown=shown) if last else None
    )
    path = _path(spoken, layout)
    return _record(
        group,
        layout,
        source,
        part,
        ended=until,
        end_unseen=any(leg.end_unseen or leg.ended is None for leg in attempts[-1:]),
        spoken=spoken,
        reason=Reason.TALKED if spoken else _outbound_reason(group, last, caller),
        phone=layout.callee(digits, line),
        raw_number=digits,
        line=line,
        path=path,
        rung=(),
        first_agent=caller.agent if caller else next(iter(path), None),
    )


def _outbound_reason(group: Group, last: Leg | None, caller: Leg | None) -> Reason:
    for mark in MARKS:
        if mark.value in group.marks:
            return mark
    if last is None:
        return Reason.FAILED
    if last.own_cause == BUSY or last.dial_status == "BUSY":
        return Reason.BUSY
    if last.own_cause == DECLINED:
        return Reason.REJECTED
    ended = last.ended if last.ended is not None else group.until
    refused = last.own_cause not in ORDINARY_CAUSES or last.dial_status == "CONGESTION"
    if refused and ended - last.started < REFUSED_WITHIN_S:
        return Reason.FAILED
    gave_up = (
        caller is not None and caller.hangup_requested is not None and caller.hangup_requested < ended + TEARDOWN_S
    )
    return Reason.CANCELLED if gave_up or last.dial_status == "CANCEL" else Reason.NO_ANSWER


# ---------------------------------------------------------------- internal


def _internal(group: Group, part: Part, layout: Layout, source: Source) -> list[Call]:
    """A call between extensions; nothing at all when nobody was called (echo test, an originated leg not taken)."""
    caller = part.main
    if not caller.agent:
        return []
    callees = [leg for leg in group.legs if leg.agent and leg is not caller]
    picked_up = caller.origin is Origin.ENTERED or caller.up is not None
    called = callees or group.dial_refused or group.marks or layout.is_known_extension(caller.exten)
    if not picked_up or not called:
        return []
    until = max((leg.ended for leg in group.legs if leg.ended is not None), default=group.until)
    spoken = talks([caller], callees, group.legs, until)
    path = (caller.agent, *_path(spoken, layout)) if spoken else ()
    return [
        _record(
            group,
            layout,
            source,
            part,
            ended=until,
            end_unseen=any(leg.end_unseen or leg.ended is None for leg in (caller, *callees)),
            spoken=spoken,
            reason=Reason.TALKED if spoken else _internal_reason(group, caller, callees),
            phone=None,
            raw_number=caller.exten,
            line=None,
            path=path,
            rung=agents_rung(group.legs, caller, {talk.leg for talk in spoken}),
            first_agent=caller.agent,
        )
    ]


def _internal_reason(group: Group, caller: Leg, callees: Sequence[Leg]) -> Reason:
    for mark in MARKS:
        if mark.value in group.marks:
            return mark
    left_at = caller.hangup_requested
    phones = _phones_reason(callees)
    waiting = any(leg.ended is None or leg.ended + TEARDOWN_S >= left_at for leg in callees) if left_at else False
    return Reason.CANCELLED if waiting and phones in (Reason.NO_ANSWER, Reason.UNREACHABLE) else phones


# ---------------------------------------------------------------- common


def _path(spoken: Sequence[Talk], layout: Layout) -> tuple[str, ...]:
    """Who talked, in order; the same one twice in a row is one."""
    path: list[str] = []
    for talk in spoken:
        name = talk.leg.agent or _outsider(talk.leg, layout)
        if name and path[-1:] != [name]:
            path.append(name)
    return tuple(path)


def _outsider(leg: Leg, layout: Layout) -> str:
    """A call forwarded outside to nobody's mobile: the number itself says who talked."""
    digits = dialled_digits(leg.dial_string) or leg.number
    return layout.callee(digits, None) or digits


def _last_agent(spoken: Sequence[Talk], layout: Layout) -> str | None:
    """Who stopped talking last; of people who stopped together, who joined last."""
    if not spoken:
        return None
    end = max(talk.end for talk in spoken)
    last = max((talk for talk in spoken if talk.end >= end - TEARDOWN_S), key=lambda talk: talk.start)
    return last.leg.agent or _outsider(last.leg, layout) or None


def _record(
    group: Group,
    layout: Layout,
    source: Source,
    part: Part,
    *,
    ended: float,
    end_unseen: bool,
    spoken: Sequence[Talk],
    reason: Reason,
    phone: str | None,
    raw_number: str,
    line: Line | None,
    path: tuple[str, ...],
    rung: tuple[str, ...],
    first_agent: str | None,
) -> Call:
    answered = spoken[0].start if spoken else None
    status = Status.ANSWERED if spoken else Status.UNKNOWN if end_unseen else Status.MISSED
    started = part.started
    ended = max(ended, started)
    return Call(
        enterprise_number=layout.enterprise_number,
        linkedid=part.linkedid,
        direction=part.direction,
        status=status,
        reason=Reason.UNKNOWN_END if end_unseen else reason,
        phone=phone,
        raw_number=raw_number,
        line=line.id if line else None,
        started_at=_moment(started),
        answered_at=_moment(answered) if answered is not None else None,
        ended_at=_moment(ended),
        wait_seconds=round(max((answered if answered is not None else ended) - started, 0.0), 1),
        talk_seconds=round(total(spoken), 1),
        first_agent=first_agent,
        last_agent=_last_agent(spoken, layout),
        path=path,
        rung=rung,
        source=source,
        partial=group.partial or end_unseen,
        evidence=_evidence(group.legs, part),
    )


def _evidence(legs: Iterable[Leg], part: Part) -> tuple[LegEvidence, ...]:
    """What each leg did, oldest first; of very many those that were in a bridge and the oldest."""
    kept = sorted(legs, key=lambda leg: (not leg.bridges, leg.started))[:MAX_LEGS]
    return tuple(
        leg.evidence(part.started, customer=leg in part.customers)
        for leg in sorted(kept, key=lambda leg: (leg.started, leg.channel))
    )


def _moment(at: float) -> datetime:
    return datetime.fromtimestamp(at, UTC)
