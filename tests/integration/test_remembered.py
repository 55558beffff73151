"""The local name answer while PostgreSQL is away: what was seen is known, at once; nothing else is made up."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

import asyncpg
import pytest

from tests.support.calls import answered, missed
from tests.support.polling import until
from tests.support.tcp_gate import TcpGate
from vochi_agent.calls.model import Direction
from vochi_agent.customers.model import Customer, Names, Profile
from vochi_agent.errors import StoreUnavailable
from vochi_agent.ports import Talked
from vochi_agent.store.postgres import PostgresStore
from vochi_agent.store.remembered import RememberedCustomers

ANNA, OLEG, NOBODY = "+375290000033", "+375290000044", "+375290000055"
AT_ONCE_S = 0.05


def profile(name: str) -> Profile:
    return Profile(source="retailcrm", external_id=name, names=Names(last_name=name))


class Behind:
    """Remembered customers of a real database, behind a gate that the test closes."""

    def __init__(self, gate: TcpGate, dsn: str, customers: RememberedCustomers, store: PostgresStore) -> None:
        self.gate = gate
        self.dsn = dsn
        self.customers = customers
        self.store = store

    async def name(self, phone: str) -> str:
        """The name as the dialplan would get it, at once."""
        async with asyncio.timeout(AT_ONCE_S):
            return named(await self.customers.customer("0901", phone))

    async def fails(self) -> None:
        """The first question of an outage, which notices it."""
        with pytest.raises(StoreUnavailable):
            await self.customers.customer("0901", NOBODY)

    async def back(self) -> None:
        """Ask as callers do until the database is seen to be back."""

        async def works() -> bool:
            await self.customers.customer("0901", ANNA)
            return not self.customers.from_memory

        await until(works, within=10.0)


def named(customer: Customer | None) -> str:
    assert customer is not None
    return customer.names.last_name


@asynccontextmanager
async def behind_gate(dsn: str, *, size: int = 10) -> AsyncIterator[Behind]:
    parts = urlsplit(dsn)
    assert parts.port is not None
    async with TcpGate(parts.port) as gate:
        address = parts._replace(netloc=f"{parts.username}:{parts.password}@127.0.0.1:{gate.port}").geturl()
        async with PostgresStore(address, pool_size=2) as store:
            customers = RememberedCustomers(store.customers, size=size)
            try:
                yield Behind(gate, dsn, customers, store)
            finally:
                await customers.aclose()


@pytest.fixture
async def behind(dsn: str) -> AsyncIterator[Behind]:
    async with behind_gate(dsn) as behind:
        await behind.customers.enrich("0901", ANNA, profile("Контактова"), primary=True)
        yield behind


async def rename(dsn: str, name: str) -> None:
    """What a person does in the table by hand."""
    connection = await asyncpg.connect(dsn)
    await connection.execute("UPDATE customers SET last_name = $1", name)
    await connection.close()


async def test_while_the_database_works_its_answer_is_given_and_not_the_memory(behind: Behind) -> None:
    assert await behind.name(ANNA) == "Контактова"
    await rename(behind.dsn, "Новая")

    assert await behind.name(ANNA) == "Новая"


async def test_a_name_seen_lately_is_known_while_the_database_is_away(behind: Behind) -> None:
    await rename(behind.dsn, "Новая")
    await behind.customers.customer("0901", ANNA)
    await behind.gate.close()

    assert [await behind.name(ANNA) for _ in range(3)] == ["Новая"] * 3
    assert behind.customers.from_memory


async def test_an_unknown_number_is_not_called_a_stranger_while_the_database_is_away(behind: Behind) -> None:
    await behind.gate.close()
    for _ in range(2):
        with pytest.raises(StoreUnavailable):
            await behind.customers.customer("0901", NOBODY)
    with pytest.raises(StoreUnavailable):
        await behind.customers.customer("0902", ANNA)


async def test_when_we_called_is_remembered_too(behind: Behind, dsn: str) -> None:
    """A call of ours is known from the table and from what was stored since; rows that do not say take nothing away."""
    now = datetime.now(UTC)
    async with PostgresStore(dsn, pool_size=1) as store:
        call = missed(phone=ANNA, linkedid="9.1", direction=Direction.OUT, started_at=now - timedelta(days=2))
        await store.calls.record(call, lambda *_, **__: [])
        later = missed(phone=ANNA, linkedid="9.2", direction=Direction.OUT, started_at=now - timedelta(days=1))
        await store.calls.record(later, behind.customers.watching(lambda *_, **__: []))
        old = missed(phone=OLEG, linkedid="9.3", direction=Direction.OUT, started_at=now - timedelta(days=40))
        await store.calls.record(old, lambda *_, **__: [])
    anna, oleg = [await behind.customers.customer("0901", phone) for phone in (ANNA, OLEG)]
    await behind.customers.enrich("0901", ANNA, profile("Новая"), primary=True)
    behind.customers.correct("0901", [ANNA], await behind.store.customers.customers("0901", [ANNA]))
    await behind.gate.close()
    remembered = await behind.customers.customer("0901", ANNA)

    assert anna is not None
    assert oleg is not None
    assert remembered is not None
    assert (anna.called_at, oleg.called_at) == (later.started_at, None)
    assert (remembered.names.last_name, remembered.called_at) == ("Новая", later.started_at)


async def test_a_row_that_was_deleted_is_forgotten(behind: Behind) -> None:
    connection = await asyncpg.connect(behind.dsn)
    await connection.execute("DELETE FROM customers")
    await connection.close()
    assert await behind.customers.customer("0901", ANNA) is None
    await behind.gate.close()

    with pytest.raises(StoreUnavailable):
        await behind.customers.customer("0901", ANNA)


async def test_a_silent_database_delays_the_first_answer_only(behind: Behind) -> None:
    behind.gate.freeze()
    began = asyncio.get_running_loop().time()
    assert named(await behind.customers.customer("0901", ANNA)) == "Контактова"
    assert asyncio.get_running_loop().time() - began < 0.7

    # Longer than the pause: not even the lookup that tries again delays anybody.
    for _ in range(15):
        assert await behind.name(ANNA) == "Контактова"
        await asyncio.sleep(0.1)
    behind.gate.thaw()
    await rename(behind.dsn, "Новая")
    await behind.back()
    assert await behind.name(ANNA) == "Новая"


async def test_a_caller_without_time_gets_what_is_remembered_and_the_database_is_not_taken_for_away(
    behind: Behind,
) -> None:
    await behind.name(ANNA)

    assert named(await behind.customers.customer("0901", ANNA, within_s=0.0)) == "Контактова"
    assert not behind.customers.from_memory


async def test_the_database_answers_again_when_it_is_back(behind: Behind) -> None:
    await behind.gate.close()
    await behind.fails()
    await behind.gate.open()
    await rename(behind.dsn, "Новая")
    await behind.back()

    assert await behind.name(ANNA) == "Новая"
    assert await behind.customers.customer("0901", NOBODY) is None


async def test_customers_of_stored_calls_are_remembered(behind: Behind) -> None:
    await behind.store.customers.enrich("0901", OLEG, profile("Контактов"), primary=True)
    await behind.store.calls.record(missed(phone=OLEG), behind.customers.watching(lambda *_, **__: ()))
    await behind.gate.close()
    await behind.fails()

    assert await behind.name(OLEG) == "Контактов"


async def test_the_memory_is_bounded_and_drops_who_was_not_seen_for_longest(dsn: str) -> None:
    async with behind_gate(dsn, size=2) as behind:
        await behind.customers.enrich("0901", ANNA, profile("Контактова"), primary=True)
        await behind.customers.enrich("0901", OLEG, profile("Контактов"), primary=True)
        await behind.customers.customer("0901", ANNA)
        await behind.customers.enrich("0901", NOBODY, profile("Третий"), primary=True)
        await behind.gate.close()

        assert named(await behind.customers.customer("0901", ANNA)) == "Контактова"
        assert await behind.name(NOBODY) == "Третий"
        with pytest.raises(StoreUnavailable):
            await behind.customers.customer("0901", OLEG)


def trying_again() -> bool:
    """A lookup that no caller waits for is under way."""
    return any(task.get_name() == "lookup of a customer" for task in asyncio.all_tasks())


async def test_closing_ends_the_lookup_that_tries_again(dsn: str) -> None:
    async with behind_gate(dsn) as behind:
        behind.gate.freeze()
        await behind.fails()

        async def asked() -> bool:
            with pytest.raises(StoreUnavailable):
                await behind.customers.customer("0901", ANNA)
            return trying_again()

        await until(asked, within=5.0)
        await behind.customers.aclose()
        assert not trying_again()


async def test_who_talked_last_is_remembered_while_the_database_is_away(behind: Behind) -> None:
    """As far as a card was rendered for him; who talked first is not."""
    call = answered(phone=OLEG, path=("101", "102"), last_agent="102")
    await behind.store.calls.record(call, behind.customers.watching(lambda *_, **__: ()))
    assert await behind.customers.talked("0901", OLEG) == Talked(first="101", last="102")
    await behind.gate.close()

    for _ in range(3):
        assert await behind.customers.talked("0901", OLEG) == Talked(last="102")
    with pytest.raises(StoreUnavailable):
        await behind.customers.talked("0901", NOBODY)
