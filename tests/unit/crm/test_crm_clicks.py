"""What four CRMs send when somebody clicks on a phone, and from whom it is not taken."""

import json

import pytest

from vochi_agent.change_ports import Click
from vochi_agent.config.tables import RetailCrmConfig, UonConfig
from vochi_agent.crm.bitrix24_clicks import bitrix24_click
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
    assert bitrix24_click(FORM, "", BITRIX, application_token="Tok") == Click(
        phone="+375290000022", user="8", remote_id="externalCall.1.2"
    )
    for token in ("Other", ""):
        with pytest.raises(ForeignTenant):
            bitrix24_click(FORM, "", BITRIX, application_token=token)
    with pytest.raises(NotUnderstood):
        bitrix24_click(FORM, "", BITRIX.replace(b"CALLSTART", b"CALLBACKSTART"), application_token="Tok")
