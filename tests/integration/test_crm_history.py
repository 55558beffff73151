"""RetailCRM's history of changes, looked at by ourselves: the real adapter, the sandbox, a real PostgreSQL."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from tests.support.crm import API_KEY, retailcrm_at
from tests.support.office import office
from tests.support.polling import until
from tests.support.served import served
from vochi_agent.changes import Changes
from vochi_agent.crm.retailcrm_changes import RetailCrmHistory
from vochi_agent.metrics import Metrics
from vochi_agent.simulator.crm_server import Fault
from vochi_agent.simulator.retailcrm import RetailCrmSandbox
from vochi_agent.store.postgres import PostgresStore

# What a CRM's history means does not depend on the server's version; every statement is prepared on both (test_sql.py).
pytestmark = pytest.mark.parametrize("postgres", ["18"], indirect=True)

PHONE = "+375290000022"
NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)

Looking = Callable[..., AbstractAsyncContextManager[Changes]]


@pytest.fixture
async def sandbox() -> AsyncIterator[RetailCrmSandbox]:
    async with RetailCrmSandbox(api_key=API_KEY, requests_per_s=1000) as sandbox:
        sandbox.add_customer(2002, last_name="Первая", phones=[PHONE])
        yield sandbox


@pytest.fixture
async def looking(store: PostgresStore) -> Looking:
    """The work of one CRM at an address, looking at its history twenty times a second."""

    @asynccontextmanager
    async def looking(url: str, *, ours: bool = True) -> AsyncIterator[Changes]:
        async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session:
            source = retailcrm_at(url, session)
            ready = asyncio.Event()
            ready.set()
            changes = Changes(
                "0901",
                source,
                RetailCrmHistory(source.http.apart("changes"), period_s=0.05),
                store.changes,
                primary=True,
                on_profile=store.customers.enrich,
                forget=lambda *_: None,
                asks_per_s=1000,
                ours=lambda: ours,
                ready=ready,
                clock=lambda: NOW,
                metrics=Metrics(),
            )
            async with asyncio.TaskGroup() as tasks:
                task = tasks.create_task(changes.run())
                yield changes
                task.cancel()

    return looking


async def renamed(store: PostgresStore, name: str, phone: str = PHONE) -> None:
    async def there() -> bool:
        row = await store.customers.customer("0901", phone)
        return row is not None and row.names.last_name == name

    await until(there, within=10)


async def looked(store: PostgresStore, since_id: int, history: str = "customers") -> None:
    async def there() -> bool:
        mark = await store.changes.mark("0901", "retailcrm", history)
        return mark is not None and mark.since_id >= since_id

    await until(there, within=10)


async def test_the_first_look_starts_at_the_present_and_the_next_brings_what_changed(
    sandbox: RetailCrmSandbox, store: PostgresStore, looking: Looking
) -> None:
    old = [sandbox.changed("customers", 2002) for _ in range(250)]

    async with looking(sandbox.url):
        await looked(store, old[-1])
        assert await store.customers.customer("0901", PHONE) is None

        sandbox.add_customer(2002, last_name="Вторая", phones=[PHONE])
        sandbox.changed("customers", 2002, field="first_name")
        sandbox.changed("customers", 2002, field="phones")
        await renamed(store, "Вторая")

    assert not any("page" in request.query for request in sandbox.requests if request.path.endswith("/history"))
    assert sum(request.path == "/customers/2002" for request in sandbox.requests) <= 2


async def test_a_history_that_was_empty_at_first_is_read_from_its_first_record(
    sandbox: RetailCrmSandbox, store: PostgresStore, looking: Looking
) -> None:
    async with looking(sandbox.url):
        await looked(store, 0)
        sandbox.changed("customers", 2002)
        await renamed(store, "Первая")


async def test_what_changed_while_nobody_looked_is_found_afterwards(
    sandbox: RetailCrmSandbox, store: PostgresStore, looking: Looking
) -> None:
    last = sandbox.changed("customers", 2002)
    async with looking(sandbox.url):
        await looked(store, last)
    for number in range(230):
        sandbox.add_customer(3000 + number, last_name=f"Имя{number}", phones=[f"+37529000{number:04}"])
        sandbox.changed("customers", 3000 + number)

    async with looking(sandbox.url):
        for number in (0, 100, 229):
            await renamed(store, f"Имя{number}", f"+37529000{number:04}")


async def test_a_company_that_changed_brings_all_its_contacts(
    sandbox: RetailCrmSandbox, store: PostgresStore, looking: Looking
) -> None:
    sandbox.add_customer(2003, last_name="Контактова", phones=["+375290000033"])
    sandbox.add_company(77, nick_name="Ромашка", contacts=[2002, 2003])
    async with looking(sandbox.url):
        await looked(store, 0, "customers-corporate")
        sandbox.changed("customers-corporate", 77, field="nick_name")
        await renamed(store, "Первая")
        await renamed(store, "Контактова", "+375290000033")

    row = await store.customers.customer("0901", PHONE)
    assert row is not None
    assert (row.names.enterprise_name, row.meta["person_uid"]) == ("Ромашка", "retailcrm_corporate:77")


@pytest.mark.parametrize("fault", [Fault.HTML, Fault.REFUSE, Fault.LIMIT])
async def test_a_look_that_failed_is_repeated(
    sandbox: RetailCrmSandbox, store: PostgresStore, looking: Looking, fault: Fault
) -> None:
    async with looking(sandbox.url):
        await looked(store, 0, "customers-corporate")
        sandbox.fault = fault
        sandbox.changed("customers", 2002)
        asked = len(sandbox.requests)
        await sandbox.wait_for_requests(asked + 2)
        sandbox.fault = None
        await renamed(store, "Первая")


async def test_a_filter_that_is_ignored_makes_nobody_run_in_circles(
    sandbox: RetailCrmSandbox, store: PostgresStore, looking: Looking
) -> None:
    last = [sandbox.changed("customers", 2002) for _ in range(150)][-1]
    async with looking(sandbox.url):
        await looked(store, last)
        sandbox.fault = Fault.EVERYBODY
        asked = len(sandbox.requests)
        await sandbox.wait_for_requests(asked + 6)

    assert await store.changes.waiting("0901", "retailcrm") == 0
    assert await store.customers.customer("0901", PHONE) is None


async def test_a_key_without_the_right_to_history_is_said_once_and_costs_no_name(
    store: PostgresStore, looking: Looking, caplog: pytest.LogCaptureFixture
) -> None:
    asked = 0

    async def history(_: web.Request) -> web.Response:
        nonlocal asked
        asked += 1
        return web.json_response({"success": False, "errorMsg": "Access denied."}, status=403)

    caplog.set_level(logging.INFO, logger="vochi_agent")

    async def empty(_: web.Request) -> web.Response:
        return web.json_response({"success": True, "history": []})

    routes = [web.get("/api/v5/customers/history", history), web.get("/api/v5/customers-corporate/history", empty)]
    async with served(routes) as url, looking(url):
        await looked(store, 0, "customers-corporate")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.5):
                await asyncio.Event().wait()

    assert asked == 1
    assert sum("does not show us the history of customers:" in message for message in caplog.messages) == 1
    assert await store.changes.mark("0901", "retailcrm", "customers-corporate") is not None


async def test_only_the_daemon_that_writes_looks(
    sandbox: RetailCrmSandbox, store: PostgresStore, looking: Looking
) -> None:
    async with looking(sandbox.url, ours=False) as changes:
        sandbox.changed("customers", 2002)
        await until(lambda: asyncio.sleep(0.3, result=True), within=5)
        assert await store.changes.mark("0901", changes.source, "customers") is None

    assert not sandbox.requests


async def test_the_daemon_looks_as_often_as_it_is_told_and_not_at_all_when_it_is_told_so(
    tmp_path: Path, dsn: str, store: PostgresStore
) -> None:
    async with office(tmp_path, dsn, store, primary="retailcrm", history_s=5) as at_work:
        at_work.retailcrm.add_customer(2002, last_name="Первая", phones=[PHONE])
        await looked(store, 0, "customers-corporate")
        now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S")  # the daemon's clock is the real one
        at_work.retailcrm.changed("customers", 2002, at=now)
        await renamed(store, "Первая")
        await at_work.settled("retailcrm")
        assert 4 <= len(at_work.retailcrm.requests) <= 8

    async with office(tmp_path, dsn, store, primary="retailcrm", history_s=0) as at_work:
        assert await at_work.post({"id": "2002"}, crm="retailcrm") == 200
        await at_work.settled("retailcrm")
        assert not [request for request in at_work.retailcrm.requests if request.path.endswith("/history")]
