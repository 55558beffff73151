"""Asks the CRMs who the customers are that nobody has a name for: after an import, one after another, with a bar."""

import asyncio
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import aiohttp

from vochi_agent.config import Enterprise
from vochi_agent.crm import CRMS
from vochi_agent.crms import crms_of
from vochi_agent.customers.model import Profile
from vochi_agent.enrichment import Enrichment, Outcome
from vochi_agent.errors import CrmUnavailable
from vochi_agent.metrics import Metrics
from vochi_agent.store.postgres import PostgresStore

from .presentation import progress_bar

__all__ = ["Named", "has_names", "name_customers"]

# The daemon asks the same CRM about calls that ring now: half of what the CRM takes is theirs.
SHARE: Final = 0.5
ANSWER_S: Final = 20.0
# So many failures in a row are an outage: later is better than on and on.
MOST_FAILURES: Final = 10


@dataclass(frozen=True, slots=True)
class Named:
    """How many were asked about, and how many of them a CRM knew."""

    asked: int = 0
    named: int = 0


def has_names(enterprise: Enterprise) -> bool:
    """Whether there is a CRM that could be asked."""
    return any(name in CRMS for name in enterprise.crm)


async def name_customers(enterprise: Enterprise, store: PostgresStore, *, state_dir: Path) -> Named:
    """Ask about every customer without a name, those who called last first. May be interrupted and called again.

    Raises:
        CrmUnavailable: it does not answer; who was named stays named.
        StoreUnavailable: as above.
    """
    asked = named = failures = 0
    async with AsyncExitStack() as stack:
        session = await stack.enter_async_context(aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()))
        metrics = Metrics()
        # No telephone rings while these are asked.
        crms = [replace(crm, wait_s=ANSWER_S) for crm in crms_of(enterprise, session, metrics, state_dir=state_dir)]
        period_s = 1 / (SHARE * min(table.rps for table in enterprise.crm.values()))
        enrichment = Enrichment({enterprise.number: crms}, on_profile=_kept_here, metrics=metrics, clock=time.monotonic)
        stack.push_async_callback(enrichment.aclose)
        bar = stack.enter_context(progress_bar("customers asked about"))
        task = bar.add_task(enterprise.number, total=await store.reports.count_nameless(enterprise.number))
        loop = asyncio.get_running_loop()
        async for phone in store.reports.nameless(enterprise.number):
            lookup = await enrichment.profile(enterprise.number, phone, deadline=loop.time() + ANSWER_S)
            if lookup.profile is not None:
                primary = lookup.profile.source == enterprise.primary_source
                await store.customers.enrich(enterprise.number, phone, lookup.profile, primary=primary)
                named += 1
            failures = 0 if lookup.outcome in (Outcome.HIT, Outcome.MISS) else failures + 1
            if failures == MOST_FAILURES:
                raise CrmUnavailable(f"{enterprise.number}: the CRM does not answer; {named} customers were named")
            asked += 1
            bar.update(task, completed=asked, description=f"{enterprise.number}: {named} named")
            await asyncio.sleep(period_s)
    return Named(asked, named)


async def _kept_here(enterprise_number: str, phone: str, profile: Profile, *, primary: bool) -> None:
    """What is found is stored above, before the next one is asked about."""
    del enterprise_number, phone, profile, primary
