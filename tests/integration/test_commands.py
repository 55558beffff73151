"""The commands as processes: usage, the ledger, customers, migrations."""

import json
import time
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from tests.support.audit import audit
from tests.support.calls import NOON, answered, internal, missed
from tests.support.company import CONTACT, PERSON, STRANGER, Site
from tests.support.polling import until
from tests.support.ports import free_port
from tests.support.postgres import PostgresServer
from tests.support.renderers import no_cards
from vochi_agent.calls.evidence import LegEvidence, LegRole
from vochi_agent.customers.model import Names, Profile
from vochi_agent.desk_ports import Operator, Person

# What commands say does not depend on the server's version; the store's own tests run on both.
pytestmark = pytest.mark.parametrize("postgres", ["18"], indirect=True)


async def test_check_is_content_with_a_sound_configuration(site: Site) -> None:
    answer = await site.vochi("check")

    assert answer.code == 0
    assert "0901 Ромашка: 1 lines, 1 agents, 1 CRMs, 1 chats" in answer.out


@pytest.mark.parametrize("command", [["check"], ["doctor"], ["status"], ["calls"], ["lookup", PERSON], ["migrate"]])
async def test_a_broken_configuration_is_refused_by_every_command_with_all_its_mistakes(
    site: Site, command: list[str]
) -> None:
    broken = site.config.read_text().replace('"Europe/Minsk"', '"Europe/Minks"').replace("caller_name", "callername")
    site.config.write_text(broken)
    answer = await site.vochi(*command)

    assert (answer.code, answer.out) == (2, "")
    assert len(answer.err.splitlines()) == 2
    assert "daemon.timezone" in answer.err
    assert "did you mean caller_name?" in answer.err


@pytest.mark.parametrize(
    "command",
    [
        ["calls", "--limit", "0"],
        ["calls", "--phone", "anonymous"],
        ["calls", "--enterprise", "0999"],
        ["lookup", "anonymous"],
        ["lookup", "0001701"],
        ["lookup", "12"],
        ["lookup", PERSON, "--line", "0009999"],
        ["customer", "nobody"],
        ["customer", "set", PERSON],
        ["customer", "link", PERSON],
        ["customer", "link", PERSON, "nobody"],
        ["customer", "link", PERSON, STRANGER, CONTACT],
        ["customer", "set", PERSON, "calls_total_in=9", "black_list=perhaps"],
        ["customer", "set", PERSON, "field1=" + "я" * 101],
        ["top", "--days", "0"],
        ["doctor", "--listen", "-1"],
        ["call"],
        ["frobnicate"],
    ],
)
async def test_bad_usage_exits_2_with_a_sentence(site: Site, command: list[str]) -> None:
    answer = await site.vochi(*command)

    assert (answer.code, answer.out) == (2, "")
    assert answer.err.strip()


async def test_every_mistake_of_customer_set_is_named_and_nothing_changes(site: Site) -> None:
    answer = await site.vochi("customer", "set", PERSON, "first_name=Анна", "calls_total_in=9", "black_list=perhaps")

    assert answer.code == 2
    assert [line.partition(" ")[0] for line in answer.err.splitlines()] == ["'calls_total_in='", "black_list"]
    assert await site.store.customers.customer("0901", PERSON) is None


async def test_an_unknown_field_is_answered_with_the_nearest_one(site: Site) -> None:
    answer = await site.vochi("customer", "set", PERSON, "firstname=Анна", "nickname=А")

    assert answer.code == 2
    assert "did you mean first_name?" in answer.err.splitlines()[0]
    assert answer.err.count("write it as field=value") == 2


