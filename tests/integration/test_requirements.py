"""The test cases of the requirement «Customers: модель клиента и трекер внедрения», each by its name.

Against real PostgreSQL; where a CRM takes part it is the sandbox, over HTTP. A docstring quotes the requirement.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import aiohttp
import pytest

from tests.support.audit import audit
from tests.support.calls import NOON, answered, internal, missed
from tests.support.crm import API_KEY, HandClock, retailcrm_at
from tests.support.polling import until
from tests.support.renderers import no_cards
from vochi_agent.caller_id import CallerId
from vochi_agent.calls.layout import Layout
from vochi_agent.calls.model import Call, Direction, Reason, Source
from vochi_agent.config import load
from vochi_agent.contacts import PERIOD_S
from vochi_agent.customers.handsets import CALLERID_NAME
from vochi_agent.customers.model import Customer, History, Names, Profile
from vochi_agent.enrichment import CrmOfEnterprise, Enrichment
from vochi_agent.metrics import Metrics
from vochi_agent.ports import CardDraft
from vochi_agent.protocols.agi import AgiRequest
from vochi_agent.simulator.retailcrm import Fault, RetailCrmSandbox
from vochi_agent.store.postgres import PostgresStore

P1, P2, P3, P4 = "+375290000011", "+375290000022", "+375290000033", "+375290000044"
MANAGER, DIRECTOR, CLERK = "+375290000070", "+375290000071", "+375290000072"


async def row(store: PostgresStore, phone: str) -> Customer:
    found = await store.customers.customer("0901", phone)
    assert found is not None
    return found


def counters(customer: Customer) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
    """In and out: total, answered, missed."""
    history = customer.history
    return (
        (history.calls_total_in, history.calls_answered_in, history.calls_missed_in),
        (history.calls_total_out, history.calls_answered_out, history.calls_missed_out),
    )


def uon(*phones: str, client: str = "1001", **names: str) -> Profile:
    """What a U-ON webhook of type 3 or 4 says, or its answer to a search."""
    return Profile(source="uon", external_id=client, names=Names(**names), phones=phones, phones_complete=True)


def at(minute: int, call: Call, **changes: object) -> Call:
    """The call, so many minutes after noon and with a linkedid of its own."""
    shift = timedelta(minutes=minute)
    answered_at = call.answered_at + shift if call.answered_at else None
    return replace(
        call,
        linkedid=f"{minute}.1",
        started_at=call.started_at + shift,
        answered_at=answered_at,
        ended_at=call.ended_at + shift,
        **changes,
    )


async def test_a_client_with_two_numbers_in_uon_has_two_rows_one_name_and_one_uid(store: PostgresStore) -> None:
    """У клиента два номера в U‑ON → обе строки созданы/обновлены, ФИО одинаковое (один `person_uid`)."""
    await store.calls.record(answered(phone=P1), no_cards)
    await store.customers.enrich("0901", P1, uon(P1, P2, last_name="Тестов", first_name="Тест"), primary=True)

    rows = [await row(store, P1), await row(store, P2)]
    assert {each.names for each in rows} == {Names(last_name="Тестов", first_name="Тест")}
    assert {each.meta["person_uid"] for each in rows} == {"uon:1001"}
    assert [each.history.calls_total_in for each in rows] == [1, 0]


@pytest.mark.parametrize("how", ["a shared number", "a person's word"])
async def test_a_number_of_uon_and_a_number_of_retail_are_one_person_once_they_are_linked(
    store: PostgresStore, how: str
) -> None:
    """У клиента один номер из U‑ON и второй из Retail → при связывании по внешним ID у обоих строк одинаковый
    `person_uid`; ФИО обновляется в обеих при главном источнике.
    """
    retail = Profile(source="retailcrm", external_id="2002", names=Names(last_name="Тестов", first_name="Тест"))
    await store.customers.enrich("0901", P1, uon(P1, last_name="Тестова"), primary=False)
    await store.customers.enrich("0901", P2, retail, primary=True)
    if how == "a shared number":
        await store.customers.enrich("0901", P1, uon(P1, P2, last_name="Тестова"), primary=False)
    else:
        await store.customers.link("0901", P1, P2)

    rows = [await row(store, P1), await row(store, P2)]
    assert {each.meta["person_uid"] for each in rows} == {"uon:1001"}
    assert rows[1].meta["person_uid_was"] == "retailcrm:2002"
    assert {each.names.display for each in rows} == {"Тестов Тест"}
    await store.customers.enrich("0901", P2, replace(retail, names=Names(last_name="Новиков")), primary=True)
    assert [(await row(store, phone)).names.display for phone in (P1, P2)] == ["Новиков Тест"] * 2


async def test_a_name_changed_in_uon_reaches_every_row_of_the_person(store: PostgresStore) -> None:
    """Изменили ФИО в U‑ON → пришёл webhook type 4 → все строки с тем же `person_uid` обновились."""
    await store.customers.enrich("0901", P1, uon(P1, P2, last_name="Тестова"), primary=True)
    await store.customers.enrich("0901", P1, replace(uon(last_name="Иванова"), phones_complete=False), primary=True)

    people = await store.customers.person("0901", "uon:1001")
    assert [(each.phone_e164, each.names.last_name) for each in people] == [(P1, "Иванова"), (P2, "Иванова")]


async def test_a_source_that_is_not_the_main_one_fills_empty_fields_and_overwrites_none(store: PostgresStore) -> None:
    """Источник не основной → пустые поля заполнились, непустые не перезаписались."""
    retail = Profile(source="retailcrm", external_id="2002", names=Names(last_name="Тестов"))
    await store.customers.enrich("0901", P1, retail, primary=True)
    await store.customers.enrich("0901", P1, uon(P1, last_name="Другой", first_name="Тест"), primary=False)

    assert (await row(store, P1)).names == Names(last_name="Тестов", first_name="Тест")


async def test_uon_webhook_39_renames_both_rows_and_keeps_other_keys(store: PostgresStore, dsn: str) -> None:
    """Сценарий 39: U‑ON webhook type 4 меняет имя клиента 1001 с двумя телефонами, U‑ON главный."""
    await store.customers.enrich("0901", P1, uon(P1, P2, last_name="Тестова"), primary=True)
    await store.customers.edit("0901", P2, {"field1": "скидка"})
    await store.customers.enrich("0901", P2, uon(P1, P2, last_name="Иванова"), primary=True)

    rows = [await row(store, P1), await row(store, P2)]
    assert [(each.names.last_name, each.meta["person_uid"]) for each in rows] == [("Иванова", "uon:1001")] * 2
    assert rows[1].fields[0] == "скидка"
    assert rows[0].meta["ids"] == {"uon": ["1001"]}


async def test_uon_webhook_40_fills_only_empty_fields_when_retail_is_the_main_source(store: PostgresStore) -> None:
    """Сценарий 40: то же, главный источник RetailCRM: заполнены только пустые поля имени."""
    retail = Profile(source="retailcrm", external_id="2002", names=Names(last_name="Тестов"), phones=(P2,))
    await store.customers.enrich("0901", P1, retail, primary=True)
    await store.customers.enrich("0901", P1, uon(P1, P2, last_name="Иванов", first_name="Тест"), primary=False)

    rows = [await row(store, P1), await row(store, P2)]
    assert {each.names for each in rows} == {Names(last_name="Тестов", first_name="Тест")}
    assert {each.meta["person_uid"] for each in rows} == {"retailcrm:2002"}


async def test_in_a_series_of_missed_and_answered_calls_counts_right(store: PostgresStore, dsn: str) -> None:
    """IN: серия входящих по одному номеру с пропусками/ответами → счётчики и `last_*` корректны."""
    series = [missed(), answered(last_agent="150"), missed(), missed(line="0001702")]
    for minute, call in enumerate(series):
        await store.calls.record(at(minute * 10, call), no_cards)

    customer = await row(store, P1)
    assert counters(customer) == ((4, 1, 3), (0, 0, 0))
    history = customer.history
    assert (history.last_call_direction, history.last_call_status, history.last_line) == ("in", "missed", "0001702")
    assert (history.last_agent_internal, history.last_success_at) == ("150", NOON + timedelta(minutes=10, seconds=67))
    assert (customer.first_seen_at, history.last_call_at) == (NOON, NOON + timedelta(minutes=30, seconds=40))
    assert await audit(dsn) == []


async def test_out_calls_to_the_same_number_count_apart(store: PostgresStore) -> None:
    """OUT: исходящие к тому же номеру → out‑счётчики инкрементируются отдельно."""
    await store.calls.record(at(0, answered()), no_cards)
    await store.calls.record(at(10, answered(), direction=Direction.OUT), no_cards)
    await store.calls.record(at(20, missed(), direction=Direction.OUT, reason=Reason.UNREACHABLE), no_cards)

    assert counters(await row(store, P1)) == ((1, 1, 0), (2, 1, 1))


async def test_mixed_in_out_in(store: PostgresStore) -> None:
    """Mixed: входящий → исходящий → входящий."""
    directions = []
    for minute, call in enumerate([answered(), missed(direction=Direction.OUT), missed()]):
        await store.calls.record(at(minute * 10, call), no_cards)
        history = (await row(store, P1)).history
        directions.append((history.last_call_direction, history.last_call_status))

    assert directions == [("in", "answered"), ("out", "missed"), ("in", "missed")]
    assert counters(await row(store, P1)) == ((2, 1, 1), (1, 0, 1))


async def test_recovered_hangups_are_counted_once_and_in_their_place(store: PostgresStore, dsn: str) -> None:
    """Recovery: восстановленные `hangup` корректно пересчитывают агрегаты (идемпотентность)."""
    await store.calls.record(at(30, answered()), no_cards)
    recovered = [at(minute, missed(), source=Source.RECOVERY, line="0001702") for minute in (20, 10)]
    for call in [*recovered, *recovered]:
        await store.calls.record(call, no_cards)

    customer = await row(store, P1)
    assert counters(customer) == ((3, 1, 2), (0, 0, 0))
    assert (customer.history.last_call_status, customer.history.last_line) == ("answered", "0001701")
    assert customer.first_seen_at == NOON + timedelta(minutes=10)
    assert await audit(dsn) == []


async def test_the_blacklist_is_changed_by_people_only_and_changes_no_counter(store: PostgresStore, dsn: str) -> None:
    """Blacklist: поле не меняется автоматически; переключение не ломает агрегаты."""
    for minute, black in ((0, True), (10, False), (20, True)):
        await store.calls.record(at(minute, missed(reason=Reason.BLOCKED)), no_cards)
        await store.customers.edit("0901", P1, {"black_list": black})
        await store.calls.record(at(minute + 5, answered()), no_cards)
        await store.customers.enrich("0901", P1, uon(P1, last_name="Тестов"), primary=True)
        assert (await row(store, P1)).black_list is black

    assert counters(await row(store, P1)) == ((6, 3, 3), (0, 0, 0))
    assert await audit(dsn) == []


async def test_field1_to_field4_are_made_read_changed_and_emptied(store: PostgresStore) -> None:
    """Поля field1..field4: CRUD (страниц ещё нет: то же делает `customer set`)."""
    await store.customers.edit("0901", P1, {f"field{n}": f"значение {n}" for n in range(1, 5)})
    assert (await row(store, P1)).fields == ("значение 1", "значение 2", "значение 3", "значение 4")
    await store.calls.record(answered(), no_cards)
    await store.customers.enrich("0901", P1, uon(P1, last_name="Тестов"), primary=True)
    await store.customers.edit("0901", P1, {"field2": "другое", "field3": ""})

    assert (await row(store, P1)).fields == ("значение 1", "другое", "", "значение 4")


async def test_three_recipients_count_a_call_once(store: PostgresStore) -> None:
    """Сценарий 2: три получателя в Telegram, счётчик +1; показаны счётчики до этого звонка."""
    shown: list[History | None] = []

    def render(call: Call, customer: Customer | None, before: History | None, **_: object) -> list[CardDraft]:
        shown.append(before)
        return [CardDraft(chat_id=chat, topic=0, text=call.linkedid, silent=True) for chat in (1, 2, 3)]

    await store.calls.record(at(0, missed()), render)
    await store.calls.record(at(10, answered()), render)

    assert counters(await row(store, P1)) == ((2, 1, 1), (0, 0, 0))
    assert [before.calls_total_in for before in shown if before] == [0, 1]


async def test_a_missed_call_leaves_who_talked_last_as_it_was(store: PostgresStore) -> None:
    """Сценарий 3: пропущенный: `last_agent_internal` и `last_success_at` не меняются (у новой строки NULL)."""
    await store.calls.record(at(0, missed()), no_cards)
    fresh = (await row(store, P1)).history
    await store.calls.record(at(10, answered()), no_cards)
    talked = (await row(store, P1)).history
    await store.calls.record(at(20, missed(line=None)), no_cards)
    after = (await row(store, P1)).history

    assert (fresh.last_agent_internal, fresh.last_success_at) == (None, None)
    assert (after.last_agent_internal, after.last_success_at) == ("151", talked.last_success_at)
    assert after.last_line == "0001701"


async def test_calls_without_a_customer_make_no_row(store: PostgresStore) -> None:
    """Сценарии 20, 23, 24, 26: запрещённое направление, внутренние, отдел, скрытый номер: строк клиентов нет."""
    await store.calls.record(at(0, internal()), no_cards)
    await store.calls.record(at(10, internal(raw_number="901")), no_cards)
    await store.calls.record(at(20, missed(phone=None, raw_number="0001701")), no_cards)

    assert await store.customers.customers("0901", [P1, "+151", "+901", "+0001701"]) == []


CONFIGURATION = """
[[enterprises]]
number = "0901"
country = "BY"
primary_source = "retailcrm"
  [enterprises.asterisk]
  ami = "127.0.0.1:5038"
  ami_username = "vochi"
  ami_secret = "s"
  [[enterprises.lines]]
  id = "0001701"
  endpoint = "PJSIP/gsm1"
  label = "A1 1"
  shop = "Тестовый магазин 1"
  caller_name = ["customer", "line", "shop"]
  [[enterprises.lines]]
  id = "0001702"
  endpoint = "PJSIP/gsm2"
  caller_name = []
