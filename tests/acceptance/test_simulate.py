"""`vochi-agent simulate` against the daemon as a process of its own, with a real PostgreSQL."""

import re
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from tests.support.commands import Workplace
from tests.support.polling import until
from tests.support.postgres import PostgresServer
from tests.support.simulated import company
from vochi_agent.simulator.scenario import shipped

TWO_CALLS = "speed = 20.0\n[[calls]]\n[[calls]]\nkind = 'internal'\nstart_s = 5\n"


@pytest.fixture
async def workplace(tmp_path: Path, postgres: PostgresServer) -> AsyncIterator[tuple[Workplace, str]]:
    """A company whose PBX, CRM and chat nobody plays yet, and its database."""
    async with postgres.database() as dsn:
        place = Workplace(tmp_path)
        place.write(company(tmp_path, dsn))
        yield place, dsn


async def test_a_morning_in_the_office_is_named_stored_and_told(workplace: tuple[Workplace, str]) -> None:
    """Fifty calls, two queues, a transfer and a dead CRM."""
    place, dsn = workplace
    async with place.daemon():
        answer = await place.vochi("simulate", "office", "--speed", "15", "--json")
        ledger = await rows(dsn)

    found = answer.json()
    assert answer.code == 0, answer.err
    assert found["kinds"] == {"in": 42, "internal": 2, "out": 6}
    assert found["stored"] == 50
    assert sum(found["dialplan"].values()) == 42
    assert found["dialplan"]["ok"] >= 10  # the first call of a known customer may meet the dead CRM
    assert found["slowest_s"] < 1.9
    assert found["cards"] > 0
    assert Counter(row["direction"] for row in ledger) == found["kinds"]
    assert Counter(row["reason"] for row in ledger)["abandoned_queue"] == 5
    assert [tuple(row["path"]) for row in ledger if len(row["path"]) == 2 and row["direction"] == "in"] == [
        ("150", "152")
    ]
    replayed = await place.vochi("replay", "--cel", str(place.folder / "vochi.csv"))
    assert len(replayed.out.splitlines()) == 50


async def test_a_rush_loses_no_call_though_the_connection_breaks_in_the_middle(
    workplace: tuple[Workplace, str],
) -> None:
    """What nobody watched comes from CEL; a call that was cut in two is one call."""
    place, dsn = workplace
    async with place.daemon():
        answer = await place.vochi("simulate", "rush", "--speed", "5", "--json")

        async def whole() -> bool:
            return [row["partial"] for row in await rows(dsn)] == [False] * 60

        # The ledger is the judge: a busy machine may close the gap after `simulate` has counted.
        await until(whole, within=60)
        ledger = await rows(dsn)

    assert answer.json()["kinds"] == {"in": 60}
    assert Counter(row["status"] for row in ledger) == {"answered": 45, "missed": 15}


async def test_the_first_calls_end_as_their_comments_say(workplace: tuple[Workplace, str]) -> None:
    place, dsn = workplace
    async with place.daemon():
        answer = await place.vochi("simulate", "first-calls", "--speed", "10", "--json")
        ledger = await rows(dsn)

    assert answer.code == 0, answer.err
    assert [(row["direction"], row["reason"]) for row in ledger] == [
        ("in", "talked"), ("in", "abandoned"), ("out", "talked"), ("in", "busy"), ("in", "talked"),
        ("internal", "talked"),
    ]  # fmt: skip
    assert [row["phone_e164"] is None for row in ledger] == [False, False, False, False, True, True]


def test_every_shipped_scenario_is_played_here() -> None:
    assert shipped() == ["first-calls", "office", "rush"]


async def test_without_json_people_read_what_the_telephones_showed(workplace: tuple[Workplace, str]) -> None:
    place, _ = workplace
    (place.folder / "two.toml").write_text(TWO_CALLS)
    async with place.daemon():
        answer = await place.vochi("simulate", str(place.folder / "two.toml"))

    assert answer.code == 0, answer.err
    lines = answer.out.splitlines()
    assert lines[0] == "A scenario: 2 calls, 20 times as fast as life"
    assert re.fullmatch(r"Played here: the PBX of 0901 on \S+, RetailCRM on \S+, Telegram on \S+", lines[1])
    assert "150 rings: МТС Центр | Салон 1" in lines
    assert "stored       2 of 2" in lines
    assert "calls        2: in 1, internal 1" in lines


async def test_without_a_daemon_it_says_so_in_time(workplace: tuple[Workplace, str]) -> None:
    place, _ = workplace
    answer = await place.vochi("simulate", "first-calls", "--wait", "0.5", "--quiet")

    assert answer.code == 3
    assert re.fullmatch(
        r"no daemon came to 127.0.0.1:\d+ within 0.5 s: does `vochi-agent run` run with this configuration\?\n",
        answer.err,
    )


async def test_a_pbx_elsewhere_cannot_be_played(workplace: tuple[Workplace, str]) -> None:
    place, _ = workplace
    text = re.sub(r'ami = "127.0.0.1:\d+"', 'ami = "192.0.2.1:5038"', place.config.read_text())
    place.config.write_text(text)
    answer = await place.vochi("simulate", "first-calls")

    assert answer.code == 2
    assert answer.err == "enterprises.asterisk.ami is 192.0.2.1:5038; allowed here: an address of this machine\n"


async def test_the_cel_of_an_asterisk_is_left_alone(workplace: tuple[Workplace, str]) -> None:
    place, _ = workplace
    cel = place.folder / "vochi.csv"
    cel.write_text('"CHAN_START","1795170244.448676"\n')
    answer = await place.vochi("simulate", "first-calls")

    assert answer.code == 2
    assert answer.err == (f"enterprises.asterisk.cel is {cel}, which an Asterisk writes; needed: a file of its own\n")
    assert cel.read_text() == '"CHAN_START","1795170244.448676"\n'


async def test_a_dead_crm_cannot_be_played_for_a_real_one(workplace: tuple[Workplace, str]) -> None:
    place, _ = workplace
    text = re.sub(r'url = "http://127.0.0.1:\d+"', 'url = "https://demo.retailcrm.example"', place.config.read_text())
    place.config.write_text(text)
    answer = await place.vochi("simulate", "office")

    assert answer.code == 2
    assert answer.err.startswith("office: troubles[#1], customers: the CRM is not played; needed: ")


async def rows(dsn: str) -> list[asyncpg.Record]:
    connection = await asyncpg.connect(dsn)
    try:
        return await connection.fetch("SELECT * FROM calls WHERE merged_into IS NULL ORDER BY started_at")
    finally:
        await connection.close()
