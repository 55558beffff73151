"""Who is one person: joining, moving, letting go, linking; on rows alone."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime

import pytest

from vochi_agent.customers.model import Company, Customer, History, Names, Profile
from vochi_agent.customers.parting import parted, uid_of
from vochi_agent.customers.persons import enriched, linked
from vochi_agent.errors import LinkRefused

AT = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
P1, P2, P3, P4 = "+375290000011", "+375290000022", "+375290000033", "+375290000044"
ROMASHKA = Names(enterprise_name="Ромашка")


def row(phone: str, uid: str = "", ids: Mapping[str, list[str]] | None = None, **more: object) -> Customer:
    meta: dict[str, object] = {**({"person_uid": uid} if uid else {}), **({"ids": ids} if ids else {}), **more}
    return Customer(enterprise_number="0901", phone_e164=phone, names=Names(), history=History(), meta=meta)


def retail(external_id: str, *numbers: str, company: str = "", complete: bool = False) -> Profile:
    names = Names(last_name=f"R{external_id}", enterprise_name="Ромашка" if company else "")
    return Profile(
        source="retailcrm", external_id=external_id, company_id=company, names=names, phones=numbers,
        phones_complete=complete,
    )  # fmt: skip


def uon(external_id: str, *numbers: str) -> Profile:
    return Profile(source="uon", external_id=external_id, names=Names(last_name=f"U{external_id}"), phones=numbers)


def after(rows: Iterable[Customer], profile: Profile, *, primary: bool = True) -> dict[str, Customer]:
    """All rows by number once the profile of these numbers is merged; and a second merge changes nothing."""
    known = {each.phone_e164: each for each in rows}
    known |= {
        each.phone_e164: each
        for each in enriched(list(known.values()), profile, profile.phones, primary=primary, at=AT)
    }
    assert enriched(list(known.values()), profile, profile.phones, primary=primary, at=AT) == []
    return known


def uids(rows: Mapping[str, Customer]) -> list[str]:
    return [uid_of(each) for each in rows.values()]


def test_two_numbers_of_a_card_become_one_person() -> None:
    assert uids(after([row(P1), row(P2)], retail("2002", P1, P2))) == ["retailcrm:2002"] * 2


def test_two_persons_of_two_sources_that_share_a_number_become_one_under_the_oldest_uid() -> None:
    rows = after(
        [row(P1, "retailcrm:2002", {"retailcrm": ["2002"]}), row(P2, "uon:5", {"uon": ["5"]}), row(P3, "uon:5")],
        retail("2002", P1, P2),
    )

    assert uids(rows) == ["retailcrm:2002"] * 3
    assert [rows[phone].meta.get("person_uid_was") for phone in (P1, P2, P3)] == [None, "uon:5", "uon:5"]
    assert rows[P2].meta["ids"] == {"uon": ["5"], "retailcrm": ["2002"]}
    assert rows[P3].meta["ids"] == {"uon": ["5"]}, "the card does not list this number"
    assert rows[P3].names.last_name == "R2002"


def test_two_cards_of_one_crm_stay_two_people_though_they_share_a_number() -> None:
    known = after([row(P1), row(P2), row(P3)], retail("2001", P1, P2))
    rows = after(known.values(), retail("2002", P2, P3))

    assert uids(rows) == ["retailcrm:2001", "retailcrm:2001", "retailcrm:2002"]
    assert rows[P2].meta["ids"] == {"retailcrm": ["2001", "2002"]}
    assert rows[P1].names.last_name == "R2001"


def test_another_crm_does_not_make_one_of_two_cards() -> None:
    known = after(after([row(P1), row(P2)], retail("2001", P1)).values(), retail("2002", P2))
    rows = after(known.values(), uon("5", P1, P2), primary=False)

    assert uids(rows) == ["retailcrm:2001", "retailcrm:2002"]


def test_two_cards_stay_two_people_when_one_of_them_stands_under_another_uid() -> None:
    """A second telling sees one of the two under the uid that it got by the first."""
    rows = [
        row(P1, "manual:+375290000011", {"manual": ["+375290000011"]}),
        row(P2, "retailcrm:3", {"retailcrm": ["3"]}),
        row(P3, "retailcrm:1", {"retailcrm": ["1"]}),
    ]
    known = after(rows, Profile(source="phonebook", external_id="2", names=Names(), phones=(P1, P2, P3)), primary=False)
    assert uids(known) == ["manual:+375290000011"] * 2 + ["retailcrm:1"]

    rows = [row(P1, "uon:1", {"uon": ["1"], "retailcrm": ["3"]}), row(P2, "uon:1", {"uon": ["1"]})]
    known = after([*rows, row(P3, "retailcrm:2", {"retailcrm": ["2"]})], retail("2", P2, P3))
    assert uids(known) == ["uon:1", "uon:1", "retailcrm:2"]


def test_a_card_joins_what_people_linked_in_two_pairs() -> None:
    rows = [row(phone, f"manual:{phone}", {"manual": [phone]}) for phone in (P1, P2)]

    assert uids(after(rows, retail("2002", P1, P2))) == [f"manual:{P1}"] * 2


def test_a_new_number_of_a_person_joins_him_under_whatever_uid_he_has() -> None:
    person = row(P1, "uon:5", {"uon": ["5"], "retailcrm": ["2002"]})

    assert uids(after([person, row(P2)], retail("2002", P2))) == ["uon:5"] * 2


def test_a_person_moves_to_his_company_with_all_his_numbers() -> None:
    person = [row(P1, "retailcrm:2003", {"retailcrm": ["2003"]}), row(P2, "retailcrm:2003", {"retailcrm": ["2003"]})]
    rows = after(person, retail("2003", P1, company="77"))

    assert uids(rows) == ["retailcrm_corporate:77"] * 2
    assert [each.meta["person_uid_was"] for each in rows.values()] == ["retailcrm:2003"] * 2
    assert [each.names.last_name for each in rows.values()] == ["R2003"] * 2


def test_a_company_is_never_left_for_another_one() -> None:
    rows = after(
        after([row(P1)], retail("2003", P1, company="77")).values(),
        retail("2003", P1, company="78"),
    )

    assert uids(rows) == ["retailcrm_corporate:77"]
    assert "person_uid_was" not in rows[P1].meta


@pytest.mark.parametrize(("primary", "expected"), [(True, "retailcrm_corporate:77"), (False, "uon:5")])
def test_only_the_primary_crm_takes_another_crms_person_into_its_company(primary: bool, expected: str) -> None:
    rows = after([row(P1, "uon:5", {"uon": ["5"]})], retail("2003", P1, company="77"), primary=primary)

    assert uids(rows) == [expected]


def test_a_person_of_another_crm_does_not_follow_a_shared_number_into_a_company() -> None:
    known = after([row(P1), row(P2)], retail("2003", P1, company="77"))
    rows = after(known.values(), uon("5", P1, P2), primary=False)

    assert uids(rows) == ["retailcrm_corporate:77", "uon:5"]


def test_what_a_row_was_before_is_never_forgotten() -> None:
    moved = row(P2, "uon:5", {"uon": ["5"]}, person_uid_was="phonebook:p1", person_uids_before=["manual:1"])
    rows = after([row(P1, "retailcrm:2002", {"retailcrm": ["2002"]}), moved], retail("2002", P1, P2))

    assert rows[P2].meta["person_uid_was"] == "uon:5"
    assert rows[P2].meta["person_uids_before"] == ["manual:1", "phonebook:p1"]


@pytest.mark.parametrize("placeholder", ["unknown", "0", "", "None"])
def test_a_placeholder_id_joins_no_numbers(placeholder: str) -> None:
    assert uids(after([row(P1), row(P2)], retail(placeholder, P1, P2))) == ["", ""]


def test_a_complete_card_lets_go_of_what_it_no_longer_lists() -> None:
    known = after([row(P1), row(P2, tags=["vip"])], retail("2002", P1, P2))
    rows = after(known.values(), retail("2002", P1, complete=True))

    assert uids(rows) == ["retailcrm:2002", ""]
    assert rows[P2].meta["ids"] == {}
    assert rows[P2].meta["tags"] == ["vip"]
    assert (rows[P2].names.last_name, rows[P2].meta["person_uid_was"]) == ("R2002", "retailcrm:2002")


def test_a_card_that_may_lack_numbers_lets_nothing_go() -> None:
    known = after([row(P1), row(P2)], retail("2002", P1, P2))

    assert uids(after(known.values(), retail("2002", P1))) == ["retailcrm:2002"] * 2


def test_a_number_that_another_source_vouches_for_stays() -> None:
    rows = after([row(P1), row(P2)], retail("2002", P1, P2))
    rows = after(rows.values(), uon("5", P1, P2), primary=False)
    rows = after(rows.values(), retail("2002", P1, complete=True))

    assert uids(rows) == ["retailcrm:2002"] * 2
    assert rows[P2].meta["ids"] == {"uon": ["5"]}


def test_a_number_let_go_may_begin_anew_with_somebody_else() -> None:
    rows = after([row(P1), row(P2)], retail("2002", P1, P2))
    rows = after(rows.values(), retail("2002", P1, complete=True))
    rows = after(rows.values(), retail("3001", P2, complete=True))

    assert uids(rows) == ["retailcrm:2002", "retailcrm:3001"]
    assert uids(after(rows.values(), retail("2002", P1, complete=True))) == ["retailcrm:2002", "retailcrm:3001"]


def contacts(*profiles: Profile, complete: bool = True) -> Company:
    by_phone = {phone: profile for profile in profiles for phone in profile.phones}
    return Company(source="retailcrm", company_id="77", contacts=by_phone, complete=complete)


def company_of(*profiles: Profile) -> dict[str, Customer]:
    rows = {phone: row(phone) for profile in profiles for phone in profile.phones}
    for profile in profiles:
        rows = after(rows.values(), profile)
    return rows


ANNA = retail("2003", P1, company="77", complete=True)
OLEG = retail("2004", P2, P3, company="77", complete=True)


def test_a_complete_company_lets_go_of_who_left() -> None:
    rows = company_of(ANNA, OLEG)
    gone = {each.phone_e164: each for each in parted(list(rows.values()), contacts(ANNA), at=AT)}

    assert gone.keys() == {P2, P3}
    assert uids(gone) == ["", ""]
    assert gone[P2].meta["ids"] == {"retailcrm": ["2004"]}
    assert (gone[P2].names.enterprise_name, gone[P2].meta["company_id"]) == ("Ромашка", "77")


def test_a_company_that_is_not_whole_lets_nobody_go() -> None:
    rows = company_of(ANNA, OLEG)

    assert parted(list(rows.values()), contacts(ANNA, complete=False), at=AT) == []
    assert parted(list(rows.values()), contacts(ANNA, OLEG), at=AT) == []


def test_a_contacts_former_number_leaves_the_company_with_him() -> None:
    rows = after(company_of(ANNA, OLEG).values(), retail("2004", P2, company="77", complete=True))

    assert uids(rows) == ["retailcrm_corporate:77", "retailcrm_corporate:77", ""]


def link(rows: Iterable[Customer], first: str, second: str) -> dict[str, Customer]:
    known = {each.phone_e164: each for each in rows}
    return known | {each.phone_e164: each for each in linked(list(known.values()), first, second, at=AT)}


def test_linking_joins_all_numbers_of_both_under_the_oldest_uid() -> None:
    rows = link(
        [row(P1, "uon:5", {"uon": ["5"]}), row(P2, "retailcrm:2", {"retailcrm": ["2"]}), row(P3, "retailcrm:2")],
        P2,
        P1,
    )

    assert uids(rows) == ["uon:5"] * 3
    assert [rows[phone].meta.get("person_uid_was") for phone in (P1, P2, P3)] == [None, "retailcrm:2", "retailcrm:2"]
    assert rows[P2].meta["ids"] == {"retailcrm": ["2"], "manual": [P1]}


def test_two_cards_of_one_crm_are_joined_by_a_person_and_stay_so() -> None:
    known = [row(P1, "retailcrm:1", {"retailcrm": ["1"]}), row(P2, "retailcrm:2", {"retailcrm": ["2"]}), row(P3)]
    rows = after(link(known, P1, P2).values(), retail("2", P2, P3, complete=True))

    assert uids(rows) == ["retailcrm:1"] * 3
    assert uids(after(rows.values(), retail("1", P1, complete=True))) == ["retailcrm:1"] * 3


def test_two_strangers_become_a_person_of_our_own_that_no_crm_parts() -> None:
    rows = link([row(P1), row(P2)], P2, P1)
    assert uids(rows) == [f"manual:{P1}"] * 2

    assert uids(after(rows.values(), retail("2", P1, complete=True))) == [f"manual:{P1}"] * 2


def test_linking_with_a_company_takes_the_person_and_his_numbers_into_it() -> None:
    rows = {**company_of(ANNA), P3: row(P3, "uon:5", {"uon": ["5"]}), P4: row(P4, "uon:5", {"uon": ["5"]})}
    rows = link(rows.values(), P3, P1)

    assert uids(rows) == ["retailcrm_corporate:77"] * 3
    assert {each.names.enterprise_name for each in rows.values()} == {"Ромашка"}
    assert rows[P3].names.last_name == "", "a contact has a name of his own"
    assert rows[P4].meta["person_uid_was"] == "uon:5"


def test_linking_names_the_number_that_has_no_name() -> None:
    known = after([row(P1)], retail("2", P1))

    assert link([*known.values(), row(P2)], P1, P2)[P2].names.last_name == "R2"


@pytest.mark.parametrize(
    ("rows", "second", "why"),
    [
        ([row(P1), row(P2)], P1, "the same number"),
        ([row(P1, "uon:5"), row(P2, "uon:5")], P2, "one customer already"),
        ([row(P1, "retailcrm_corp:77"), row(P2, "retailcrm_corporate:78")], P2, "two different companies"),
    ],
)
def test_a_link_that_makes_no_sense_is_refused_with_a_sentence(rows: list[Customer], second: str, why: str) -> None:
    with pytest.raises(LinkRefused, match=why):
        linked(rows, P1, second, at=AT)