"""


class Desk:
    """The enterprise «VochiCRM» calls: CallerID, RetailCRM and PostgreSQL together, as in the daemon."""

    def __init__(
        self, folder: Path, store: PostgresStore, crm: RetailCrmSandbox, session: aiohttp.ClientSession
    ) -> None:
        self.store, self.crm, self.clock = store, crm, HandClock()
        path = folder / "config.toml"
        path.write_text(CONFIGURATION)
        (enterprise,) = load(path).enterprises
        source = retailcrm_at(crm.url, session, clock=self.clock)
        self.enrichment = Enrichment(
            {"0901": [CrmOfEnterprise(source=source, primary=True, wait_s=1.2)]},
            on_profile=store.customers.enrich,
            let_go=store.customers.let_go,
            metrics=Metrics(),
            clock=self.clock,
        )
        self.caller_id = CallerId(
            {"0901": (enterprise, Layout(enterprise))},
            customers=store.customers,
            lookups=self.enrichment,
            now=lambda: datetime.now(UTC),
        )

    async def handset(self, phone: str, line: str = "0001701") -> str | None:
        """The name that the handset shows, within the 1.5 s of a ringing phone; None leaves it alone."""
        request = AgiRequest(fields={"callerid": phone}, path=("callerid",), arguments=("0901", line))
        loop = asyncio.get_running_loop()
        began = loop.time()
        variables = await self.caller_id.answer(request, began + 1.5)
        assert loop.time() - began < 2.0, "время ответа CallerID < 2 секунд"
        return variables.get(CALLERID_NAME)

    async def people(self, count: int) -> dict[str, Customer]:
        """The company's rows by number, as soon as there are so many."""
        found: list[Customer] = []

        async def there() -> bool:
            found[:] = await self.store.customers.person("0901", "retailcrm_corporate:123")
            return len(found) == count

        await until(there, within=10)
        return {each.phone_e164: each for each in found}