async def test_with_manual_as_primary_source_no_crm_overwrites_what_a_person_wrote(site: Site) -> None:
    """Gaps are filled, by a CRM that may be the only one too."""
    text = site.config.read_text()
    site.config.write_text(text.replace('number = "0901"', 'number = "0901"\nprimary_source = "manual"'))
    edited = await site.vochi("customer", "set", PERSON, "last_name=Петров", "field1=vip")
    await site.store.calls.record(missed(phone=PERSON, started_at=datetime.fromtimestamp(time.time(), UTC)), no_cards)
    looked_up = (await site.vochi("lookup", PERSON, "--json")).json()
    async with site.daemon() as daemon:
        await site.until_ready(daemon)
        await site.pbx.inbound(trunk="PJSIP/gsm1", did="0001701", caller=PERSON, ring=["151"], answer="151")

        async def enriched() -> bool:
            customer = await site.store.customers.customer("0901", PERSON)
            return customer is not None and bool(customer.names.first_name)

        await until(enriched, within=30)
    customer = await site.store.customers.customer("0901", PERSON)

    assert "its next answer" not in edited.out
    assert looked_up["name"] == "Петров Пётр"
    assert customer is not None
    assert (customer.names, customer.fields[0]) == (Names(last_name="Петров", first_name="Пётр"), "vip")
    emptied = await site.vochi("customer", "set", PERSON, "last_name=", "--json")
    assert (emptied.json()["last_name"], emptied.json()["first_name"]) == ("", "Пётр")


async def test_a_database_that_is_away_exits_3(site: Site) -> None:
    site.configure(dsn=f"postgresql://vochi@127.0.0.1:{free_port()}/vochi")
    for command in (["calls"], ["call", "1.1"], ["customer", PERSON], ["top"], ["migrate"]):
        answer = await site.vochi(*command)

        assert (answer.code, answer.out) == (3, ""), command
        assert "PostgreSQL" in answer.err


async def test_calls_lists_the_newest_first_in_local_time(site: Site) -> None:
    await site.store.calls.record(answered(), no_cards)
    await site.store.calls.record(missed(linkedid="1795165100.1", started_at=NOON + timedelta(hours=1)), no_cards)
    await site.store.calls.record(internal(linkedid="1795165200.1", started_at=NOON - timedelta(hours=1)), no_cards)
    answer = await site.vochi("calls")

    assert answer.code == 0
    assert [" ".join(line.split()) for line in answer.out.splitlines()] == [
        "started dir reason phone line agents talk linkedid",
        "2026-11-20 16:00:00 in no_answer +375 (29) 000-00-11 0001701 150>151 1795165100.1",
        "2026-11-20 15:00:00 in talked +375 (29) 000-00-11 0001701 151 1:02 1795165024.84",
        "2026-11-20 14:00:00 int talked 151 151 1:02 1795165200.1",
    ]


async def test_calls_can_be_narrowed(site: Site) -> None:
    now = datetime.fromtimestamp(time.time(), UTC)
    await site.store.calls.record(missed(linkedid="1.1", started_at=now - timedelta(seconds=50)), no_cards)
    await site.store.calls.record(missed(linkedid="2.1", started_at=NOON - timedelta(days=9)), no_cards)
    await site.store.calls.record(answered(linkedid="3.1", phone=STRANGER), no_cards)

    async def linkedids(*arguments: str) -> list[str]:
        return [call["linkedid"] for call in (await site.vochi("calls", "--json", *arguments)).json()]

    assert len(await linkedids()) == 3
    assert set(await linkedids("--missed")) == {"1.1", "2.1"}
    assert await linkedids("--phone", "8 029 000-00-99") == ["3.1"]
    assert await linkedids("--enterprise", "0901", "--missed", "--limit", "1") == ["1.1"]
    assert "2.1" not in await linkedids("--today")


async def test_the_json_of_a_call_is_that_of_the_contract(site: Site) -> None:
    await site.store.calls.record(answered(), no_cards)
    listed = await site.vochi("calls", "--json")
    one = await site.vochi("call", "1795165024.84", "--json")

    assert listed.json() == [answered().as_json()]
    assert one.json() == {
        **answered().as_json(),
        "recording": None,
        "evidence": [
            "the customer shared a bridge with 151: 62 s in all",
            "these phones rang: 150, 151",
            "5 s from the start to the first word",
        ],
        "legs": [],
    }


