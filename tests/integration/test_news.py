"""What others do to customers reaches a running daemon: what it remembers, and who it takes for nobody."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from urllib.parse import urlsplit

import pytest

from tests.support.calls import missed
from tests.support.company import STRANGER, Site
from tests.support.polling import until
from tests.support.tcp_gate import TcpGate
from vochi_agent.customers.model import Names, Profile
from vochi_agent.errors import StoreUnavailable
from vochi_agent.store.news import CustomerNews
from vochi_agent.store.postgres import PostgresStore
from vochi_agent.store.remembered import RememberedCustomers
from vochi_agent.store.reports import CallFilter

ANNA, OLEG = "+375290000033", "+375290000044"


@dataclass
class Daemon:
    """What a running daemon has of customers; its connections go through a gate, others' do not."""

    gate: TcpGate
    customers: RememberedCustomers
    heard: list[tuple[str, str]]
    missed: list[None]

    async def until_remembered(self, phone: str, name: str) -> None:
        """Return when memory, and memory alone, would answer with this name."""

        async def so() -> bool:
            found = self.customers._memory.get(("0901", phone))
            return found is not None and found.names.last_name == name

        await until(so, within=10)

    async def until_heard(self, said: Callable[[], bool]) -> None:
        """Return when that was told."""

        async def so() -> bool:
            return said()

        await until(so, within=10)


@asynccontextmanager
async def behind_gate(dsn: str) -> AsyncIterator[Daemon]:
    parts = urlsplit(dsn)
    assert parts.port is not None
    async with TcpGate(parts.port) as gate:
        address = parts._replace(netloc=f"{parts.username}:{parts.password}@127.0.0.1:{gate.port}").geturl()
        async with PostgresStore(address, pool_size=2) as store:
            customers = RememberedCustomers(store.customers)
            news = CustomerNews(store.database, customers, enterprises=["0901"])
            daemon = Daemon(gate, customers, [], [])
            news.heard = lambda number, phone: daemon.heard.append((number, phone))
            news.missed = lambda: daemon.missed.append(None)
            running = asyncio.create_task(news.run())
            try:
                yield daemon
            finally:
                running.cancel()
                with suppress(asyncio.CancelledError):
                    await running
                await customers.aclose()


@pytest.fixture
async def daemon(dsn: str, store: PostgresStore) -> AsyncIterator[Daemon]:
    """It listens, and it has seen Anna."""
    await store.customers.enrich("0901", ANNA, named("Контактова"), primary=True)
    async with behind_gate(dsn) as daemon:
        await daemon.until_heard(lambda: bool(daemon.missed))
        await daemon.customers.customer("0901", ANNA)
        yield daemon


def named(name: str, external_id: str = "2003", *phones: str) -> Profile:
    return Profile(source="retailcrm", external_id=external_id, names=Names(last_name=name), phones=phones)


async def test_an_edit_by_a_command_is_remembered_for_bad_times(daemon: Daemon, store: PostgresStore) -> None:
    await store.customers.edit("0901", ANNA, {"last_name": "Новая"})
    await daemon.until_remembered(ANNA, "Новая")
    await daemon.gate.close()

    for _ in range(2):
        found = await daemon.customers.customer("0901", ANNA)
        assert found is not None
        assert found.names.last_name == "Новая"
    assert daemon.customers.from_memory
    assert ("0901", ANNA) in daemon.heard


async def test_every_number_that_a_merge_renames_is_told(daemon: Daemon, store: PostgresStore) -> None:
    await store.customers.enrich("0901", OLEG, named("Контактов", "2003", ANNA), primary=True)
    await daemon.until_remembered(ANNA, "Контактов")

    assert {("0901", ANNA), ("0901", OLEG)} <= set(daemon.heard)


async def test_a_profile_that_changes_nothing_and_a_call_are_no_news(daemon: Daemon, store: PostgresStore) -> None:
    await store.customers.enrich("0901", ANNA, named("Контактова"), primary=True)
    await store.calls.record(missed(phone=ANNA), lambda *_, **__: ())
    await store.customers.edit("0901", OLEG, {"field1": "vip"})
    await daemon.until_heard(lambda: ("0901", OLEG) in daemon.heard)

    assert ("0901", ANNA) not in daemon.heard


async def test_what_was_edited_while_nobody_listened_is_read_afterwards(daemon: Daemon, store: PostgresStore) -> None:
    await daemon.gate.close()
    await store.customers.edit("0901", ANNA, {"last_name": "Новая"})
    with suppress(StoreUnavailable):
        await daemon.customers.customer("0901", ANNA)
    await daemon.gate.open()

    await daemon.until_heard(lambda: len(daemon.missed) > 1)
    await daemon.until_remembered(ANNA, "Новая")


async def test_nobody_new_is_remembered_because_he_was_edited(daemon: Daemon, store: PostgresStore) -> None:
    await store.customers.edit("0901", OLEG, {"last_name": "Контактов"})
    await daemon.until_heard(lambda: ("0901", OLEG) in daemon.heard)

    assert daemon.customers.remembered("0901") == {ANNA}


@pytest.mark.parametrize("postgres", ["18"], indirect=True)
async def test_a_command_ends_the_running_daemons_belief_that_a_number_is_nobodys(site: Site) -> None:
    """Its CRM learned the name a minute ago and is asked again as soon as a person has said something."""

    async def calls(count: int) -> None:
        await site.pbx.inbound(
            trunk="PJSIP/gsm1", did="0001701", caller=STRANGER.lstrip("+"), ring=["151"], answer="151", talk_s=1.0
        )

        async def stored() -> bool:
            return len(await site.store.reports.calls(CallFilter(limit=9))) == count

        await until(stored, within=10)

    def searches() -> int:
        return sum(STRANGER[-9:] in request.query.get("filter[name]", "") for request in site.crm.requests)

    async with site.daemon() as process:
        await site.until_ready(process)
        await calls(1)
        asked = searches()
        site.crm.add_customer(9, last_name="Знакомов", phones=[STRANGER])
        await calls(2)
        assert searches() == asked > 0

        assert (await site.vochi("customer", "set", STRANGER, "field1=vip")).code == 0
        await calls(3)

        async def known() -> bool:
            row = await site.store.customers.customer("0901", STRANGER)
            return row is not None and row.names.last_name == "Знакомов"

        await until(known, within=10)


async def test_who_is_erased_is_remembered_by_no_daemon(daemon: Daemon, store: PostgresStore) -> None:
    await store.customers.edit("0901", ANNA, {"last_name": "Тестова"})
    await daemon.customers.customer("0901", ANNA)
    await daemon.until_remembered(ANNA, "Тестова")
    await store.erasure.erase("0901", [ANNA], by="dpo")

    async def forgotten() -> bool:
        return not daemon.customers.remembered("0901")

    await until(forgotten, within=10)
    assert ("0901", ANNA) in daemon.heard
