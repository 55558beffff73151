"""`vochi-agent doctor` as a process, against a company where one thing after the other is broken."""

import socket
import time
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from tests.support.commands import Answer
from tests.support.company import AMI_SECRET, CHAT, TOKEN, Site, assert_no_secret
from tests.support.ports import free_port
from vochi_agent.asterisk.examine_records import examine_records
from vochi_agent.cli.doctor_host import examine_exposure
from vochi_agent.config import load
from vochi_agent.diagnosis import Finding, Level
from vochi_agent.simulator.pbx import User
from vochi_agent.simulator.retailcrm import Fault
from vochi_agent.store.examine import examine_gaps
from vochi_agent.store.postgres import PostgresStore
from vochi_agent.telegram.examine import examine_bot

# What commands say does not depend on the server's version; the store's own tests run on both.
pytestmark = pytest.mark.parametrize("postgres", ["18"], indirect=True)


def findings(answer: Answer, level: str) -> dict[str, str]:
    """Sentences of one level by part; of several the last."""
    return {each["part"]: each["sentence"] for each in answer.json() if each["level"] == level}


async def test_doctor_finds_nothing_wrong_in_a_company_where_everything_works(site: Site) -> None:
    answer = await site.vochi("doctor", "--json")

    assert answer.code == 0, answer.out
    assert findings(answer, "problem") == {}
    fine = [(each["part"], each["sentence"]) for each in answer.json() if each["level"] == "ok"]
    assert ("ami 0901", "Asterisk 22.10.1") in fine
    assert ("ami 0901", "the PBX's clock differs from ours by 0.0 s") in fine
    assert ("retailcrm 0901", "it accepts our key and searches customers") in fine
    assert ("telegram 0901", "the bot is @vochi_bot") in fine
    assert ("telegram 0901", f"chat {CHAT} «Продажи»: the bot is in") in fine
    assert ("database", "the schema is that of this version") in fine
    assert [each for part, each in fine if part == "cel 0901" and "21 columns" in each]
    assert "ari 0901" in findings(answer, "warning")
    assert {tuple(each) for each in answer.json()} == {("part", "level", "sentence", "cure", "reachable")}
    assert [each for each in answer.json() if each["level"] in ("warning", "problem") and not each["cure"]] == []
    assert_no_secret(answer)


async def test_doctor_calls_unknown_what_a_quiet_pbx_does_not_show(site: Site) -> None:
    answer = await site.vochi("doctor", "--json")

    unknown = [each["sentence"] for each in answer.json() if each["level"] == "unknown" and each["part"] == "ami 0901"]
    assert [each for each in unknown if each.startswith("read classes call, agent, user, dialplan: no event of them")]
    assert [each for each in unknown if each.startswith("timestampevents")]


async def test_doctor_for_people_says_the_same_in_lines_and_a_sum(site: Site) -> None:
    site.configure(cel=site.folder / "nowhere.csv")
    answer = await site.vochi("doctor")

    assert answer.code == 1
    at = answer.out.splitlines()
    (line,) = [number for number, text in enumerate(at) if text.startswith("problem ")]
    assert at[line].split(maxsplit=3)[1:3] == ["cel", "0901"]
    assert "nowhere.csv does not exist" in at[line]
    assert at[line + 1].strip().startswith("-> cel.conf and cel_custom.conf")
    assert at[-1].startswith("problem: 1, ")
    assert_no_secret(answer)


async def test_a_wrong_ami_password_is_said_in_a_sentence_and_exits_3(site: Site) -> None:
    site.write(site.config.read_text(), ami_secret="wrong-secret-1")
    answer = await site.vochi("doctor", "--json")

    assert answer.code == 3
    (refused,) = [each for each in answer.json() if each["level"] == "problem"]
    assert refused["part"] == "ami 0901"
    assert "AMI user 'vochi' is not let in (Login: Authentication failed)" in refused["sentence"]
    assert "manager.conf" in refused["cure"]
    assert refused["reachable"] is False
    assert "wrong-secret-1" not in answer.out


