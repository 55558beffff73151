"""What the bot answers to a person: decides who he is, what he may ask, and does it. Knows nothing of requests.

Invariants: who has not signed up gets one polite sentence and nothing is done for him; in a group only what that chat
is told anyway is answered; a code is worth something once.
"""

import logging
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from vochi_agent.calls.model import Call
from vochi_agent.calls.numbers import to_e164
from vochi_agent.config import Chat, Enterprise
from vochi_agent.desk_ports import DeskStore, Incoming, Names, Operator

from . import desk_text as say
from .budget import Window
from .labels import labels_of, zone_of
from .naming import named_in
from .wishes import wants

__all__ = ["Desk", "Reply"]

log = logging.getLogger(__name__)

# A day of a small company; more than these nobody counts in a chat.
CALLS_OF_A_DAY: Final = 1000
# Strangers together get so many answers a minute, in groups fewer: they must not use up what cards need, nor the log.
STRANGERS_A_MINUTE: Final = 10
STRANGERS_IN_GROUPS_A_MINUTE: Final = 2
PRIVATE_ONLY: Final = frozenset({"start", "help"})
KNOWN: Final = frozenset({"start", "help", "missed", "today", "who"})
_COMMAND: Final = re.compile(
    r"/(?P<name>[a-z0-9_]{1,32})(?:@(?P<bot>\w+))?(?:\s+(?P<rest>.*))?", re.IGNORECASE | re.DOTALL
)


@dataclass(frozen=True, slots=True)
class Reply:
    """What is said, Telegram HTML; `stranger`: to somebody who has not signed up."""

    text: str
    stranger: bool = False


@dataclass(frozen=True, slots=True)
class _View:
    """An enterprise as this person sees it in this chat."""

    enterprise: Enterprise
    operator: Operator
    chat: Chat


