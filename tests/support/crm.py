"""Helpers around CRMs: a clock moved by hand, a directory of customers in memory, a RetailCRM with short patience."""

import asyncio
from urllib.parse import quote
from zoneinfo import ZoneInfo

import aiohttp

from vochi_agent.crm.breaker import State
from vochi_agent.crm.http import CrmHttp
from vochi_agent.crm.retailcrm import RetailCrm
from vochi_agent.crm.uon import Uon
from vochi_agent.customers.model import Customer, History, Profile
from vochi_agent.errors import StoreUnavailable

API_KEY = "Rk-secret/9f"
MINSK = ZoneInfo("Europe/Minsk")


class HandClock:
    """Monotonic seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        """The time now."""
        return self.now


class MemoryDirectory:
    """Fulfils `CustomerDirectory` without the rules of merging: the last profile stands.

    `failures` of the next `enrich` calls raise StoreUnavailable.
    """

    def __init__(self, *, failures: int = 0) -> None:
        self.customers: dict[tuple[str, str], Customer] = {}
        self.primary: list[bool] = []
        self._failures = failures
        self._changed = asyncio.Condition()

    async def customer(self, enterprise_number: str, phone: str, *, within_s: float | None = None) -> Customer | None:
        """The row, if there is one."""
        return self.customers.get((enterprise_number, phone))

    async def enrich(self, enterprise_number: str, phone: str, profile: Profile, *, primary: bool) -> Customer:
        """Keep the profile's names as they are."""
        if self._failures:
            self._failures -= 1
            raise StoreUnavailable("away")
        customer = Customer(
            enterprise_number=enterprise_number, phone_e164=phone, names=profile.names, history=History()
        )
        async with self._changed:
            self.customers[enterprise_number, phone] = customer
            self.primary.append(primary)
            self._changed.notify_all()
        return customer

    async def wait_for(self, enterprise_number: str, phone: str) -> Customer:
        """The customer as soon as there is one."""
        key = (enterprise_number, phone)
        async with asyncio.timeout(10), self._changed:
            await self._changed.wait_for(lambda: key in self.customers)
            return self.customers[key]


def retailcrm_at(
    url: str,
    session: aiohttp.ClientSession,
    *,
    api_key: str = API_KEY,
    attempt_s: float = 4.0,
    budget_s: float = 10.0,
    rps: float = 1000.0,
    clock: HandClock | None = None,
    states: list[State] | None = None,
) -> RetailCrm:
    """The adapter against a stand-in."""
    http = CrmHttp(
        session,
        name="retailcrm of 0901",
        base_url=url,
        headers={"X-API-KEY": api_key},
        secrets=[api_key],
        rps=rps,
        clock=clock or HandClock(),
        on_state=(states if states is not None else []).append,
        attempt_s=attempt_s,
        budget_s=budget_s,
    )
    return RetailCrm(http, url=url, agents={"7": "151"}, country="BY", timezone=MINSK)


def uon_at(
    url: str,
    session: aiohttp.ClientSession,
    *,
    api_key: str = API_KEY,
    attempt_s: float = 4.0,
    budget_s: float = 10.0,
    rps: float = 1000.0,
    clock: HandClock | None = None,
    states: list[State] | None = None,
) -> Uon:
    """The adapter against a stand-in, in Belarus."""
    http = CrmHttp(
        session,
        name="uon of 0901",
        base_url=f"{url}/{quote(api_key, safe='')}",
        headers={},
        secrets=[api_key],
        rps=rps,
        clock=clock or HandClock(),
        on_state=(states if states is not None else []).append,
        attempt_s=attempt_s,
        budget_s=budget_s,
    )
    return Uon(http, subdomain="demo", agents={"5": "151"}, country="BY", timezone=MINSK)
