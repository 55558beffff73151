"""RetailCRM's JSON in the documented shape, and around it."""

import json

import pytest

from vochi_agent.crm.http import Answer
from vochi_agent.crm.retailcrm_cards import choose_company, choose_customer, companies_of, interpret, to_profile
from vochi_agent.customers.model import Names, Profile
from vochi_agent.errors import CrmAuthFailed, CrmRejected, CrmUnavailable

URL = "https://demo.retailcrm.example"
PHONE = "+79000000001"

CUSTOMER = {
    "type": "customer",
    "id": 4501,
    "externalId": "ext-7",
    "isContact": True,
    "createdAt": "2025-03-01 10:00:00",
    "managerId": 12,
    "site": "shop-ru",
    "firstName": "Анна",
    "lastName": "Образцова",
    "patronymic": "Ивановна",
    "email": "a@example.test",
    "phones": [{"number": "+79000000001"}, {"number": "+7 (900) 000-00-02"}, {"number": "89000000003"}],
    "ordersCount": 4,
    "totalSumm": 56000,
    "customFields": {},
}
COMPANY = {
    "type": "customer_corporate",
    "id": 88,
    "nickName": "ООО Пример",
    "managerId": 12,
    "site": "shop-ru",
    "mainCustomerContact": {"id": 5, "customer": {"id": 4501}, "companies": [{"id": 3, "company": {"id": 3}}]},
    "mainCompany": {"id": 3, "name": "ООО Пример и Ко"},
}


def answer(status: int, **body: object) -> Answer:
    return Answer(status, json.dumps(body).encode())


def profile_of(customer: dict[str, object], company: dict[str, object] | None = None) -> Profile:
    return to_profile(customer, company, phone=PHONE, url=URL, agents={"12": "101"}, country="BY")


def test_a_contact_of_a_company_becomes_a_whole_profile() -> None:
    expected = Profile(
        source="retailcrm",
        external_id="4501",
        names=Names(last_name="Образцова", first_name="Анна", middle_name="Ивановна", enterprise_name="ООО Пример"),
        company_id="88",
        phones=("+79000000002", "+79000000003"),
        phones_complete=True,
        responsible="101",
        url="https://demo.retailcrm.example/customers/4501",
    )

    assert expected == profile_of(CUSTOMER, COMPANY)


def test_a_company_without_a_nickname_goes_by_its_main_legal_name() -> None:
    assert profile_of(CUSTOMER, {**COMPANY, "nickName": None}).names.enterprise_name == "ООО Пример и Ко"


def test_a_person_without_a_manager_has_the_manager_of_his_company() -> None:
    assert profile_of({**CUSTOMER, "managerId": None}, COMPANY).responsible == "101"


def test_a_manager_without_an_extension_is_nobody() -> None:
    assert profile_of({**CUSTOMER, "managerId": 13}).responsible == ""


def test_null_names_are_empty() -> None:
    nameless = {**CUSTOMER, "firstName": None, "lastName": None, "patronymic": None}

    assert not profile_of(nameless).names


def test_of_several_with_the_number_the_one_changed_last_is_chosen() -> None:
    older = {**CUSTOMER, "id": 1, "updatedAt": "2026-09-30 23:59:59"}
    newer = {**CUSTOMER, "id": 2, "updatedAt": "2026-10-01 00:00:00"}
    undated = {**CUSTOMER, "id": 3}

    assert choose_customer([older, newer, undated], PHONE) == newer


def test_a_card_without_the_number_is_never_chosen() -> None:
    stranger = {**CUSTOMER, "phones": [{"number": "+79000000009"}], "updatedAt": "2026-11-20 00:00:00"}

    assert choose_customer([stranger], PHONE) is None


@pytest.mark.parametrize(
    "card",
    [
        {},
        {**CUSTOMER, "id": 0},
        {**CUSTOMER, "phones": None},
        {**CUSTOMER, "phones": [None, 5, {"number": None}]},
    ],
    ids=["empty", "placeholder id", "no phones", "odd phones"],
)
def test_an_odd_card_is_passed_over(card: dict[str, object]) -> None:
    assert choose_customer([card], PHONE) is None


