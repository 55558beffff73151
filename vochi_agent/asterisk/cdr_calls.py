"""Calls as far as CDR alone can tell them: who called whom, whether somebody talked, and how long. Pure.

CDR has one row a dialled leg and no events: no ringing, no hold, no reason. So every record is `partial`, and CEL or a
live record replaces it. A call is answered when a row of the customer's channel was answered by a person's phone, or by
somebody outside to whom it was forwarded; what an answering queue or greeting took cannot be told from talk within such
a row.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from itertools import groupby
from typing import Final

from vochi_agent.calls.layout import Layout, Role, dialled_digits
from vochi_agent.calls.model import Call, Direction, Reason, Source, Status
from vochi_agent.config import Line

from .cdr import CdrRow

__all__ = ["HANDED_OVER_S", "calls_of", "joined"]

VOICEMAIL: Final = frozenset({"VoiceMail", "Voicemail", "MinivmRecord"})
# Its rows pair whoever sat in one room: the second channel may have called in by itself.
ROOM: Final = "ConfBridge"
# A leg goes on in the other call within milliseconds of its last row; some tables keep whole seconds.
HANDED_OVER_S: Final = 2.0


def calls_of(rows: Iterable[CdrRow], layout: Layout) -> list[Call]:
    """One reduced call a linkedid, in order of their end; nothing for a row of which no call can be made."""
    in_groups = sorted(joined(list(rows)), key=lambda row: (row.linkedid, row.start, row.end))
    groups = [list(group) for _, group in groupby(in_groups, key=lambda row: row.linkedid)]
    consulted = _handed_over(in_groups)
    calls = [call for group in groups if (call := _call(group, layout)) is not None]
    calls = [call for call in calls if call.direction is not Direction.INTERNAL or call.linkedid not in consulted]
    return sorted(calls, key=lambda call: (call.ended_at, call.linkedid))


def joined(rows: Sequence[CdrRow]) -> list[CdrRow]:
    """The rows, those of a Local pair with the linkedid of the call that dialled it.

    Master.csv says no linkedid unless `newcdrcolumns` is set: there each half stands for itself, and behind a queue of
    FreePBX, whose members are Local channels, nobody would have answered.
    """
    dialled: dict[str, list[CdrRow]] = {}
    for row in rows:
        if twin := _twin(row.dstchannel):
            dialled.setdefault(twin, []).append(row)
    callers: dict[str, str] = {}
    for row in rows:
        for caller in dialled.get(row.channel, ()) if row.uniqueid == row.linkedid else ():
            # Names of channels begin anew with Asterisk.
            if caller.start - HANDED_OVER_S <= row.start <= caller.end + HANDED_OVER_S:
                callers[row.linkedid] = caller.linkedid
    return [row._replace(linkedid=_outermost(row.linkedid, callers)) for row in rows] if callers else [*rows]


def _outermost(linkedid: str, callers: Mapping[str, str]) -> str:
    passed = {linkedid}
    while (caller := callers.get(linkedid, linkedid)) not in passed:
        passed.add(caller)
        linkedid = caller
    return linkedid


def _handed_over(rows: Iterable[CdrRow]) -> set[str]:
    """Linkedids of consultations: a leg of theirs went on in another call when the transfer was completed."""
    first_seen: dict[str, CdrRow] = {}
    found: set[str] = set()
    for row in sorted(rows, key=lambda row: row.start):
        earlier = first_seen.setdefault(row.dstchannel, row)
        if row.start - earlier.end >= HANDED_OVER_S:
            # Names of channels begin anew with Asterisk: the same one much later is another phone call.
            first_seen[row.dstchannel] = row
        elif row.dstchannel and earlier.linkedid != row.linkedid:
            found.add(earlier.linkedid)
    return found


def _call(rows: Sequence[CdrRow], layout: Layout) -> Call | None:
    first = next((row for row in rows if row.uniqueid == row.linkedid), rows[0])
    role = layout.endpoint(first.channel).role
    if role is Role.TRUNK:
        return _inbound([row for row in rows if row.channel in _reached(first.channel, rows)], first, layout)
    dialled = [row for row in rows if row.app != ROOM and not _agent(row, layout)]
    outside = [row for row in dialled if layout.endpoint(row.dstchannel).role is Role.TRUNK]
    if outside:
        return _outbound(outside, first, layout)
    inside = [row for row in rows if row.channel == first.channel and _agent(row, layout)]
    return _internal(inside, first, layout) if role is Role.EXTENSION and inside else None


def _reached(channel: str, rows: Sequence[CdrRow]) -> set[str]:
    """The customer's channel and the far halves of the Local pairs that were dialled for it."""
    reached, todo = {channel}, [channel]
    while todo:
        here = todo.pop()
        for row in rows:
            if row.channel == here and (twin := _twin(row.dstchannel)):
                todo += [] if twin in reached else [twin]
                reached.add(twin)
    return reached


