"""What each chat of an enterprise should show about a call. Pure.

How a chat comes from one phase to the next is decided here too, by `telegram.card`: `auto` edits one silent message and
makes a new one with a sound of what people have to hear; `edit` has one message and one sound a call; `resend` has a
new message and a sound a phase.
"""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta, tzinfo

from vochi_agent.calls.call_backs import CallBack
from vochi_agent.calls.model import Call, CallProgress, Direction, Status
from vochi_agent.config import Chat, Config, Enterprise
from vochi_agent.customers.model import Customer, History
from vochi_agent.ports import CardDraft, LiveRenderer, Reminder, Renderer

from .keyboards import CALL, TAKE, WHY
from .labels import labels_of, zone_of
from .text import Labels, brief_final, brief_live, brief_reminder, final_card, live_card, reminder
from .together import recovered_digest
from .wishes import held_until, wants, wants_live

__all__ = ["buttons_of", "digest", "live_renderer", "remind_at", "renderer", "shows_live"]


def renderer(enterprise: Enterprise, config: Config, *, recording_link: Callable[[str], str] | None = None) -> Renderer:
    """What the store asks inside a call's transaction; `recording_link`: where the recording of a linkedid is."""
    chats = [(chat, labels_of(enterprise, chat)) for chat in _told(enterprise)]
    zone, mode = zone_of(enterprise), config.telegram.card
    # Where the bot hears nobody, no button would ever be answered.
    heard_by_bot = config.telegram.updates != "off"

    def buttons(chat: Chat, call: Call, call_back: CallBack | None) -> tuple[str, ...]:
        return buttons_of(enterprise, call, call_back) if chat.buttons and heard_by_bot else ()

    def later(
        chat: Chat, labels: Labels, call: Call, customer: Customer | None, call_back: CallBack | None
    ) -> Reminder | None:
        if call_back is None or not call_back.waits or not chat.remind_min:
            return None
        at = remind_at(chat, call, zone)
        return Reminder(
            text=reminder(call, customer=customer, labels=labels, at=at),
            brief=brief_reminder(call, customer=customer, labels=labels),
            at=at,
            buttons=buttons(chat, call, call_back),
        )

    def render(
        call: Call, customer: Customer | None, before: History | None, *, call_back: CallBack | None = None
    ) -> Sequence[CardDraft]:
        link = recording_link(call.linkedid) if recording_link and call.recording else ""
        heard = call.status is not Status.ANSWERED  # of an answered call people know
        return [
            CardDraft(
                chat_id=chat.id,
                topic=chat.topic,
                text=final_card(
                    call,
                    customer=customer,
                    before=before,
                    labels=labels,
                    recording="" if chat.recording == "none" else link,
                    call_back=call_back,
                ),
                brief=brief_final(call, customer=customer, labels=labels),
                silent=not heard and mode != "resend",
                anew=mode == "resend" or (heard and mode == "auto"),
                held_until=held_until(chat, call.started_at, zone),
                wanted=wants(chat, call),
                sound=(call.recording or "") if chat.recording == "audio" else "",
                buttons=buttons(chat, call, call_back),
                reminder=later(chat, labels, call, customer, call_back),
            )
            for chat, labels in chats
        ]

    return render


def buttons_of(enterprise: Enterprise, call: Call, call_back: CallBack | None) -> tuple[str, ...]:
    """What people may do about a finished call. Without ARI nobody can be called."""
    callable_back = bool(call.phone and enterprise.asterisk.ari) and call.direction in (Direction.IN, Direction.OUT)
    takeable = call_back is not None and call_back.waits
    return (WHY, *((CALL,) if callable_back else ()), *((TAKE,) if takeable else ()))


def remind_at(chat: Chat, call: Call, zone: tzinfo) -> datetime:
    """When a chat is reminded of a missed call: so long after it was told of it, and never in its quiet hours."""
    told_at = held_until(chat, call.started_at, zone) or call.ended_at
    at = told_at + timedelta(minutes=chat.remind_min)
    return held_until(chat, at, zone) or at


def live_renderer(enterprise: Enterprise, config: Config) -> LiveRenderer:
    """What is asked at each phase of a call."""
    chats = [(chat, labels_of(enterprise, chat)) for chat in _told(enterprise)]
    zone, mode = zone_of(enterprise), config.telegram.card

    def render(progress: CallProgress, customer: Customer | None, *, placed_by: str = "") -> Sequence[CardDraft]:
        started_at = datetime.fromtimestamp(progress.started_at, UTC)
        before = customer.history if customer else None
        return [
            CardDraft(
                chat_id=chat.id,
                topic=chat.topic,
                text=live_card(progress, customer=customer, before=before, labels=labels, placed_by=placed_by),
                brief=brief_live(progress, customer=customer, labels=labels, placed_by=placed_by),
                silent=mode == "auto",
                anew=mode == "resend",
                wanted=wants_live(chat, progress, placed_by) and held_until(chat, started_at, zone) is None,
            )
            for chat, labels in chats
        ]

    return render


def digest(enterprise: Enterprise, calls: Sequence[Call]) -> Sequence[CardDraft]:
    """One message a chat about many recovered calls, for those that want some of them."""
    drafts = []
    for chat in _told(enterprise):
        labels = labels_of(enterprise, chat)
        lines = [brief_final(call, customer=None, labels=labels) for call in calls if wants(chat, call)]
        if lines:
            drafts.append(CardDraft(chat_id=chat.id, topic=chat.topic, text=recovered_digest(lines), silent=False))
    return drafts


def shows_live(enterprise: Enterprise) -> bool:
    """Whether any chat may be shown calls that go on."""
    return any(chat.live and not chat.missed_only for chat in _told(enterprise))


def _told(enterprise: Enterprise) -> Sequence[Chat]:
    return enterprise.chats if enterprise.telegram_token.get_secret_value() else ()
