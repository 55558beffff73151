"""Why a call counts as what it does, for the colleague who asks: its verdict and its time line in Russian. Pure.

Invariants: every outside string is one visible line, bounded, escaped once; the whole is never longer than Telegram
takes, and the short form fits into what Telegram shows above a chat.
"""

import html
from collections.abc import Mapping
from typing import Final

from vochi_agent.calls.evidence import LegRole
from vochi_agent.calls.model import Call, Direction, Reason, Source
from vochi_agent.calls.numbers import display, mask
from vochi_agent.calls.timeline import Happening, What, Who, happenings
from vochi_agent.customers.model import Customer
from vochi_agent.customers.names import cut, printable

from .text import MAX_UNITS, Labels, brief_final, plain, units
from .words import duration

__all__ = ["LONGEST_ALERT", "why", "why_briefly"]

# https://core.telegram.org/bots/api#answercallbackquery: 0-200 characters.
LONGEST_ALERT: Final = 200
LONGEST_NAME: Final = 40
MOST_LINES: Final = 60
BECAUSE: Final[Mapping[Reason, str]] = {
    Reason.TALKED: "разговор состоялся",
    Reason.BLOCKED: "номер в чёрном списке, АТС его не пропустила",
    Reason.FORBIDDEN: "на это направление звонить запрещено",
    Reason.CLOSED: "нерабочее время",
    Reason.VOICEMAIL: "звонок ушёл на голосовую почту",
    Reason.ABANDONED_QUEUE: "клиент положил трубку, пока ждал в очереди",
    Reason.QUEUE_TIMEOUT: "в очереди никто не ответил за отведённое время",
    Reason.ABANDONED: "клиент положил трубку, пока звонил телефон",
    Reason.ABANDONED_GREETING: "клиент положил трубку раньше, чем зазвонил хоть один телефон",
    Reason.REJECTED: "звонок отклонили",
    Reason.BUSY: "занято, ни один телефон не звонил",
    Reason.NO_ANSWER: "телефон звонил, никто не ответил",
    Reason.UNREACHABLE: "телефоны набирали, но ни один не звонил: они не в сети",
    Reason.CANCELLED: "звонивший отменил вызов",
    Reason.FAILED: "сеть не приняла вызов",
    Reason.UNKNOWN_END: "конец звонка не виден",
}
# Q.850, in the words of who uses a telephone; what ends normally needs none.
CAUSES: Final[Mapping[int, str]] = {
    1: "нет такого номера",
    3: "недоступен",
    17: "занято",
    18: "не отвечает",
    19: "не ответили",
    20: "не в сети",
    21: "отклонён",
    26: "ответил другой",
    27: "не работает",
    28: "неверный номер",
    34: "нет свободной линии",
    38: "сеть не работает",
}
WORDS: Final[Mapping[What, str]] = {
    What.DIALLED: "набираем: {who}",
    What.CAME_IN: "звонок пришёл",
    What.DIALS: "{who} набирает номер",
    What.RINGS: "звонит: {who}",
    What.ANSWERED_BY_PBX: "АТС ответила: {who}",
    What.ANSWERS: "ответил: {who}",
    What.QUEUED: "в очереди: {who}",
    What.LEFT_QUEUE: "вышел из очереди: {who}",
    What.HANGS_UP: "положил трубку: {who}",
    What.REFUSES: "не принял вызов: {who}",
    What.LOST: "пропал, конец не виден: {who}",
    What.ENDS: "вызов окончен: {who}",
    What.TOGETHER: "говорят: {who} и {other}",
}


def why(call: Call, *, customer: Customer | None, labels: Labels) -> str:
    """The verdict and everything it rests on, Telegram HTML."""
    head = [brief_final(call, customer=customer, labels=labels), f"<b>{_verdict(call).capitalize()}.</b>"]
    head += _facts(call, labels)
    line = _safe(labels.lines.get(call.line or "", "") or call.line or "")
    lines = [f"{_at(each.at)} {_sentence(each, line, labels)}" for each in happenings(call) if _concerns_people(each)]
    if not lines:
        return "\n".join([*head, "Подробностей о каналах нет: звонок прочитан из журнала АТС."])
    shown = lines[:MOST_LINES]
    while units(text := "\n".join(_page(head, shown, len(lines)))) > MAX_UNITS:
        shown = shown[:-1]
    return text


def why_briefly(call: Call, *, labels: Labels) -> str:
    """The verdict alone, plain, as long as Telegram shows above a chat."""
    parts = [_verdict(call).capitalize()]
    parts += [plain(fact) for fact in _facts(call, labels)]
    text = ". ".join(parts)
    return text if len(text) <= LONGEST_ALERT else cut(text, LONGEST_ALERT - 1) + "…"


def _page(head: list[str], lines: list[str], total: int) -> list[str]:
    rest = [f"… и ещё {total - len(lines)}"] if len(lines) < total else []
    return [*head, "<blockquote expandable>" + "\n".join([*lines, *rest]) + "</blockquote>"]


def _verdict(call: Call) -> str:
    if call.reason is Reason.TALKED:
        return f"разговор состоялся, {duration(call.talk_seconds)}"
    if call.reason is Reason.ABANDONED and call.direction is not Direction.IN:
        return BECAUSE[Reason.CANCELLED]
    return BECAUSE[call.reason]


def _facts(call: Call, labels: Labels) -> list[str]:
    facts = []
    if call.rung:
        facts.append(f"Звонили: {', '.join(_agent(each, labels) for each in call.rung[:12])}")
    facts.append(f"Ожидание: {duration(call.wait_seconds)}")
    if call.partial:
        facts.append("Часть событий звонка не видна")
    if call.source is Source.RECOVERY:
        facts.append("Восстановлен из журнала АТС")
    return facts


def _at(seconds: float) -> str:
    return f"−{duration(-seconds)}" if seconds <= -1 else duration(seconds)


def _concerns_people(happening: Happening) -> bool:
    """Local channels are the PBX's own plumbing; their names may hold numbers, too."""
    others = (happening.who, happening.other or happening.who)
    return all(who.role is not LegRole.LOCAL for who in others)


def _sentence(happening: Happening, line: str, labels: Labels) -> str:
    other = _name(happening.other, labels) if happening.other is not None else ""
    text = WORDS[happening.what].format(who=_name(happening.who, labels), other=other)
    if happening.what is What.CAME_IN and line:
        return f"{text}: {line}"
    if happening.what is What.TOGETHER:
        return f"{text}, {duration(happening.seconds)}" if happening.seconds is not None else f"{text}, конец не виден"
    cause = CAUSES.get(happening.cause, "")
    return f"{text} ({cause})" if cause else text


def _name(who: Who, labels: Labels) -> str:
    if who.role is LegRole.CUSTOMER:
        name = "клиент"
    elif who.extension:
        name = _agent(who.extension, labels)
    else:
        name = _safe(who.endpoint)
    return name if who.channel == 1 else f"{name} (канал {who.channel})"


def _agent(extension: str, labels: Labels) -> str:
    if extension.startswith("+"):
        return html.escape(mask(extension) if labels.mask else display(extension), quote=False)
    name = _safe(labels.agents.get(extension, ""))
    return f"{name} ({_safe(extension)})" if name else _safe(extension)


def _safe(text: str) -> str:
    line = printable(text)
    return html.escape(line if len(line) <= LONGEST_NAME else cut(line, LONGEST_NAME - 1) + "…", quote=False)