async def test_a_dead_asterisk_exits_3_and_the_other_parts_are_looked_at_all_the_same(site: Site) -> None:
    site.configure(ami_port=free_port())
    answer = await site.vochi("doctor", "--json")

    assert answer.code == 3
    assert set(findings(answer, "problem")) == {"ami 0901"}
    assert "takes no connection" in findings(answer, "problem")["ami 0901"]
    assert {"database", "retailcrm 0901", "telegram 0901"} <= set(findings(answer, "ok"))


async def test_rights_that_are_missing_are_named_with_their_cost(site: Site) -> None:
    site.pbx.manager.users["vochi"] = User(secret=AMI_SECRET, write=frozenset({"originate"}))
    answer = await site.vochi("doctor", "--json")

    assert answer.code == 1
    about = [each for each in answer.json() if each["part"] == "ami 0901"]
    assert [each["level"] for each in about if each["sentence"].startswith("write class call is missing")] == [
        "problem"
    ]
    assert [each["level"] for each in about if "reporting is missing" in each["sentence"]] == ["warning"]


async def test_a_refused_key_a_refused_token_and_a_dead_database_are_three_findings(site: Site) -> None:
    site.configure(dsn=f"postgresql://vochi:Db-Secret-77@127.0.0.1:{free_port()}/vochi")
    (site.folder / "retailcrm-key").write_text("another-key-000")
    (site.folder / "telegram-token").write_text("4242:another-Token-000")
    answer = await site.vochi("doctor", "--json")

    problems = findings(answer, "problem")
    assert answer.code == 3
    assert set(problems) == {"database", "retailcrm 0901", "telegram 0901"}
    assert problems["retailcrm 0901"].startswith("it refuses our key")
    assert "Unauthorized" in problems["telegram 0901"]
    for secret in ("another-key-000", "another-Token-000", "Db-Secret-77"):
        assert secret not in answer.out + answer.err


async def test_a_crm_that_answers_with_a_web_page_and_a_chat_without_the_bot_are_found(site: Site) -> None:
    site.crm.fault = Fault.HTML
    site.configure(chat=-1001000000777)
    answer = await site.vochi("doctor", "--json")

    assert answer.code == 3
    assert "a web page instead of JSON" in findings(answer, "problem")["retailcrm 0901"]
    assert "chat -1001000000777: Bad Request: chat not found" in findings(answer, "problem")["telegram 0901"]


WEBHOOK = 'public_url = "https://pbx.example/vochi"\n[telegram]\nupdates = "webhook"'
OURS, THEIRS = "https://pbx.example/vochi/webhooks/telegram/4242", "https://other.example/bot?key=Their-Secret"


@pytest.mark.parametrize(
    ("mode", "url", "level", "sentence"),
    [
        (
            "polling",
            THEIRS,
            "problem",
            "the bot has a webhook on other.example that is not of this configuration, so th",
        ),
        ("polling", OURS, "", ""),
        ("polling", "", "", ""),
        ("webhook", THEIRS, "problem", "what people write is brought to other.example, to another program"),
        ("webhook", "", "warning", "the webhook of this configuration is not set"),
        ("webhook", OURS.replace("/vochi", ""), "warning", "the webhook of this configuration is not set"),
        ("webhook", OURS, "ok", "what people write is brought to pbx.example"),
    ],
)
async def test_a_webhook_that_is_not_as_configured_is_found_with_its_cure(
    site: Site, mode: str, url: str, level: str, sentence: str
) -> None:
    if mode == "webhook":
        site.config.write_text(site.config.read_text().replace("[telegram]", WEBHOOK))
    site.telegram.mailbox.set_webhook(url)
    answer = await site.vochi("doctor", "--json")

    about = [each for each in answer.json() if each["part"] == "telegram 0901"]
    hook = [each for each in about if "webhook" in each["sentence"] or "brought" in each["sentence"]]
    assert [each["level"] for each in hook] == ([level] if level else [])
    assert all(each["sentence"].startswith(sentence) for each in hook)
    assert all(each["cure"] for each in hook if level != "ok")
    assert "Their-Secret" not in answer.out
    assert_no_secret(answer)