async def test_call_tells_the_evidence_as_a_time_line(site: Site) -> None:
    rings = LegEvidence(
        endpoint="PJSIP/151",
        extension="151",
        role=LegRole.AGENT,
        entered=False,
        started=0.0,
        rang=0.1,
        hung_up=4.0,
        ended=4.0,
        cause=21,
    )
    await site.store.calls.record(missed(evidence=(rings,)), no_cards)
    shown = await site.vochi("call", "1795165024.84")

    assert shown.out.endswith(
        "    0.00 s  151 is dialled\n    0.10 s  151 rings\n    4.00 s  151 refuses (cause 21, declined)\n"
    )


async def test_call_says_why_a_call_counts_as_missed(site: Site) -> None:
    await site.store.calls.record(missed(), no_cards)
    known = await site.vochi("call", "1795165024.84")
    unknown = await site.vochi("call", "1795165024.85")

    assert known.code == 0
    assert "verdict    missed, no_answer" in known.out
    assert "because    it rang, and nobody answered" in known.out
    assert (unknown.code, unknown.out) == (1, "")
    assert "1795165024.85" in unknown.err


async def test_a_hostile_name_reaches_the_terminal_without_its_controls(site: Site) -> None:
    names = Names(enterprise_name="\x1b[2J[bold]Рога\u202e\nи копыта")
    await site.store.customers.enrich(
        "0901", PERSON, Profile(source="retailcrm", external_id="7", names=names), primary=True
    )
    shown = await site.vochi("customer", PERSON)
    as_json = await site.vochi("customer", PERSON, "--json")

    assert shown.out.splitlines()[0] == "[2J[bold]Рога и копыта"
    assert "\x1b" not in shown.out + as_json.out
    assert "\u202e" not in shown.out + as_json.out
    assert as_json.json()["enterprise_name"].startswith("\x1b[2J")


async def test_a_customer_has_all_numbers_counters_and_last_calls(site: Site) -> None:
    await site.store.calls.record(answered(), no_cards)
    await site.store.calls.record(missed(linkedid="1795165100.1", started_at=NOON + timedelta(hours=1)), no_cards)
    names = Names(last_name="Иванов", first_name="Пётр")
    profile = Profile(source="retailcrm", external_id="7", names=names, phones=("+375290000012",))
    await site.store.customers.enrich("0901", PERSON, profile, primary=True)
    shown = await site.vochi("customer", "80290000011")
    as_json = (await site.vochi("customer", PERSON, "--json")).json()

    assert shown.code == 0
    assert shown.out.splitlines()[0] == "Иванов Пётр"
    assert "person uid   retailcrm:7" in shown.out
    assert "+375 (29) 000-00-12" in shown.out
    assert "last talked  2026-11-20 15:01:07" in shown.out
    assert sorted(as_json["numbers"]) == [PERSON, "+375290000012"]
    assert (as_json["calls_total_in"], as_json["calls_missed_in"], as_json["last_name"]) == (2, 1, "Иванов")
    assert [call["linkedid"] for call in as_json["calls"]] == ["1795165100.1", "1795165024.84"]


async def test_nobody_exits_1(site: Site) -> None:
    answer = await site.vochi("customer", STRANGER)

    assert (answer.code, answer.out) == (1, "")
    assert "+375 (29) 000-00-99 is not known" in answer.err


async def test_what_a_person_sets_stands_and_the_counters_stay(site: Site) -> None:
    await site.store.calls.record(answered(), no_cards)
    names = Names(last_name="Иванов", first_name="Пётр", enterprise_name="Рога и копыта")
    await site.store.customers.enrich(
        "0901", PERSON, Profile(source="retailcrm", external_id="7", names=names), primary=True
    )
    answer = await site.vochi(
        "customer", "set", PERSON, "last_name=Петров", "enterprise_name=", "field2= важный ", "black_list=yes", "--json"
    )

    assert answer.code == 0
    customer = await site.store.customers.customer("0901", PERSON)
    assert customer is not None
    assert customer.names == Names(last_name="Петров", first_name="Пётр")
    assert (customer.fields, customer.black_list) == (("", "важный", "", ""), True)
    assert customer.history.calls_total_in == 1
    assert customer.meta["person_uid"] == "retailcrm:7"
    assert [source["source"] for source in customer.meta["sources"]] == ["retailcrm", "manual"]
    assert (answer.json()["field2"], answer.json()["black_list"]) == ("важный", True)


