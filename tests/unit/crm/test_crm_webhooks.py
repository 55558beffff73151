"""What MoySklad, Bitrix24 and amoCRM send, forged and foreign messages included."""

import json
from typing import Any
from urllib.parse import urlencode

import pytest

from vochi_agent.change_ports import Change, Click
from vochi_agent.config.tables import AmoCrmConfig, Bitrix24Config, MoySkladConfig
from vochi_agent.crm.amocrm_changes import AmoCrmWebhook
from vochi_agent.crm.bitrix24_changes import Bitrix24Webhook
from vochi_agent.crm.bitrix24_clicks import click_of
from vochi_agent.crm.moysklad_changes import MoySkladWebhook
from vochi_agent.errors import ForeignTenant, NotUnderstood

ACCOUNT = "44444444-dddd-11ee-0a80-000000000004"
PERSON = "11111111-aaaa-11ee-0a80-000000000001"
FORM = "application/x-www-form-urlencoded"

moysklad = MoySkladWebhook(MoySkladConfig(api_key="k", account_id=ACCOUNT))
bitrix24 = Bitrix24Webhook(
    Bitrix24Config(url="https://demo.bitrix24.example", application_token="app-token", member_id="abc123")
)
amocrm = AmoCrmWebhook(AmoCrmConfig(url="https://demo.amocrm.example", api_key="k"))


def event(action: str = "UPDATE", *, kind: str = "counterparty", account: str = ACCOUNT, person: str = PERSON) -> Any:
    href = f"https://api.moysklad.ru/api/remap/1.2/entity/{kind}/{person}"
    return {"meta": {"type": kind, "href": href}, "action": action, "accountId": account, "updatedFields": ["phone"]}


def of_moysklad(*events: Any) -> Any:
    return moysklad("application/json", "requestId=1", json.dumps({"auditContext": {}, "events": events}).encode())


def of_bitrix24(**fields: str) -> Any:
    usual = {
        "event": "ONCRMCONTACTUPDATE",
        "data[FIELDS][ID]": "77",
        "ts": "1700000000",
        "auth[domain]": "demo.bitrix24.example",
        "auth[member_id]": "abc123",
        "auth[application_token]": "app-token",
    }
    return bitrix24(FORM, "", urlencode({**usual, **fields}).encode())


def of_amocrm(**fields: str) -> Any:
    usual = {"account[id]": "100500", "account[subdomain]": "demo"}
    return amocrm(FORM, "", urlencode({**usual, **fields}).encode())


def test_moysklad_names_the_counterparties_of_a_message_each_once() -> None:
    other = PERSON.replace("1111", "5555")
    found = of_moysklad(event(), event("CREATE"), event(person=other), event("DELETE"), event(kind="product"))

    assert found == [Change(kind="company", external_id=PERSON), Change(kind="company", external_id=other)]


@pytest.mark.parametrize("account", ["", ACCOUNT.replace("4", "5"), "ÿ"])
def test_moysklad_of_another_account_is_foreign(account: str) -> None:
    with pytest.raises(ForeignTenant):
        of_moysklad(event(), event(account=account))


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"events": 5}', b"[" * 10_000, b"events=1"])
def test_what_is_no_message_of_moysklad(body: bytes) -> None:
    with pytest.raises(NotUnderstood):
        moysklad("application/json", "", body)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("ONCRMCONTACTADD", Change(external_id="77")),
        ("ONCRMLEADUPDATE", Change(external_id="lead-77")),
        ("oncrmcompanyupdate", Change(kind="company", external_id="77")),
        ("ONCRMDEALUPDATE", None),
        ("ONCRMCONTACTDELETE", None),
    ],
)
def test_bitrix24_names_a_card(name: str, change: Change | None) -> None:
    assert of_bitrix24(event=name) == change


@pytest.mark.parametrize(
    "changed",
    [
        {"auth[application_token]": "another"},
        {"auth[application_token]": ""},
        {"auth[application_token]": "ключ"},
        {"auth[member_id]": "def456"},
        {"auth[member_id]": ""},
    ],
)
def test_bitrix24_of_another_portal_is_foreign(changed: dict[str, str]) -> None:
    with pytest.raises(ForeignTenant):
        of_bitrix24(**changed)


def test_bitrix24_without_an_application_token_takes_nothing() -> None:
    reader = Bitrix24Webhook(Bitrix24Config(url="https://demo.bitrix24.example"))
    with pytest.raises(ForeignTenant):
        reader(FORM, "", b"event=ONCRMCONTACTADD&data[FIELDS][ID]=1&auth[application_token]=")


@pytest.mark.parametrize("changed", [{"data[FIELDS][ID]": "../7"}, {"event": ""}, {"event": "ONEXTERNALCALLSTART"}])
def test_what_is_no_event_of_bitrix24(changed: dict[str, str]) -> None:
    with pytest.raises(NotUnderstood):
        of_bitrix24(**changed)


def test_a_click_in_bitrix24_names_the_user_and_the_call_that_is_registered_already() -> None:
    data = {"phone_number": "8 900 000-00-05", "phone_number_international": "+79000000005", "extension": "9",
            "user_id": "8", "call_id": "externalCall.1"}  # fmt: skip

    assert click_of(data) == Click(phone="+79000000005", user="8", remote_id="externalCall.1")
    with pytest.raises(NotUnderstood):
        click_of({"user_id": "8"})


def test_amocrm_names_several_cards_at_once() -> None:
    found = of_amocrm(**{
        "contacts[update][0][id]": "5551",
        "contacts[update][0][custom_fields][0][values][0][value]": "+79000000006",
        "contacts[update][1][id]": "7001",
        "contacts[update][1][type]": "company",
        "contacts[add][0][id]": "5552",
        "contacts[delete][0][id]": "5553",
    })  # fmt: skip

    assert found == [
        Change(external_id="5551"),
        Change(kind="company", external_id="7001"),
        Change(external_id="5552"),
    ]
    assert of_amocrm(**{"leads[status][0][id]": "1"}) == []


def test_amocrm_of_another_account_is_foreign() -> None:
    with pytest.raises(ForeignTenant):
        of_amocrm(**{"account[subdomain]": "another", "contacts[add][0][id]": "1"})
    exact = AmoCrmWebhook(AmoCrmConfig(url="https://demo.amocrm.example", api_key="k", account_id="100500"))
    with pytest.raises(ForeignTenant):
        exact(FORM, "", b"account[id]=1&account[subdomain]=demo&contacts[add][0][id]=1")


@pytest.mark.parametrize(
    "body",
    [b"", b"contacts[add][0][id]=1", b"account[id]=1&account[subdomain]=demo", b"account" + b"[a]" * 50 + b"=1",
     b"&".join(b"contacts[add][%d][id]=1" % n for n in range(2000))],
)  # fmt: skip
def test_what_is_no_message_of_amocrm(body: bytes) -> None:
    with pytest.raises(NotUnderstood):
        amocrm(FORM, "", body)
