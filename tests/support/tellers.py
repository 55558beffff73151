"""Accounts of MoySklad, Bitrix24 and amoCRM that tell a daemon of changes, in the form each of them sends.

Each is an enterprise of its own, so that each is the one whose names win.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from vochi_agent.simulator.amocrm import AmoCrmSandbox
from vochi_agent.simulator.bitrix24 import Bitrix24Sandbox
from vochi_agent.simulator.moysklad import MoySkladSandbox

__all__ = ["PHONE", "TELLERS", "Message", "Teller"]

PHONE = "+375290000022"
FORM = "application/x-www-form-urlencoded"


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """What is POSTed."""

    body: bytes
    content_type: str
    query: Mapping[str, str]


class Teller:
    """One account with one person.

    Attributes:
        number: Of the enterprise.
        sandbox: The account.
        aged: A token file whose access token has run out; "" for a key that does not age.
    """

    name: str
    number: str
    sandbox: Any
    hook: str
    aged = ""

    def table(self) -> str:
        """Its part of the configuration."""
        raise NotImplementedError

    def named(self, last_name: str) -> None:
        """The person is called so from now on."""
        raise NotImplementedError

    def changed(self, **facts: str) -> Message:
        """What it sends when the person has changed; `account` another tenant's."""
        raise NotImplementedError

    def path(self, *, secret: str | None = None, number: str | None = None) -> str:
        """Where it sends that."""
        return f"/webhooks/{number or self.number}/{self.name}/{self.hook if secret is None else secret}"


class MoySkladTeller(Teller):
    """JSON that names a link, with a `requestId` in the address."""

    name, number, hook = "moysklad", "0901", "Hook-of-moysklad"
    account = "44444444-dddd-11ee-0a80-000000000004"
    person = "11111111-aaaa-11ee-0a80-000000000001"

    def __init__(self) -> None:
        self.sandbox = MoySkladSandbox(data_key="data-key", phone_key="phone-key")
        self.named("Прежний")

    def table(self) -> str:
        return f'api_key = "data-key"\n  account_id = "{self.account}"'

    def named(self, last_name: str) -> None:
        self.sandbox.add_counterparty(self.person, name=last_name, phone="8 (029) 000-00-22")

    def changed(self, *, account: str = "") -> Message:
        href = f"https://api.moysklad.ru/api/remap/1.2/entity/counterparty/{self.person}"
        event = {
            "meta": {"type": "counterparty", "href": href},
            "action": "UPDATE",
            "accountId": account or self.account,
            "updatedFields": ["name"],
        }
        who = {"meta": {"type": "employee"}, "moment": "2026-11-20 10:00:00", "uid": "admin@romashka"}
        body = json.dumps({"auditContext": who, "events": [event]}).encode()
        query = {"requestId": "7c3e0d3e-0000-11ee-0a80-000000000009"}
        return Message(body=body, content_type="application/json;charset=utf-8", query=query)


class Bitrix24Teller(Teller):
    """A form with brackets and the application's token."""

    name, number, hook = "bitrix24", "0902", "Hook-of-bitrix24"
    aged = '{"access": "an hour old", "refresh": "first-refresh"}'

    def __init__(self) -> None:
        self.sandbox = Bitrix24Sandbox(webhook_secret="unused")
        self.named("Прежний")

    def table(self) -> str:
        sandbox = self.sandbox
        return f"""client_id = "app-id"
  client_secret = "app-secret"
  refresh_token = "first-refresh"
  oauth_url = "{sandbox.url}"
  application_token = "{sandbox.events.application_token}"
  member_id = "{sandbox.events.member_id}\""""

    def named(self, last_name: str) -> None:
        self.sandbox.add_contact("77", last_name=last_name, phones=["+375290000022"])

    def changed(self, *, account: str = "") -> Message:
        fields = self.sandbox.change("ONCRMCONTACTUPDATE", "77")
        if account:
            fields["auth[application_token]"] = account
        return Message(body=urlencode(fields).encode(), content_type=FORM, query={})


class AmoCrmTeller(Teller):
    """A form with brackets that says most of the card, in other words than the API."""

    name, number, hook = "amocrm", "0903", "Hook-of-amocrm"
    aged = '{"access": "a day old", "refresh": "first-refresh"}'

    def __init__(self) -> None:
        self.sandbox = AmoCrmSandbox(token="not yet bought")
        self.named("Прежний")

    def table(self) -> str:
        client_id, secret, redirect_uri = self.sandbox.client
        return f"""client_id = "{client_id}"
  client_secret = "{secret}"
  redirect_uri = "{redirect_uri}"
  refresh_token = "first-refresh"
  account_id = "100500\""""

    def named(self, last_name: str) -> None:
        self.sandbox.add_contact(5551, name=last_name, last_name=last_name, phones=["375290000022"])

    def changed(self, *, account: str = "") -> Message:
        contact = "contacts[update][0]"
        fields = {
            f"{contact}[id]": "5551",
            f"{contact}[name]": "Не отсюда",
            f"{contact}[responsible_user_id]": "900",
            f"{contact}[updated_at]": "1700000000",
            f"{contact}[type]": "contact",
            f"{contact}[custom_fields][0][id]": "11",
            f"{contact}[custom_fields][0][code]": "PHONE",
            f"{contact}[custom_fields][0][values][0][value]": "375290000022",
            f"{contact}[custom_fields][0][values][0][enum]": "21",
            "account[id]": account or "100500",
            "account[subdomain]": "demo",
            "account[_links][self]": "https://demo.amocrm.example",
        }
        return Message(body=urlencode(fields).encode(), content_type=FORM, query={})


TELLERS = (MoySkladTeller, Bitrix24Teller, AmoCrmTeller)
