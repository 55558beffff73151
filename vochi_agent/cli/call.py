"""`vochi-agent call LINKEDID`: one call, and what speaks for its verdict."""

import argparse
import asyncio
import sys
from collections.abc import Callable, Mapping
from typing import Final

from vochi_agent.calls.evidence import evidence_json
from vochi_agent.calls.model import Call, Direction, Reason
from vochi_agent.calls.numbers import display
from vochi_agent.config import Config

from .presentation import add_json, length, local, print_facts, print_json
from .selection import add_enterprise, enterprise_of, timezone_of
from .stored import prepared_store
from .timeline import timeline

NO: Final = 1

BECAUSE: Final[Mapping[Reason, str]] = {
    Reason.BLOCKED: "the dialplan marked the call: the caller is on the black list",
    Reason.FORBIDDEN: "the dialplan marked the call: this number may not be dialled",
    Reason.CLOSED: "the dialplan marked the call: out of hours",
    Reason.VOICEMAIL: "the call reached the voicemail",
    Reason.ABANDONED_QUEUE: "the caller left while he waited in a queue",
    Reason.QUEUE_TIMEOUT: "nobody of the queue answered in its time",
    Reason.ABANDONED: "the caller left while a phone rang",
    Reason.ABANDONED_GREETING: "the caller left before any phone was dialled",
    Reason.REJECTED: "declined (cause 21), and no other phone rang out",
    Reason.BUSY: "busy (cause 17), and no phone rang",
    Reason.NO_ANSWER: "it rang, and nobody answered",
    Reason.UNREACHABLE: "phones were dialled, but none rang",
    Reason.CANCELLED: "our side gave up",
    Reason.FAILED: "the network refused the call",
    Reason.UNKNOWN_END: "the end of the call was not seen",
}


def arguments(parser: argparse.ArgumentParser) -> None:
    """Which call."""
    parser.add_argument("linkedid", metavar="LINKEDID", help="as `vochi-agent calls` prints it")
    add_enterprise(parser)
    add_json(parser)


def run(args: argparse.Namespace, config: Callable[[], Config]) -> int:
    """0 when it is known, else 1."""
    loaded = config()
    number = enterprise_of(loaded, args.enterprise).number if args.enterprise else None
    call = asyncio.run(_call(loaded, args.linkedid, number))
    if call is None:
        print(f"No call with the linkedid {args.linkedid!r} is known.", file=sys.stderr)
        return NO
    if args.json:
        print_json(
            {
                **call.as_json(),
                "recording": call.recording,
                "evidence": _evidence(call),
                "legs": evidence_json(call.evidence),
            }
        )
    else:
        _print(call, timezone_of(loaded, call.enterprise_number))
    return 0


async def _call(config: Config, linkedid: str, enterprise_number: str | None) -> Call | None:
    async with prepared_store(config) as store:
        return await store.reports.call(linkedid, enterprise_number)


def _evidence(call: Call) -> list[str]:
    """Sentences that say why the verdict is what it is."""
    found = [_talk(call) if call.reason is Reason.TALKED else BECAUSE[call.reason]]
    if call.rung:
        found.append(f"these phones rang: {', '.join(call.rung)}")
    found.append(f"{call.wait_seconds:g} s from the start to the {'first word' if call.answered_at else 'end'}")
    if call.partial:
        found.append("some events of the call were not seen")
    if call.source.value != "live":
        found.append("read from CEL or CDR after the call, not from the live stream")
    return found


def _talk(call: Call) -> str:
    if call.direction is Direction.INTERNAL:
        return f"{' and '.join(call.path)} shared a bridge for {call.talk_seconds:g} s"
    return f"the customer shared a bridge with {', then '.join(call.path)}: {call.talk_seconds:g} s in all"


def _print(call: Call, timezone: str) -> None:
    print_facts(
        [
            ("call", call.linkedid),
            ("company", call.enterprise_number),
            ("verdict", f"{call.status.value}, {call.reason.value}"),
            ("direction", call.direction.value),
            ("phone", display(call.phone) if call.phone else "hidden" if call.line else ""),
            ("number", call.raw_number),
            ("line", call.line or ""),
            ("started", local(call.started_at, timezone)),
            ("answered", local(call.answered_at, timezone)),
            ("ended", local(call.ended_at, timezone)),
            ("waited", length(call.wait_seconds)),
            ("talked", length(call.talk_seconds)),
            ("path", " > ".join(call.path)),
            ("rung", ", ".join(call.rung)),
            ("recording", call.recording or ""),
            *(("because", sentence) for sentence in _evidence(call)),
        ]
    )
    if call.evidence:
        print()
        print_facts((f"{seconds:8.2f} s", sentence) for seconds, sentence in timeline(call))
