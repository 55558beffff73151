"""`phonebook import` as people run it, and what it leaves in the customers' table."""

from collections.abc import AsyncIterator

import asyncpg
import pytest

from tests.support.calls import answered
from tests.support.company import Site
from tests.support.many_calls import write_calls
from tests.support.renderers import no_cards
from vochi_agent.customers.model import Names, Profile

# What commands say does not depend on the server's version; the store's own tests run on both.
pytestmark = pytest.mark.parametrize("postgres", ["18"], indirect=True)

ROWS = "SELECT * FROM customers ORDER BY phone_e164"
HEAD = "Фамилия;Имя;Компания;Телефон\n"
FILE = HEAD + "Иванов;Пётр;;+375 29 000-00-11, 8 029 000-00-12\nСидоров;Олег;Ромашка;80290000033\n"
PETR, SECOND, OLEG = "+375290000011", "+375290000012", "+375290000033"


@pytest.fixture
async def connection(dsn: str) -> AsyncIterator[asyncpg.Connection]:
    """An observer beside the command."""
    connection = await asyncpg.connect(dsn)
    yield connection
    await connection.close()


async def put(site: Site, text: str | bytes, *options: str, name: str = "book.csv") -> dict[str, object]:
    (site.folder / name).write_bytes(text.encode() if isinstance(text, str) else text)
    answer = await site.vochi("phonebook", "import", "--json", *options, str(site.folder / name))
    assert answer.code == (1 if answer.json()["skipped"] else 0), answer.err
    return dict(answer.json())


async def name_of(site: Site, phone: str) -> Names:
    customer = await site.store.customers.customer("0901", phone)
    assert customer is not None
    return customer.names


async def test_a_file_twice_changes_nothing_and_a_changed_one_updates(
    site: Site, connection: asyncpg.Connection
) -> None:
    text = site.config.read_text()
    site.config.write_text(text.replace('number = "0901"', 'number = "0901"\nprimary_source = "phonebook"'))
    first = await put(site, FILE)
    rows = await connection.fetch(ROWS)
    second = await put(site, FILE)
    assert await connection.fetch(ROWS) == rows
    third = await put(site, FILE.replace("Иванов", "Иванова").replace("Пётр", "Анна"))

    assert first == {"lines": [], "imported": 2, "updated": 0, "unchanged": 0, "skipped": 0}
    assert second == {"lines": [], "imported": 0, "updated": 0, "unchanged": 2, "skipped": 0}
    assert third == {"lines": [], "imported": 0, "updated": 1, "unchanged": 1, "skipped": 0}
    assert await name_of(site, PETR) == await name_of(site, SECOND) == Names(last_name="Иванова", first_name="Анна")
    metas = [
        row["meta"] for row in await connection.fetch("SELECT meta - 'sources' AS meta FROM customers ORDER BY id")
    ]
    assert metas[0] == metas[1]
    assert '"person_uid": "phonebook:p-375290000011"' in metas[0]


async def test_a_phonebook_that_is_not_primary_fills_gaps_and_joins_what_the_crm_knows(site: Site) -> None:
    crm = Profile(source="retailcrm", external_id="7", names=Names(last_name="Петров"), phones=("+375290000044",))
    await site.store.customers.enrich("0901", PETR, crm, primary=True)
    await site.store.customers.edit("0901", PETR, {"black_list": True, "field1": "vip"})
    await put(site, FILE)

    assert await name_of(site, PETR) == Names(last_name="Петров", first_name="Пётр")
    assert await name_of(site, SECOND) == Names(last_name="Петров", first_name="Пётр"), "joined: the CRM's name"
    assert await name_of(site, "+375290000044") == Names(last_name="Петров", first_name="Пётр"), "his other number"
    customer, second = [await site.store.customers.customer("0901", phone) for phone in (PETR, SECOND)]
    assert customer is not None
    assert second is not None
    assert customer.meta["ids"] == {"retailcrm": ["7"], "phonebook": ["p-375290000011"]}
    assert customer.meta["person_uid"] == second.meta["person_uid"] == "retailcrm:7"
    assert (customer.black_list, customer.fields[0]) == (True, "vip")


async def test_a_dry_run_says_the_same_and_does_nothing(site: Site, connection: asyncpg.Connection) -> None:
    await site.store.calls.record(answered(phone=PETR), no_cards)
    before = await connection.fetch(ROWS)
    said = await put(site, FILE + ";;;\n", "--dry-run")

    assert await connection.fetch(ROWS) == before
    assert said == await put(site, FILE + ";;;\n")
    assert said["lines"] == [{"line": 4, "why": "has no name"}]


