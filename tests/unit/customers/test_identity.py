"""Merging what a CRM says: no key lost, nobody joined by mistake, names by the rules."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from vochi_agent.customers.identity import (
    canonical_uid,
    corrected_by_hand,
    cut,
    ids_of,
    merge_meta,
    merge_names,
    merge_profile,
    person_uid,
    spellings,
)
from vochi_agent.customers.model import Customer, History, Names, Profile

PHONE = "+375290000033"
AT = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
ANNA = Names(last_name="Контактова", first_name="Анна", enterprise_name="Ромашка")
CONTACT = Profile(source="retailcrm", external_id="2003", company_id="77", names=ANNA)
PERSON = Profile(source="uon", external_id="1001", names=Names(last_name="Тестов"))


def row(**meta: object) -> Customer:
    return Customer(enterprise_number="0901", phone_e164=PHONE, names=Names(), history=History(), meta=meta)


def test_a_companys_contact_is_stored_as_the_contract_says() -> None:
    assert merge_meta({}, CONTACT, primary=True, target=person_uid(CONTACT)) == {
        "ids": {"retailcrm": ["2003"], "retailcrm_corporate": ["77"]},
        "person_uid": "retailcrm_corporate:77",
        "client_type": "corporate",
        "company_id": "77",
        "contact_id": "2003",
        "primary_source": "retailcrm",
    }


def test_other_keys_and_ids_are_never_lost() -> None:
    meta = {"tags": ["vip"], "uon_client_id": 5, "ids": {"uon": ["1"], "retail": ["7"], "odd": "text"}}

    merged = merge_meta(meta, Profile(source="retailcrm", external_id="8", names=ANNA), primary=False, target="x:1")
    assert (merged["tags"], merged["uon_client_id"]) == (["vip"], 5)
    assert merged["ids"] == {"uon": ["1"], "retailcrm": ["7", "8"], "odd": "text"}
    assert "primary_source" not in merged


def test_the_stored_meta_is_not_changed_in_place() -> None:
    meta: dict[str, object] = {"ids": {"uon": ["1"]}}
    merge_meta(meta, PERSON, primary=True, target="uon:1001")

    assert meta == {"ids": {"uon": ["1"]}}


@pytest.mark.parametrize("placeholder", ["unknown", "0", "", "None", "NULL", " ", "x" * 101])
def test_a_placeholder_id_joins_nobody(placeholder: str) -> None:
    profile = Profile(source="retailcrm", external_id=placeholder, company_id=placeholder, names=ANNA)

    assert person_uid(profile) == ""
    assert merge_meta({}, profile, primary=False, target="") == {}


def test_the_uid_does_not_change() -> None:
    merged = merge_meta({"person_uid": "uon:1"}, PERSON, primary=True, target="uon:1001")

    assert merged["person_uid"] == "uon:1"
    assert "person_uid_was" not in merged


@pytest.mark.parametrize(
    ("old", "new"), [("retail:5", "retailcrm:5"), ("retailcrm_corp:77", "retailcrm_corporate:77"), ("uon:1", "uon:1")]
)
def test_old_spellings_are_read_and_written_anew(old: str, new: str) -> None:
    assert canonical_uid(old) == new
    assert old in spellings(new)
    assert merge_meta({"person_uid": old}, PERSON, primary=False, target=new)["person_uid"] == new


@pytest.mark.parametrize("broken", [None, 5, "", "uon", "uon:", "retailcrm:unknown"])
def test_a_broken_uid_counts_as_none(broken: object) -> None:
    assert canonical_uid(broken) == ""


def test_the_ids_of_a_row_are_the_real_ones_in_todays_spelling() -> None:
    meta = {"person_uid": "retail:5", "ids": {"retail": ["5", "0", 6], "retailcrm": ["7"], "odd": "text", "uon": []}}

    assert ids_of(meta) == {"retailcrm": ["5", "7"], "odd": [], "uon": []}


def test_a_row_with_nothing_but_a_uid_has_its_id() -> None:
    assert ids_of({"person_uid": "retailcrm_corp:77"}) == {"retailcrm_corporate": ["77"]}
    assert ids_of({}) == {}
    merged = merge_meta({"person_uid": "retail:5"}, PERSON, primary=False)
    assert merged["ids"] == {"retailcrm": ["5"], "uon": ["1001"]}


def test_the_primary_source_overwrites_with_what_it_knows() -> None:
    stored = Names(last_name="Старая", middle_name="Петровна", enterprise_name="Лютик")

    assert merge_names(stored, ANNA, phone=PHONE, primary=True) == Names(
        last_name="Контактова", first_name="Анна", middle_name="Петровна", enterprise_name="Ромашка"
    )


def test_another_source_fills_only_what_is_empty() -> None:
    stored = Names(last_name="Старая", enterprise_name=" ")

    assert merge_names(stored, ANNA, phone=PHONE, primary=False) == Names(
        last_name="Старая", first_name="Анна", enterprise_name="Ромашка"
    )


@pytest.mark.parametrize(
    "made_up", ["+375290000033", "375290000033", "Клиент 375290000033", "+375 (29) 000-00-33", "80290000033", "+7 сын"]
)
def test_a_name_made_of_the_number_is_no_name(made_up: str) -> None:
    assert merge_names(Names(), Names(first_name=made_up), phone=PHONE, primary=True) == Names()


def test_a_number_split_over_two_name_fields_is_no_name() -> None:
    split = Names(last_name="37529", first_name="0000033", enterprise_name="Ромашка")

    assert merge_names(Names(), split, phone=PHONE, primary=True) == Names(enterprise_name="Ромашка")


@pytest.mark.parametrize("name", ["Магазин 24", "1000 мелочей", "Анна 2", "3-й склад"])
def test_digits_in_a_name_are_allowed(name: str) -> None:
    assert merge_names(Names(), Names(enterprise_name=name), phone=PHONE, primary=True).enterprise_name == name


def test_names_are_cut_to_their_columns() -> None:
    long = merge_names(Names(), Names(last_name="Ж" * 150, enterprise_name="Ю" * 250), phone=PHONE, primary=True)

    assert (len(long.last_name), len(long.enterprise_name)) == (100, 200)


@pytest.mark.parametrize(
    ("text", "length", "expected"),
    [
        ("  ab\0c\ud800 ", 10, "abc"),
        ("ай" + "e\u0301", 3, "ай"),  # an accent does not lose its letter
        ("ab\U0001f469\u200d\U0001f469", 4, "ab"),  # nor does a joined emoji come apart
        ("ab\u2764\ufe0f", 3, "ab"),
        ("abc def", 4, "abc"),
    ],
)
def test_text_is_cut_between_characters(text: str, length: int, expected: str) -> None:
    assert cut(text, length) == expected


def test_an_audit_trail_is_kept_only_when_something_changed() -> None:
    merged = merge_profile(row(), PERSON, primary=True, target="uon:1001", at=AT)
    assert merged.meta["sources"] == [{"source": "uon", "updated_at": "2026-11-20T12:00:00+00:00"}]

    later = AT.replace(hour=15)
    assert merge_profile(merged, PERSON, primary=True, target="uon:1001", at=later) == merged


def test_what_a_person_writes_stands_and_what_he_empties_is_empty() -> None:
    names = Names(last_name="Иванов", first_name="Пётр", enterprise_name="Ромашка")
    stored = replace(row(person_uid="uon:5"), names=names, fields=("a", "b", "c", "d"))
    changed = corrected_by_hand(
        stored, {"last_name": "Петров", "enterprise_name": "", "field3": " важный\x00 ", "black_list": True}, at=AT
    )

    assert changed.names == Names(last_name="Петров", first_name="Пётр")
    assert (changed.fields, changed.black_list) == (("a", "b", "важный", "d"), True)
    assert changed.meta == {
        "person_uid": "uon:5",
        "sources": [{"source": "manual", "updated_at": AT.isoformat(timespec="seconds")}],
        "black_list_at": AT.isoformat(timespec="seconds"),
    }


def test_the_black_list_knows_since_when_and_forgets_it() -> None:
    listed = corrected_by_hand(row(person_uid="uon:5"), {"black_list": True}, at=AT)
    again = corrected_by_hand(listed, {"black_list": True, "field1": "vip"}, at=AT + timedelta(days=1))

    assert again.meta["black_list_at"] == AT.isoformat(timespec="seconds")
    assert "black_list_at" not in corrected_by_hand(again, {"black_list": False}, at=AT).meta


def test_a_field_set_by_hand_is_no_source_of_names() -> None:
    stored = row(person_uid="uon:5")

    assert corrected_by_hand(stored, {"field1": "vip"}, at=AT) == replace(stored, fields=("vip", "", "", ""))
