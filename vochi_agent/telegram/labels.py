"""Which chats are told about a finished call, and how each of them names people and lines. Pure."""

from collections.abc import Sequence
from datetime import UTC
from zoneinfo import ZoneInfo

from vochi_agent.calls.model import Call, Direction, Status
from vochi_agent.config import Chat, Config, Enterprise
from vochi_agent.customers.model import Customer, History
from vochi_agent.ports import CardDraft, Renderer

from .text import Labels, final_card

__all__ = ["labels_of", "renderer"]


def labels_of(enterprise: Enterprise, *, mask_phones: bool) -> Labels:
    """The labels that the configuration gives."""
    departments = {department.number: department.label for department in enterprise.departments}
    return Labels(
        agents=departments | {agent.extension: agent.name for agent in enterprise.agents},
        lines={line.id: line.label for line in enterprise.lines},
        timezone=ZoneInfo(enterprise.timezone) if enterprise.timezone else UTC,
        mask=mask_phones,
    )


def renderer(enterprise: Enterprise, config: Config) -> Renderer:
    """What the store asks inside a call's transaction: one draft for each chat that wants the call."""
    chats = enterprise.chats if enterprise.telegram_token.get_secret_value() else ()
    labels = {mask: labels_of(enterprise, mask_phones=mask) for mask in (False, True)}
    always_heard = config.telegram.card == "resend"

    def render(call: Call, customer: Customer | None, before: History | None) -> Sequence[CardDraft]:
        return [
            CardDraft(
                chat_id=chat.id,
                topic=chat.topic,
                text=final_card(call, customer=customer, before=before, labels=labels[chat.mask_phones]),
                # People must hear what they missed; of an answered call they know.
                silent=call.status is Status.ANSWERED and not always_heard,
            )
            for chat in chats
            if _wants(chat, call)
        ]

    return render


def _wants(chat: Chat, call: Call) -> bool:
    # A call whose direction is unknown was lost half-way: better told too often than not at all.
    if call.direction is not Direction.UNKNOWN and call.direction.value not in chat.directions:
        return False
    if chat.missed_only and call.status is Status.ANSWERED:
        return False
    # Internal calls have no line: they are asked for by direction alone.
    return not chat.lines or call.direction is Direction.INTERNAL or call.line in chat.lines