async def test_cards_are_imported_too_and_their_own_ids_stay(site: Site) -> None:
    one = "BEGIN:VCARD\r\nVERSION:3.0\r\nUID:5F-1\r\nN:Иванов;Пётр;;;\r\nTEL;TYPE=CELL:{}\r\nEND:VCARD\r\n"
    await put(site, one.format("+375290000011"), name="book.vcf")
    moved = await put(site, one.format("+375290000012"), name="book.vcf")

    assert moved["imported"] == 1
    one_of_two = await site.store.customers.customer("0901", SECOND)
    assert one_of_two is not None
    person = await site.store.customers.person("0901", str(one_of_two.meta["person_uid"]))
    assert [each.phone_e164 for each in person] == [PETR, SECOND]


async def test_what_is_not_used_is_said_line_by_line(site: Site) -> None:
    site.config.write_text(
        site.config.read_text().replace("name_width = 12", 'name_width = 12\n  mobile = "+375290000952"')
    )
    (site.folder / "book.csv").write_text(
        FILE + "А;;;12\nБ;;;\nВ;;;80290000011\nГ;;;anonymous, 80290000055\nД;;;+375290000952\n"
    )
    answer = await site.vochi("phonebook", "import", str(site.folder / "book.csv"))

    assert answer.code == 1
    assert [" ".join(line.split()) for line in answer.out.splitlines()] == [
        "line why",
        "4 '12' is no telephone number",
        "5 has no telephone number",
        "6 '80290000011' is in line 2 already",
        "7 'anonymous' is no telephone number",
        "8 '+375290000952' is a number of our own",
        "imported 3",
        "updated 0",
        "unchanged 0",
        "skipped 5",
    ]


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("book.csv", FILE.encode("koi8-r")),
        ("book.csv", "Товар;Цена\nЧай;3\n".encode()),
        ("book.xlsx", b"PK\x03\x04"),
        ("gone.csv", None),
    ],
)
async def test_a_file_that_is_no_phonebook_changes_nothing(
    site: Site, connection: asyncpg.Connection, name: str, data: bytes | None
) -> None:
    if data is not None:
        (site.folder / name).write_bytes(data)
    answer = await site.vochi("phonebook", "import", str(site.folder / name))

    assert (answer.code, answer.out) == (2, "")
    assert name in answer.err
    assert await connection.fetch(ROWS) == []


async def test_hostile_content_is_text_and_nothing_else(site: Site) -> None:
    hostile = '=HYPERLINK(""http://evil"")\u202e<b>\'); DROP TABLE customers; --\x1b[2J'
    counted = await put(site, f'Имя;Телефон\n"{hostile}";{PETR}\n{"я" * 1_000_000};{SECOND}\n\0\0;{OLEG}\n')
    shown = await site.vochi("customer", PETR)

    assert (counted["imported"], counted["skipped"]) == (1, 2)
    assert "\u202e" not in shown.out
    assert "\x1b" not in shown.out
    assert (await name_of(site, PETR)).first_name.startswith('=HYPERLINK("http://evil")<b>')


async def test_fifty_thousand_lines_with_broken_ones_beside_many_customers(
    site: Site, connection: asyncpg.Connection
) -> None:
    """Memory is that of the numbers seen; which lines are broken is said by number."""
    await write_calls(connection, 20_000)
    lines = [f"Фамилия{n};Имя{n};;+37529{n:07}\n" if n % 100 else f'"Ф{n};Имя;;1\n' for n in range(2, 50_002)]
    (site.folder / "book.csv").write_text(HEAD + "".join(lines))
    (site.folder / "small.csv").write_text(HEAD + "Ф;И;;+79000000011\n")
    _, small = await site.vochi_with_peak("phonebook", "import", str(site.folder / "small.csv"))
    answer, peak = await site.vochi_with_peak("phonebook", "import", "--json", str(site.folder / "book.csv"))
    first = answer.json()

    assert (answer.code, first["imported"], first["skipped"]) == (1, 49_500, 500)
    assert {each["line"] for each in first["lines"]} == set(range(100, 50_001, 100))
    named = "SELECT count(*) FROM customers WHERE last_name LIKE 'Фамилия%'"
    assert await connection.fetchval(named) == 49_500
    assert peak < small + 50
