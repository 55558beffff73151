"""Our FastAGI server with the script of the daemon, put together as `vochi_agent.daemon` does it, without a CRM.

The facts say where the customers are: in `database`, or ("") at hand, and then PostgreSQL is never touched. All else is
the same in both.
"""

import asyncio
import contextlib
import json
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import uvloop

from vochi_agent.asterisk.fastagi import FastAgiServer, Script
from vochi_agent.caller_id import CallerId
from vochi_agent.calls.layout import Layout
from vochi_agent.config import load
from vochi_agent.customers.model import Customer, History, Names, Profile
from vochi_agent.enrichment import Enrichment
from vochi_agent.log import set_up
from vochi_agent.metrics import Metrics
from vochi_agent.ports import Talked
from vochi_agent.routing import Routing
from vochi_agent.store.postgres import PostgresStore
from vochi_agent.store.remembered import RememberedCustomers


class Everybody:
    """A table that has a row for whoever calls, at hand; stands where `store.customers` stands in the daemon."""

    def __init__(self) -> None:
        self._rows: dict[tuple[str, str], Customer] = {}

    async def customer(self, enterprise_number: str, phone: str, *, within_s: float | None = None) -> Customer | None:
        """The row; everybody has a name of his own."""
        del within_s
        key = enterprise_number, phone
        if key not in self._rows:
            names = Names(last_name="Контактова", first_name=f"Анна {phone[-7:]}", middle_name="Ивановна")
            self._rows[key] = Customer(
                enterprise_number=enterprise_number, phone_e164=phone, names=names, history=History()
            )
        return self._rows[key]

    async def talked(self, enterprise_number: str, phone: str) -> Talked:
        """Nobody; no line of the benchmark has a route."""
        del enterprise_number, phone
        return Talked()

    async def enrich(self, enterprise_number: str, phone: str, profile: Profile, *, primary: bool) -> Customer | None:
        """Nothing is kept; there is no CRM to say anything."""
        del enterprise_number, phone, profile, primary
        return None


async def serve(configuration: Path, database: str) -> None:
    """Until the input ends."""
    config, metrics = load(configuration), Metrics()
    set_up(level=config.log.level, format=config.log.format, mask_phones=True, stream=sys.stderr)
    async with contextlib.AsyncExitStack() as stack:
        directory = Everybody()
        if database:
            store = await stack.enter_async_context(PostgresStore(database, pool_size=config.database.pool_size))
            directory = store.customers
        customers = RememberedCustomers(directory, patience_s=config.fastagi.deadline_s / 3)
        stack.push_async_callback(customers.aclose)
        lookups = Enrichment(
            {each.number: [] for each in config.enterprises},
            on_profile=customers.enrich,
            metrics=metrics,
            clock=time.monotonic,
        )
        caller_id = CallerId(
            {each.number: (each, Layout(each)) for each in config.enterprises},
            customers=customers,
            lookups=lookups,
            now=lambda: datetime.fromtimestamp(time.time(), UTC),
            router=Routing({}, lookups=lookups, history=customers),
            answered=lambda status: metrics.agi_requests.labels(status).inc(),
        )
        server = FastAgiServer(
            "127.0.0.1",
            0,
            scripts={"callerid": Script(caller_id.answer, caller_id.fallback)},
            allow=config.fastagi.allow,
            deadline_s=config.fastagi.deadline_s,
            observe=metrics.agi_seconds.observe,
        )
        await stack.enter_async_context(server)
        print(server.port, flush=True)
        await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    facts = json.loads(sys.argv[1])
    uvloop.run(serve(Path(facts["configuration"]), facts["database"]))
