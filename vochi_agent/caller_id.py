"""What the dialplan is told about a caller while he waits: the name for the handset, within the deadline or not at all.

The CRM's fresh answer and the local row are asked for at the same time; when the time is up the best that is known is
said, and `late_names` waits for the rest. Nothing here raises for the sake of a CRM or the database.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Final, Protocol

from vochi_agent.calls import numbers
from vochi_agent.calls.layout import Layout, endpoint_name
from vochi_agent.config import Enterprise, Line
from vochi_agent.customers.blocking import HIDDEN, is_blocked
from vochi_agent.customers.handsets import name_variables
from vochi_agent.customers.identity import merge_names
from vochi_agent.customers.model import Customer, Names
from vochi_agent.customers.names import CallerName
from vochi_agent.enrichment import Lookup, Outcome
from vochi_agent.errors import StoreUnavailable
from vochi_agent.late_names import UnnamedCall
from vochi_agent.protocols.agi import AgiRequest
from vochi_agent.routing import OrdinaryWay, Router

__all__ = ["CallerId", "Customers", "NameLookups"]

# Left of the deadline for composing the answer after the last wait.
RESERVE_S: Final = 0.02
# After the last wait an answer is on its way no longer than this (`asterisk.fastagi_session`).
SENDING_S: Final = 0.1
STATUS: Final = "VOCHI_STATUS"
BLOCKED: Final = "blocked"
ROUTE: Final = "VOCHI_ROUTE"
RING_S: Final = "VOCHI_ROUTE_RING_S"

# The dialplan finds every variable set, even when the enterprise it names is none of ours.
_NOTHING: Final[Mapping[str, str]] = {
    "VOCHI_PHONE": "",
    "VOCHI_NAME": "",
    "VOCHI_COMPANY": "",
    ROUTE: "",
    RING_S: "",
    "VOCHI_BLACKLISTED": "0",
    STATUS: "error",
}


class Customers(Protocol):
    """The local table, asked while the CRM is."""

    async def customer(self, enterprise_number: str, phone: str, *, within_s: float | None = None) -> Customer | None:
        """The row of an E.164 number. Raises StoreUnavailable, also when it would take longer than `within_s`."""
        ...


class AskedCrms(Protocol):
    """CRMs that think about a caller."""

    async def profile(self, *, deadline: float) -> Lookup:
        """Who it is, by the event loop's clock no later than `deadline`. Never raises."""
        ...


