"""Who should ring first: his manager, or a colleague the caller has talked with, when that phone is known to be free.

The CRM and the ledger are asked at the same time, beside the lookup of the name; the CRM not twice: this joins the
request that the name waits for. Then the phones they named are asked for, in the order of the line's `route`.

Invariant: nobody is sent to a phone that is not known to be there and free at this moment. What cannot be found out
in time (CRM, database or PBX away) is no answer, and the call goes the ordinary way.
"""

import asyncio
from collections.abc import Mapping
from typing import Final, Protocol

from vochi_agent.config import Line
from vochi_agent.enrichment import Lookup
from vochi_agent.errors import NotReachable
from vochi_agent.ports import Phones, TalkHistory

__all__ = ["OrdinaryWay", "ProfileLookups", "Router", "Routing"]

# The steps of a line's `route`.
RESPONSIBLE: Final = "responsible"
LAST_AGENT: Final = "last_agent"
FIRST_AGENT: Final = "first_agent"
# Left of the time for asking after the phones, at most one a step; a PBX on loopback takes 0.1 ms for each.
PHONES_S: Final = 0.05


class ProfileLookups(Protocol):
    """The CRMs; a request under way is joined."""

    async def profile(self, enterprise_number: str, phone: str, *, deadline: float, linkedid: str = "") -> Lookup:
        """Who it is, by the event loop's clock no later than `deadline`. Never raises."""
        ...


class Router(Protocol):
    """Names the phone that should ring first."""

    async def route(self, enterprise_number: str, line: Line, phone: str, *, linkedid: str, until: float) -> str:
        """The extension, "" for the ordinary way; back by `until` (the event loop's clock). Never raises."""
        ...


class OrdinaryWay:
    """Routes nobody; where no PBX can be asked."""

    async def route(self, enterprise_number: str, line: Line, phone: str, *, linkedid: str, until: float) -> str:
        """See `Router.route`."""
        del enterprise_number, line, phone, linkedid, until
        return ""


class Routing:
    """The smart routes of every enterprise; fulfils `Router`."""

    def __init__(self, phones: Mapping[str, Phones], *, lookups: ProfileLookups, history: TalkHistory) -> None:
        """`phones` by enterprise number."""
        self._phones = phones
        self._lookups = lookups
        self._history = history

    async def route(self, enterprise_number: str, line: Line, phone: str, *, linkedid: str, until: float) -> str:
        """See `Router.route`."""
        named: dict[str, str] = {}
        ask_until = until - PHONES_S
        async with asyncio.TaskGroup() as tasks:
            if RESPONSIBLE in line.route:
                crm = self._ask_crm(named, enterprise_number, phone, linkedid, ask_until)
                tasks.create_task(crm, name="route: CRM")
            if not {LAST_AGENT, FIRST_AGENT}.isdisjoint(line.route):
                ledger = self._ask_ledger(named, enterprise_number, phone, ask_until)
                tasks.create_task(ledger, name="route: ledger")
        for extension in dict.fromkeys(named.get(step, "") for step in line.route):
            if extension and await self._is_free(enterprise_number, extension, until):
                return extension
        return ""

    async def _ask_crm(
        self, named: dict[str, str], enterprise_number: str, phone: str, linkedid: str, until: float
    ) -> None:
        lookup = await self._lookups.profile(enterprise_number, phone, deadline=until, linkedid=linkedid)
        if lookup.profile:
            named[RESPONSIBLE] = lookup.profile.responsible

    async def _ask_ledger(self, named: dict[str, str], enterprise_number: str, phone: str, until: float) -> None:
        try:
            async with asyncio.timeout_at(until):
                talked = await self._history.talked(enterprise_number, phone)
        except (NotReachable, TimeoutError):
            return
        named[LAST_AGENT], named[FIRST_AGENT] = talked.last, talked.first

    async def _is_free(self, enterprise_number: str, extension: str, until: float) -> bool:
        try:
            async with asyncio.timeout_at(until):
                return await self._phones[enterprise_number].is_free(extension)
        except (NotReachable, TimeoutError):
            return False
