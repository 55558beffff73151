"""Phonebook files as people export them, and as attackers and broken programs write them."""

import base64
import quopri
from collections.abc import Iterable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vochi_agent.customers.model import Names
from vochi_agent.customers.phonebook import MAX_LINE, Broken, Entry, Line, Parsed, encoding_of, read_lines
from vochi_agent.customers.phonebook_csv import NoPhoneColumn, read_csv
from vochi_agent.customers.phonebook_vcard import read_vcards

TABLE = "Фамилия;Имя;Телефон\nИванов;Пётр;+375290000011\nСидорова;Анна Ивановна;80290000022\n"
TWO = [Names(last_name="Иванов", first_name="Пётр"), Names(last_name="Сидорова", first_name="Анна Ивановна")]


def cut(data: bytes, size: int = 7) -> Iterator[bytes]:
    return (data[start : start + size] for start in range(0, len(data), size))


def table(text: str | bytes) -> list[Parsed]:
    data = text.encode() if isinstance(text, str) else text
    return list(read_csv(read_lines(cut(data), encoding_of(cut(data, 4096)) or "")))


def cards(text: str | bytes) -> list[Parsed]:
    data = text.encode() if isinstance(text, str) else text
    return list(read_vcards(read_lines(cut(data), encoding_of(cut(data, 4096)) or "")))


def card(*lines: str) -> Entry:
    [entry] = cards("\r\n".join(["BEGIN:VCARD", *lines, "END:VCARD", ""]))
    assert isinstance(entry, Entry)
    return entry


def names(parsed: Iterable[Parsed]) -> list[Names]:
    return [each.names for each in parsed if isinstance(each, Entry)]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp1251", "utf-16", "utf-16-le", "utf-16-be"])
def test_every_encoding_that_programs_here_write_is_read(encoding: str) -> None:
    assert names(table(TABLE.encode(encoding))) == TWO


@pytest.mark.parametrize("encoding", ["koi8-r", "cp866", "iso8859-5", "mac-cyrillic"])
def test_an_encoding_that_is_not_known_is_not_guessed(encoding: str) -> None:
    assert encoding_of([TABLE.encode(encoding)]) is None


def test_latin_text_in_an_unknown_code_page_is_not_taken_for_russian() -> None:
    assert encoding_of(["name;phone\nMüller;1\nGonzález;2\nÖz;3\n".encode("latin-1")]) is None


def test_one_damaged_line_does_not_make_a_utf_8_file_another() -> None:
    text = TABLE * 20
    data = text.encode().replace("Сидорова".encode(), b"\xd1\xff", 1)

    assert Broken(3, "has bytes that are no text in the encoding of the file") in table(data)


@pytest.mark.parametrize("delimiter", [";", ",", "\t"])
def test_the_delimiter_is_that_of_the_headings(delimiter: str) -> None:
    assert names(table(TABLE.replace(";", delimiter))) == TWO
    assert names(table(f"sep={delimiter}\r\n" + TABLE.replace(";", delimiter).replace("\n", "\r\n"))) == TWO


@pytest.mark.parametrize(
    ("headings", "row", "expected"),
    [
        ("ФИО,Компания,Телефон", "Иванов Пётр Ильич,ООО,1", Names(last_name="Иванов", first_name="Пётр",
                                                                 middle_name="Ильич", enterprise_name="ООО")),
        ("Ф.И.О.;тел.", "Иванов Пётр;1", Names(last_name="Иванов", first_name="Пётр")),
        ("ФИО;номер", "Иванов;1", Names(first_name="Иванов")),
        ("Name;Phone", "Peter Ivanov;1", Names(first_name="Peter Ivanov")),
        ("First Name,Middle Name,Last Name,Organization Name,Phone 1 - Label,Phone 1 - Value", "P,I,Ivanov,Co,Mobile,1",
         Names(last_name="Ivanov", first_name="P", middle_name="I", enterprise_name="Co")),
        ("Title,First Name,Last Name,Company,Business Fax,Mobile Phone,Home Phone", "Mr,P,I,Co,9,1,1",
         Names(last_name="I", first_name="P", enterprise_name="Co")),
        ("last_name;first_name;enterprise_name;phone_e164", "И;П;К;1",
         Names(last_name="И", first_name="П", enterprise_name="К")),
        ("Название компании;Мобильный телефон", "Ромашка;1", Names(enterprise_name="Ромашка")),
        # As 1C and MoySklad name their columns.
        ("Код;Наименование;Полное наименование;ИНН;Телефон", "7;Ромашка;ООО Ромашка;100;1",
         Names(first_name="Ромашка")),
        ("Контактное лицо;Контрагент;Телефон/факс", "Иванов Пётр;Ромашка;1",
         Names(last_name="Иванов", first_name="Пётр", enterprise_name="Ромашка")),
        ("Имя,Фамилия,Мобильный телефон,Телефон помощника", "П,И,1,2", Names(last_name="И", first_name="П")),
        ("First Name,Last Name,Mobile Phone,Assistant's Phone", "P,I,1,2", Names(last_name="I", first_name="P")),
        ("Контрагент;Тел. моб.;Раб. факс;E-mail", "Ромашка;1;2;3", Names(enterprise_name="Ромашка")),
    ],
)  # fmt: skip
def test_headings_are_known_in_both_languages(headings: str, row: str, expected: Names) -> None:
    [entry] = table(f"{headings}\n{row}\n")

    assert isinstance(entry, Entry)
    assert (entry.names, entry.numbers) == (expected, ("1",))


