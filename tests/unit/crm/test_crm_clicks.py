"""What five CRMs send when somebody clicks on a phone, and from whom it is not taken."""

import json
from math import inf

import pytest

from vochi_agent.change_ports import Click
from vochi_agent.config.tables import AmoCrmConfig, Bitrix24Config, RetailCrmConfig, UonConfig
from vochi_agent.crm.amocrm_clicks import AmoCrmClicks
from vochi_agent.crm.bitrix24_changes import Bitrix24Webhook
from vochi_agent.crm.bitrix24_clicks import seconds_ago
from vochi_agent.crm.moysklad_clicks import moysklad_click
from vochi_agent.crm.retailcrm_clicks import RetailCrmClicks
from vochi_agent.crm.uon_webhook import UonWebhook
from vochi_agent.errors import ForeignTenant, NotUnderstood

FORM = "application/x-www-form-urlencoded"
BITRIX = (
    b"event=ONEXTERNALCALLSTART&data[PHONE_NUMBER]=80290000022&data[PHONE_NUMBER_INTERNATIONAL]=%2B375290000022"
    b"&data[EXTENSION]=&data[USER_ID]=8&data[CALL_ID]=externalCall.1.2&auth[domain]=demo&auth[application_token]=Tok"
)


def test_retailcrm_names_user_and_extension_in_the_address() -> None:
    read = RetailCrmClicks(RetailCrmConfig(url="https://demo.example", api_key="k", module="vochi-0901"))

    assert read("", "clientId=vochi-0901&phone=%2B375290000022&userId=7&code=151", b"") == Click(
        phone="+375290000022", user="7", extension="151"
    )
    assert read("", "phone=80290000022&userId=7", b"").extension == ""
    with pytest.raises(ForeignTenant):
        read("", "clientId=another&phone=80290000022&userId=7", b"")
    with pytest.raises(NotUnderstood):
        read("", "clientId=vochi-0901&userId=7", b"")


def test_uon_names_user_and_phone() -> None:
    read = UonWebhook(UonConfig(api_key="k", account_id="900"), country="BY")

    assert read(FORM, "", b"uon_id=900&type_id=47&method=call&phone=375290000022&user_id=5&client_id=7") == Click(
        phone="375290000022", user="5"
    )
    assert read("", "", '{"method":"call","телефон":"375290000022","id пользователя":5}'.encode()) == Click(
        phone="375290000022", user="5"
    )
    with pytest.raises(NotUnderstood, match="who clicked"):
        read(FORM, "", b"uon_id=900&type_id=47&phone=375290000022")
    with pytest.raises(ForeignTenant):
        read(FORM, "", b"uon_id=901&type_id=47&phone=375290000022&user_id=5")


def test_moysklad_names_the_extension_itself() -> None:
    body = json.dumps({"srcNumber": "101", "destNumber": "79000000003", "uid": "u-1"}).encode()

    assert moysklad_click("application/json", "", body) == Click(phone="79000000003", extension="101")
    with pytest.raises(NotUnderstood):
        moysklad_click("application/json", "", b'{"destNumber":"79000000003"}')


def test_bitrix24_names_the_user_and_its_own_id_of_the_call() -> None:
    read = Bitrix24Webhook(Bitrix24Config(url="https://demo", application_token="Tok"))

    assert read(FORM, "", BITRIX) == Click(phone="+375290000022", user="8", remote_id="externalCall.1.2")
    with pytest.raises(ForeignTenant):
        read(FORM, "", BITRIX.replace(b"=Tok", b"=Other"))
    with pytest.raises(NotUnderstood):
        read(FORM, "", BITRIX.replace(b"data[USER_ID]=8", b"data[USER_ID]=../8"))


@pytest.mark.parametrize(
    ("timestamp", "now", "age"),
    [
        ("2026-11-21T12:00:00+03:00", 1_795_251_610.5, 10.5),
        ("2026-11-21T12:00:00", 1_795_251_610.5, inf),
        ("yesterday", 1_795_251_610.5, inf),
        (None, 1_795_251_610.5, inf),
        ("2026-11-21T12:00:00+03:00", "1795251610", inf),
        ("2026-11-21T12:00:00+03:00", True, inf),
    ],
)
def test_how_old_a_click_is_says_the_portal_alone(timestamp: object, now: object, age: float) -> None:
    assert seconds_ago(timestamp, now) == age


@pytest.mark.parametrize(
    ("query", "body"),
    [
        ("phone=%2B375290000022&user=900&account=demo", b""),
        ("", b"phone=%2B375290000022&user=900"),
        ("", b'{"phone": "+375290000022", "user": 900, "account": 100500}'),
    ],
)
def test_a_widget_in_amocrm_names_user_and_phone(query: str, body: bytes) -> None:
    read = AmoCrmClicks(AmoCrmConfig(url="https://demo.amocrm.example", api_key="k", account_id="100500"))

    assert read(FORM, query, body) == Click(phone="+375290000022", user="900")


@pytest.mark.parametrize("query", ["user=900", "phone=375290000022", "phone=375290000022&user=me"])
def test_a_widget_that_does_not_say_who_clicked_on_what_is_not_understood(query: str) -> None:
    with pytest.raises(NotUnderstood):
        AmoCrmClicks(AmoCrmConfig(url="https://demo.amocrm.example", api_key="k"))(FORM, query, b"")


def test_a_widget_of_another_account_is_foreign() -> None:
    with pytest.raises(ForeignTenant):
        AmoCrmClicks(AmoCrmConfig(url="https://demo.amocrm.example", api_key="k"))(
            FORM, "phone=375290000022&user=900&account=another", b""
        )
