"""`vochi-agent lookup PHONE`: the name a handset would show, found the way the daemon finds it. Stores nothing."""

import argparse
import asyncio
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Self

import aiohttp

from vochi_agent.caller_id import CallerId, Customers
from vochi_agent.calls.layout import Layout
from vochi_agent.calls.numbers import display
from vochi_agent.config import Config, Enterprise, Line
from vochi_agent.customers.handsets import CALLERID_NAME, form_for
from vochi_agent.customers.identity import merge_names
from vochi_agent.customers.model import Customer, Names
from vochi_agent.enrichment import Asked, Enrichment, Lookup, Outcome
from vochi_agent.errors import ConfigError, StoreUnavailable
from vochi_agent.protocols.agi import AgiRequest

from .names import sources_of
from .presentation import add_json, print_facts, print_json
from .selection import add_enterprise, enterprise_of

NO: Final = 1
UNREACHABLE: Final = 3
NO_ANSWER: Final = (Outcome.ERROR, Outcome.TIMEOUT, Outcome.BREAKER, Outcome.BUSY)
OWN_TABLE: Final = "customers"


class Witness:
    """Stands between `CallerId` and its sources and remembers what each said."""

    def __init__(self, customers: Customers, enrichment: Enrichment) -> None:
        self.customer_found: Customer | None = None
        self.database_away = False
        self.lookup = Lookup(Outcome.MISS)
        self._customers = customers
        self._enrichment = enrichment
        self._asked: Asked

    async def customer(self, enterprise_number: str, phone: str, *, within_s: float | None = None) -> Customer | None:
        """Fulfils `caller_id.Customers`."""
        try:
            self.customer_found = await self._customers.customer(enterprise_number, phone, within_s=within_s)
        except StoreUnavailable:
            self.database_away = True
            raise
        return self.customer_found

    def ask(self, enterprise_number: str, phone: str, *, linkedid: str = "") -> Self:
        """Fulfils `caller_id.NameLookups`."""
        self._asked = self._enrichment.ask(enterprise_number, phone, linkedid=linkedid)
        return self

    async def profile(self, *, deadline: float) -> Lookup:
        """Fulfils `caller_id.AskedCrms`."""
        self.lookup = await self._asked.profile(deadline=deadline)
        return self.lookup


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What came of it; `variables` are those of contract §3."""

    phone: str
    variables: Mapping[str, str]
    source: str
    crm: Outcome
    database_away: bool
    milliseconds: float


def arguments(parser: argparse.ArgumentParser) -> None:
    """Who calls, on which line, whose handset."""
    parser.add_argument("phone", metavar="PHONE", help="as the line would deliver it")
    parser.add_argument("--line", metavar="ID", help="the line of the call: its number rule and its caller_name count")
    parser.add_argument("--agent", metavar="EXT", help="show what fits on the handset of this extension")
    add_enterprise(parser)
    add_json(parser)


def run(args: argparse.Namespace, config: Callable[[], Config]) -> int:
    """0 somebody is known, 1 nobody, 2 no number, 3 nobody that could be asked knew him and not all could be."""
    loaded = config()
    enterprise, line = _place(loaded, args.enterprise, args.line)
    phone = Layout(enterprise).caller(args.phone, line)
    if phone is None:
        raise ConfigError([f"{args.phone!r} is nobody's phone number: hidden, our own, or no possible number"])
    found = asyncio.run(_look_up(loaded, enterprise, line, phone))
    shown = form_for(args.agent, found.variables, enterprise) if args.agent else found.variables.get(CALLERID_NAME, "")
    if args.json:
        print_json(_as_json(found, shown, line))
    else:
        _print(found, shown, line)
    if found.variables["VOCHI_NAME"] or found.variables["VOCHI_COMPANY"]:
        return 0
    if found.database_away or found.crm in NO_ANSWER:
        print("Nobody is known, but not everybody could be asked.", file=sys.stderr)
        return UNREACHABLE
    return NO


def _place(config: Config, number: str | None, line_id: str | None) -> tuple[Enterprise, Line | None]:
    """The enterprise and the line; a line's id says whose it is."""
    lines = [(each, line) for each in config.enterprises for line in each.lines if line.id == line_id]
    lines = [(each, line) for each, line in lines if number in (None, each.number)]
    if line_id is None:
        return enterprise_of(config, number), None
    if not lines:
        known = ", ".join(line.id for each in config.enterprises for line in each.lines) or "none"
        raise ConfigError([f"--line {line_id} is no line's id; the configuration has {known}"])
    if len(lines) > 1:
        raise ConfigError([f"--line {line_id} is a line of several enterprises: say --enterprise"])
    return lines[0]


async def _look_up(config: Config, enterprise: Enterprise, line: Line | None, phone: str) -> Found:
    async with (
        aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session,
        sources_of(config, enterprise, session) as (customers, enrichment),
    ):
        witness = Witness(customers, enrichment)
        caller_id = CallerId(
            {enterprise.number: (enterprise, Layout(enterprise))},
            customers=witness,
            lookups=witness,
            now=lambda: datetime.fromtimestamp(time.time(), UTC),
        )
        request = AgiRequest(
            fields={"callerid": phone}, path=("callerid",), arguments=(enterprise.number, line.id if line else "")
        )
        loop = asyncio.get_running_loop()
        begun = loop.time()
        variables = await caller_id.answer(request, begun + config.fastagi.deadline_s)
        return Found(
            phone=phone,
            variables=variables,
            source=_source(witness, enterprise, phone),
            crm=witness.lookup.outcome,
            database_away=witness.database_away,
            milliseconds=(loop.time() - begun) * 1000,
        )


def _source(witness: Witness, enterprise: Enterprise, phone: str) -> str:
    """Whose name is shown: the CRM's when it gave it just now, else what our table had, else nobody's."""
    profile = witness.lookup.profile
    stored = witness.customer_found.names if witness.customer_found else Names()
    if profile is None:
        return OWN_TABLE if stored else ""
    fresh = merge_names(Names(), profile.names, phone=phone, primary=True)
    merged = merge_names(stored, profile.names, phone=phone, primary=profile.source == enterprise.primary_source)
    return profile.source if fresh.display == merged.display else OWN_TABLE


def _as_json(found: Found, shown: str, line: Line | None) -> dict[str, object]:
    variables = found.variables
    return {
        "phone": found.phone,
        "line": line.id if line else None,
        "shown": shown,
        "name": variables["VOCHI_NAME"],
        "company": variables["VOCHI_COMPANY"],
        "source": found.source or None,
        "status": variables["VOCHI_STATUS"],
        "crm": found.crm.value,
        "black_list": variables["VOCHI_BLACKLISTED"] == "1",
        "route": variables["VOCHI_ROUTE"],
        "ms": round(found.milliseconds, 1),
    }


def _print(found: Found, shown: str, line: Line | None) -> None:
    variables = found.variables
    print(shown or "(the name on the handset is left alone)")
    print_facts(
        [
            ("number", display(found.phone)),
            ("company", variables["VOCHI_COMPANY"]),
            ("person", variables["VOCHI_NAME"]),
            ("line", line.id if line else ""),
            ("black list", "yes" if variables["VOCHI_BLACKLISTED"] == "1" else ""),
            ("source", found.source or "nobody knows this number"),
            ("status", variables["VOCHI_STATUS"]),
            ("CRM", found.crm.value),
            ("database", "does not answer" if found.database_away else ""),
            ("took", f"{found.milliseconds:.0f} ms"),
        ]
    )
