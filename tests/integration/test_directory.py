"""Customers against real PostgreSQL: identity and names of one person over several numbers."""

from datetime import timedelta

import asyncpg

from tests.support.calls import NOON, answered, missed
from tests.support.renderers import no_cards
from vochi_agent.calls.model import Direction
from vochi_agent.customers.model import Customer, Names, Profile
from vochi_agent.ports import Talked
from vochi_agent.store.postgres import PostgresStore
from vochi_agent.store.statements import statement

P1, P2, P3 = "+375290000033", "+375290000044", "+375290000055"
ANNA = Profile(
    source="retailcrm",
    external_id="2003",
    company_id="77",
    names=Names(last_name="Контактова", first_name="Анна", enterprise_name="Ромашка"),
)
OLEG = Profile(
    source="retailcrm",
    external_id="2004",
    company_id="77",
    names=Names(last_name="Контактов", first_name="Олег", enterprise_name="Ромашка"),
)


async def customer(store: PostgresStore, phone: str) -> Customer:
    found = await store.customers.customer("0901", phone)
    assert found is not None
    return found


async def edit(dsn: str, sql: str) -> None:
    """What a person does in the table by hand."""
    connection = await asyncpg.connect(dsn)
    await connection.execute(sql)
    await connection.close()


async def test_an_unknown_number_is_nobody(store: PostgresStore) -> None:
    assert await store.customers.customer("0901", P1) is None


async def test_a_profile_makes_the_row_without_counting_a_call(store: PostgresStore) -> None:
    enriched = await store.customers.enrich("0901", P1, ANNA, primary=True)

    assert enriched == await customer(store, P1)
    assert enriched.names.display == "Ромашка"
    assert enriched.meta["person_uid"] == "retailcrm_corporate:77"
    assert (enriched.history.calls_total_in, enriched.first_seen_at) == (0, None)


async def test_contacts_of_a_company_share_its_uid_and_name_but_keep_their_own(store: PostgresStore) -> None:
    await store.customers.enrich("0901", P1, ANNA, primary=True)
    await store.customers.enrich("0901", P2, OLEG, primary=True)

    people = await store.customers.person("0901", "retailcrm_corporate:77")
    assert [(each.phone_e164, each.names.first_name) for each in people] == [(P1, "Анна"), (P2, "Олег")]
    assert {each.names.enterprise_name for each in people} == {"Ромашка"}


async def test_a_renamed_company_is_renamed_for_all_its_contacts(store: PostgresStore) -> None:
    await store.customers.enrich("0901", P1, ANNA, primary=True)
    await store.customers.enrich("0901", P2, OLEG, primary=True)
    renamed = Profile(source="retailcrm", external_id="2003", company_id="77", names=Names(enterprise_name="Лютик"))
    await store.customers.enrich("0901", P1, renamed, primary=True)

    oleg = await customer(store, P2)
    assert (oleg.names.enterprise_name, oleg.names.first_name) == ("Лютик", "Олег")
    assert oleg.meta["ids"] == {"retailcrm": ["2004"], "retailcrm_corporate": ["77"]}
    assert oleg.meta["contact_id"] == "2004"


async def test_a_renamed_person_is_renamed_at_all_his_numbers(store: PostgresStore) -> None:
    person = Profile(source="uon", external_id="1001", names=Names(last_name="Тестов"), phones=(P1, P2))
    await store.customers.enrich("0901", P1, person, primary=True)
    renamed = Profile(source="uon", external_id="1001", names=Names(last_name="Новиков"))
    await store.customers.enrich("0901", P1, renamed, primary=True)

    people = await store.customers.person("0901", "uon:1001")
    assert [(each.phone_e164, each.names.last_name) for each in people] == [(P1, "Новиков"), (P2, "Новиков")]


async def test_a_second_source_joins_through_a_shared_number_under_the_primary_name(store: PostgresStore) -> None:
    uon = Profile(source="uon", external_id="1001", names=Names(last_name="Тестов"))
    retail = Profile(source="retailcrm", external_id="2002", names=Names(last_name="Другой"), phones=(P1, P2))
    await store.customers.enrich("0901", P1, uon, primary=True)
    await store.customers.enrich("0901", P2, retail, primary=False)

    people = await store.customers.person("0901", "uon:1001")
    assert [(each.phone_e164, each.names.last_name) for each in people] == [(P1, "Тестов"), (P2, "Тестов")]
    assert people[0].meta["ids"] == {"uon": ["1001"], "retailcrm": ["2002"]}


async def test_a_source_that_is_not_primary_fills_only_empty_fields(store: PostgresStore, dsn: str) -> None:
    await store.customers.enrich("0901", P1, Profile(source="uon", external_id="1", names=ANNA.names), primary=True)
    await edit(dsn, "UPDATE customers SET first_name = ''")
    other = Profile(source="phonebook", external_id="p-1", names=Names(last_name="Другая", first_name="Мария"))

    names = (await store.customers.enrich("0901", P1, other, primary=False)).names
    assert (names.last_name, names.first_name) == ("Контактова", "Мария")


