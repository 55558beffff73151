"""A message to every chat that says which calls it will be told of: `doctor --test-card`.

Invariant: as in `examine`, the token is a part of the address, so no address leaves this module.
"""

import html
from collections.abc import Iterable
from typing import Final

from vochi_agent.config import Chat, Enterprise, TelegramConfig
from vochi_agent.customers.names import cut, printable
from vochi_agent.diagnosis import Finding, closed, fine, problem, unknown

from .examine import NO_ANSWER, Asker, Refused, session_to

__all__ = ["send_trials", "trial_card"]

DIRECTIONS: Final = {"in": "входящие", "out": "исходящие", "internal": "внутренние"}
LONGEST_NAME: Final = 60
MOST_NAMED: Final = 10


def trial_card(enterprise: Enterprise, chat: Chat) -> str:
    """What the chat reads: Telegram HTML."""
    calls = ", ".join(DIRECTIONS[direction] for direction in dict.fromkeys(chat.directions))
    labels = {line.id: line.label or line.id for line in enterprise.lines}
    names = {agent.extension: agent.name or agent.extension for agent in enterprise.agents}
    facts = [
        "🔔Проверка: сюда приходят карточки звонков",
        f"🏢{_shown(enterprise.name or enterprise.number)}",
        f"📞{'Только пропущенные: ' if chat.missed_only else ''}{calls}",
        f"📡{_listed(labels.get(line, line) for line in chat.lines)}" if chat.lines else "",
        f"☎️{_listed(names.get(each, each) for each in chat.agents)}" if chat.agents else "",
        f"🌙Ночью молчим: {chat.quiet}" if chat.quiet else "",
        "🙈Номера скрыты" if chat.mask_phones else "",
    ]
    return "\n".join(fact for fact in facts if fact)


async def send_trials(enterprise: Enterprise, config: TelegramConfig) -> list[Finding]:
    """One message a chat and topic, without sound; what came of each."""
    part = f"telegram {enterprise.number}"
    token = enterprise.telegram_token.get_secret_value()
    if not token or not enterprise.chats:
        return [unknown(part, "nobody to write to: no bot or no chats", "telegram.token_file, [[enterprises.chats]]")]
    chats: dict[tuple[int, int], Chat] = {}
    for chat in enterprise.chats:
        chats.setdefault((chat.id, chat.topic), chat)
    async with session_to(config) as session:
        ask = Asker(session, f"{config.api_url.rstrip('/')}/bot{token}")
        return [await _send(part, ask, enterprise, chat) for chat in chats.values()]


async def _send(part: str, ask: Asker, enterprise: Enterprise, chat: Chat) -> Finding:
    here = f"chat {chat.id}" + (f", topic {chat.topic}" if chat.topic else "")
    fields = {"chat_id": str(chat.id), "text": trial_card(enterprise, chat), "parse_mode": "HTML"}
    if chat.topic:
        fields["message_thread_id"] = str(chat.topic)
    try:
        await ask("sendMessage", **fields, disable_notification="true")
    except Refused as exc:
        return problem(part, f"{here}: {exc}", "is the bot in the chat, may it write there, is the topic open?")
    except NO_ANSWER as exc:
        cure = "telegram.api_url, telegram.proxy: is Telegram reachable from this machine?"
        return closed(part, f"{here}: no usable answer ({type(exc).__name__}); it may have been sent", cure)
    return fine(part, f"{here}: a test card was sent")


def _shown(text: str) -> str:
    return html.escape(cut(printable(text), LONGEST_NAME), quote=False)


def _listed(names: Iterable[str]) -> str:
    found = [_shown(name) for name in names]
    more = f" и ещё {len(found) - MOST_NAMED}" if len(found) > MOST_NAMED else ""
    return ", ".join(found[:MOST_NAMED]) + more
