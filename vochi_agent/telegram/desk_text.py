"""What the bot says to people who write to it, in Russian, Telegram HTML. Pure.

Invariant: every outside string is one visible line, bounded, escaped once.
"""

import html
from collections.abc import Mapping, Sequence
from datetime import datetime, tzinfo
from typing import Final

from vochi_agent.calls.model import Call, Direction, Reason, Status
from vochi_agent.calls.numbers import display, mask
from vochi_agent.customers.model import Customer, History
from vochi_agent.customers.names import cut, printable

from .text import Labels, brief_final
from .words import counted, moment

__all__ = [
    "CODE_REFUSED",
    "HELP",
    "LATER",
    "MOST_MISSED",
    "NOT_OVER",
    "NO_NUMBER",
    "NO_PHONE",
    "SEVERAL_CALLS",
    "STRANGER",
    "day",
    "missed",
    "named",
    "of_enterprise",
    "signed_up_already",
    "still_missed",
    "unknown",
    "welcome",
    "who",
]

LONGEST_NAME: Final = 60
MOST_MISSED: Final = 15
CALLS: Final = ("звонок", "звонка", "звонков")
TIMES: Final = ("раз", "раза", "раз")

HELP: Final = (
    "Что я умею:\n"
    "/missed – кому сегодня ещё не перезвонили\n"
    "/today – звонки за сегодня\n"
    "/who номер – кто это и как часто звонил\n\n"
    "Ответьте на карточку звонка «ООО Ромашка, Анна» или «Петрова Анна» – при следующем звонке телефон покажет это имя."
)
STRANGER: Final = "Здравствуйте! Этот бот отвечает только сотрудникам компании. Ссылку для входа даёт администратор."
CODE_REFUSED: Final = "Эта ссылка не подходит: она одноразовая и действует сутки. Попросите у администратора новую."
LATER: Final = "Сейчас ответить не получается. Попробуйте через минуту."
NO_PHONE: Final = "Напишите номер после команды, например: /who +375290000011"
NO_NUMBER: Final = "Номер этого звонка неизвестен, имя записать не к чему."
NOT_OVER: Final = "Звонок ещё идёт. Ответьте на карточку, когда он закончится."
SEVERAL_CALLS: Final = "В этом сообщении несколько звонков. Ответьте на карточку одного звонка."


def welcome(name: str, extension: str, enterprise: str) -> str:
    """Somebody signed up."""
    where = f" – {_safe(enterprise)}" if enterprise else ""
    return f"Готово, {_safe(name) or 'коллега'}: ваш номер {_safe(extension)}{where}.\n\n{HELP}"


def signed_up_already(extensions: Sequence[tuple[str, str]]) -> str:
    """A code is worth nothing (any more), and whoever came with it is somebody: extensions and their enterprises."""
    who = [_safe(extension) + (f" – {_safe(name)}" if name else "") for extension, name in extensions]
    return f"Сейчас ваш номер {', '.join(who)}.\n\n{CODE_REFUSED}"


def still_missed(calls: Sequence[Call]) -> list[tuple[Call, int]]:
    """Who called in vain and has talked with nobody since: the last call of each, and how many there were.

    Args:
        calls: Newest first.
    """
    reached: set[str] = set()
    waiting: dict[str, tuple[Call, int]] = {}
    for call in calls:
        # Each hidden caller is somebody of his own.
        caller = call.phone or call.linkedid
        if call.direction is Direction.INTERNAL or caller in reached:
            continue
        if call.status is Status.ANSWERED:
            reached.add(caller)
        elif call.direction is Direction.IN and call.reason is not Reason.BLOCKED:
            newest, times = waiting.get(caller, (call, 0))
            waiting[caller] = (newest, times + 1)
    return list(waiting.values())