def test_several_numbers_of_a_row_are_all_his() -> None:
    [entry] = table('ФИО;Телефон;Рабочий телефон;Факс\nИванов Пётр;"1, 2 / 3";4 ::: 5;6\n')

    assert isinstance(entry, Entry)
    assert entry.numbers == ("1", "2", "3", "4", "5")


def test_a_number_that_was_taken_for_an_amount_has_no_further_digit() -> None:
    [entry] = table("ФИО;Телефон\nИванов Пётр;80290000011.0\n")

    assert isinstance(entry, Entry)
    assert entry.numbers == ("80290000011",)


def test_a_table_without_numbers_is_no_phonebook() -> None:
    with pytest.raises(NoPhoneColumn, match="Товар, Цена"):
        table("Товар;Цена\nЧай;3\n")
    with pytest.raises(NoPhoneColumn):
        table("")


def test_a_note_may_have_lines_and_the_numbers_of_lines_stay_right() -> None:
    parsed = table('Имя;Телефон;Заметка\nА;1;"раз\nдва ""три"""\nБ;2;\n')

    assert [(each.line, each.numbers) for each in parsed if isinstance(each, Entry)] == [(2, ("1",)), (4, ("2",))]


@pytest.mark.parametrize("sign", ["\u2028", "\x0b", "\x0c", "\x85", "\x1e"])
def test_what_only_unicode_takes_for_the_end_of_a_line_ends_no_row(sign: str) -> None:
    """Outlook ends lines of an address with a vertical tab; web pages leave line separators in what is copied."""
    [entry] = table(f"Имя;Телефон;Адрес\nАнна;1;Минск,{sign}Ленина 1\n")

    assert isinstance(entry, Entry)
    assert (entry.names.first_name, entry.numbers) == ("Анна", ("1",))


def test_a_quote_that_is_never_closed_costs_its_own_line() -> None:
    parsed = table('Имя;Телефон\nА;1\n"Б;2\nВ;3\nГ "Г;4\nД;5\n')

    assert [each.line for each in parsed if isinstance(each, Entry)] == [2, 4, 6]
    assert [each for each in parsed if isinstance(each, Broken)] == [
        Broken(3, "has a quote that is never closed"), Broken(5, "has a quote that is never closed"),
    ]  # fmt: skip


def test_broken_lines_are_told_with_their_reason_and_nothing_stops() -> None:
    parsed = table(f"Имя;Телефон\nА;1;лишнее\n{'x' * (MAX_LINE + 5)};2\nВ;3;;;\n\n\nГ\0;4\n")

    assert [(each.line, each.why) for each in parsed if isinstance(each, Broken)] == [
        (2, "has 3 cells, the headings are 2"),
        (3, f"is longer than {MAX_LINE} characters"),
    ]
    assert [(each.line, each.names.first_name) for each in parsed if isinstance(each, Entry)] == [(4, "В"), (7, "Г")]


def test_nothing_invisible_and_no_second_line_gets_into_a_name() -> None:
    [entry] = table('Имя;Телефон\n"И\u202eван\x1b[31m\nов =HYPERLINK(1)";1\n')

    assert isinstance(entry, Entry)
    assert entry.names.first_name == "Иван [31m ов =HYPERLINK(1)"


def test_a_card_of_an_iphone() -> None:
    entry = card("VERSION:3.0", "PRODID:-//Apple Inc.//iPhone OS 17.0//EN", "N:Иванов;Пётр;Ильич;;", "FN:Пётр Иванов",
                 "ORG:Ромашка\\, ООО;Отдел", "item1.TEL;type=pref:+375 29 000-00-11", "item1.X-ABLabel:рабочий",
                 "TEL;type=CELL;type=VOICE:80290000012", "TEL;type=HOME;type=FAX:1", "UID:5F-1")  # fmt: skip

    assert entry.names == Names(
        last_name="Иванов", first_name="Пётр", middle_name="Ильич", enterprise_name="Ромашка, ООО"
    )
    assert (entry.numbers, entry.uid, entry.line) == (("+375 29 000-00-11", "80290000012"), "5F-1", 1)


