from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vochi_agent.change_ports import Change
from vochi_agent.config.tables import UonConfig
from vochi_agent.crm.uon_webhook import UonWebhook
from vochi_agent.customers.model import Names
from vochi_agent.errors import ForeignTenant, NotUnderstood

READ = UonWebhook(UonConfig(api_key="k", account_id="900", subdomain="demo", agents={"5": "151"}), country="BY")


def read(fields: dict[str, str]) -> Change | None:
    return READ("", "", urlencode({"type_id": "4", "client_id": "1001"} | fields).encode())


def test_a_described_client_is_a_profile_with_all_his_numbers() -> None:
    change = read({
        "client[u_surname]": "Новая",
        "client[u_name]": "Анна &amp; Ко",
        "client[u_company]": "Ромашка",
        "client[manager_id]": "5",
        "client[u_phone]": "375290000022",
        "client[u_phone_mobile]": "+375 (29) 000-00-23, 8 029 000-00-24",
        "client[u_phone_home]": "",
    })  # fmt: skip

    assert change is not None
    assert change.profile is not None
    assert change.profile.names == Names(last_name="Новая", first_name="Анна & Ко", enterprise_name="Ромашка")
    assert change.profile.phones == ("+375290000022", "+375290000023", "+375290000024")
    assert (change.profile.phones_complete, change.profile.responsible) == (True, "151")
    assert change.profile.url == "https://demo.u-on.ru/client_edit.php?client_id=1001"
    assert (change.kind, change.external_id, change.skipped) == ("person", "1001", 0)


def test_a_description_with_a_field_left_out_says_nothing_about_other_numbers() -> None:
    change = read({"client[u_surname]": "Новая", "client[u_phone]": "375290000022"})

    assert change is not None
    assert change.profile is not None
    assert not change.profile.phones_complete


def test_a_client_may_be_described_beside_the_envelope_and_a_phone_too() -> None:
    change = read({"u_surname": "Новая", "u_phone": "375290000022", "телефон": "+79000000001"})

    assert change is not None
    assert change.profile is not None
    assert change.profile.names.last_name == "Новая"
    assert change.profile.phones == ("+375290000022", "+79000000001")


@pytest.mark.parametrize("client", ["", "{broken", "null", "[]", '{"u_surname": "Безномерная"}'])
def test_a_client_without_a_number_is_asked_for(client: str) -> None:
    assert read({"client": client}) == Change(external_id="1001")


def test_the_id_of_the_description_counts_when_the_envelope_has_none() -> None:
    change = read({"client_id": "0", "client": '{"u_id": 77, "u_phone": "375290000022"}'})

    assert change is not None
    assert change.external_id == "77"


@pytest.mark.parametrize("subdomain", ["demo", "DEMO", "demo.u-on.ru", "https://demo.u-on.ru/"])
def test_our_own_account_is_let_in_however_it_is_written(subdomain: str) -> None:
    assert read({"uon_id": "900", "uon_subdomain": subdomain}) is not None


def test_another_account_is_foreign_and_one_that_is_not_configured_is_not_looked_at() -> None:
    with pytest.raises(ForeignTenant):
        read({"uon_id": "901"})
    with pytest.raises(ForeignTenant):
        read({"аккаунт": "901"})

    anybody = UonWebhook(UonConfig(api_key="k"), country="BY")
    assert anybody("", "", b"uon_id=901&type_id=4&client_id=7") == Change(external_id="7")


def test_a_click_to_call_of_another_account_is_foreign_before_anything_else() -> None:
    with pytest.raises(ForeignTenant):
        read({"uon_id": "901", "type_id": "47"})
    with pytest.raises(NotUnderstood, match="who clicked"):
        read({"type_id": "47"})


@given(st.dictionaries(st.sampled_from(["client", "client[u_phone]", "type_id", "client_id", "uon_id"]), st.text()))
def test_no_text_does_more_than_being_refused(fields: dict[str, str]) -> None:
    try:
        read({name: value.encode("utf-8", "replace").decode() for name, value in fields.items()})
    except (NotUnderstood, ForeignTenant):
        return
