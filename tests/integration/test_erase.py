"""A person is forgotten in every table, by every daemon, and nobody but himself brings him back."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial

import asyncpg
import pytest

from tests.support.audit import audit
from tests.support.calls import NOON, answered, missed
from tests.support.company import CONTACT, PERSON, STRANGER, Site
from tests.support.desks import configured
from tests.support.pbx_records import cel_lines
from tests.support.polling import until
from tests.support.postgres import statements_that_wait, waits_for_a_lock
from tests.support.renderers import no_cards
from vochi_agent.calls.evidence import LegEvidence, LegRole
from vochi_agent.calls.model import Call, Direction, Phase, Source
from vochi_agent.change_ports import Change
from vochi_agent.chats import tell_recovered
from vochi_agent.customers.model import Names, Profile
from vochi_agent.phonebook_import import Imported, id_of_number
from vochi_agent.ports import CardDraft, Recorded, Reminder
from vochi_agent.retention import Kind
from vochi_agent.store.postgres import PostgresStore

HIS, SECOND, OTHER = "+375290000011", "+375290000022", "+375290000033"
DIGITS = "290000011"
MINUTE = timedelta(minutes=1)
ANNA = Profile(source="uon", external_id="7", names=Names(last_name="Тестова", first_name="Анна"), phones=(HIS, SECOND))


@pytest.fixture
async def connection(dsn: str) -> AsyncIterator[asyncpg.Connection]:
    """An observer beside the store."""
    connection = await asyncpg.connect(dsn)
    yield connection
    await connection.close()


async def everything(connection: asyncpg.Connection) -> str:
    """All rows of all tables as one text."""
    tables = await connection.fetch(
        "SELECT table_name FROM information_schema.tables WHERE table_schema = 'public' AND table_type = 'BASE TABLE'"
    )
    rows = [await connection.fetch(f"SELECT to_jsonb(t)::text FROM {name} AS t") for (name,) in tables]
    return "\n".join(row[0] for some in rows for row in some)


def card(call: Call, *_: object, **__: object) -> list[CardDraft]:
    return [CardDraft(chat_id=-1, topic=0, text=f"☎️ +375 (29) 000-00-11 Анна {call.linkedid}", silent=False)]


def forwarded(to: str) -> dict[str, object]:
    """A call that ended on a telephone outside."""
    leg = LegEvidence(endpoint=f"Local/{to}@out", extension="", role=LegRole.OTHER, entered=False, started=1.0)
    return {"path": ("151", to), "rung": ("151", to), "last_agent": to, "evidence": (leg,)}


def missed_card(*_: object, **__: object) -> list[CardDraft]:
    """A chat that sees no numbers is told, and is going to be reminded."""
    due = Reminder(text="⏰ Анна", brief="⏰ Анна", at=datetime.fromtimestamp(time.time(), UTC))
    return [CardDraft(chat_id=-1, topic=0, text="❌ Анна", silent=False, reminder=due)]


async def fill(store: PostgresStore) -> None:
    """He has called, was called, was put through to, has a card in a CRM and in a chat, in all spellings."""
    store.calls.crms = {"0901": ["uon"]}
    leg = LegEvidence(endpoint="PJSIP/gsm1", extension="", role=LegRole.CUSTOMER, entered=True, started=0.0)
    recent = datetime.fromtimestamp(time.time(), UTC) - timedelta(hours=1)
    await store.calls.record(answered(linkedid="1.0", phone=HIS, started_at=NOON - timedelta(days=700)), no_cards)
    await store.old_rows.delete(Kind.CALLS, "0901", NOON - timedelta(days=600), 10)
    await store.calls.record(
        answered(linkedid="1.1", phone=HIS, started_at=recent, evidence=(leg,), recording="in/80290000011.wav"), card
    )
    out = missed(linkedid="1.2", phone=HIS, raw_number="80290000011", direction=Direction.OUT, started_at=recent)
    await store.calls.record(out, card)
    await store.calls.record(missed(linkedid="1.3", phone=None, raw_number="375290000011"), card)
    await store.calls.record(answered(linkedid="1.4", phone=OTHER, raw_number="", **forwarded("80290000011")), no_cards)
    await store.calls.record(answered(linkedid="1.5", phone=SECOND, raw_number="80290000022"), no_cards)
    await store.calls.record(missed(linkedid="1.6", phone=HIS, started_at=recent + MINUTE), missed_card)
    # Somebody else called in vain, and was called back from his telephone.
    await store.calls.record(missed(linkedid="1.7", phone=OTHER, raw_number="", started_at=recent), no_cards)
    talk = {"started_at": recent + MINUTE, "answered_at": recent + 2 * MINUTE, "direction": Direction.OUT}
    by_him = {"path": ("80290000011",), "first_agent": "80290000011", "rung": ()}
    await store.calls.record(answered(linkedid="1.8", phone=OTHER, raw_number="", **talk, **by_him), no_cards)
    await store.customers.enrich("0901", HIS, ANNA, primary=True)
    book = Profile(source="phonebook", external_id=id_of_number(HIS), names=ANNA.names, phones=(HIS, SECOND))
    await store.phonebook.put("0901", [book], primary=False, dry_run=False)
    await store.customers.edit("0901", HIS, {"field1": "говорил о скидке", "black_list": True})
    draft = CardDraft(chat_id=-1, topic=0, text="5 звонков: +375 (29) 000-00-11, …", silent=False)
    await store.cards.put_digest("0901", ["9.9"], [draft])
    await store.changes.put("0901", "uon", [Change(external_id="7"), Change(external_id="8", profile=ANNA)])


async def test_nothing_is_left_of_him_in_any_table_and_the_counters_of_all_others_are_right(
    store: PostgresStore, connection: asyncpg.Connection, dsn: str
) -> None:
    await fill(store)
    assert DIGITS in await everything(connection)
    looked = await store.erasure.look("0901", [HIS])
    before = await everything(connection)
    traces = await store.erasure.erase("0901", [HIS], by="dpo")
    after = await everything(connection)

    assert looked == traces
    assert (traces.customers, traces.black_listed, traces.calls, traces.past_calls, traces.mentions) == (1, 1, 4, 1, 2)
    assert (traces.cards, traces.posts, traces.changes, traces.recordings) == (6, 3, 2, ("in/80290000011.wav",))
    assert before.count(DIGITS) > 10
    assert DIGITS not in after
    assert "000-00-11" not in after
    assert "скидке" not in after
    assert await connection.fetchval("SELECT count(*) FROM calls") == 8
    assert "⏰" not in after
    waiting = await connection.fetch("SELECT linkedid, reached_by FROM call_backs")
    assert [tuple(row) for row in waiting] == [("1.7", "erased")]
    assert await connection.fetchval("SELECT path FROM calls WHERE linkedid = '1.4'") == ["151", "erased"]
    assert await audit(dsn) == []
    assert [each async for each in store.recount.differences("0901")] == []
    other = await store.customers.customer("0901", SECOND)
    assert other is not None
    assert (other.names.first_name, other.history.calls_total_in) == ("Анна", 1)
    assert other.meta["ids"] == {"uon": ["7"], "phonebook": [id_of_number(SECOND)]}


async def test_a_message_about_many_recovered_calls_does_not_name_him(
    store: PostgresStore, connection: asyncpg.Connection
) -> None:
    enterprise = configured("http://127.0.0.1:1").enterprises[0]
    began = datetime.fromtimestamp(time.time(), UTC) - MINUTE
    calls = [missed(linkedid=f"1.{place}", phone=phone, started_at=began) for place, phone in enumerate((HIS, OTHER))]
    await store.erasure.erase("0901", [HIS], by="dpo")
    await tell_recovered(enterprise, store, calls)
    await tell_recovered(enterprise, store, calls[:1])
    later = missed(linkedid="2.1", phone=HIS, started_at=began + 2 * MINUTE)
    await tell_recovered(enterprise, store, [later])

    texts = {row["linkedid"]: row["text"] for row in await connection.fetch("SELECT linkedid, text FROM cards")}
    assert texts.keys() == {"digest/1.1", "digest/2.1"}
    assert "000-00-33" in texts["digest/1.1"]
    assert "000-00-11" not in texts["digest/1.1"]
    assert "000-00-11" in texts["digest/2.1"]


def update(number: int, text: str, *, chat: int = -1, message: int = 900) -> str:
    """What a bot's webhook keeps: somebody's answer to a message."""
    there = {"id": chat, "type": "supergroup"}
    answered_to = {"message_id": message, "chat": there, "text": "❌ Анна"}
    said = {"message_id": 1000 + number, "chat": there, "text": text, "reply_to_message": answered_to}
    return json.dumps({"update_id": number, "message": said})


async def test_what_was_written_of_him_and_nobody_has_handled_never_will_be(
    store: PostgresStore, connection: asyncpg.Connection
) -> None:
    """His number in whatever spelling, and answers to his cards; what is about others waits on."""
    await fill(store)
    await connection.execute("UPDATE cards SET message_id = 500 WHERE linkedid = '1.6'")
    for number, text in enumerate(("/find 8 029 000-00-11", "+375\u00a0(29)\u00a0000-00-11 🔥", "сделано")):
        await store.operators.keep_update(42, number, update(number, text, message=500 if number == 2 else 900))
    others = {
        10: update(10, "Олег, 290000011000 р.", message=5000),
        11: update(11, "сделано", chat=-2, message=500),
        12: update(12, "заказ 12290 от 29.00, 0011"),
    }
    for number, content in others.items():
        await store.operators.keep_update(42, number, content)
    looked = await store.erasure.look("0901", [HIS])
    traces = await store.erasure.erase("0901", [HIS], by="dpo")

    assert looked.updates == traces.updates == 3
    kept = {each.number: each.content for each in await store.operators.kept_updates(42, limit=10)}
    assert kept == others
    assert not await store.operators.take_update(42, 1)  # brought again, it is known


async def test_it_is_written_down_by_whom_and_the_number_cannot_be_computed_from_it(
    store: PostgresStore, connection: asyncpg.Connection
) -> None:
    await fill(store)
    await store.erasure.erase("0901", [HIS, SECOND], by="dpo as root")
    first, second = await store.erasure.notes("0901", limit=10)

    assert (first.erased_by, first.enterprise_number) == ("dpo as root", "0901")
    assert first.done is not None
    assert first.done["calls"] == 5
    assert first.digest != second.digest
    assert len(first.digest) == 64
    # Another database has another key.
    await connection.execute("UPDATE erasure_key SET key = sha256(key)")
    assert await connection.fetchval("SELECT encode(erasure_hash('0901', $1), 'hex')", HIS) not in {
        first.digest,
        second.digest,
    }


async def test_neither_recovery_nor_a_crm_nor_a_phonebook_brings_him_back(
    store: PostgresStore, connection: asyncpg.Connection
) -> None:
    old = answered(linkedid="1.1", phone=HIS)
    await store.calls.record(old, no_cards)
    await store.customers.enrich("0901", HIS, ANNA, primary=True)
    await store.erasure.erase("0901", [HIS], by="dpo")
    recovered = answered(linkedid="1.1", phone=HIS, source=Source.RECOVERY, recording="x.wav")
    unknown = missed(linkedid="1.2", phone=HIS, source=Source.RECOVERY)

    assert await store.calls.record(recovered, card) == Recorded(inserted=False, changed=False)
    assert await store.calls.record(unknown, card) == Recorded(inserted=True, changed=True)
    assert await store.calls.record(unknown, card) == Recorded(inserted=False, changed=False)
    assert await store.customers.enrich("0901", HIS, ANNA, primary=True) is None
    assert await store.customers.enrich("0901", SECOND, ANNA, primary=True) is not None
    book = Profile(source="phonebook", external_id="p-1", names=Names(first_name="Анна"), phones=(HIS,))
    two = replace(book, external_id=id_of_number(HIS), phones=(HIS, OTHER))
    results = await store.phonebook.put("0901", [book, two], primary=True, dry_run=False)

    assert results == [Imported.UNCHANGED, Imported.NEW]
    assert DIGITS not in await everything(connection)
    assert await connection.fetchval("SELECT count(*) FROM cards") == 0
    assert await connection.fetch("SELECT phone_e164 FROM customers ORDER BY 1") == [(SECOND,), (OTHER,)]


async def test_when_he_calls_anew_he_is_a_new_customer_and_his_past_stays_forgotten(store: PostgresStore) -> None:
    await store.calls.record(answered(linkedid="1.1", phone=HIS), no_cards)
    await store.erasure.erase("0901", [HIS], by="dpo")
    later = datetime.fromtimestamp(time.time(), UTC) + timedelta(hours=1)
    await store.calls.record(missed(linkedid="2.1", phone=HIS, started_at=later), no_cards)
    await store.calls.record(answered(linkedid="1.1", phone=HIS, source=Source.RECOVERY), no_cards)
    customer = await store.customers.enrich("0901", HIS, ANNA, primary=True)
    [note] = await store.erasure.notes(None, limit=10)

    assert customer is not None
    assert (customer.names.first_name, customer.history.calls_total_in, customer.history.calls_missed_in) == (
        "Анна",
        1,
        1,
    )
    assert customer.first_seen_at == later
    assert note.returned_at is not None


async def test_a_call_that_goes_on_while_he_is_erased_ends_as_nobodys_and_chats_take_it_back(
    store: PostgresStore, connection: asyncpg.Connection
) -> None:
    call = answered(linkedid="1.1", phone=HIS)
    await store.erasure.erase("0901", [HIS], by="dpo")
    drafts = [CardDraft(chat_id=-1, topic=0, text=f"☎️ {HIS}", brief=HIS, silent=True)]
    await store.cards.put_live("0901", "1.1", Phase.BRIDGE, drafts)
    assert await store.calls.record(call, card) == Recorded(inserted=True, changed=True)

    assert DIGITS not in await everything(connection)
    assert await connection.fetchval("SELECT text FROM cards") == ""
    assert await connection.fetchval("SELECT count(*) FROM customers") == 0


async def test_what_a_person_enters_stands(store: PostgresStore) -> None:
    await store.customers.edit("0901", HIS, {"first_name": "Анна"})
    await store.erasure.erase("0901", [HIS], by="dpo")
    await store.customers.edit("0901", HIS, {"first_name": "Анна"})

    assert await store.customers.enrich("0901", HIS, ANNA, primary=True) is not None


async def test_who_calls_while_he_is_erased_is_counted_with_that_call_alone(
    store: PostgresStore, connection: asyncpg.Connection, dsn: str
) -> None:
    """The call is stored between the two transactions of the erasure."""
    await store.calls.record(answered(linkedid="1.1", phone=HIS), no_cards)
    later = datetime.fromtimestamp(time.time(), UTC) + timedelta(hours=1)
    await store.calls.record(missed(linkedid="2.1", phone=HIS, started_at=later), no_cards)
    traces = await store.erasure.erase("0901", [HIS], by="dpo")
    customer = await store.customers.customer("0901", HIS)

    assert traces.calls == 1
    assert customer is not None
    assert (customer.history.calls_total_in, customer.history.last_call_status) == (1, "missed")
    assert await audit(dsn) == []


async def test_who_calls_while_he_is_erased_stops_the_erasure_as_little_as_it_stops_his_call(
    store: PostgresStore, connection: asyncpg.Connection, dsn: str
) -> None:
    """His call waits for his row, which is erased already, while the erasure is held up at a card."""
    await store.calls.record(answered(linkedid="1.1", phone=HIS), card)
    later = datetime.fromtimestamp(time.time(), UTC) + timedelta(hours=1)

    async def waiting(count: int) -> bool:
        return await statements_that_wait(dsn) >= count

    await connection.execute("BEGIN")
    await connection.execute("SELECT FROM cards FOR UPDATE")
    async with asyncio.TaskGroup() as tasks:
        erasing = tasks.create_task(store.erasure.erase("0901", [HIS], by="dpo"))
        await until(partial(waiting, 1), within=10)
        tasks.create_task(store.calls.record(missed(linkedid="2.1", phone=HIS, started_at=later), no_cards))
        await until(partial(waiting, 2), within=10)
        await connection.execute("COMMIT")
    customer = await store.customers.customer("0901", HIS)

    assert erasing.result().calls == 1
    assert customer is not None
    assert customer.history.calls_total_in == 1
    assert await connection.fetchval("SELECT returned_at IS NOT NULL AND done IS NOT NULL FROM erasures")


async def test_who_changes_both_numbers_of_somebody_who_is_erased_does_not_refuse_the_erasure(
    store: PostgresStore, connection: asyncpg.Connection, dsn: str
) -> None:
    """The second number lies before the first in the table."""
    for phone in (SECOND, HIS):
        await store.customers.edit("0901", phone, {"first_name": "Анна"})

    async def waiting() -> bool:
        return await waits_for_a_lock(dsn)

    async with asyncio.TaskGroup() as tasks:
        await connection.execute("BEGIN")
        await connection.execute("SELECT FROM customers WHERE phone_e164 = $1 FOR UPDATE", HIS)
        erasing = tasks.create_task(store.erasure.erase("0901", [HIS, SECOND], by="dpo"))
        await until(waiting, within=10)
        await connection.execute("SELECT FROM customers WHERE phone_e164 = $1 FOR UPDATE", SECOND)
        await connection.execute("COMMIT")

    assert erasing.result().customers == 2


async def test_daemons_that_write_his_calls_at_this_very_moment_bring_none_of_them_back(
    dsn: str, store: PostgresStore, connection: asyncpg.Connection
) -> None:
    """Corrections, repetitions, late profiles and recordings, by two daemons, before, during and after."""
    calls = [missed(linkedid=f"1.{number}", phone=HIS, partial=True) for number in range(40)]
    last = answered(linkedid="1.99", phone=HIS)

    async def daemon(one: PostgresStore) -> None:
        for call in calls:
            await one.calls.record(call, card)
            await one.customers.enrich("0901", HIS, ANNA, primary=True)
            await one.calls.record(replace(call, partial=False, evidence=()), card)
            await one.calls.recorded("0901", call.linkedid, "80290000011.wav", card)
        await one.calls.record(last, card)

    async with PostgresStore(dsn, pool_size=4) as other, asyncio.timeout(60), asyncio.TaskGroup() as tasks:
        for one in (store, store, other):
            tasks.create_task(daemon(one))

        async def begun() -> bool:
            return bool(await connection.fetchval("SELECT count(*) > 10 FROM calls"))

        await until(begun, within=30)
        await other.erasure.erase("0901", [HIS], by="dpo")

    assert DIGITS not in await everything(connection)
    assert await connection.fetchval("SELECT count(*) FROM calls") == 41
    assert await connection.fetchval("SELECT count(*) FROM cards") == 0
    assert await audit(dsn) == []


async def test_a_company_has_many_people_and_only_one_of_them_is_forgotten(store: PostgresStore) -> None:
    def contact(external_id: str, *phones: str) -> Profile:
        names = Names(first_name=external_id, enterprise_name="Ромашка")
        return Profile(source="retailcrm", external_id=external_id, company_id="77", names=names, phones=phones)

    await store.customers.enrich("0901", HIS, contact("1", SECOND), primary=True)
    await store.customers.enrich("0901", OTHER, contact("2"), primary=True)
    numbers = await store.erasure.numbers("0901", HIS)

    assert numbers == [HIS, SECOND]
    assert await store.erasure.numbers("0901", OTHER) == [OTHER]
    assert await store.erasure.numbers("0901", STRANGER) == [STRANGER]


# What commands say does not depend on the server's version.
on_18 = pytest.mark.parametrize("postgres", ["18"], indirect=True)


@on_18
async def test_the_command_looks_first_asks_and_says_what_is_not_ours(site: Site) -> None:
    await site.store.calls.record(answered(linkedid="1.1", phone=PERSON, recording="a/b.wav"), card)
    await site.store.customers.enrich(
        "0901", PERSON, Profile(source="retailcrm", external_id="7", names=ANNA.names, phones=(CONTACT,)), primary=True
    )
    looked = await site.vochi("erase", PERSON, "--dry-run")
    unasked = await site.vochi("erase", PERSON)
    still = await site.vochi("customer", PERSON)
    done = await site.vochi("erase", PERSON, "--person", "--yes", "--json")
    again = await site.vochi("erase", PERSON, "--yes")
    log = await site.vochi("erase", "--log")
    audited = await site.vochi("audit")

    assert (looked.code, unasked.code, still.code, done.code, again.code) == (0, 2, 0, 0, 1)
    assert "customers  1" in looked.out
    assert "--person takes all of them" in looked.out
    for place in ("a/b.wav", "retailcrm", "the PBX: CEL", "backups"):
        assert place in looked.out, place
    assert "Nothing was changed." in looked.err
    assert "--yes" in unasked.err
    assert (done.json()["numbers"], done.json()["customers"], done.json()["calls"]) == ([PERSON, CONTACT], 2, 1)
    assert "Nothing is known of" in again.err
    assert log.out.count("1 calls") == 2
    assert (audited.code, audited.out) == (0, "")
    assert DIGITS not in json.dumps(done.json()["stays"])


@on_18
async def test_recover_after_an_erasure_stores_his_calls_as_nobodys(site: Site) -> None:
    text = "".join(cel_lines("inbound-answered")).replace("PJSIP/trunk", "PJSIP/gsm1").replace("PJSIP/101", "PJSIP/151")
    (site.folder / "vochi.csv").write_text(text, encoding="utf-8")
    since = ("recover", "--since", "2026-11-20T13:24:00", "--json")
    await site.vochi(*since)
    [call] = (await site.vochi("calls", "--json")).json()
    connection = await asyncpg.connect(str(site.values["dsn"]))
    await site.vochi("erase", call["phone"], "--yes")
    # The machine's clock may stand before the lab's calls.
    await connection.execute("UPDATE erasures SET erased_at = $1", NOON + timedelta(days=30))
    await connection.execute("DELETE FROM calls")
    again = (await site.vochi(*since)).json()[0]
    [anonymous] = (await site.vochi("calls", "--json")).json()
    await connection.close()

    assert again["stored"] == 1
    assert (anonymous["phone"], anonymous["raw_number"], anonymous["status"]) == (None, "", "answered")
    assert (await site.vochi("customer", call["phone"])).code == 1


@on_18
async def test_erased_beside_a_running_daemon_he_stays_erased(site: Site) -> None:
    """What the daemon still has under way (late answers of the CRM, a card) writes nothing of him again."""
    async with site.daemon() as daemon:
        await site.until_ready(daemon)
        await site.pbx.inbound(trunk="PJSIP/gsm1", did="0001701", caller=PERSON, ring=["151"], answer="151")

        async def known() -> bool:
            customer = await site.store.customers.customer("0901", PERSON)
            return customer is not None and bool(customer.names.last_name) and customer.history.calls_total_in == 1

        await until(known, within=30)
        assert (await site.vochi("erase", PERSON, "--yes")).code == 0
        connection = await asyncpg.connect(str(site.values["dsn"]))

        async def forgotten() -> bool:
            rows = await connection.fetchval("SELECT count(*) FROM customers")
            return rows == 0 and DIGITS not in await everything(connection)

        await until(forgotten, within=10)
        await connection.close()
    assert (await site.vochi("audit")).code == 0


@pytest.mark.parametrize("words", [[], ["anonymous"], [PERSON, "--enterprise", "0999"], ["--log", "--limit", "0"]])
@on_18
async def test_bad_usage_exits_2(site: Site, words: list[str]) -> None:
    answer = await site.vochi("erase", *words)

    assert (answer.code, answer.out) == (2, "")