def missed(waiting: Sequence[tuple[Call, int]], customers: Mapping[str, Customer], labels: Labels) -> str:
    """Who waits for a call of ours, as `still_missed` found them."""
    if not waiting:
        return "✅ Сегодня всем ответили или перезвонили"
    lines = [f"❌ Ждут звонка: {len(waiting)}"]
    for call, times in waiting[:MOST_MISSED]:
        line = brief_final(call, customer=customers.get(call.phone or ""), labels=labels)
        lines.append(f"{line} · {counted(times, *TIMES)}" if times > 1 else line)
    if len(waiting) > MOST_MISSED:
        lines.append(f"… и ещё {len(waiting) - MOST_MISSED}")
    return "\n".join(lines)


def day(calls: Sequence[Call], *, waiting: int, complete: bool) -> str:
    """The calls of today in numbers; `waiting`: who is not called back yet; `complete`: these are all of them."""
    incoming = [call for call in calls if call.direction is Direction.IN]
    outgoing = [call for call in calls if call.direction is Direction.OUT]
    answered, reached = (sum(call.status is Status.ANSWERED for call in some) for some in (incoming, outgoing))
    lines = [
        "📊 Сегодня" if complete else f"📊 Последние {counted(len(calls), *CALLS)} за сегодня",
        f"Входящие: {counted(len(incoming), *CALLS)}, отвечено {answered}, пропущено {len(incoming) - answered}",
        f"Исходящие: {counted(len(outgoing), *CALLS)}, дозвонились {reached}",
    ]
    if waiting:
        lines.append(f"Ждут звонка: {waiting} – /missed")
    return "\n".join(lines)


def who(customer: Customer, labels: Labels) -> str:
    """A customer: names, counters, the last call."""
    names, history = customer.names, customer.history
    person, company = _safe(names.person), _safe(names.enterprise_name)
    name = f"{person} ({company})" if person and company else person or company
    lines = [f"💰{_number(customer.phone_e164, mask_it=labels.mask)}", f"👤{name or 'Имя неизвестно'}"]
    if history.calls_total_in:
        times = counted(history.calls_total_in, *TIMES)
        lines.append(f"Звонил: {times}, ответили {history.calls_answered_in}")
    if history.calls_total_out:
        times = counted(history.calls_total_out, *TIMES)
        lines.append(f"Мы звонили: {times}, дозвонились {history.calls_answered_out}")
    if history.last_call_at is not None:
        lines.append(_last_call(history, history.last_call_at, labels.timezone))
    if customer.black_list:
        lines.append("⛔ Чёрный список")
    return "\n".join(lines)


def unknown(phone: str, labels: Labels) -> str:
    """Nobody has this number."""
    return f"{_number(phone, mask_it=labels.mask)}: такого номера у нас ещё не было"


def named(phone: str, customer: Customer, labels: Labels, *, crm: str) -> str:
    """A caller was named by hand; `crm`: whose names win over that, "" when none does."""
    names = customer.names
    person = " ".join(part for part in (names.last_name, names.first_name, names.middle_name) if part)
    name = ", ".join(part for part in (_safe(names.enterprise_name), _safe(person)) if part)
    text = f"✏️ {_number(phone, mask_it=labels.mask)} – теперь {name}"
    return f"{text}\nЕсли номер есть в {_safe(crm)}, имя оттуда заменит это." if crm else text


def of_enterprise(name: str, text: str) -> str:
    """A part of an answer that concerns one of several enterprises."""
    return f"<b>{_safe(name)}</b>\n{text}"


def _last_call(history: History, at: datetime, zone: tzinfo) -> str:
    result = "✅" if history.last_call_status == Status.ANSWERED else "❌"
    agent = f" ☎️{_safe(history.last_agent_internal)}" if history.last_agent_internal else ""
    return f"Последний раз: {moment(at, zone)} {result}{agent}"


def _number(phone: str, *, mask_it: bool) -> str:
    return html.escape(mask(phone) if mask_it else display(phone), quote=False)


def _safe(text: str) -> str:
    line = printable(text)
    return html.escape(line if len(line) <= LONGEST_NAME else cut(line, LONGEST_NAME - 1) + "…", quote=False)