@pytest.fixture
async def desk(tmp_path: Path, store: PostgresStore) -> AsyncIterator[Desk]:
    async with AsyncExitStack() as stack:
        crm = await stack.enter_async_context(RetailCrmSandbox(api_key=API_KEY, requests_per_s=1000))
        crm.add_customer(2001, last_name="Первый", first_name="Менеджер", phones=[MANAGER])
        crm.add_customer(2002, last_name="Второй", first_name="Директор", phones=[DIRECTOR])
        crm.add_customer(2003, last_name="Третий", first_name="Секретарь", phones=[CLERK])
        crm.add_company(123, nick_name="VochiCRM", contacts=[2001, 2002, 2003])
        crm.add_customer(2010, last_name="Тестов", first_name="Тест", phones=[P2])
        session = await stack.enter_async_context(aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()))
        desk = Desk(tmp_path, store, crm, session)
        stack.push_async_callback(desk.enrichment.aclose)
        yield desk


@pytest.mark.parametrize("phone", [MANAGER, DIRECTOR, CLERK])
async def test_a_corporate_client_is_found_by_the_number_of_any_contact(desk: Desk, phone: str) -> None:
    """Поиск корпоративного клиента по номеру любого контакта; отображение названия компании на телефонном аппарате."""
    assert await desk.handset(phone) == "VochiCRM | A1 1 | Тестовый магазин 1"


