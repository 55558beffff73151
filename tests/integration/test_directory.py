"""Customers against real PostgreSQL: identity and names of one person over several numbers."""

import asyncpg

from tests.support.calls import answered
from vochi_agent.customers.model import Customer, Names, Profile
from vochi_agent.store.postgres import PostgresStore

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
    await store.calls.record(answered(phone=P1), lambda *_: ())
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