async def test_what_telegram_says_of_a_webhook_that_it_cannot_reach_is_shown(site: Site) -> None:
    site.config.write_text(site.config.read_text().replace("[telegram]", WEBHOOK))
    site.telegram.courier.hurry = 0.001
    site.telegram.courier.set({"url": f"http://127.0.0.1:{free_port()}/webhooks/telegram/4242"})
    site.telegram.write(site.telegram.add_chat(7).id, "/help", user_id=7)
    await site.telegram.until(lambda: site.telegram.courier.posts > 0)
    site.telegram.mailbox.webhook = OURS
    answer = await site.vochi("doctor", "--json")

    assert answer.code == 1
    found = findings(answer, "problem")["telegram 0901"]
    assert found == "Telegram cannot bring 1 updates to pbx.example: Connection refused"


async def test_a_port_that_somebody_else_holds_is_named_with_its_holder(site: Site) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        site.configure(agi_port=other.getsockname()[1])
        answer = await site.vochi("doctor", "--json")

    assert answer.code == 1
    assert "listens there already" in findings(answer, "problem")["fastagi"]
    assert "(pid " in findings(answer, "problem")["fastagi"]


async def test_columns_of_cel_in_another_order_are_a_problem(site: Site) -> None:
    cel = site.folder / "vochi.csv"
    cel.write_text(cel.read_text().replace("EventType,EventTime", "EventType,CIDname", 1))
    answer = await site.vochi("doctor", "--json")

    assert answer.code == 1
    assert "CIDname stands where EventTime belongs" in findings(answer, "problem")["cel 0901"]


async def test_an_embedded_database_that_was_never_made_is_not_made_by_looking(site: Site) -> None:
    site.configure(dsn="embedded")
    answer = await site.vochi("doctor", "--json")
    calls = await site.vochi("calls")

    assert answer.code == 0
    assert "does not exist yet" in findings(answer, "warning")["database"]
    assert (calls.code, calls.out) == (2, "")
    assert "vochi-agent migrate" in calls.err
    assert not (site.folder / "state").exists()


# ---------------------------------------------------------------- Telegram


async def test_rights_of_the_bot_in_each_kind_of_chat_are_told_apart(site: Site) -> None:
    loaded = load(site.config)
    config, enterprise = loaded.telegram, loaded.enterprises[0]
    chat = site.telegram.chat(CHAT)
    cases: list[tuple[dict[str, object], str]] = [
        ({"is_channel": True}, "is a channel in which the bot may not post"),
        ({"is_channel": True, "member": {"status": "administrator", "can_post_messages": True}}, ""),
        ({"is_channel": False, "permissions": {"can_send_messages": False}, "member": {"status": "member"}},
         "members may not write there, and the bot is one"),
        ({"member": {"status": "administrator"}}, ""),
        ({"permissions": {}, "member": {"status": "restricted", "can_send_messages": False}}, "may not write there"),
    ]  # fmt: skip
    for change, words in cases:
        for name, value in change.items():
            setattr(chat, name, value)
        found = await examine_bot("telegram 0901", config, TOKEN, enterprise.chats, public_url="")
        wrong = [finding.sentence for finding in found if finding.level is Level.PROBLEM]
        assert [words in sentence for sentence in wrong] == ([True] if words else [])

    in_topic = enterprise.chats[0].model_copy(update={"topic": 7})
    (_, found_chat) = await examine_bot("telegram 0901", config, TOKEN, [in_topic], public_url="")
    assert found_chat.sentence == f"chat {CHAT} «Продажи» has no topics"