async def test_a_call_updates_all_numbers_of_the_company_each_with_its_own_name(desk: Desk) -> None:
    """Обновление данных всех номеров компании при звонке; индивидуальные ФИО; связывание через `person_uid`."""
    await desk.handset(MANAGER)
    people = await desk.people(3)

    assert {phone: each.names.person for phone, each in people.items()} == {
        MANAGER: "Первый Менеджер",
        DIRECTOR: "Второй Директор",
        CLERK: "Третий Секретарь",
    }
    assert {each.names.enterprise_name for each in people.values()} == {"VochiCRM"}
    assert {each.meta["person_uid"] for each in people.values()} == {"retailcrm_corporate:123"}
    assert [people[phone].meta["contact_id"] for phone in (MANAGER, DIRECTOR, CLERK)] == ["2001", "2002", "2003"]

    desk.crm.add_customer(2003, last_name="Новая", first_name="Секретарь", phones=[CLERK])
    desk.clock.now += PERIOD_S
    await desk.handset(MANAGER)

    async def renamed() -> bool:
        return (await row(desk.store, CLERK)).names.last_name == "Новая"

    await until(renamed, within=10)


async def test_scenario_33_a_contact_and_his_colleague_who_never_called(desk: Desk) -> None:
    """Сценарий 33: `enterprise_name`, своё ФИО, `client_type`, `ids`; строка второго контакта есть с тем же uid."""
    await desk.handset(DIRECTOR)
    people = await desk.people(3)

    assert people[DIRECTOR].meta["client_type"] == people[CLERK].meta["client_type"] == "corporate"
    assert people[CLERK].meta["ids"] == {"retailcrm": ["2003"], "retailcrm_corporate": ["123"]}
    assert people[CLERK].history == History()


