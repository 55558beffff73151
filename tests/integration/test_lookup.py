"""`vochi-agent lookup` as a process, against a sandbox CRM and PostgreSQL."""

import pytest

from tests.support.company import CONTACT, PERSON, STRANGER, Site
from tests.support.ports import free_port
from vochi_agent.customers.model import Names, Profile
from vochi_agent.simulator.retailcrm import Fault

# What commands say does not depend on the server's version; the store's own tests run on both.
pytestmark = pytest.mark.parametrize("postgres", ["18"], indirect=True)


async def test_lookup_shows_what_the_handset_would_show_and_who_said_it(site: Site) -> None:
    answer = await site.vochi("lookup", "80290000033", "--line", "0001701", "--json")

    assert answer.code == 0
    found = answer.json()
    assert found.pop("ms") < 1500
    assert found == {
        "phone": CONTACT,
        "line": "0001701",
        "shown": "Ромашка | МТС Центр | Салон 1",
        "name": "Сидоров Олег",
        "company": "Ромашка",
        "source": "retailcrm",
        "status": "ok",
        "crm": "hit",
        "black_list": False,
        "route": "",
    }
    assert await site.store.customers.customer("0901", CONTACT) is None


async def test_lookup_for_people_formats_the_number(site: Site) -> None:
    answer = await site.vochi("lookup", PERSON)

    assert answer.out.splitlines()[0] == "Иванов Пётр"
    assert "number  +375 (29) 000-00-11" in answer.out
    assert "source  retailcrm" in answer.out


async def test_a_narrow_handset_shows_less(site: Site) -> None:
    answer = await site.vochi("lookup", PERSON, "--line", "0001701", "--agent", "151")

    assert answer.out.splitlines()[0] == "Иванов Пётр"


async def test_lookup_shows_each_telephone_in_its_own_letters(site: Site) -> None:
    told = site.config.read_text().replace("name_width = 12", 'name_width = 12\n  charset = "latin"')
    site.config.write_text(told.replace('extension = "151"', 'extension = "151"\n  endpoint = "PJSIP/desk-1"'))
    old = await site.vochi("lookup", "80290000033", "--line", "0001701", "--agent", "151")
    new = await site.vochi("lookup", "80290000033", "--line", "0001701", "--agent", "152")

    assert old.out.splitlines()[0] == "Romashka"
    assert new.out.splitlines()[0] == "Ромашка | МТС Центр | Салон 1"


async def test_lookup_says_who_is_blocked(site: Site) -> None:
    site.config.write_text(site.config.read_text().replace('country = "BY"', 'country = "BY"\nblock = ["+37529*"]'))
    answer = await site.vochi("lookup", PERSON, "--json")

    assert (answer.json()["status"], answer.json()["black_list"]) == ("blocked", True)


async def test_lookup_of_a_stranger_exits_1_and_shows_line_and_shop(site: Site) -> None:
    answer = await site.vochi("lookup", STRANGER, "--line", "0001701", "--json")

    assert answer.code == 1
    assert (answer.json()["shown"], answer.json()["source"]) == ("МТС Центр | Салон 1", None)


async def test_lookup_takes_the_own_table_when_the_crm_is_dead(site: Site) -> None:
    profile = Profile(source="retailcrm", external_id="7", names=Names(last_name="Иванов", first_name="Пётр"))
    await site.store.customers.enrich("0901", PERSON, profile, primary=True)
    site.crm.fault = Fault.REFUSE
    known = await site.vochi("lookup", PERSON, "--json")
    unknown = await site.vochi("lookup", STRANGER, "--json")

    assert known.code == 0
    assert (known.json()["shown"], known.json()["source"]) == ("Иванов Пётр", "customers")
    assert known.json()["crm"] in ("error", "timeout")
    # Nobody may be known because nobody could be asked: that is not a "no".
    assert unknown.code == 3


async def test_lookup_needs_no_database_when_the_crm_knows(site: Site) -> None:
    site.configure(dsn=f"postgresql://vochi@127.0.0.1:{free_port()}/vochi")
    answer = await site.vochi("lookup", PERSON)

    assert answer.code == 0
    assert "database  does not answer" in answer.out