def test_a_card_of_an_old_phone() -> None:
    """VCard 2.1: quoted-printable with soft line breaks, parameters without names, a picture that is not indented."""
    family = quopri.encodestring("Константинопольский".encode()).decode().replace("=\n", "=\r\n")
    picture = base64.encodebytes(b"\xff" * 300).decode().replace("\n", "\r\n")
    entry = card("VERSION:2.1", f"N;CHARSET=UTF-8;ENCODING=QUOTED-PRINTABLE:{family};=D0=9F;;;", "TEL;CELL;PREF:1",
                 "TEL;FAX:2", f"PHOTO;ENCODING=BASE64;JPEG:{picture}", "TEL;WORK;VOICE:3")  # fmt: skip

    assert entry.names == Names(last_name="Константинопольский", first_name="П")
    assert entry.numbers == ("1", "3")


def test_outlook_writes_quoted_printable_in_its_own_code_page() -> None:
    raw = "".join(f"={byte:02X}" for byte in "Иванов".encode("cp1251"))
    for charset in (";CHARSET=windows-1251", ""):
        assert card(f"N;LANGUAGE=ru{charset};ENCODING=QUOTED-PRINTABLE:{raw};;;;", "TEL:1").names.last_name == "Иванов"


def test_a_card_of_version_4() -> None:
    entry = card("VERSION:4.0", "FN:Пётр Иванов", 'TEL;VALUE=uri;TYPE="voice,cell":tel:+375-29-000-00-11;ext=5',
                 'TEL;TYPE="home,fax":2')  # fmt: skip

    assert entry.names == Names(first_name="Пётр Иванов")
    assert entry.numbers == ("+375-29-000-00-11",)


def test_folded_lines_are_one() -> None:
    assert card("N:Ива", " нов;Пё", "\tтр;;;", "TEL:+3752", " 90000011") == card(
        "N:Иванов;Пётр;;;", "TEL:+375290000011"
    )


def test_a_company_has_no_second_name() -> None:
    assert card("FN:Ромашка", "ORG:Ромашка", "TEL:1").names == Names(enterprise_name="Ромашка")


def test_an_agent_within_a_card_is_not_its_person() -> None:
    entry = card("N:Иванов;;;;", "AGENT:", "BEGIN:VCARD", "N:Секретарь;;;;", "TEL:9", "END:VCARD", "TEL:1")

    assert (entry.names.last_name, entry.numbers) == ("Иванов", ("1",))


def test_broken_cards_cost_themselves_alone() -> None:
    long = f"N:{'x' * MAX_LINE};;;;\nPHOTO:{'y' * 1_000_000}\nTEL:4\nFN:Г"
    parsed = cards(
        "BEGIN:VCARD\nN:А;;;;\nTEL:1\nBEGIN:VCARD\nN:Б;;;;\nwhat is this\nTEL:2\nEND:VCARD\nTEL:3\n"
        f"BEGIN:VCARD\n{long}\nEND:VCARD\nBEGIN:VCARD\n"
    )

    assert [each for each in parsed if isinstance(each, Broken)] == [
        Broken(1, "begins a card that has no end: another begins in line 4"),
        Broken(6, "is no property of a card"),
        Broken(9, "stands outside of any card"),
        Broken(11, f"is longer than {MAX_LINE} characters"),
        Broken(16, "begins a card that has no end"),
    ]
    assert [each.numbers for each in parsed if isinstance(each, Entry)] == [("2",), ("4",)]


@given(st.binary(max_size=400), st.integers(1, 50))
def test_no_bytes_stop_the_reading(data: bytes, size: int) -> None:
    for encoding in ("utf-8", "cp1251", "utf-16-le"):
        heads = {read_csv: "name;phone\n", read_vcards: "BEGIN:VCARD\n"}
        for read, head in heads.items():
            file = head.encode(encoding) + data
            assert list(read(read_lines(cut(file, size), encoding))) == list(read(read_lines([file], encoding)))
    encoding_of(cut(data, size))


@given(st.lists(st.text(st.characters(blacklist_categories=["Cs"]), max_size=30), max_size=12))
def test_no_lines_stop_the_reading(texts: list[str]) -> None:
    lines = [Line(number, text) for number, text in enumerate(["BEGIN:VCARD", *texts, "END:VCARD"], start=1)]
    for parsed in read_vcards(lines):
        assert parsed.line >= 1
    lines = [Line(number, text) for number, text in enumerate(["телефон;имя", *texts], start=1)]
    assert len(list(read_csv(lines))) <= len(texts)
