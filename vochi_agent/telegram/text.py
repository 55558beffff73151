"""What people read in a chat about a call: one text for each phase, line by line, Telegram HTML. Pure.

Invariants: every outside string is one visible line, shortened before it is escaped, escaped exactly once; the whole is
never longer than Telegram takes. docs/telegram-cards.md shows every text.
"""

import html
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, tzinfo
from typing import Final

from vochi_agent.calls.call_backs import CallBack
from vochi_agent.calls.model import Call, CallProgress, Direction, Phase, Reason, Source, Status
from vochi_agent.calls.numbers import display, mask
from vochi_agent.customers.model import Customer, History
from vochi_agent.customers.names import cut, printable

from .extras import badges, hashtags, phone_notes, profile_link
from .words import counted, duration, moment, roughly

__all__ = [
    "MAX_UNITS",
    "Labels",
    "brief_final",
    "brief_live",
    "brief_reminder",
    "done_about",
    "final_card",
    "live_card",
    "plain",
    "reminder",
    "units",
]

# Telegram takes 4096 after parsing and does not say in which units: UTF-16 with the markup is the strictest reading.
MAX_UNITS: Final = 4000
# More agents than this are folded into a quote that opens on a tap.
AGENTS_IN_THE_OPEN: Final = 4
# In a line of a message about many calls.
NAME_IN_A_LINE: Final = 30
AGENTS_IN_A_LINE: Final = 2
TIMES: Final = ("раз", "раза", "раз")
HIDDEN: Final = "Номер не определен"
# Numbers of this length are extensions and services, which nobody has to hide.
LONGEST_SERVICE: Final = 5

TITLES: Final = {
    (Direction.IN, Status.ANSWERED): ("✅", "Успешный входящий звонок"),
    (Direction.IN, Status.MISSED): ("❌", " Мы не подняли трубку"),
    (Direction.OUT, Status.ANSWERED): ("✅", "Успешный исходящий звонок"),
    (Direction.OUT, Status.MISSED): ("❌", " Абонент не поднял трубку"),
    (Direction.INTERNAL, Status.ANSWERED): ("✅", "Успешный внутренний звонок"),
    (Direction.INTERNAL, Status.MISSED): ("❌", " Коллега не поднял трубку"),
}
UNKNOWN_END: Final = ("❌", " Завершённый звонок")
FORBIDDEN: Final = ("🚫", " Направление запрещено")
RINGING: Final = {
    Direction.IN: "📞 Входящий звонок",
    Direction.OUT: "📞 Исходящий звонок",
    Direction.INTERNAL: "🛎️ Внутренний звонок",
}
TALKING: Final = {
    Direction.IN: "🔗 Идет входящий разговор",
    Direction.OUT: "🔗 Идет исходящий разговор",
    Direction.INTERNAL: "🔗 Идет внутренний разговор",
}

_TAG = re.compile(r"<[^>]*>")


@dataclass(frozen=True, slots=True, kw_only=True)
class Labels:
    """How one chat sees an enterprise.

    Attributes:
        agents: Extension or department -> name; unnamed ones may be missing.
        lines: Line id -> label; unlabelled ones may be missing.
        timezone: Of the times shown.
        mask: Customers' numbers are shown without their middle.
        badges: Which are shown.
        hashtags: A line of them ends the card.
    """

    agents: Mapping[str, str]
    lines: Mapping[str, str]
    timezone: tzinfo
    mask: bool = False
    badges: frozenset[str] = frozenset()
    hashtags: bool = False


def final_card(
    call: Call,
    *,
    customer: Customer | None,
    before: History | None,
    labels: Labels,
    recording: str = "",
    call_back: CallBack | None = None,
) -> str:
    """The lasting text about a finished call.

    Args:
        customer: Whose names are shown; None for a stranger.
        before: The customer's counters before this call.
        recording: Where its recording is to be had, "" when there is none.
        call_back: What became of a missed call.
    """
    return _fitting(labels, lambda writer: writer.final(call, customer, before, recording, call_back))


def reminder(call: Call, *, customer: Customer | None, labels: Labels, at: datetime) -> str:
    """The text about a missed call that nobody has done anything about until then."""
    return _fitting(labels, lambda writer: writer.reminder(call, customer, at))


def brief_reminder(call: Call, *, customer: Customer | None, labels: Labels) -> str:
    """The same in one line, for messages about many."""
    return f"⏰ {brief_final(call, customer=customer, labels=labels)}"


def done_about(call_back: CallBack, labels: Labels) -> str:
    """What was done about a missed call, in one line; "" when nothing was."""
    return "".join(_Writer(labels, NAME_IN_A_LINE, 1).done_about(call_back))