def _twin(channel: str) -> str:
    """The far half of a Local pair, "" for anything else."""
    is_near = channel.startswith("Local/") and channel.endswith(";1")
    return f"{channel.removesuffix(';1')};2" if is_near else ""


def _agent(row: CdrRow, layout: Layout) -> str:
    """The extension behind a dialled leg, an agent's mobile included; "" when it is nobody of ours."""
    endpoint = layout.endpoint(row.dstchannel)
    if endpoint.role is not Role.TRUNK:
        return endpoint.extension
    return layout.mobile_owner(_digits(row) or row.dst, layout.lines_of(endpoint.name)) or layout.mobile_owner(
        _local_number(row), layout.lines_of(endpoint.name)
    )


def _person(row: CdrRow, layout: Layout) -> str:
    """The agent behind a dialled leg, else the number outside that the caller was forwarded to; "" for neither."""
    agent, endpoint = _agent(row, layout), layout.endpoint(row.dstchannel)
    if agent or endpoint.role is not Role.TRUNK or row.app == ROOM:
        return agent
    digits = _digits(row) or row.dst
    return layout.callee(digits, None) or digits


def _local_number(row: CdrRow) -> str:
    """`80290000077` of `Local/80290000077@followme`: an optimised pair leaves the words it was dialled by."""
    target = row.data.partition(",")[0].rpartition("&")[2]
    return dialled_digits(target.partition("@")[0]) if target.startswith("Local/") else ""


def _digits(row: CdrRow) -> str:
    return dialled_digits(row.data.partition(",")[0].partition("&")[0]) if row.app == "Dial" else ""


def _inbound(rows: Sequence[CdrRow], first: CdrRow, layout: Layout) -> Call:
    line = layout.inbound_line(layout.endpoint(first.channel).name, first.did or first.dst)
    talks = [row for row in rows if _talked(row) and _person(row, layout)]
    agents = [_person(row, layout) for row in sorted(talks, key=lambda row: (row.answer or 0.0, row.end))]
    rang = [row for row in rows if _agent(row, layout) and row.disposition in ("ANSWERED", "NO ANSWER")]
    return _record(
        rows,
        talks,
        layout,
        direction=Direction.IN,
        linkedid=first.linkedid,
        reason=_inbound_reason(rows, layout),
        phone=layout.caller(first.src, line),
        raw_number=first.src,
        line=line,
        path=_once_in_a_row(agents),
        rung=tuple(dict.fromkeys(_agent(row, layout) for row in rang)),
        first_agent=agents[0] if agents else None,
    )


def _inbound_reason(rows: Sequence[CdrRow], layout: Layout) -> Reason:
    if any(row.app in VOICEMAIL for row in rows):
        return Reason.VOICEMAIL
    queued = [row for row in rows if row.app == "Queue"]
    if queued:
        # Who waits longer than the queue lets him goes on in the dialplan, which writes another row.
        went_on = any(row.start >= max(row.end for row in queued) and row.app != "Queue" for row in rows)
        return Reason.QUEUE_TIMEOUT if went_on else Reason.ABANDONED_QUEUE
    legs = [row for row in rows if _person(row, layout)]
    if not legs:
        return Reason.UNREACHABLE if any(row.app == "Dial" for row in rows) else Reason.ABANDONED_GREETING
    return Reason.BUSY if all(row.disposition == "BUSY" for row in legs) else Reason.NO_ANSWER


