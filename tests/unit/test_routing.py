"""The order of the steps, and what becomes of a route when one of those who are asked is slow or away."""

import asyncio
import time
from dataclasses import dataclass, field

import pytest

from vochi_agent.config import Line
from vochi_agent.customers.model import Names, Profile
from vochi_agent.enrichment import Lookup, Outcome
from vochi_agent.errors import NotReachable, StoreUnavailable
from vochi_agent.ports import Talked
from vochi_agent.routing import Routing

PHONE = "+375290000011"
NOBODY = Talked()
STEPS = ("responsible", "last_agent", "first_agent")


@dataclass
class Telephones:
    """Fulfils `ports.Phones`; `asked` is whose state somebody wanted to know."""

    free: set[str]
    away: bool = False
    asked: list[str] = field(default_factory=list)

    async def is_free(self, extension: str) -> bool:
        """See `ports.Phones`."""
        self.asked.append(extension)
        if self.away:
            raise NotReachable("the PBX is away")
        return extension in self.free


@dataclass
class Ledger:
    """Fulfils `ports.TalkHistory`."""

    known: Talked = NOBODY
    away: bool = False

    async def talked(self, enterprise_number: str, phone: str) -> Talked:
        """See `ports.TalkHistory`."""
        assert (enterprise_number, phone) == ("0901", PHONE)
        if self.away:
            raise StoreUnavailable("away")
        return self.known


@dataclass
class Crm:
    """Fulfils `routing.ProfileLookups`: a CRM that needs its time to name the manager."""

    manager: str = ""
    takes_s: float = 0.0

    async def profile(self, enterprise_number: str, phone: str, *, deadline: float, linkedid: str = "") -> Lookup:
        """See `enrichment.Enrichment`."""
        assert (enterprise_number, phone, linkedid) == ("0901", PHONE, "1.1")
        try:
            async with asyncio.timeout_at(deadline):
                await asyncio.sleep(self.takes_s)
        except TimeoutError:
            return Lookup(Outcome.TIMEOUT)
        if not self.manager:
            return Lookup(Outcome.MISS)
        profile = Profile(source="retailcrm", external_id="1", names=Names(), responsible=self.manager)
        return Lookup(Outcome.HIT, profile)


async def route(phones: Telephones, crm: Crm, ledger: Ledger, *steps: str, within: float = 1.0) -> str:
    routing = Routing({"0901": phones}, lookups=crm, history=ledger)
    line = Line(id="0001701", endpoint="PJSIP/gsm1", route=steps or STEPS)
    until = asyncio.get_running_loop().time() + within
    return await routing.route("0901", line, PHONE, linkedid="1.1", until=until)


@pytest.mark.parametrize(
    ("free", "chosen"),
    [({"101", "102", "103"}, "101"), ({"102", "103"}, "102"), ({"103"}, "103"), ({"104"}, ""), (set(), "")],
)
async def test_the_first_step_whose_phone_is_free_wins(free: set[str], chosen: str) -> None:
    talked = Ledger(Talked(first="103", last="102"))

    assert await route(Telephones(free), Crm("101"), talked) == chosen


async def test_the_steps_are_those_of_the_line_in_its_order() -> None:
    everybody, talked = Telephones({"101", "102", "103"}), Ledger(Talked(first="103", last="102"))

    assert await route(everybody, Crm("101"), talked, "first_agent", "responsible") == "103"
    assert await route(everybody, Crm("101"), talked, "last_agent") == "102"


async def test_who_is_nobody_is_not_asked_for() -> None:
    phones = Telephones({""})

    assert await route(phones, Crm(), Ledger()) == ""
    assert phones.asked == []


async def test_a_slow_crm_costs_the_manager_not_the_last_agent() -> None:
    """The others are asked meanwhile: when the time is up their answer is there."""
    begun = time.monotonic()
    found = await route(Telephones({"101", "102"}), Crm("101", takes_s=5), Ledger(Talked(last="102")), within=0.2)

    assert found == "102"
    assert time.monotonic() - begun < 0.5


async def test_a_database_that_is_away_costs_the_history_not_the_manager() -> None:
    ledger = Ledger(away=True)

    assert await route(Telephones({"101"}), Crm("101"), ledger, "last_agent", "responsible") == "101"


async def test_a_phone_whose_state_is_not_known_is_not_rung() -> None:
    assert await route(Telephones({"101"}, away=True), Crm("101"), Ledger(Talked(first="101"))) == ""