async def test_setting_a_name_warns_that_the_crm_wins(site: Site) -> None:
    answer = await site.vochi("customer", "set", STRANGER, "first_name=Анна")

    assert answer.code == 0
    assert answer.out.splitlines()[0] == "Анна"
    assert answer.out.splitlines()[-1] == "Names of retailcrm win: its next answer about this number replaces them."


async def test_two_numbers_are_linked_by_hand(site: Site) -> None:
    uon = Profile(source="uon", external_id="5", names=Names(last_name="Иванов"), phones=("+375290000012",))
    retail = Profile(source="retailcrm", external_id="7", names=Names(last_name="Иванов", first_name="Пётр"))
    await site.store.customers.enrich("0901", STRANGER, uon, primary=False)
    await site.store.customers.enrich("0901", PERSON, retail, primary=True)
    answer = await site.vochi("customer", "link", "80290000011", STRANGER, "--json")
    again = await site.vochi("customer", "link", PERSON, "+375290000012")

    assert answer.code == 0
    linked = answer.json()
    assert (linked["phone_e164"], linked["meta"]["person_uid"]) == (PERSON, "uon:5")
    assert linked["meta"]["person_uid_was"] == "retailcrm:7"
    assert sorted(linked["numbers"]) == [PERSON, "+375290000012", STRANGER]
    other = await site.store.customers.customer("0901", "+375290000012")
    assert other is not None
    assert other.names == Names(last_name="Иванов", first_name="Пётр")
    assert (again.code, again.out) == (1, "")
    assert again.err == "both numbers belong to one customer already\n"


async def test_a_link_of_two_companies_or_of_nobody_is_refused(site: Site) -> None:
    nobody = await site.vochi("customer", "link", PERSON, STRANGER)
    for phone, company in ((PERSON, "70"), (CONTACT, "71")):
        profile = Profile(source="retailcrm", external_id=f"2{company}", company_id=company, names=Names())
        await site.store.customers.enrich("0901", phone, profile, primary=True)
    companies = await site.vochi("customer", "link", PERSON, CONTACT)

    assert (nobody.code, nobody.err) == (1, "neither number is known to 0901\n")
    assert companies.code == 1
    assert companies.err.startswith("the numbers belong to two different companies (retailcrm_corporate:70, ")


async def test_top_counts_calls_of_the_last_days(site: Site) -> None:
    now = datetime.fromtimestamp(time.time(), UTC)
    for number, phone, days in ((1, PERSON, 1), (2, PERSON, 2), (3, STRANGER, 3), (4, CONTACT, 40)):
        call = answered(linkedid=f"{number}.1", phone=phone, started_at=now - timedelta(days=days))
        await site.store.calls.record(call, no_cards)
    answer = await site.vochi("top", "--days", "30", "--json")
    shown = await site.vochi("top", "--limit", "1")

    assert [(each["phone_e164"], each["calls"]) for each in answer.json()] == [(PERSON, 2), (STRANGER, 1)]
    assert len(shown.out.splitlines()) == 2
    assert shown.out.splitlines()[1].split()[0] == "2"


async def test_migrate_prepares_an_empty_database_once(site: Site, postgres: PostgresServer) -> None:
    async with postgres.database("template0") as empty:
        site.configure(dsn=empty)
        before = await site.vochi("doctor")
        first = await site.vochi("migrate", "--json")
        second = await site.vochi("migrate")

    assert before.code == 0
    assert "migrations are missing: 0001_" in before.out
    assert (first.code, second.code) == (0, 0)
    assert first.json()["applied"][0].startswith("0001_")
    assert second.out == "The database has the schema of this version.\n"


