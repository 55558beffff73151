"""Which calls a chat wants to be told of, and when. Pure."""

from collections.abc import Iterable
from datetime import datetime, time, timedelta, tzinfo

from vochi_agent.calls.model import Call, CallProgress, Direction, Phase, Status
from vochi_agent.config import Chat

__all__ = ["held_until", "wants", "wants_live"]


def wants(chat: Chat, call: Call) -> bool:
    """Whether a chat is told of a finished call."""
    if not _asked_for(chat, call.direction, call.line):
        return False
    if chat.missed_only and call.status is Status.ANSWERED:
        return False
    # An answered call belongs to those who talked; a missed one to all whose phones rang.
    involved = call.path if call.status is Status.ANSWERED else call.rung
    return _involves(chat, [*involved, call.first_agent or ""])


def wants_live(chat: Chat, progress: CallProgress, placed_by: str) -> bool:
    """Whether a chat is shown a call that goes on."""
    if not chat.live or chat.missed_only or progress.direction is Direction.UNKNOWN:
        return False
    if not _asked_for(chat, progress.direction, progress.line):
        return False
    agents = () if progress.phase is Phase.START and progress.direction is Direction.IN else progress.agents
    return _involves(chat, [*agents, placed_by])


def held_until(chat: Chat, started_at: datetime, zone: tzinfo) -> datetime | None:
    """When the quiet hours end in which a call began; None when it began in none."""
    if not chat.quiet:
        return None
    begin, end = (time.fromisoformat(text) for text in chat.quiet.split("-"))
    local = started_at.astimezone(zone)
    at = local.time()
    quiet = begin <= at < end if begin <= end else at >= begin or at < end
    if not quiet:
        return None
    day = local.date() + timedelta(days=1 if at >= end else 0)
    return datetime.combine(day, end, tzinfo=zone)


def _asked_for(chat: Chat, direction: Direction, line: str | None) -> bool:
    # A call whose direction is unknown was lost half-way: better told too often than not at all.
    if direction is not Direction.UNKNOWN and direction.value not in chat.directions:
        return False
    # Internal calls have no line: they are asked for by direction alone.
    return not chat.lines or direction is Direction.INTERNAL or line in chat.lines


def _involves(chat: Chat, extensions: Iterable[str]) -> bool:
    return not chat.agents or any(extension in chat.agents for extension in extensions)
