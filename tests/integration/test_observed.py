"""What a daemon shows of itself on a day with strangers: its metrics, whose labels nobody outside can add to, and its
log, in which nobody outside can write a line.
"""

import asyncio
import json
import re
import signal
from collections.abc import Sequence

import aiohttp
import pytest
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from tests.support.company import AMI_SECRET, API_KEY, CHAT, PERSON, STRANGER, TOKEN, Site
from tests.support.metric_tables import documented
from tests.support.polling import until
from vochi_agent.simulator.pbx_manager import User

# What people see does not depend on the server's version; the store's own tests run on both.
pytestmark = pytest.mark.parametrize("postgres", ["18"], indirect=True)

HOOK_SECRET = "hook-Sesam-77"
# As far as they can come in a name over AMI, in a body over HTTP and in a header of FastAGI.
FORGED = 'Вася\x1b[2J\u202e"}{"level":"error","message":"forged"}\x85\u2028'
STRANGERS = (
    "/webhooks/0901/retailcrm/wrong",
    f"/webhooks/0902/retailcrm/{HOOK_SECRET}",
    "/webhooks/375290000099/+375290000099/x",
    "/no/such/place",
)


@pytest.fixture
def day(site: Site) -> Site:
    """The company with a webhook."""
    written = site.config.read_text()
    key = 'api_key_file = "retailcrm-key"'
    assert key in written
    site.write(
        written.replace(key, key + '\n  webhook_secret_file = "hook-secret"'),
        ami_secret=AMI_SECRET,
        retailcrm_key=API_KEY,
        telegram_token=TOKEN,
        hook_secret=HOOK_SECRET,
    )
    return site


async def families(site: Site) -> dict[str, Metric]:
    """What `/metrics` says, by the names of the documentation; when each series was born has no labels of its own."""
    async with aiohttp.ClientSession() as http, http.get(f"{address(site)}/metrics") as answer:
        assert answer.status == 200
        found = text_string_to_metric_families(await answer.text())
        known = (each for each in found if not each.name.endswith("_created"))
        return {f"{each.name}_total" if each.type == "counter" else each.name: each for each in known}


def address(site: Site) -> str:
    return f"http://127.0.0.1:{site.values['http_port']}"


async def play(site: Site) -> None:
    """Three calls, then everything that strangers can send."""
    site.telegram.chat(CHAT).closed = f"bot was kicked {FORGED}"
    inbound = {"trunk": "PJSIP/gsm1", "did": "0001701"}
    await site.pbx.inbound(**inbound, caller=PERSON, ring=["151"], answer="151")
    await site.pbx.inbound(**inbound, caller=STRANGER, caller_name=FORGED, ring=["151"], timeout_s=2)
    await site.pbx.inbound(**inbound, caller="375290000077", caller_name=PERSON, ring=["151"], gives_up_s=10)
    async with aiohttp.ClientSession() as http:
        for number, path in enumerate(STRANGERS * 5):
            async with http.post(f"{address(site)}{path}{number}", data=FORGED.encode()) as answer:
                assert answer.status == 404
        own = f"{address(site)}/webhooks/0901/retailcrm/{HOOK_SECRET}"
        for _ in range(5):
            async with http.post(own, data=f"phone={PERSON}&name={FORGED}\r\n{{forged}}".encode()) as answer:
                assert answer.status == 422
    for uniqueid in ("1.1", FORGED, PERSON):
        await ask(int(str(site.values["agi_port"])), uniqueid)