async def test_audit_is_silent_while_counters_and_calls_agree_and_mends_what_does_not(site: Site, dsn: str) -> None:
    await site.store.calls.record(answered(), no_cards)
    await site.store.calls.record(missed(linkedid="1795165100.1", started_at=NOON + timedelta(hours=1)), no_cards)
    quiet = await site.vochi("audit")
    assert (quiet.code, quiet.out, quiet.err) == (0, "", "")
    assert await audit(dsn) == []
    vandal = await asyncpg.connect(dsn)
    await vandal.execute("UPDATE customers SET calls_missed_in = 7, last_line = NULL")
    await vandal.close()

    found, found_here = await site.vochi("audit", "--json"), await audit(dsn)
    mended = await site.vochi("audit", "--fix")
    after = await site.vochi("audit")

    assert found.code == 1
    assert [(each["column"], each["stored"], each["counted"]) for each in json.loads(found.out)] == [
        ("calls_missed_in", "7", "1"),
        ("last_line", None, "0001701"),
    ]
    assert len(found_here) == 2, "the audit of the other tests is blind"
    assert (mended.code, after.code, after.out) == (0, 0, "")


async def test_outbox_names_the_calls_that_a_crm_refused_and_lets_them_be_tried_again(site: Site) -> None:
    quiet = await site.vochi("outbox")
    site.store.calls.crms = {"0901": ["retailcrm"]}
    await site.store.calls.record(answered(started_at=datetime.now(UTC) - timedelta(minutes=5)), no_cards)
    post = await site.store.outbox.claim("0901", "retailcrm")
    assert post is not None
    await site.store.outbox.parked(post, "no such manager")

    refused, shown = await site.vochi("outbox", "--json"), await site.vochi("outbox")
    retried = await site.vochi("outbox", "--retry")
    waiting = await site.vochi("outbox", "--json")

    assert (quiet.code, quiet.out) == (0, "Every CRM lists every call.\n")
    assert (refused.code, shown.code) == (1, 1)
    assert [each["parked"] for each in refused.json()["refused"]] == ["no such manager"]
    assert "no such manager" in shown.out
    assert (retried.code, retried.out) == (0, "1 calls are tried again.\n")
    assert [(each["waiting"], each["parked"]) for each in waiting.json()["crms"]] == [(1, 0)]


@pytest.mark.parametrize("words", [("--retry", "--listed"), ("--absent",), ("--listed", "--absent")])
async def test_decisions_about_refused_calls_that_contradict_each_other_are_bad_usage(
    site: Site, words: tuple[str, ...]
) -> None:
    answer = await site.vochi("outbox", *words)

    assert (answer.code, answer.out) == (2, "")


async def test_invite_prints_a_link_that_signs_one_person_up(site: Site) -> None:
    answer = await site.vochi("invite", "151")
    link, _, code = answer.out.strip().partition("?start=")

    assert (answer.code, link) == (0, "https://t.me/vochi_bot")
    assert len(code) == 22
    operator = await site.store.operators.redeem(code, Person(7, "Анна"), ["0901"])
    assert operator == Operator(enterprise_number="0901", user_id=7, extension="151", name="Анна")
    assert await site.store.operators.redeem(code, Person(8, "Борис"), ["0901"]) is None


async def test_invite_without_telegram_prints_what_to_write(site: Site) -> None:
    site.configure(telegram_url=f"http://127.0.0.1:{free_port()}")
    answer = await site.vochi("invite", "151")
    told = await site.vochi("invite", "151", "--json")

    assert answer.code == told.code == 0
    assert answer.out.startswith("/start ")
    assert json.loads(told.out)["link"] == ""
    assert await site.store.operators.redeem(answer.out.split()[1], Person(7, "Анна"), ["0901"]) is None
    assert await site.store.operators.redeem(json.loads(told.out)["code"], Person(7, "Анна"), ["0901"])


async def test_dismiss_signs_out_whoever_there_is(site: Site) -> None:
    code = await site.store.operators.invite("0901", "151")
    await site.store.operators.redeem(code, Person(7, "Анна"), ["0901"])

    assert (await site.vochi("invite", "151", "--dismiss")).code == 0
    assert await site.store.operators.operators(7, ["0901"]) == []
    assert (await site.vochi("invite", "151", "--dismiss")).code == 1


@pytest.mark.parametrize("extension", ["1", "123456", "PJSIP/151", ""])
async def test_invite_takes_only_extensions(site: Site, extension: str) -> None:
    assert (await site.vochi("invite", extension)).code == 2