class NameLookups(Protocol):
    """The CRMs, asked once a call."""

    def ask(self, enterprise_number: str, phone: str, *, linkedid: str = "") -> AskedCrms:
        """Begin; nobody is waited for."""
        ...


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks: one channel on one line of one enterprise.

    Attributes:
        phone: E.164, None when there is none.
        hidden: He shows no number; without a phone and not hidden are extensions and the like.
    """

    enterprise: Enterprise
    line: Line | None
    phone: str | None
    hidden: bool

    @property
    def is_routed(self) -> bool:
        """Somebody in particular may be the first whose telephone rings for him."""
        return self.phone is not None and self.line is not None and bool(self.line.route)

    def name(self, names: Names) -> CallerName:
        """What his line shows of him."""
        line = self.line
        return CallerName(
            parts=line.caller_name if line else ("customer",),
            names=names,
            label=(line.label or line.id) if line else "",
            shop=line.shop if line else "",
            number=numbers.display(self.phone) if self.phone else "",
            one_of_lines=len(self.enterprise.lines) > 1,
            legal_forms=self.enterprise.legal_forms,
        )


@dataclass(frozen=True, slots=True)
class Known:
    """What the lookups gave; `asked` is whether the table of customers could say anything."""

    names: Names = field(default_factory=Names)
    customer: Customer | None = None
    asked: bool = False


class CallerId:
    """Answers `callerid` and `route`."""

    def __init__(
        self,
        enterprises: Mapping[str, tuple[Enterprise, Layout]],
        *,
        customers: Customers,
        lookups: NameLookups,
        now: Callable[[], datetime],
        router: Router | None = None,
        answered: Callable[[str], None] = lambda _: None,
        unnamed: Callable[[UnnamedCall], None] = lambda _: None,
    ) -> None:
        """Ask nobody yet.

        Args:
            enterprises: By number, each with its PBX.
            now: Aware.
            router: Who rings first; without one every call goes the ordinary way.
            answered: Told the VOCHI_STATUS of every answer.
            unnamed: Told every call for which a CRM was too slow.
        """
        self._enterprises = enterprises
        self._customers = customers
        self._lookups = lookups
        self._now = now
        self._router = router or OrdinaryWay()
        self._answered = answered
        self._unnamed = unnamed

    def use(self, enterprises: Mapping[str, tuple[Enterprise, Layout]]) -> None:
        """Answer by these lines from here on."""
        self._enterprises = enterprises

    async def answer(self, request: AgiRequest, until: float) -> Mapping[str, str]:
        """The variables of contract §3; back before `until` by the event loop's clock."""
        caller = self._caller(request)
        if caller is None:
            variables = _NOTHING
        elif caller.phone is None:
            variables = self._variables(caller, Known(), "unknown")
        else:
            variables = await self._ask(caller, caller.phone, request.uniqueid, until)
        self._answered(variables[STATUS])
        return variables

    def fallback(self, request: AgiRequest, status: str) -> Mapping[str, str]:
        """What can be said at once, waiting for nothing: the line and the shop."""
        caller = self._caller(request)
        variables = self._variables(caller, Known(), status) if caller else _NOTHING
        if caller and caller.phone and variables[STATUS] == "timeout":
            said_by = asyncio.get_running_loop().time() + SENDING_S
            self._unnamed(UnnamedCall(caller.enterprise, request.uniqueid, caller.phone, caller.name(Names()), said_by))
        self._answered(variables[STATUS])
        return variables

    async def route(self, request: AgiRequest, until: float) -> Mapping[str, str]:
        """The extension that should ring first; "" is the ordinary way."""
        caller = self._caller(request)
        return {ROUTE: await self._route(caller, request.uniqueid, until - RESERVE_S) if caller else ""}

    def no_route(self, request: AgiRequest, status: str) -> Mapping[str, str]:
        """The ordinary way."""
        del request, status
        return {ROUTE: ""}

    def _caller(self, request: AgiRequest) -> Caller | None:
        wanted, line_id = (*request.arguments, "", "")[:2]
        if not wanted and len(self._enterprises) == 1:
            (wanted,) = self._enterprises
        if wanted not in self._enterprises:
            return None
        enterprise, layout = self._enterprises[wanted]
        did = request.dnid or request.extension
        line = layout.line(line_id or did) or layout.inbound_line(endpoint_name(request.channel), line_id or did)
        phone = layout.caller(request.caller_number, line)
        return Caller(enterprise, line, phone, phone is None and layout.hides(request.caller_number, line))

    async def _route(self, caller: Caller, linkedid: str, until: float) -> str:
        if caller.phone is None or caller.line is None or not caller.line.route:
            return ""
        number = caller.enterprise.number
        return await self._router.route(number, caller.line, caller.phone, linkedid=linkedid, until=until)

    async def _ask(self, caller: Caller, phone: str, uniqueid: str, until: float) -> Mapping[str, str]:
        enterprise, wait_until = caller.enterprise, until - RESERVE_S
        crms = self._lookups.ask(enterprise.number, phone, linkedid=uniqueid)
        async with asyncio.TaskGroup() as tasks:
            route = None
            if caller.is_routed:
                route = tasks.create_task(self._route(caller, uniqueid, wait_until), name="route")
            known = await self._local(enterprise.number, phone, wait_until)
            lookup = await crms.profile(deadline=wait_until)
        if lookup.profile:
            primary = lookup.profile.source == enterprise.primary_source
            names = merge_names(known.names, lookup.profile.names, phone=phone, primary=primary)
            known = replace(known, names=names)
        status = _status(lookup.outcome, known.names)
        variables = self._variables(caller, known, status, route.result() if route else "")
        if lookup.may_be_bettered and variables[STATUS] != BLOCKED:
            self._unnamed(UnnamedCall(enterprise, uniqueid, phone, caller.name(known.names), until + SENDING_S))
        return variables

    async def _local(self, enterprise_number: str, phone: str, until: float) -> Known:
        within_s = until - asyncio.get_running_loop().time()
        try:
            customer = await self._customers.customer(enterprise_number, phone, within_s=within_s)
        except StoreUnavailable:
            return Known()
        return Known(customer.names if customer else Names(), customer, asked=True)

    def _variables(self, caller: Caller, known: Known, status: str, route: str = "") -> dict[str, str]:
        blocked = is_blocked(
            HIDDEN if caller.hidden else caller.phone or "",
            block=caller.enterprise.block,
            allow=caller.enterprise.allow,
            customer=known.customer,
            known=known.asked,
            now=self._now(),
        )
        first = "" if blocked else route
        person = (known.names.last_name, known.names.first_name, known.names.middle_name)
        return {
            **name_variables(caller.name(known.names), caller.enterprise),
            "VOCHI_PHONE": caller.phone or "",
            "VOCHI_NAME": " ".join(part for part in person if part),
            "VOCHI_COMPANY": known.names.enterprise_name,
            ROUTE: first,
            RING_S: str(caller.line.ring_s) if caller.line and first else "",
            "VOCHI_BLACKLISTED": "1" if blocked else "0",
            STATUS: BLOCKED if blocked else status,
        }


def _status(outcome: Outcome, names: Names) -> str:
    if outcome is Outcome.TIMEOUT:
        return "timeout"
    if names:
        return "ok"
    return "unknown" if outcome in (Outcome.HIT, Outcome.MISS) else "error"