def company_of(companies: list[dict[str, object]], **members: set[str]) -> object:
    return choose_company(companies, "4501", {name.removeprefix("of_"): ids for name, ids in members.items()})


def test_the_company_whose_main_contact_calls_comes_first() -> None:
    older = {**COMPANY, "id": 7, "mainCustomerContact": {"customer": {"id": 1}}}

    assert company_of([older, COMPANY]) == COMPANY
    assert company_of([older, COMPANY], of_7={"4501", "1"}) == COMPANY


def test_the_only_company_found_is_the_contacts_unless_its_list_says_otherwise() -> None:
    only = {"id": 10, "nickName": "Десятая"}

    assert company_of([only]) == only
    assert company_of([only], of_10={"4501"}) == only
    assert company_of([only], of_10={"1"}) is None


def test_of_several_companies_only_one_that_lists_him_is_his() -> None:
    companies: list[dict[str, object]] = [{"id": 10}, {"id": 9}, {"id": 8}]

    assert company_of(companies) is None
    assert company_of(companies, of_8={"1"}, of_9={"1", "4501"}, of_10={"4501"}) == companies[1]


def test_pages_of_companies_mean_an_ignored_filter_and_name_none() -> None:
    found = {"customersCorporate": [COMPANY], "pagination": {"totalCount": 57, "totalPageCount": 3}}

    assert companies_of(found) == ()


@pytest.mark.parametrize("body", [{}, {"customersCorporate": []}, {"customersCorporate": None}])
def test_no_company_is_no_error(body: dict[str, object]) -> None:
    assert choose_company(companies_of(body), "4501", {}) is None


@pytest.mark.parametrize(
    ("numbers", "complete"),
    [
        ([], True),
        (["+375 29 000-00-01", "+7 900 000-00-01"], True),
        (["8 (029) 000-00-09"], True),
        (["+375290000001, +375290000002"], True),
        (["00-09"], False),
        (["", "нет"], True),
    ],
)
def test_a_card_is_complete_only_when_every_number_on_it_can_be_read(numbers: list[str], *, complete: bool) -> None:
    card = {**CUSTOMER, "phones": [{"number": number} for number in numbers]}

    assert to_profile(card, None, phone=PHONE, url="", agents={}, country="BY").phones_complete is complete


@pytest.mark.parametrize("phones", [None, "", 5])
def test_a_card_that_does_not_show_its_numbers_is_not_complete(phones: object) -> None:
    assert not to_profile(
        {**CUSTOMER, "phones": phones}, None, phone=PHONE, url="", agents={}, country="BY"
    ).phones_complete


def test_not_found_is_an_answer() -> None:
    assert interpret(answer(404, success=False, errorMsg="Not found")) == {}


@pytest.mark.parametrize("status", [200, 400, 403])
@pytest.mark.parametrize("message", ['"apiKey" is missing.', 'Wrong "apiKey" value.', "Account does not exist."])
def test_a_refused_key_is_known_by_its_text(status: int, message: str) -> None:
    with pytest.raises(CrmAuthFailed, match=r"(?i)apikey|account"):
        interpret(answer(status, success=False, errorMsg=message))


@pytest.mark.parametrize(
    "refusal",
    [
        answer(200, success=False, errorMsg="Parameter 'x' is missing"),
        answer(404, success=False, errorMsg="API method not found"),
        answer(403, success=False, errorMsg="Access denied."),
        answer(400, success=False, errorMsg="Errors in the entity format", errors=["phone"]),
        answer(200, customers=[]),
        answer(200, success="yes", customers=[]),
    ],
    ids=["false with 200", "no such method", "scope", "errors", "no flag", "odd flag"],
)
def test_anything_but_success_is_a_refusal_and_not_nobody(refusal: Answer) -> None:
    with pytest.raises(CrmRejected):
        interpret(refusal)


def test_a_web_page_is_no_answer_and_not_nobody() -> None:
    with pytest.raises(CrmUnavailable, match="web page"):
        interpret(Answer(404, b"<!DOCTYPE html><html>Not found</html>"))
