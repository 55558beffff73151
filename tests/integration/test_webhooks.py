"""What CRMs send to the webhooks: over real HTTP into a real PostgreSQL."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import asyncpg
import pytest

from tests.support.daemon import DaemonProcess
from tests.support.office import HOOKS, Office, office
from tests.support.polling import until
from tests.support.ports import free_port
from tests.support.postgres import PostgresServer
from vochi_agent.customers.model import Names, Profile
from vochi_agent.simulator.crm_server import Fault
from vochi_agent.simulator.uon import UonSandbox
from vochi_agent.store.postgres import PostgresStore

FIRST, SECOND = "+375290000022", "+375290000023"
# The client of the acceptance scenarios, as U-ON's form has it.
# What comes by HTTP does not depend on the server's version; every statement is prepared on both (test_sql.py).
pytestmark = pytest.mark.parametrize("postgres", ["18"], indirect=True)

CHANGED = {
    "uon_id": "900",
    "uon_subdomain": "demo",
    "datetime": "2026-11-20 12:00:00",
    "type_id": "4",
    "client_id": "1001",
    "client[u_surname]": "Новая",
    "client[u_name]": "Анна",
    "client[u_phone]": "375290000022",
    "client[u_phone_mobile]": "+375290000023",
}


@pytest.fixture
async def at_work(tmp_path: Path, dsn: str, store: PostgresStore) -> AsyncIterator[Office]:
    async with office(tmp_path, dsn, store) as office_:
        yield office_


async def known_as(store: PostgresStore, last_name: str, *, primary: bool) -> None:
    """Client 1001 with two numbers, learned earlier."""
    names = Names(last_name=last_name, first_name="Ольга")
    profile = Profile(source="uon", external_id="1001", names=names, phones=(SECOND,))
    await store.customers.enrich("0901", FIRST, profile, primary=primary)


async def test_a_changed_client_is_renamed_under_both_numbers_when_uon_is_primary(at_work: Office) -> None:
    """Both rows renamed, one person, other keys of meta kept."""
    await known_as(at_work.store, "Старая", primary=True)
    names = Names(last_name="Старая")
    book = Profile(source="phonebook", external_id="p-7", names=names)
    await at_work.store.customers.enrich("0901", FIRST, book, primary=False)

    assert await at_work.post(CHANGED) == 200

    for phone in (FIRST, SECOND):
        row = await at_work.named(phone, "Новая")
        assert row.names.first_name == "Анна"
        assert row.meta["person_uid"] == "uon:1001"
        assert row.meta["ids"]["uon"] == ["1001"]
    assert (await at_work.customer(FIRST)).meta["ids"]["phonebook"] == ["p-7"]
    assert not at_work.uon.requests  # the message said it all


async def test_a_changed_client_only_fills_gaps_when_another_crm_is_primary(
    tmp_path: Path, dsn: str, store: PostgresStore
) -> None:
    """Whoever is not the primary source overwrites nothing."""
    async with office(tmp_path, dsn, store, primary="retailcrm") as at_work:
        names = Names(last_name="Прежняя")
        profile = Profile(source="retailcrm", external_id="7", names=names, phones=(SECOND,))
        await store.customers.enrich("0901", FIRST, profile, primary=True)

        assert await at_work.post(CHANGED) == 200
        await at_work.settled()

        for phone in (FIRST, SECOND):
            row = await at_work.customer(phone)
            assert row is not None
            assert (row.names.last_name, row.names.first_name) == ("Прежняя", "Анна")
            assert row.meta["person_uid"] == "retailcrm:7"
            assert row.meta["ids"] == {"retailcrm": ["7"], "uon": ["1001"]}


@pytest.mark.parametrize(
    "client",
    [
        {"u_id": "1001", "u_surname": "Новая", "u_phone": "375290000022"},
        {"фамилия": "Новая", "телефон": "8 (029) 000-00-22"},
    ],
    ids=["english", "russian"],
)
@pytest.mark.parametrize("sent", ["form", "json", "json-object", "russian-form"])
async def test_a_new_client_is_understood_in_every_spelling(at_work: Office, client: dict[str, str], sent: str) -> None:
    text = json.dumps(client, ensure_ascii=False)
    match sent:
        case "form":
            status = await at_work.post({"type_id": "3", "client_id": "1001", "client": text})
        case "json":
            status = await at_work.post_json({"type_id": 3, "client_id": 1001, "client": text})
        case "json-object":
            status = await at_work.post_json({"uon_id": 900, "type_id": 3, "client_id": 1001, "client": client})
        case _:
            status = await at_work.post({"Тип": "3", "client_id": "1001", "Клиент": text})

    assert status == 200
    assert (await at_work.named(FIRST, "Новая")).meta["person_uid"] == "uon:1001"


async def test_a_client_that_is_only_named_by_his_id_is_asked_for(at_work: Office) -> None:
    at_work.uon.add_user(1001, surname="Спрошенная", phones=["375290000022", "", "80290000023"], manager_id=5)

    assert await at_work.post({"uon_id": "900", "type_id": "4", "client_id": "1001"}) == 200

    assert (await at_work.named(SECOND, "Спрошенная")).meta["person_uid"] == "uon:1001"
    await at_work.named(FIRST, "Спрошенная")
    assert [request.path for request in at_work.uon.requests] == ["/user/1001.json"]


async def test_phones_that_are_no_phones_are_skipped_and_counted(at_work: Office) -> None:
    fields = CHANGED | {"client[u_phone_mobile]": "нет", "client[u_phone_home]": "12"}

    assert await at_work.post(fields) == 200

    await at_work.named(FIRST, "Новая")
    assert at_work.count("vochi_crm_phones_skipped_total") == 2


@pytest.mark.parametrize(
    "where",
    [
        {"secret": "wrong"},
        {"secret": HOOKS["retailcrm"]},
        {"enterprise": "0902"},
        {"crm": "moysklad"},
        {"crm": "nothing"},
        {"secret": HOOKS["uon"] + "%00"},
    ],
    ids=str,
)
async def test_a_stranger_gets_the_same_404_and_writes_nothing(at_work: Office, where: dict[str, str]) -> None:
    bodies = []
    for address in (at_work.address(**where), at_work.address() + "/more"):
        # A body that is never read: too large for anybody.
        async with at_work.session.post(address, data=b"x" * 300_000) as response:
            bodies.append((response.status, await response.text(), response.headers["Content-Type"]))

    assert bodies[0] == bodies[1]
    assert bodies[0][0] == 404
    assert await at_work.store.changes.waiting("0901", "uon") == 0
    assert await at_work.customer(FIRST) is None


@pytest.mark.parametrize(
    "account", [{"uon_id": "901"}, {"uon_subdomain": "another"}, {"uon_subdomain": "another.u-on.ru"}], ids=str
)
async def test_a_webhook_of_another_account_is_a_404_and_writes_nothing(
    at_work: Office, account: dict[str, str]
) -> None:
    assert await at_work.post(CHANGED | account) == 404

    assert await at_work.store.changes.waiting("0901", "uon") == 0
    assert await at_work.customer(FIRST) is None


async def test_too_large_a_body_is_a_413_however_it_is_sent(at_work: Office) -> None:
    async def drops() -> AsyncIterator[bytes]:
        for _ in range(260):
            yield b"x" * 1024

    assert await at_work.post(b"a=" + b"x" * (256 * 1024)) == 413
    async with at_work.session.post(at_work.address(), data=drops()) as response:
        assert response.status == 413
    assert at_work.count("vochi_webhooks_total", status="413") == 2


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{broken",
        b"[1,2]",
        b"<xml/>",
        b"\x00\xff\xfe",
        b"type_id=4",
        b"type_id=4&client_id=0",
        b"type_id=4&client_id=../7",
        "type_id=4&client_id=٣".encode(),
        b"type_id=9999&client_id=1",
        b"type_id=47&phone=375290000022&user_id=../5",
        b"method=call&phone=375290000022",
        b"type_id=4&client" + b"[a]" * 20 + b"=1",
        b"&".join(b"k%d=1" % number for number in range(2000)),
        b'{"type_id":4,"client":' + b"[" * 100_000 + b"}",
    ],
    ids=lambda body: body[:12].decode("latin-1").encode("unicode_escape").decode(),
)
async def test_what_is_not_understood_is_a_422(at_work: Office, body: bytes) -> None:
    assert await at_work.post(body) == 422
    assert at_work.count("vochi_webhooks_total", status="422") == 1
    assert await at_work.store.changes.waiting("0901", "uon") == 0


async def test_what_is_not_understood_is_kept_in_the_log_bounded_and_without_phones_and_secrets(
    at_work: Office, caplog: pytest.LogCaptureFixture
) -> None:
    tokens = b"&auth%5Baccess_token%5D=of-an-hour&auth[refresh_token]=of-a-month&auth={%22api_key%22:+%22for-ever%22}"
    body = b"type_id=zzz&phone=%2B375+(29)+000-00-22&home=8+(029)+000-00-55" + tokens + b"&tail=" + b"y" * 5000
    await at_work.post(body)

    (record,) = [record for record in caplog.records if getattr(record, "action", "") == "webhook_not_understood"]
    kept = record.body
    assert kept.startswith("type_id=zzz&phone=***")
    assert len(kept) <= 500
    for hidden in ("000-00-22", "000-00-55", HOOKS["uon"], "of-an-hour", "of-a-month", "for-ever"):
        assert hidden not in kept + record.getMessage()


async def test_a_click_of_nobody_we_know_is_refused_with_the_reason(at_work: Office) -> None:
    click = {"type_id": "47", "phone": "375290000022", "user_id": "99"}
    async with at_work.session.post(at_work.address(), data=click) as response:
        assert response.status == 422
        assert (await response.json())["error"] == "who clicked has no extension here (agents)"
    assert at_work.count("vochi_crm_clicks_total", result="refused") == 1


async def test_a_click_is_answered_before_anything_rings_and_a_pbx_that_is_away_costs_only_the_click(
    at_work: Office,
) -> None:
    assert await at_work.post({"type_id": "47", "phone": "375290000022", "user_id": "5"}) == 200

    async def failed() -> bool:
        return at_work.count("vochi_crm_clicks_total", result="failed") == 1

    await until(failed, within=5)


async def test_the_address_for_clicks_is_only_there_for_crms_that_want_one(at_work: Office) -> None:
    statuses = []
    for crm in ("uon", "retailcrm"):
        async with at_work.session.get(f"{at_work.address(crm)}/call", params={"phone": "1"}) as response:
            statuses.append(response.status)

    assert statuses == [404, 422]


async def test_events_that_tell_nothing_of_customers_are_accepted_and_left(at_work: Office) -> None:
    assert await at_work.post({"type_id": "16", "request_id": "5", "status_id_old": "1", "status_id_new": "2"}) == 200
    assert at_work.count("vochi_crm_changes_total", outcome="taken") == 0


async def test_a_webhook_is_answered_at_once_while_the_crm_is_silent_and_is_done_when_it_speaks(
    at_work: Office,
) -> None:
    at_work.uon.add_user(1001, surname="Поздняя", phones=["375290000022"])
    at_work.uon.fault = Fault.SILENCE
    at_work.uon.silence_s = 3.0
    started = asyncio.get_running_loop().time()

    assert await at_work.post({"type_id": "4", "client_id": "1001"}) == 200
    assert asyncio.get_running_loop().time() - started < 2.0

    at_work.uon.fault = None
    await at_work.named(FIRST, "Поздняя", within=20)


async def test_an_error_page_overwrites_nothing(at_work: Office) -> None:
    await known_as(at_work.store, "Верная", primary=True)
    for fault in (Fault.HTML, Fault.CUT, Fault.UNSUCCESSFUL, Fault.EVERYBODY):
        at_work.uon.fault = fault
        asked = len(at_work.uon.requests)
        assert await at_work.post({"type_id": "4", "client_id": "1001"}) == 200
        await at_work.uon.wait_for_requests(asked + 1)

    row = await at_work.customer(FIRST)
    assert row is not None
    assert row.names == Names(last_name="Верная", first_name="Ольга")


async def test_what_was_accepted_outlives_a_daemon_that_is_killed_in_the_same_breath(
    tmp_path: Path, dsn: str, store: PostgresStore
) -> None:
    async with UonSandbox(api_key="uon-key") as uon, aiohttp.ClientSession() as session:
        uon.add_user(1001, surname="Пережившая", phones=["375290000022"])
        uon.fault = Fault.REFUSE
        daemon = DaemonProcess.of(tmp_path, ami_port=free_port(), secret="s", database=dsn)
        with daemon.config.open("a") as config:
            config.write(f'[enterprises.crm.uon]\nurl = "{uon.url}"\napi_key = "uon-key"\nwebhook_secret = "hook"\n')
        async with daemon:
            address = f"http://127.0.0.1:{daemon.http_port}/webhooks/0901/uon/hook"
            async with session.post(address, data={"type_id": "4", "client_id": "1001"}) as response:
                assert response.status == 200
            await daemon.kill()
            assert await store.customers.customer("0901", FIRST) is None

            uon.fault = None
            connection = await asyncpg.connect(dsn)
            # As if the lease of the dead daemon had passed.
            await connection.execute("UPDATE crm_changes SET claimed_at = NULL, retry_at = NULL")
            await connection.close()
            await daemon.start()

            async def renamed() -> bool:
                row = await store.customers.customer("0901", FIRST)
                return row is not None and row.names.last_name == "Пережившая"

            await until(renamed, within=30)
        assert "uon-key" not in daemon.log.read_text()


async def test_while_the_database_is_away_nothing_is_accepted(
    postgres: PostgresServer, tmp_path: Path, dsn: str, store: PostgresStore, caplog: pytest.LogCaptureFixture
) -> None:
    async with office(tmp_path, dsn, store) as at_work:
        postgres.stop()
        try:
            async with at_work.session.post(at_work.address(), data=CHANGED) as response:
                assert response.status == 503
                assert int(response.headers["Retry-After"]) > 0
        finally:
            postgres.start()
        assert await at_work.post(CHANGED) == 200
        await at_work.named(FIRST, "Новая", within=20)


async def test_two_messages_about_one_client_end_with_the_later(at_work: Office) -> None:
    for surname in ("Первая", "Вторая", "Третья"):
        assert await at_work.post(CHANGED | {"client[u_surname]": surname}) == 200

    await at_work.settled()
    assert (await at_work.customer(FIRST)).names.last_name == "Третья"


async def test_a_trigger_of_retailcrm_brings_the_fresh_profile(at_work: Office) -> None:
    at_work.retailcrm.add_customer(2003, last_name="Контактова", first_name="Анна", phones=["+375 29 000-00-33"])
    at_work.retailcrm.add_company(77, nick_name="Ромашка", contacts=[2003])

    assert await at_work.post({"id": "2003", "event": "changed"}, crm="retailcrm") == 200

    row = await at_work.named("+375290000033", "Контактова")
    assert row.names.enterprise_name == "Ромашка"
    assert row.meta["person_uid"] == "retailcrm_corporate:77"


async def test_a_trigger_about_a_company_renames_all_its_contacts(at_work: Office) -> None:
    at_work.retailcrm.add_customer(2003, last_name="Контактова", phones=["+375290000033"])
    at_work.retailcrm.add_customer(2004, last_name="Контактов", phones=["+375290000044"])
    at_work.retailcrm.add_company(77, nick_name="Ромашка плюс", contacts=[2003, 2004])

    assert await at_work.post({"company_id": "77", "account": "127.0.0.1"}, crm="retailcrm") == 200

    for phone, name in (("+375290000033", "Контактова"), ("+375290000044", "Контактов")):
        assert (await at_work.named(phone, name)).names.enterprise_name == "Ромашка плюс"


async def test_a_trigger_of_another_retailcrm_account_is_a_404(at_work: Office) -> None:
    assert await at_work.post({"id": "2003", "account": "https://another.retailcrm.ru/"}, crm="retailcrm") == 404
    assert await at_work.post({"phone": "375290000022"}, crm="retailcrm") == 422
    assert await at_work.store.changes.waiting("0901", "retailcrm") == 0


async def test_the_secret_is_in_no_log(
    at_work: Office, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    await at_work.post(CHANGED)
    await at_work.post(b"nonsense")
    await at_work.post(CHANGED, secret=HOOKS["uon"] + "-not")
    await at_work.settled()

    written = caplog.text + "".join(capfd.readouterr())
    assert HOOKS["uon"] not in written
    assert "uon-key" not in written


async def test_a_slow_body_is_not_waited_for_for_ever(at_work: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vochi_agent.web.webhooks.BODY_TIMEOUT_S", 0.2)
    reader, writer = await asyncio.open_connection("127.0.0.1", at_work.daemon.http_port)
    path = at_work.address().split(str(at_work.daemon.http_port))[1]
    writer.write(f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\na=".encode())
    async with asyncio.timeout(5):
        assert b" 408 " in await reader.readline()
    writer.close()


async def test_an_office_without_a_secret_has_no_webhook(tmp_path: Path, dsn: str, store: PostgresStore) -> None:
    async with office(tmp_path, dsn, store, uon_hook="") as at_work, aiohttp.ClientSession() as session:
        for secret in ("", "x", "%20"):
            async with session.post(at_work.address(secret=secret), data=CHANGED) as response:
                assert response.status == 404
