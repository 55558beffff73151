"""`recover` and `record` as processes, beside a company whose PBX, database and chat are there."""

import signal
from datetime import timedelta
from pathlib import Path

import pytest

from tests.support.calls import NOON, missed
from tests.support.company import CONTACT, PERSON, STRANGER, Site, assert_no_secret
from tests.support.pbx_records import cel_lines
from tests.support.polling import until
from tests.support.ports import free_port
from tests.support.renderers import no_cards
from vochi_agent.calls.model import Source
from vochi_agent.protocols.ami import AmiReader
from vochi_agent.simulator.retailcrm import Fault
from vochi_agent.store.reports import CallFilter

# What commands say does not depend on the server's version; the store's own tests run on both.
pytestmark = pytest.mark.parametrize("postgres", ["18"], indirect=True)

SINCE = "2026-11-20T13:24:00"  # Minsk


@pytest.fixture
def cel(site: Site) -> Path:
    """Three calls of the lab, on this company's trunk and phone."""
    lines = cel_lines("inbound-answered", "inbound-noanswer", "outbound-answered")
    text = "".join(lines).replace("PJSIP/trunk", "PJSIP/gsm1").replace("PJSIP/101", "PJSIP/151")
    path = site.folder / "vochi.csv"
    path.write_text(text, encoding="utf-8")
    return path


async def test_recover_says_what_it_did_and_a_second_time_does_nothing(site: Site, cel: Path) -> None:
    first = await site.vochi("recover", "--since", SINCE)
    calls = await site.store.reports.calls(CallFilter())
    second = await site.vochi("recover", "--since", SINCE, "--json")

    assert (first.code, second.code) == (0, 0), first.err
    assert first.out.splitlines()[0].split() == ["company", "since", "found", "already", "known", "stored", "corrected"]
    assert first.out.splitlines()[1].split() == ["0901", "2026-11-20", "13:24:00", "3", "0", "3", "0"]
    [report] = second.json()
    assert report == {
        "enterprise_number": "0901", "since": "2026-11-20T10:24:00.000Z",
        "found": 3, "known": 3, "stored": 0, "corrected": 0,
    }  # fmt: skip
    assert {call.source for call in calls} == {Source.RECOVERY}
    assert await site.store.reports.calls(CallFilter()) == calls


async def test_without_since_it_goes_on_where_everything_is_known(site: Site, cel: Path) -> None:
    """The first time that is everything; afterwards nothing is left to do."""
    first = (await site.vochi("recover", "--json")).json()[0]
    second = (await site.vochi("recover", "--json")).json()[0]

    assert (first["since"], first["stored"]) == ("1970-01-01T00:00:00.000Z", 3)
    assert (second["found"], second["stored"]) == (0, 0)
    assert second["since"] > "2026-11-20"


async def test_names_are_asked_for_afterwards_those_who_called_last_first(site: Site) -> None:
    """Who has a name already is not asked about; whom nobody knows stays nameless."""
    for number, phone in enumerate((PERSON, CONTACT, STRANGER, "+375290000044")):
        call = missed(linkedid=f"1.{number}", phone=phone, started_at=NOON + timedelta(minutes=number))
        await site.store.calls.record(call, no_cards)
    await site.store.customers.edit("0901", "+375290000044", {"first_name": "Анна"})
    answer = await site.vochi("recover", "--since", "1m", "--names", "--json")

    assert answer.code == 0, answer.err
    assert (answer.json()[0]["asked"], answer.json()[0]["named"]) == (3, 2)
    customers = [await site.store.customers.customer("0901", phone) for phone in (PERSON, CONTACT, STRANGER)]
    assert [each.names.display for each in customers if each] == ["Иванов Пётр", "Ромашка", ""]


async def test_a_crm_too_slow_for_telephones_that_ring_names_customers_afterwards(site: Site) -> None:
    await site.store.calls.record(missed(linkedid="1.1", phone=PERSON), no_cards)
    site.config.write_text(site.config.read_text().replace("api_key_file", "timeout_s = 0.1\n  api_key_file"))
    site.crm.fault, site.crm.silence_s = Fault.SILENCE, 0.2
    answer = await site.vochi("recover", "--since", "1m", "--names", "--json")

    assert answer.code == 0, answer.err
    assert (answer.json()[0]["asked"], answer.json()[0]["named"]) == (1, 1)