def live_card(
    progress: CallProgress, *, customer: Customer | None, before: History | None, labels: Labels, placed_by: str = ""
) -> str:
    """The text about a call that goes on.

    Args:
        placed_by: The extension that placed an outgoing or internal call.
    """
    return _fitting(labels, lambda writer: writer.live(progress, customer, before, placed_by))


def brief_final(call: Call, *, customer: Customer | None, labels: Labels) -> str:
    """A finished call in one line, for messages about many."""
    return _Writer(labels, NAME_IN_A_LINE, 1).brief(call, customer)


def brief_live(progress: CallProgress, *, customer: Customer | None, labels: Labels, placed_by: str = "") -> str:
    """A call that goes on in one line, for the board."""
    return _Writer(labels, NAME_IN_A_LINE, AGENTS_IN_A_LINE).brief_live(progress, customer, placed_by)


def units(text: str) -> int:
    """Its length as Telegram may count it, strictly."""
    return len(text.encode("utf-16-le")) // 2


def plain(text: str) -> str:
    """A card without its markup, for when Telegram does not take it."""
    return html.unescape(_TAG.sub("", text))


def _fitting(labels: Labels, write: Callable[["_Writer"], Sequence[str]]) -> str:
    """The text with the most room for names and agents that Telegram still takes."""
    text = ""
    for name, agents in ((150, 50), (60, 20), (30, 8), (12, 4)):
        text = "\n".join(write(_Writer(labels, name, agents)))
        if units(text) <= MAX_UNITS:
            break
    return text