async def test_every_call_gets_what_the_crm_says_now(desk: Desk) -> None:
    """Работа без кэширования - всегда актуальные данные."""
    shown = [await desk.handset(P2)]
    desk.crm.add_customer(2010, last_name="Новиков", first_name="Тест", phones=[P2])
    shown.append(await desk.handset(P2))

    assert shown == ["Тестов Тест | A1 1 | Тестовый магазин 1", "Новиков Тест | A1 1 | Тестовый магазин 1"]


@pytest.mark.parametrize("fault", [Fault.SILENCE, Fault.REFUSE, Fault.HTML, Fault.CUT, Fault.UNSUCCESSFUL, Fault.LIMIT])
async def test_while_the_crm_is_away_the_name_is_the_local_rows_and_stays_there(desk: Desk, fault: Fault) -> None:
    """Надежность: fallback логика при недоступности CRM (сценарий 32 для незнакомца: линия и магазин)."""
    await desk.handset(MANAGER)
    before = await desk.people(3)
    desk.crm.fault, desk.crm.silence_s = fault, 3.0

    assert await desk.handset(MANAGER) == "VochiCRM | A1 1 | Тестовый магазин 1"
    assert await desk.handset(P4) == "A1 1 | Тестовый магазин 1"
    assert await desk.people(3) == before


async def test_a_line_with_all_parts_off_leaves_the_name_alone(desk: Desk) -> None:
    """Сценарий 35: все флаги линии выключены: CallerID не тронут."""
    assert await desk.handset(P2, line="0001702") is None


async def test_a_number_that_left_its_person_is_let_go(desk: Desk) -> None:
    """Номер, которого больше нет в карточке, теряет `person_uid` и id источника, и ничего больше."""
    desk.crm.add_customer(2010, last_name="Тестов", first_name="Тест", phones=[P2, P3])
    await desk.handset(P2)

    async def linked() -> bool:
        found = await desk.store.customers.customer("0901", P3)
        return found is not None and found.meta.get("person_uid") == "retailcrm:2010"

    await until(linked, within=10)
    desk.crm.add_customer(2010, last_name="Тестов", first_name="Тест", phones=[P2])
    await desk.handset(P2)

    async def let_go() -> bool:
        return "person_uid" not in (await row(desk.store, P3)).meta

    await until(let_go, within=10)
    left = await row(desk.store, P3)
    assert left.names.display == "Тестов Тест"
    assert left.meta["ids"] == {}
    assert (left.meta["primary_source"], left.meta["person_uid_was"]) == ("retailcrm", "retailcrm:2010")