async def test_a_company_without_a_crm_keeps_no_other_from_its_names(site: Site, cel: Path) -> None:
    site.config.write_text(
        site.config.read_text()
        + f"""
[[enterprises]]
number = "0902"
country = "BY"
[enterprises.asterisk]
ami = "127.0.0.1:{free_port()}"
ami_username = "vochi"
ami_secret = "another"
cel = "{cel}"
"""
    )
    answer = await site.vochi("recover", "--since", "1m", "--names")
    of_none = await site.vochi("recover", "--since", "1m", "--names", "--enterprise", "0902")

    assert answer.code == 0
    assert "0902: there is no CRM that could be asked for names" in answer.err
    assert "0901: 0 customers asked about, 0 named" in answer.out
    assert (of_none.code, of_none.out) == (2, "")


async def test_a_crm_that_is_away_is_not_asked_for_ever(site: Site) -> None:
    for number in range(20):
        await site.store.calls.record(missed(linkedid=f"1.{number}", phone=f"+3752911111{number:02}"), no_cards)
    site.configure(crm_url=f"http://127.0.0.1:{free_port()}")
    answer = await site.vochi("recover", "--since", "1m", "--names")

    assert (answer.code, answer.out) == (3, "")
    assert "the CRM does not answer" in answer.err


@pytest.mark.parametrize("since", ["yesterday", "2026-13-40", "5x", "-1d"])
async def test_a_time_that_is_none_is_bad_usage(site: Site, since: str) -> None:
    answer = await site.vochi("recover", f"--since={since}")

    assert (answer.code, answer.out) == (2, "")
    assert "--since" in answer.err


async def test_without_records_nothing_can_be_recovered(site: Site) -> None:
    site.configure(cel="")
    answer = await site.vochi("recover", "--since", "2d")

    assert answer.code == 1
    assert "neither asterisk.cel nor asterisk.cdr" in answer.err


async def test_records_that_cannot_be_read_exit_3(site: Site) -> None:
    site.configure(cel=site.folder / "gone.csv")
    answer = await site.vochi("recover", "--since", "2d")

    assert (answer.code, answer.out) == (3, "")
    assert "gone.csv" in answer.err


async def test_a_pbx_that_is_away_does_not_stop_it(site: Site, cel: Path) -> None:
    site.configure(ami_port=free_port())
    answer = await site.vochi("recover", "--since", SINCE, "--json")

    assert (answer.code, answer.json()[0]["stored"]) == (0, 3)
    assert "calls without an end are left out" in answer.err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_record_writes_what_replay_reads(site: Site, number: signal.Signals) -> None:
    path = site.folder / "live.raw"
    path.touch(mode=0o644)

    async def logged_in() -> bool:
        return any(session._user for session in site.pbx.manager._sessions)

    async def written() -> bool:
        return path.read_bytes().count(b"Event: Hangup\r\n") == 2

    process = await site._start("record", "--mask", str(path))
    await until(logged_in, within=20)
    linkedid = await site.pbx.inbound(
        trunk="PJSIP/gsm1", did="0001701", caller="375291234567", ring=["151"], answer="151"
    )
    await until(written, within=20)
    process.send_signal(number)
    _, said = await process.communicate()

    assert process.returncode == 0, said.decode()
    assert path.stat().st_mode & 0o777 == 0o600
    events = AmiReader().receive_data(path.read_bytes())
    assert events
    assert all(event.get("Timestamp") for event in events)
    assert b"1234567" not in path.read_bytes()
    replayed = await site.vochi("replay", "--ami", str(path))
    assert (replayed.json()["linkedid"], replayed.json()["status"]) == (linkedid, "answered")


async def test_record_of_a_pbx_that_refuses_exits_3(site: Site) -> None:
    (site.folder / "ami-secret").write_text("wrong\n")
    refused = await site.vochi("record", str(site.folder / "live.raw"))
    site.configure(ami_port=free_port())
    away = await site.vochi("record", str(site.folder / "live.raw"))

    assert (refused.code, away.code) == (3, 3)
    assert_no_secret(refused)


async def test_record_into_a_folder_that_is_not_there_exits_2(site: Site) -> None:
    answer = await site.vochi("record", str(site.folder / "nowhere" / "live.raw"))

    assert answer.code == 2
    assert "nowhere" in answer.err