async def test_meta_of_others_and_hand_made_fields_survive(store: PostgresStore, dsn: str) -> None:
    await store.calls.record(answered(phone=P1), lambda *_, **__: ())
    await edit(dsn, """UPDATE customers SET meta = '{"tags": ["vip"]}', field1 = 'скидка', black_list = true""")
    enriched = await store.customers.enrich("0901", P1, ANNA, primary=True)

    assert enriched.meta["tags"] == ["vip"]
    assert (enriched.fields[0], enriched.black_list) == ("скидка", True)
    assert enriched.history.calls_total_in == 1


async def test_rows_in_an_old_spelling_belong_to_the_same_company(store: PostgresStore, dsn: str) -> None:
    await store.customers.enrich("0901", P2, OLEG, primary=True)
    await edit(dsn, """UPDATE customers SET meta = '{"person_uid": "retailcrm_corp:77"}', enterprise_name = ''""")
    await store.customers.enrich("0901", P1, ANNA, primary=True)

    people = await store.customers.person("0901", "retailcrm_corp:77")
    assert [(each.phone_e164, each.names.enterprise_name) for each in people] == [(P2, "Ромашка"), (P1, "Ромашка")]
    assert people[0].meta["person_uid"] == "retailcrm_corporate:77"


async def test_the_same_profile_again_writes_nothing(store: PostgresStore, dsn: str) -> None:
    await store.customers.enrich("0901", P1, ANNA, primary=True)
    connection = await asyncpg.connect(dsn)
    before = await connection.fetchval("SELECT xmin::text || ctid::text FROM customers")
    await store.customers.enrich("0901", P1, ANNA, primary=True)

    assert await connection.fetchval("SELECT xmin::text || ctid::text FROM customers") == before
    await connection.close()


async def test_hostile_names_are_stored(store: PostgresStore) -> None:
    names = Names(last_name="О'Нил\0</b>", first_name="\ud83d" + "Ж" * 200, enterprise_name='{"a": \\u0000}')
    profile = Profile(source="uon", external_id="9\0", names=names)
    enriched = await store.customers.enrich("0901", P3, profile, primary=True)

    assert enriched.names.last_name == "О'Нил</b>"
    assert len(enriched.names.first_name) == 100
    assert enriched.names.enterprise_name == '{"a": \\u0000}'
    assert enriched.meta["ids"] == {"uon": ["9"]}


async def test_who_talked_with_a_customer_first_and_last(store: PostgresStore) -> None:
    """Outside numbers, missed, merged and internal calls, and other people's, say nothing about it."""
    hour = timedelta(hours=1)
    calls = [
        answered(linkedid="1.1", path=("101", "102"), last_agent="102"),
        answered(linkedid="2.1", started_at=NOON + hour, path=("103",), last_agent="103", direction=Direction.OUT),
        answered(linkedid="3.1", started_at=NOON + 2 * hour, path=("+375290000077",), last_agent="+375290000077"),
        missed(linkedid="4.1", started_at=NOON + 3 * hour),
        answered(linkedid="5.1", started_at=NOON + 4 * hour, path=("104",), last_agent="104"),
        answered(linkedid="6.1", started_at=NOON + 5 * hour, path=("105",), last_agent="105", phone=P1),
    ]
    for call in calls:
        await store.calls.record(call, no_cards)
    await store.calls.merge("0901", "5.1", "1.1")

    assert await store.customers.talked("0901", "+375290000011") == Talked(first="101", last="103")
    assert await store.customers.talked("0901", P2) == Talked()
    assert await store.customers.talked("0902", "+375290000011") == Talked()


async def test_who_talked_is_read_from_the_customers_own_index(store: PostgresStore, dsn: str) -> None:
    """However long the ledger is: two ends of one index."""
    connection = await asyncpg.connect(dsn)
    await connection.execute(
        """
        INSERT INTO calls (enterprise_number, linkedid, direction, status, reason, phone_e164, raw_number,
                           started_at, ended_at, wait_seconds, talk_seconds, first_agent, last_agent, path, source)
        SELECT '0901', i || '.1', 'in', 'answered', 'talked', '+3752900' || to_char(i % 40, 'FM00000'), '',
               now(), now() + i * interval '1 s', 0, 1, '101', '101', '{101}', 'live'
        FROM generate_series(1, 4000) AS i
        """
    )
    await connection.execute("ANALYZE calls")
    plan = await connection.fetch(f"EXPLAIN {statement('talked')}", "0901", "+375290000001")
    await connection.close()

    lines = [row[0].strip(" ->") for row in plan]
    assert sum(" calls_customer_idx" in line for line in lines) == 2, lines
    assert not [line for line in lines if "Seq Scan" in line]
    assert await store.customers.talked("0901", "+375290000001") == Talked(first="101", last="101")