async def ask(port: int, uniqueid: str) -> None:
    """A question of the dialplan of an enterprise that does not exist, answered as it is."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    head = f"agi_network_script: callerid\nagi_uniqueid: {uniqueid}\nagi_callerid: {PERSON}\nagi_calleridname: {FORGED}"
    writer.write(f"agi_network: yes\n{head}\nagi_arg_1: 0999\nagi_arg_2: 1\n\n".encode())
    async with asyncio.timeout(10):
        while await reader.readline():
            writer.write(b"200 result=1\n")
    writer.close()


async def observed(site: Site) -> tuple[dict[str, Metric], Sequence[str]]:
    """A whole day: the metrics at its end, and the lines of the log."""
    async with site.daemon() as daemon:
        await site.until_ready(daemon)
        await play(site)
        async with asyncio.timeout(30):  # the last call has to be stored, aiogram to be imported
            while not complete(found := await families(site)):
                await asyncio.sleep(0.1)
    return found, (site.folder / "daemon.log").read_text().splitlines()


def complete(found: dict[str, Metric]) -> bool:
    """Everything played has been counted, and the sender of cards is at work."""
    calls = sum(sample.value for sample in totals(found, "vochi_calls_total"))
    cards = totals(found, "vochi_cards_total") and totals(found, "vochi_telegram_budget_left")
    return calls == 3 and sinks(found) >= {"telegram", "retailcrm"} and bool(cards)


def sinks(found: dict[str, Metric]) -> set[str]:
    return {sample.labels["sink"] for sample in totals(found, "vochi_outbox_age_seconds")}


def totals(found: dict[str, Metric], name: str) -> list[Sample]:
    return [sample for sample in found[name].samples if sample.name in (name, f"{name}_count")]


async def test_a_day_with_strangers_is_seen_whole_and_adds_no_label_and_no_line(day: Site) -> None:
    found, lines = await observed(day)

    reasons = {sample.labels["reason"]: sample.value for sample in totals(found, "vochi_calls_total")}
    assert reasons == {"talked": 1, "no_answer": 1, "abandoned": 1}
    for name in ("vochi_event_lag_seconds", "vochi_loop_stall_seconds", "vochi_store_seconds"):
        assert sum(sample.value for sample in totals(found, name)) > 0, name
    assert_bounded(found)
    assert_harmless(lines)


def assert_bounded(found: dict[str, Metric]) -> None:
    """Every label is of the configuration or one of the documented words."""
    configured = {
        "enterprise": {"0901"},
        "source": {"retailcrm"},
        "sink": {"retailcrm", "telegram"},
        "chat": {str(CHAT)},
    }
    rows = documented()
    strange = {
        (name, label, word)
        for name, family in found.items()
        for sample in family.samples
        for label, word in sample.labels.items()
        if label != "le" and word not in (rows[name].labels[label] or configured[label])
    }
    assert strange == set()


def assert_harmless(lines: Sequence[str]) -> None:
    """One JSON object a line, nothing that steers a terminal, no phone, no secret."""
    records = [json.loads(line) for line in lines]
    assert all(line.isprintable() for line in lines)
    by_action = {record.get("action"): record for record in records}
    assert {"webhook_not_understood", "telegram_lost", "ready"} <= set(by_action)
    assert re.fullmatch(r"[\w.-]*\d+\.\d+", by_action["telegram_lost"]["linkedid"]), "of the call whose card it was"
    assert not [record for record in records if record["message"] == "forged"]
    whole = "\n".join(lines)
    assert not re.findall(r"37529000\d{4}|802900000\d\d", whole)
    assert [secret for secret in (AMI_SECRET, API_KEY, TOKEN, HOOK_SECRET) if secret in whole] == []


async def test_the_time_is_watched_also_by_a_user_who_may_not_list_calls(site: Site) -> None:
    """Else nothing that happens in a later outage would be looked for."""
    site.pbx.manager.users["vochi"] = User(secret=AMI_SECRET, write=frozenset({"call"}))

    async def watched() -> bool:
        return await site.store.watched.first_watched("0901") is not None

    async with site.daemon() as daemon:
        await site.until_ready(daemon)
        await until(watched, within=10)


async def test_the_level_of_the_log_changes_while_the_daemon_runs(site: Site) -> None:
    quiet = site.config.read_text() + '\n[log]\nlevel = "error"\n'
    site.config.write_text(quiet)
    async with site.daemon() as daemon:
        await site.until_ready(daemon)
        site.config.write_text(quiet.replace('"error"', '"debug"'))
        daemon.send_signal(signal.SIGHUP)

    records = [json.loads(line) for line in (site.folder / "daemon.log").read_text().splitlines()]
    assert records[0]["action"] == "reloaded", "nothing before it was an error"