class Desk:
    """The desk of one bot.

    Args:
        enterprises: Those that the bot belongs to, as they are configured now.
        now: The time, aware.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        enterprises: Callable[[], Sequence[Enterprise]],
        store: DeskStore,
        names: Names,
        *,
        now: Callable[[], datetime],
        clock: Callable[[], float],
    ) -> None:
        self._enterprises = enterprises
        self._store = store
        self._names = names
        self._now = now
        self._clock = clock
        self._strangers = Window(STRANGERS_A_MINUTE, 60.0)
        self._strangers_in_groups = Window(STRANGERS_IN_GROUPS_A_MINUTE, 60.0)

    async def answer(self, message: Incoming, *, username: str) -> Reply | None:
        """What to say to a message, None: nothing. `username`: the bot's own. Raises StoreUnavailable."""
        home = await self._store.home_chat(message.chat_id)
        served = [each for each in self._enterprises() if message.private or _chat_of(each, home)]
        command, rest = _command(message.text, username)
        if not served or not _is_for_us(message, command):
            return None
        if command == "start" and message.private and rest:
            return await self._sign_up(message, rest, served)
        numbers = [each.number for each in served]
        operators = {
            each.enterprise_number: each for each in await self._store.operators(message.person.user_id, numbers)
        }
        views = [
            _View(each, operators[each.number], _chat_of(each, home, message.topic) or _own_chat(each, home))
            for each in served
            if each.number in operators
        ]
        if not views:
            return self._to_a_stranger(message, say.STRANGER)
        if command:
            return await self._do(command, rest, views, private=message.private)
        return await self._name(message, home, views)

    async def _sign_up(self, message: Incoming, code: str, served: Sequence[Enterprise]) -> Reply | None:
        operator = await self._store.redeem(code.strip(), message.person, [each.number for each in served])
        if operator is None:
            return await self._refused(message, served)
        log.info(
            "Telegram user %d is extension %s of %s now",
            operator.user_id,
            operator.extension,
            operator.enterprise_number,
            extra={"action": "operator_signed_up"},
        )
        enterprise = next(each for each in served if each.number == operator.enterprise_number)
        return Reply(say.welcome(operator.name, operator.extension, enterprise.name))

    async def _refused(self, message: Incoming, served: Sequence[Enterprise]) -> Reply | None:
        """A code that is worth nothing: whoever has used it himself is told who he is."""
        names = {each.number: each.name for each in served}
        known = await self._store.operators(message.person.user_id, list(names))
        if not known:
            return self._to_a_stranger(message, say.CODE_REFUSED)
        return Reply(say.signed_up_already([(each.extension, names[each.enterprise_number]) for each in known]))

    def _to_a_stranger(self, message: Incoming, text: str) -> Reply | None:
        window, now = self._strangers if message.private else self._strangers_in_groups, self._clock()
        if not window.left(now):
            return None
        window.spend(now)
        log.warning(
            "Telegram user %d, who has not signed up, wrote in chat %d and was refused",
            message.person.user_id,
            message.chat_id,
            extra={"action": "operator_unknown"},
        )
        return Reply(text, stranger=True)

    async def _do(self, command: str, rest: str, views: Sequence[_View], *, private: bool) -> Reply | None:
        match command:
            case "missed":
                return Reply(_together([(view, await self._missed(view)) for view in views]))
            case "today":
                return Reply(_together([(view, await self._today(view)) for view in views]))
            case "who":
                return Reply(_together([(view, await self._who(view, rest)) for view in views]))
            case _:
                return Reply(say.HELP) if private else None

    async def _calls_of_today(self, view: _View) -> list[Call]:
        zone = zone_of(view.enterprise)
        midnight = self._now().astimezone(zone).replace(hour=0, minute=0, second=0, microsecond=0)
        calls = await self._store.calls_since(view.enterprise.number, midnight, limit=CALLS_OF_A_DAY)
        return list(calls)

    async def _missed(self, view: _View) -> str:
        # Who was reached by a colleague waits no more, whatever calls this chat is told of.
        waiting = say.still_missed(await self._calls_of_today(view))
        wanted = [(call, times) for call, times in waiting if wants(view.chat, call)]
        phones = [call.phone for call, _ in wanted[: say.MOST_MISSED] if call.phone]
        rows = await self._names.customers(view.enterprise.number, phones)
        return say.missed(wanted, {row.phone_e164: row for row in rows}, labels_of(view.enterprise, view.chat))

    async def _today(self, view: _View) -> str:
        calls = await self._calls_of_today(view)
        told = [call for call in calls if wants(view.chat, call)]
        waiting = sum(wants(view.chat, call) for call, _ in say.still_missed(calls))
        return say.day(told, waiting=waiting, complete=len(calls) < CALLS_OF_A_DAY)

    async def _who(self, view: _View, text: str) -> str:
        phone = to_e164(text.strip(), country=view.enterprise.country) if text.strip() else None
        if phone is None:
            return say.NO_PHONE
        customer = await self._names.customer(view.enterprise.number, phone)
        labels = labels_of(view.enterprise, view.chat)
        return say.who(customer, labels) if customer else say.unknown(phone, labels)

    async def _name(self, message: Incoming, home: int, views: Sequence[_View]) -> Reply | None:
        """An answer to a card may name the caller; anything else is talk, which a private chat gets help for."""
        names = named_in(message.text)
        calls = []
        if names and message.reply_to is not None:
            numbers = [view.enterprise.number for view in views]
            calls = list(await self._store.calls_of_message(numbers, home, message.reply_to))
        if not calls:
            return Reply(say.HELP) if message.private else None
        if len(calls) > 1:
            return Reply(say.SEVERAL_CALLS)
        view = next(view for view in views if view.enterprise.number == calls[0].enterprise_number)
        call = await self._store.call(calls[0].enterprise_number, calls[0].linkedid) if calls[0].over else None
        if call is None:
            return Reply(say.NOT_OVER)
        if not call.phone:
            return Reply(say.NO_NUMBER)
        customer = await self._names.edit(view.enterprise.number, call.phone, names)
        log.info(
            "extension %s of %s named a caller from Telegram",
            view.operator.extension,
            view.enterprise.number,
            extra={"action": "caller_named", "linkedid": call.linkedid},
        )
        source = view.enterprise.primary_source
        crm = "" if source == "manual" else source
        return Reply(say.named(call.phone, customer, labels_of(view.enterprise, view.chat), crm=crm))


def _command(text: str, username: str) -> tuple[str, str]:
    """The command and what follows it; "" when it is none, or is meant for another bot."""
    match = _COMMAND.fullmatch(text.strip())
    if match is None:
        return "", ""
    if match["bot"] and match["bot"].lower() != username.lower():
        return "", ""
    return match["name"].lower(), (match["rest"] or "").strip()


def _is_for_us(message: Incoming, command: str) -> bool:
    """Alone with the bot everything is; in a group our commands, and names in answers to our cards."""
    if message.private:
        return True
    if command:
        return command in KNOWN - PRIVATE_ONLY
    return message.reply_to is not None and bool(named_in(message.text))


def _chat_of(enterprise: Enterprise, chat_id: int, topic: int = 0) -> Chat | None:
    """Of several tables for topics of one chat that of the topic, else the first."""
    found = [chat for chat in enterprise.chats if chat.id == chat_id]
    return next((chat for chat in found if chat.topic == topic), found[0] if found else None)


def _own_chat(enterprise: Enterprise, chat_id: int) -> Chat:
    """A chat with the bot that no table describes: it shows no more of numbers than any of the enterprise's."""
    return Chat(id=chat_id, mask_phones=any(chat.mask_phones for chat in enterprise.chats))


def _together(answers: Sequence[tuple[_View, str]]) -> str:
    """One answer; of a bot that several enterprises share, one below the other with their names."""
    if len(answers) == 1:
        return answers[0][1]
    return "\n\n".join(
        say.of_enterprise(view.enterprise.name or view.enterprise.number, text) for view, text in answers
    )