async def test_a_test_card_reaches_every_chat_once_and_says_what_it_is_told_of(site: Site) -> None:
    site.telegram.add_chat(-1001000000002, topics=[7])
    more = """
  [[enterprises.chats]]
  id = -1001000000002
  topic = 7
  missed_only = true
  lines = ["0001701"]
  agents = ["151"]
  quiet = "22:00-08:00"
  mask_phones = true
"""
    site.config.write_text(site.config.read_text() + more)

    answer = await site.vochi("doctor", "--test-card")

    assert answer.code == 0, answer.out
    (first,), (second,) = site.telegram.messages(CHAT), site.telegram.messages(-1001000000002)
    assert first.text.splitlines() == [
        "🔔Проверка: сюда приходят карточки звонков",
        "🏢Ромашка",
        "📞входящие, исходящие",
    ]
    assert second.text.splitlines()[2:] == [
        "📞Только пропущенные: входящие, исходящие",
        "📡МТС Центр",
        "☎️151",
        "🌙Ночью молчим: 22:00-08:00",
        "🙈Номера скрыты",
    ]
    assert (first.silent, second.silent, second.topic) == (True, True, 7)
    assert_no_secret(answer)


async def test_a_test_card_that_is_refused_is_a_problem_and_one_without_an_answer_exits_3(site: Site) -> None:
    site.telegram.chat(CHAT).closed = "bot was kicked from the supergroup chat"
    refused = await site.vochi("doctor", "--test-card", "--json")
    site.config.write_text(site.config.read_text().replace(site.telegram.url, f"http://127.0.0.1:{free_port()}"))
    silent = await site.vochi("doctor", "--test-card", "--json")

    assert (refused.code, silent.code) == (1, 3)
    assert "bot was kicked" in findings(refused, "problem")["telegram 0901"]
    assert_no_secret(silent)


# ---------------------------------------------------------------- records, gaps, doors


async def test_gaps_that_nobody_closed_are_counted(store: PostgresStore) -> None:
    began = datetime(2026, 11, 1, 8, tzinfo=UTC)
    for hours in (0, 3):
        span = await store.watched.open_span("0901", began + timedelta(hours=hours))
        await store.watched.advance(span, began + timedelta(hours=hours + 1))

    found = await examine_gaps(store, "0901", began + timedelta(hours=10))
    fresh = await examine_gaps(store, "0901", began + timedelta(hours=1))

    assert found.level is Level.WARNING
    assert found.sentence.startswith("2 gaps, 8.0 h in all, the oldest of 2026-11-01 09:00 UTC")
    assert fresh.level is Level.OK


async def test_cel_in_a_database_is_looked_at(site: Site, dsn: str) -> None:
    place = load(site.config).enterprises[0].asterisk.model_copy(update={"cel": dsn})

    async def looked() -> Finding:
        return (await examine_records("0901", place, clock=time.time))[0]

    assert (await looked()).closed
    columns = "eventtype text, channame text, uniqueid text, linkedid text, cid_num text, exten text"
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(f"CREATE TABLE cel (id serial, eventtime timestamp, {columns})")
        empty = await looked()
        await connection.execute("INSERT INTO cel (eventtime) VALUES (now() at time zone 'utc')")
        some = await looked()
        await connection.execute("ALTER TABLE cel DROP COLUMN linkedid")
        broken = await looked()
    finally:
        await connection.close()

    assert (empty.level, empty.sentence) == (Level.UNKNOWN, "the CEL table answers and has no row of the last day")
    assert some.level is Level.WARNING
    assert some.sentence.startswith("the CEL table has no column AppName, AppData, UserDefType, EventExtra")
    assert (broken.level, "LinkedID" in broken.sentence) == (Level.PROBLEM, True)


async def test_a_manager_interface_that_is_open_to_the_network_is_a_warning(site: Site) -> None:
    with socket.create_server(("0.0.0.0", 0)) as everywhere:
        site.configure(ami_port=everywhere.getsockname()[1])
        (found,) = examine_exposure(load(site.config).enterprises[0])

    assert found.level is Level.WARNING
    assert "listens on 0.0.0.0: AMI is open to the network" in found.sentence


def test_who_else_reaches_another_machine_is_not_known(site: Site) -> None:
    site.config.write_text(site.config.read_text().replace('ami = "127.0.0.1', 'ami = "192.0.2.5'))
    (found,) = examine_exposure(load(site.config).enterprises[0])

    assert (found.level, "is another machine" in found.sentence) == (Level.UNKNOWN, True)