def _outbound(outside: Sequence[CdrRow], first: CdrRow, layout: Layout) -> Call:
    talks = [row for row in outside if _talked(row)]
    # Handed on outside, the customer's own channel dials: who answers there is somebody else.
    called = [row for row in outside if layout.endpoint(row.channel).role is not Role.TRUNK] or outside
    last = ([row for row in called if _talked(row)] or called)[-1]
    digits = _digits(last) or last.dst
    line = layout.outbound_line(layout.endpoint(last.dstchannel).name, marked="", digits=digits, shown=last.src)
    caller = layout.endpoint(first.channel).extension
    reasons = {"BUSY": Reason.BUSY, "CONGESTION": Reason.FAILED, "FAILED": Reason.FAILED}
    return _record(
        outside,
        talks,
        layout,
        direction=Direction.OUT,
        linkedid=first.linkedid,
        reason=reasons.get(last.disposition, Reason.NO_ANSWER),
        phone=layout.callee(digits, line),
        raw_number=digits,
        line=line,
        path=(caller,) if talks and caller else (),
        rung=(),
        first_agent=caller or None,
    )


def _internal(inside: Sequence[CdrRow], first: CdrRow, layout: Layout) -> Call:
    caller = layout.endpoint(first.channel).extension
    talks = [row for row in inside if _talked(row)]
    rung = tuple(dict.fromkeys(_agent(row, layout) for row in inside))
    return _record(
        inside,
        talks,
        layout,
        direction=Direction.INTERNAL,
        linkedid=first.linkedid,
        reason=Reason.BUSY if all(row.disposition == "BUSY" for row in inside) else Reason.NO_ANSWER,
        phone=None,
        raw_number=first.dst,
        line=None,
        path=_once_in_a_row([caller, *(_agent(row, layout) for row in talks)]) if talks else (),
        rung=rung,
        first_agent=caller,
    )


def _talked(row: CdrRow) -> bool:
    # A call that was picked up leaves an answered row of no length for the phone that rang.
    return row.disposition == "ANSWERED" and row.answer is not None and row.end > row.answer


def _once_in_a_row(names: Sequence[str]) -> tuple[str, ...]:
    return tuple(name for name, _ in groupby(names))


def _record(
    rows: Sequence[CdrRow],
    talks: Sequence[CdrRow],
    layout: Layout,
    *,
    direction: Direction,
    linkedid: str,
    reason: Reason,
    phone: str | None,
    raw_number: str,
    line: Line | None,
    path: tuple[str, ...],
    rung: tuple[str, ...],
    first_agent: str | None,
) -> Call:
    started, ended = min(row.start for row in rows), max(row.end for row in rows)
    answered = min((row.answer for row in talks if row.answer is not None), default=None)
    return Call(
        enterprise_number=layout.enterprise_number,
        linkedid=linkedid,
        direction=direction,
        status=Status.MISSED if answered is None else Status.ANSWERED,
        reason=reason if answered is None else Reason.TALKED,
        phone=phone,
        raw_number=raw_number,
        line=line.id if line else None,
        started_at=_moment(started),
        answered_at=None if answered is None else _moment(answered),
        ended_at=_moment(ended),
        wait_seconds=round((ended if answered is None else answered) - started, 1),
        talk_seconds=round(_covered(talks), 1),
        first_agent=first_agent,
        last_agent=path[-1] if path else None,
        path=path,
        rung=rung,
        source=Source.RECOVERY,
        partial=True,
    )


def _covered(talks: Iterable[CdrRow]) -> float:
    """Seconds of all talks, what overlaps once."""
    seconds, until = 0.0, 0.0
    for row in sorted(talks, key=lambda row: row.answer or 0.0):
        start = max(row.answer or 0.0, until)
        seconds += max(0.0, row.end - start)
        until = max(until, row.end)
    return seconds


def _moment(at: float) -> datetime:
    return datetime.fromtimestamp(at, UTC)
