import pytest

from vochi_agent.change_ports import Change
from vochi_agent.config.tables import RetailCrmConfig
from vochi_agent.crm.retailcrm_changes import RetailCrmWebhook, to_page
from vochi_agent.errors import ForeignTenant, NotUnderstood

READ = RetailCrmWebhook(RetailCrmConfig(url="https://demo.retailcrm.ru", api_key="k"))


def test_a_trigger_names_a_person_or_a_company() -> None:
    assert READ("", "", b"id=2003&event=changed") == Change(external_id="2003")
    assert READ("", "id=2003", b"") == Change(external_id="2003")
    assert READ("", "", b'{"company_id": 77, "id": 2003}') == Change(kind="company", external_id="77")


@pytest.mark.parametrize("account", ["demo", "demo.retailcrm.ru", "https://demo.retailcrm.ru/", "DEMO.retailcrm.ru"])
def test_our_own_account_is_let_in_however_it_is_written(account: str) -> None:
    assert READ("", f"account={account}", b"id=1") == Change(external_id="1")


@pytest.mark.parametrize("account", ["other", "demo.simla.com", "https://demo.example/", "retailcrm.ru", "http://["])
def test_another_account_is_foreign(account: str) -> None:
    with pytest.raises(ForeignTenant):
        READ("", f"account={account}", b"id=1")


@pytest.mark.parametrize("body", [b"id=", b"id=0", b"id=../7", b"phone=375290000022", b"id[a]=1"])
def test_a_trigger_without_an_id_is_not_understood(body: bytes) -> None:
    with pytest.raises(NotUnderstood):
        READ("", "", body)


def page(*records: object, pages: object = 1) -> dict[str, object]:
    return {"success": True, "history": list(records), "pagination": {"totalPageCount": pages}}


def test_everybody_is_named_once_and_who_was_merged_into_another_brings_him_too() -> None:
    found = page(
        {"id": 11, "field": "first_name", "customer": {"id": 7}},
        {"id": 12, "field": "phones", "customer": {"id": 7}},
        {"id": 13, "deleted": True, "customer": {"id": 8}, "combinedTo": {"id": 9}},
        pages=2,
    )

    read = to_page(found, "customers", 10)

    assert [change.external_id for change in read.changes] == ["7", "8", "9"]
    assert (read.since_id, read.more) == (13, True)


def test_a_company_of_the_other_history_is_a_company() -> None:
    read = to_page(page({"id": 11, "customer": {"id": 77}}), "customers-corporate", 0)

    assert read.changes == [Change(kind="company", external_id="77")]


def test_records_that_are_not_newer_are_no_changes_and_never_lead_further() -> None:
    read = to_page(page({"id": 9, "customer": {"id": 7}}, {"id": 10, "customer": {"id": 8}}, pages=5), "customers", 10)

    assert (list(read.changes), read.since_id, read.more) == ([], 10, False)


@pytest.mark.parametrize("history", [None, "x", [None, 7, {"id": "x"}, {"id": 11}, {"id": 12, "customer": []}]])
def test_what_is_no_history_brings_nobody(history: object) -> None:
    assert list(to_page({"history": history}, "customers", 0).changes) == []