@dataclass(frozen=True, slots=True)
class _Writer:
    """Writes the lines of a card. `name` bounds the characters of a name, `agents` how many are listed."""

    labels: Labels
    name: int
    agents: int

    def final(
        self,
        call: Call,
        customer: Customer | None,
        before: History | None,
        recording: str,
        call_back: CallBack | None,
    ) -> list[str]:
        """The table of finals: what happened, who, by which line, when, how long, and what was done about it."""
        title = TITLES.get((call.direction, call.status), UNKNOWN_END)
        if call.reason is Reason.FORBIDDEN:
            title = FORBIDDEN
        sign, words = title
        lines = [sign + ("🔄" if call.source is Source.RECOVERY else "") + words]
        if title is UNKNOWN_END and call.direction is not Direction.INTERNAL:
            return [*lines, *self._customer(call, customer), *self._ending(call, customer, before)]
        lines += self._people(call, customer)
        lines += self._line(call.line)
        lines.append(f"⏰Начало звонка {call.started_at.astimezone(self.labels.timezone):%H:%M}")
        if call.status is Status.ANSWERED:
            lines.append(f"⌛ Длительность: {duration(call.talk_seconds)}")
        elif title is not FORBIDDEN:
            lines.append(f"⌛ Дозванивался: {duration(call.wait_seconds)}")
        if recording:
            lines.append(f'🔉<a href="{html.escape(recording)}">Запись разговора</a>')
        if call_back is not None:
            lines += self.done_about(call_back)
        return [*lines, *self._ending(call, customer, before)]

    def reminder(self, call: Call, customer: Customer | None, at: datetime) -> list[str]:
        """Who waits, for how long, since when."""
        head = f"⏰ Никто не перезвонил уже {roughly(at - call.ended_at)}"
        called = f"❌ Звонил в {call.started_at.astimezone(self.labels.timezone):%H:%M}"
        return [head, *self._customer(call, customer), *self._line(call.line), called]

    def done_about(self, call_back: CallBack) -> list[str]:
        """Whoever reached the customer closes the matter; until then it is his who took it."""
        when = f"через {roughly(call_back.reached_after)}"
        who = self._agent(call_back.reached_by) if call_back.reached_by else ""
        if call_back.reached_at is not None and call_back.called_again:
            return [f"☑️ Дозвонился {when}: {who}" if who else f"☑️ Дозвонился {when}"]
        if call_back.reached_at is not None:
            return [f"☑️ Перезвонил(а) {who} {when}" if who else f"☑️ Перезвонили {when}"]
        if not call_back.taken_by or call_back.taken_at is None:
            return []
        taker = self._agent(call_back.taken_by, otherwise=call_back.taken_name)
        return [f"🙋 Взял(а) {taker} в {call_back.taken_at.astimezone(self.labels.timezone):%H:%M}"]

    def brief(self, call: Call, customer: Customer | None) -> str:
        """What happened, when, who, with whom, for how long."""
        sign, _ = TITLES.get((call.direction, call.status), UNKNOWN_END)
        agents = call.path or ((call.first_agent,) if call.first_agent else ())
        parts = [f"{sign} {call.started_at.astimezone(self.labels.timezone):%H:%M}"]
        if call.direction is not Direction.INTERNAL:
            parts.append(self._who(call, customer))
        if agents:
            parts.append(self._path(agents[-1:]))
        if call.status is Status.ANSWERED:
            parts.append(duration(call.talk_seconds))
        elif call.line:
            parts += self._line(call.line)
        return " · ".join(parts)

    def brief_live(self, progress: CallProgress, customer: Customer | None, placed_by: str) -> str:
        """Who talks, or whom the phones ring for."""
        talks = progress.phase is Phase.BRIDGE
        agents = progress.agents or ((placed_by,) if placed_by else ())
        parts = ["🔗" if talks else "📞"]
        if progress.direction is not Direction.INTERNAL:
            parts.append(self._who(progress, customer))
        if agents:
            parts.append(self._path(agents[-1:]) if talks else " ".join(self._agent(each) for each in agents[:2]))
            parts += [f"+{len(agents) - 2}"] if not talks and len(agents) > self.agents else []
        return " ".join(parts)

    def live(
        self, progress: CallProgress, customer: Customer | None, before: History | None, placed_by: str
    ) -> list[str]:
        """The table of live phases."""
        who, *name = self._customer(progress, customer)
        line = self._line(progress.line)
        incoming = progress.direction is Direction.IN
        if progress.direction is Direction.INTERNAL:
            return self._live_internal(progress, placed_by)
        if progress.phase is Phase.BRIDGE:
            path = self._path(progress.agents)
            talk = f"{who}📞 ➡️ {path}" if incoming else f"{path} 📞➡️ {who}📞"
            return [TALKING.get(progress.direction, TALKING[Direction.OUT]), talk, *name, *line]
        if not incoming:
            agent = placed_by or next(iter(progress.agents), "")
            call = f"{self._agent(agent)} ➡️ {who}" if agent else f"➡️ {who}"
            return [RINGING[Direction.OUT], call, *name, *line]
        if progress.phase is Phase.START:
            return [f"{who} ➡️ Приветствие", *name, *line, *self._history(before)]
        return [RINGING[Direction.IN], f"{who} ➡️", *name, *self._ringing(progress.agents, {}), *line]

    def _live_internal(self, progress: CallProgress, placed_by: str) -> list[str]:
        if progress.phase is Phase.BRIDGE:
            caller, *others = [self._agent(agent) for agent in self._shown(progress.agents)] or [""]
            return [TALKING[Direction.INTERNAL], f"{caller} 📞➡️ {' → '.join(others)}📞"]
        caller = self._agent(placed_by) if placed_by else ""
        called = [agent for agent in progress.agents if agent != placed_by]
        return [RINGING[Direction.INTERNAL], f"{caller} ➡️ {self._path(called)}".strip()]

    def _people(self, call: Call, customer: Customer | None) -> list[str]:
        """The customer and the agents, whoever called first; internally who called whom."""
        if call.direction is Direction.INTERNAL:
            return self._colleagues(call)
        who = self._customer(call, customer)
        if call.direction is Direction.OUT:
            agents = call.path or ((call.first_agent,) if call.first_agent else ())
            return [self._path(agents), *who] if agents else who
        if call.status is Status.ANSWERED:
            return [*who, self._path(call.path)] if call.path else who
        return [*who, *self._phones(call)]

    def _phones(self, call: Call) -> list[str]:
        """The phones of a call that nobody took, and what was the matter with those that could not ring."""
        notes = phone_notes(call)
        phones = [*call.rung, *(extension for extension in notes if extension not in call.rung)]
        return self._quoted(phones, notes) if len(phones) > 1 else self._ringing(phones, notes)

    def _colleagues(self, call: Call) -> list[str]:
        caller = self._agent(call.first_agent) if call.first_agent else ""
        if call.path:
            return [f"{self._agent(call.path[0])}➡️ {self._path(call.path[1:])}"]
        if len(call.rung) == 1:
            return [f"{caller}➡️ {self._agent(call.rung[0])}"]
        called = self._agent(call.raw_number) if call.raw_number else ""
        return [f"{caller}➡️ {called}".rstrip(), *self._quoted(call.rung, {})]

    def _customer(self, call: Call | CallProgress, customer: Customer | None) -> list[str]:
        lines = [f"💰{self._number(call)}"]
        if customer:
            person, company = self._text(customer.names.person), self._text(customer.names.enterprise_name)
            name = f"{person} ({company})" if person and company else person or company
            link = profile_link(customer)
            if name:
                lines.append(f'👤<a href="{html.escape(link)}">{name}</a>' if link else f"👤{name}")
        return lines

    def _who(self, call: Call | CallProgress, customer: Customer | None) -> str:
        """The customer in a few words."""
        name = self._text(customer.names.display) if customer else ""
        return f"{self._number(call)} {name}".rstrip()

    def _number(self, call: Call | CallProgress) -> str:
        if call.phone:
            return html.escape(mask(call.phone) if self.labels.mask else display(call.phone), quote=False)
        # Inbound the PBX gives a hidden caller some id of its own; what an agent dialled is always worth showing.
        raw = self._text(call.raw_number) if call.direction is Direction.OUT else ""
        return HIDDEN if not raw or (self.labels.mask and len(raw) > LONGEST_SERVICE) else raw

    def _agent(self, extension: str, *, otherwise: str = "") -> str:
        """A colleague; `otherwise`: his name when the configuration has none."""
        if extension.startswith("+"):  # forwarded outside, to nobody's phone
            return f"📱{html.escape(mask(extension) if self.labels.mask else display(extension), quote=False)}"
        name = self._text(self.labels.agents.get(extension, "") or otherwise)
        number = self._text(extension)
        return f"☎️{name} ({number})" if name else f"☎️Доб.{number}"

    def _path(self, agents: Sequence[str]) -> str:
        return " → ".join(self._agent(agent) if agent else "…" for agent in self._shown(agents))

    def _shown(self, agents: Sequence[str]) -> list[str]:
        """The agents of a path; of a very long one the beginning and the end, with "" between."""
        if len(agents) <= self.agents:
            return list(agents)
        return [*agents[: self.agents - 1], "", agents[-1]]

    def _ringing(self, agents: Sequence[str], notes: Mapping[str, str]) -> list[str]:
        if len(agents) > AGENTS_IN_THE_OPEN:
            return self._quoted(agents, notes)
        return [self._noted(agent, notes) for agent in agents]

    def _noted(self, agent: str, notes: Mapping[str, str]) -> str:
        note = notes.get(agent)
        return f"{self._agent(agent)} – {note}" if note else self._agent(agent)

    def _quoted(self, agents: Sequence[str], notes: Mapping[str, str]) -> list[str]:
        """A quote with an agent a line; a long one is headed by the number of agents and folded."""
        if not agents:
            return []
        lines = [self._noted(agent, notes) for agent in agents[: self.agents]]
        if len(agents) > self.agents:
            lines.append(f"… и ещё {len(agents) - self.agents}")
        if len(agents) <= AGENTS_IN_THE_OPEN:
            return ["<blockquote>" + "\n".join(lines) + "</blockquote>"]
        head = f"👨🏼‍💼Менеджеры ({len(agents)}):"
        return ["<blockquote expandable>" + "\n".join([head, *lines]) + "</blockquote>"]

    def _line(self, line: str | None) -> list[str]:
        if not line:
            return []
        label = self._text(self.labels.lines.get(line, ""))
        return [f"📡{label}" if label else f"Линия: {self._text(line)}"]

    def _ending(self, call: Call, customer: Customer | None, before: History | None) -> list[str]:
        """What stands below a finished call: the calls before it, badges, hashtags."""
        lines = []
        if call.direction is not Direction.INTERNAL:
            lines += self._history(before)
            shown = badges(call, customer, before, self.labels.timezone)
            lines += [" · ".join(words for badge, words in shown.items() if badge in self.labels.badges)]
        if self.labels.hashtags:
            lines += [hashtags(call, self.labels.lines.get(call.line or "", ""))]
        return [line for line in lines if line]

    def _history(self, before: History | None) -> list[str]:
        """The calls before this one; nothing for a first call."""
        if before is None or before.last_call_at is None:
            return []
        lines = []
        if before.calls_total_in:
            lines.append(f"Звонил: {counted(before.calls_total_in, *TIMES)}")
        elif before.calls_total_out:
            lines.append(f"Мы звонили: {counted(before.calls_total_out, *TIMES)}")
        lines.append(f"Последний раз: {moment(before.last_call_at, self.labels.timezone)}")
        if before.last_call_status != Status.ANSWERED:
            lines.append("❌")
        elif before.last_agent_internal:
            lines.append(f"✅ Разговаривал: ☎️{self._text(before.last_agent_internal)}")
        else:
            lines.append("✅")
        return lines

    def _text(self, text: str) -> str:
        """An outside string: one visible line, short, escaped last."""
        line = printable(text)
        short = line if len(line) <= self.name else cut(line, self.name - 1) + "…"
        return html.escape(short, quote=False)
