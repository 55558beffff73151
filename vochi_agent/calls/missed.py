"""Who was missed and never called back: counted by hour, line and agent from finished calls, in any order. Pure.

Memory holds the missed calls that nobody has answered for yet, and the last contact of each number for some hours.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta, tzinfo
from typing import Final

from vochi_agent.calls.model import Call, Direction, Status

__all__ = ["Debt", "MissedCalls", "Row"]

# Records come in the order of the calls' ends, or nearly so: a call may begin so long before one told earlier.
OUT_OF_ORDER: Final = timedelta(hours=12)
SWEPT_EVERY: Final = 10_000
# Keys come from the PBX; a hostile file must not fill the memory with them.
MOST_KEYS: Final = 5000
OTHER: Final = "…"


@dataclass(slots=True)
class Row:
    """Missed calls of one hour, line or agent.

    Attributes:
        missed: All of them.
        called_back: We called that number afterwards, whether or not it was answered.
        came_again: He called again himself, and was answered.
        hidden: No number was shown, so nobody can be called.
        never: Neither; `missed` less the three above.
    """

    missed: int = 0
    called_back: int = 0
    came_again: int = 0
    hidden: int = 0

    @property
    def never(self) -> int:
        """Nobody ever talked to them about it."""
        return self.missed - self.called_back - self.came_again - self.hidden


@dataclass(frozen=True, slots=True)
class Debt:
    """A number that nobody called back: how often it was missed since the last contact, when last, by which line."""

    phone: str
    missed: int
    last: datetime
    line: str


@dataclass(frozen=True, slots=True)
class _Missed:
    at: datetime
    hour: int
    line: str
    agents: tuple[str, ...]


@dataclass(slots=True)
class _Contact:
    """When a number was last called by us, and last answered by us."""

    called: datetime | None = None
    answered: datetime | None = None


@dataclass
class MissedCalls:
    """The report while it grows.

    Attributes:
        zone: In which hours are told.
        since: Missed calls that begin earlier are not counted.
        until: Nor those that begin then or later; contacts are.
        total: All missed calls.
        incoming: All calls that came in, answered ones too.
        by_hour: From 0 to 23, only hours that have any.
        by_line: By the line's name, "" for none.
        by_agent: By the extensions whose phones rang; a call counts for each of them, "" when none did.
    """

    zone: tzinfo
    since: datetime
    until: datetime
    total: Row = field(default_factory=Row)
    incoming: int = 0
    by_hour: dict[int, Row] = field(default_factory=lambda: defaultdict(Row))
    by_line: dict[str, Row] = field(default_factory=lambda: defaultdict(Row))
    by_agent: dict[str, Row] = field(default_factory=lambda: defaultdict(Row))
    _waiting: dict[str, list[_Missed]] = field(default_factory=dict)
    _contacts: dict[str, _Contact] = field(default_factory=dict)
    _received: int = 0

    def receive(self, call: Call) -> None:
        """One more finished call."""
        self._received += 1
        if self._received % SWEPT_EVERY == 0:
            self._forget(call.started_at - OUT_OF_ORDER)
        if call.direction is Direction.OUT and call.phone:
            self._contact(call.phone, call.started_at, ours=True)
        elif call.direction is Direction.IN:
            counted = self.since <= call.started_at < self.until
            self.incoming += counted
            if call.status is Status.ANSWERED:
                if call.phone:
                    self._contact(call.phone, call.started_at, ours=False)
            elif counted:
                self._miss(call)

    def owed(self) -> Iterable[Debt]:
        """Numbers that nobody called back, those that were missed most often first."""
        debts = [
            Debt(phone, len(missed), max(each.at for each in missed), missed[-1].line)
            for phone, missed in self._waiting.items()
        ]
        return sorted(debts, key=lambda debt: (-debt.missed, debt.last))

    def _miss(self, call: Call) -> None:
        missed = _Missed(
            at=call.started_at,
            hour=call.started_at.astimezone(self.zone).hour,
            line=_key(self.by_line, call.line or ""),
            agents=tuple(dict.fromkeys(_key(self.by_agent, agent) for agent in call.rung or ("",))),
        )
        for row in self._rows(missed):
            row.missed += 1
            row.hidden += call.phone is None
        if call.phone is None:
            return
        contact = self._contacts.get(call.phone, _Contact())
        if contact.called and contact.called > missed.at:
            self._settle(missed, ours=True)
        elif contact.answered and contact.answered > missed.at:
            self._settle(missed, ours=False)
        else:
            self._waiting.setdefault(call.phone, []).append(missed)

    def _contact(self, phone: str, at: datetime, *, ours: bool) -> None:
        contact = self._contacts.setdefault(phone, _Contact())
        if ours:
            contact.called = max(at, contact.called or at)
        else:
            contact.answered = max(at, contact.answered or at)
        waiting = self._waiting.pop(phone, [])
        later = [missed for missed in waiting if missed.at >= at]
        for missed in waiting:
            if missed.at < at:
                self._settle(missed, ours=ours)
        if later:
            self._waiting[phone] = later

    def _settle(self, missed: _Missed, *, ours: bool) -> None:
        for row in self._rows(missed):
            if ours:
                row.called_back += 1
            else:
                row.came_again += 1

    def _rows(self, missed: _Missed) -> list[Row]:
        agents = [self.by_agent[agent] for agent in missed.agents]
        return [self.total, self.by_hour[missed.hour], self.by_line[missed.line], *agents]

    def _forget(self, before: datetime) -> None:
        self._contacts = {
            phone: contact
            for phone, contact in self._contacts.items()
            if max(moment for moment in (contact.called, contact.answered) if moment) >= before
        }


def _key(rows: Mapping[str, Row], key: str) -> str:
    return key if key in rows or len(rows) < MOST_KEYS else OTHER
