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

from vochi_agent.calls.model import Call, CallProgress, Direction, Phase, Reason, Source, Status
from vochi_agent.calls.numbers import display, mask
from vochi_agent.customers.model import Customer, History
from vochi_agent.customers.names import cut, printable

__all__ = ["MAX_UNITS", "Labels", "final_card", "live_card", "plain"]

# Telegram takes 4096 after parsing and does not say in which units: UTF-16 with the markup is the strictest reading.
MAX_UNITS: Final = 4000
# More agents than this are folded into a quote that opens on a tap.
AGENTS_IN_THE_OPEN: Final = 4
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
    """

    agents: Mapping[str, str]
    lines: Mapping[str, str]
    timezone: tzinfo
    mask: bool = False


def final_card(call: Call, *, customer: Customer | None, before: History | None, labels: Labels) -> str:
    """The lasting text about a finished call.

    Args:
        customer: Whose names are shown; None for a stranger.
        before: The customer's counters before this call.
    """
    return _fitting(labels, lambda writer: writer.final(call, customer, before))


def live_card(
    progress: CallProgress, *, customer: Customer | None, before: History | None, labels: Labels, placed_by: str = ""
) -> str:
    """The text about a call that goes on.

    Args:
        placed_by: The extension that placed an outgoing or internal call.
    """
    return _fitting(labels, lambda writer: writer.live(progress, customer, before, placed_by))


def plain(text: str) -> str:
    """A card without its markup, for when Telegram does not take it."""
    return html.unescape(_TAG.sub("", text))


def _fitting(labels: Labels, write: Callable[["_Writer"], Sequence[str]]) -> str:
    """The text with the most room for names and agents that Telegram still takes."""
    text = ""
    for name, agents in ((150, 50), (60, 20), (30, 8), (12, 4)):
        text = "\n".join(write(_Writer(labels, name, agents)))
        if len(text.encode("utf-16-le")) // 2 <= MAX_UNITS:
            break
    return text


@dataclass(frozen=True, slots=True)
class _Writer:
    """Writes the lines of a card. `name` bounds the characters of a name, `agents` how many are listed."""

    labels: Labels
    name: int
    agents: int

    def final(self, call: Call, customer: Customer | None, before: History | None) -> list[str]:
        """The table of finals: what happened, who, by which line, when, how long."""
        title = TITLES.get((call.direction, call.status), UNKNOWN_END)
        if call.reason is Reason.FORBIDDEN:
            title = FORBIDDEN
        sign, words = title
        lines = [sign + ("🔄" if call.source is Source.RECOVERY else "") + words]
        if title is UNKNOWN_END and call.direction is not Direction.INTERNAL:
            return [*lines, *self._customer(call, customer), *self._history(before)]
        lines += self._people(call, customer)
        lines += self._line(call.line)
        lines.append(f"⏰Начало звонка {call.started_at.astimezone(self.labels.timezone):%H:%M}")
        if call.status is Status.ANSWERED:
            lines.append(f"⌛ Длительность: {_duration(call.talk_seconds)}")
        elif title is not FORBIDDEN:
            lines.append(f"⌛ Дозванивался: {_duration(call.wait_seconds)}")
        return lines if call.direction is Direction.INTERNAL else [*lines, *self._history(before)]

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
        return [RINGING[Direction.IN], f"{who} ➡️", *name, *self._ringing(progress.agents), *line]

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
        return [*who, *(self._quoted(call.rung) if len(call.rung) > 1 else self._ringing(call.rung))]

    def _colleagues(self, call: Call) -> list[str]:
        caller = self._agent(call.first_agent) if call.first_agent else ""
        if call.path:
            return [f"{self._agent(call.path[0])}➡️ {self._path(call.path[1:])}"]
        if len(call.rung) == 1:
            return [f"{caller}➡️ {self._agent(call.rung[0])}"]
        called = self._agent(call.raw_number) if call.raw_number else ""
        return [f"{caller}➡️ {called}".rstrip(), *self._quoted(call.rung)]

    def _customer(self, call: Call | CallProgress, customer: Customer | None) -> list[str]:
        lines = [f"💰{self._number(call)}"]
        if customer:
            person, company = self._text(customer.names.person), self._text(customer.names.enterprise_name)
            if person or company:
                lines.append(f"👤{person} ({company})" if person and company else f"👤{person or company}")
        return lines

    def _number(self, call: Call | CallProgress) -> str:
        if call.phone:
            return html.escape(mask(call.phone) if self.labels.mask else display(call.phone), quote=False)
        # Inbound the PBX gives a hidden caller some id of its own; what an agent dialled is always worth showing.
        raw = self._text(call.raw_number) if call.direction is Direction.OUT else ""
        return HIDDEN if not raw or (self.labels.mask and len(raw) > LONGEST_SERVICE) else raw

    def _agent(self, extension: str) -> str:
        if extension.startswith("+"):  # forwarded outside, to nobody's phone
            return f"📱{html.escape(mask(extension) if self.labels.mask else display(extension), quote=False)}"
        name = self._text(self.labels.agents.get(extension, ""))
        number = self._text(extension)
        return f"☎️{name} ({number})" if name else f"☎️Доб.{number}"

    def _path(self, agents: Sequence[str]) -> str:
        return " → ".join(self._agent(agent) if agent else "…" for agent in self._shown(agents))

    def _shown(self, agents: Sequence[str]) -> list[str]:
        """The agents of a path; of a very long one the beginning and the end, with "" between."""
        if len(agents) <= self.agents:
            return list(agents)
        return [*agents[: self.agents - 1], "", agents[-1]]

    def _ringing(self, agents: Sequence[str]) -> list[str]:
        return self._quoted(agents) if len(agents) > AGENTS_IN_THE_OPEN else [self._agent(agent) for agent in agents]

    def _quoted(self, agents: Sequence[str]) -> list[str]:
        """A quote with an agent a line; a long one is headed by the number of agents and folded."""
        if not agents:
            return []
        lines = [self._agent(agent) for agent in agents[: self.agents]]
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

    def _history(self, before: History | None) -> list[str]:
        """The calls before this one; nothing for a first call."""
        if before is None or before.last_call_at is None:
            return []
        lines = []
        if before.calls_total_in:
            lines.append(f"Звонил: {_times(before.calls_total_in)}")
        elif before.calls_total_out:
            lines.append(f"Мы звонили: {_times(before.calls_total_out)}")
        lines.append(f"Последний раз: {_moment(before.last_call_at, self.labels.timezone)}")
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


def _duration(seconds: float) -> str:
    """MM:SS; minutes may exceed 59."""
    minutes, rest = divmod(max(0, int(seconds + 0.5)), 60)
    return f"{minutes:02}:{rest:02}"


def _moment(moment: datetime, zone: tzinfo) -> str:
    return f"{moment.astimezone(zone):%d.%m.%Y в %H:%M}"


def _times(count: int) -> str:
    few = count % 10 in (2, 3, 4) and count % 100 not in (12, 13, 14)
    return f"{count} {'раза' if few else 'раз'}"
