"""What U-ON sends when a client was made or changed, or his phone clicked on; and whether it is our account. Pure.

The cabinet documents `client_id` alone; running receivers also get the client's own fields, as `client[u_id]` or as a
JSON text under `client`, and Russian names of fields. A client that is described is taken at the word of the message,
any other is asked for by his id. There is no signature: the secret of the address and the account's id or subdomain
are all that tells a message from a forged one. Who clicked is `user_id` for receivers in daily use; the cabinet's page
does not name it (UNCONFIRMED).
"""

import json
from collections.abc import Mapping
from typing import Final

from vochi_agent.change_ports import Change, Click
from vochi_agent.config.tables import UonConfig
from vochi_agent.crm.fields import identifier, mapping, numbers, numeric_id, text
from vochi_agent.crm.payload import read_payload
from vochi_agent.crm.uon import phones_of, to_profile
from vochi_agent.errors import ForeignTenant, NotUnderstood

__all__ = ["UonWebhook"]

CREATED, CHANGED, CALL = 3, 4, 47
# The highest type of the cabinet's list; types between ours tell nothing about customers' names and numbers.
LAST_TYPE: Final = 74
# The names that receivers of others know, the documented one first; Russian ones are those of the cabinet's interface.
NAMES: Final[Mapping[str, tuple[str, ...]]] = {
    "uon_id": ("uon_id", "account_id", "аккаунт_id", "аккаунт"),
    "uon_subdomain": ("uon_subdomain", "subdomain", "субдомен", "домен"),
    "type_id": ("type_id", "type", "тип"),
    "method": ("method", "метод"),
    "client_id": ("client_id", "id клиента", "id_клиента"),
    "client": ("client", "клиент"),
    "phone": ("phone", "телефон"),
    "user_id": ("user_id", "manager_id", "id пользователя", "id_пользователя", "пользователь"),
    "u_id": ("u_id", "id"),
    "u_surname": ("u_surname", "фамилия"),
    "u_name": ("u_name", "имя"),
    "u_sname": ("u_sname", "отчество"),
    "u_company": ("u_company", "компания"),
    "u_phone": ("u_phone", "телефон"),
    "u_phone_mobile": ("u_phone_mobile", "мобильный телефон", "мобильный"),
    "u_phone_home": ("u_phone_home", "домашний телефон", "домашний"),
}


class UonWebhook:
    """Reads the webhooks of one account; fulfils `change_ports.WebhookReader`.

    Args:
        country: ISO 3166 code; how numbers without a country are read.
    """

    def __init__(self, config: UonConfig, *, country: str) -> None:
        self._config = config
        self._country = country

    def __call__(self, content_type: str, query: str, body: bytes) -> Change | Click | None:
        """See `change_ports.WebhookReader`."""
        fields = read_payload(content_type, query, body)
        self._check_account(fields)
        kind = _type(fields)
        if kind == CALL:
            return _click(fields)
        return self._change(fields) if kind in (CREATED, CHANGED) else None

    def _check_account(self, fields: Mapping[str, object]) -> None:
        """What the message says of its account must be what is configured; what either leaves out proves nothing."""
        account, subdomain = identifier(_get(fields, "uon_id")), _subdomain(_get(fields, "uon_subdomain"))
        expected_account, expected_subdomain = self._config.account_id, self._config.subdomain.lower()
        if account and expected_account and account != expected_account:
            raise ForeignTenant("the account's id is another one")
        if subdomain and expected_subdomain and subdomain != expected_subdomain:
            raise ForeignTenant("the subdomain is another one")

    def _change(self, fields: Mapping[str, object]) -> Change:
        card = _card(fields)
        external_id = numeric_id(_get(fields, "client_id")) or numeric_id(card.get("u_id"))
        if not external_id:
            raise NotUnderstood("it names no client")
        card = {**card, "u_id": external_id}
        phones, skipped = phones_of(card, self._country)
        beside = text(_get(fields, "phone"))
        further = numbers(beside, self._country)
        skipped += bool(beside and not further)
        if not phones and not further:
            return Change(external_id=external_id, skipped=skipped)
        profile = to_profile(
            card | {"u_phone": ", ".join((*phones, *further))} if further else card,
            subdomain=self._config.subdomain,
            agents=self._config.agents,
            country=self._country,
        )
        return Change(external_id=external_id, profile=profile, skipped=skipped)


def _click(fields: Mapping[str, object]) -> Click:
    phone, user = text(_get(fields, "phone")), numeric_id(_get(fields, "user_id"))
    if not phone or not user:
        raise NotUnderstood("it names no phone, or not who clicked")
    return Click(phone=phone, user=user)


def _type(fields: Mapping[str, object]) -> int:
    """The event; `method=call` is the click on a phone even without a type."""
    written = numeric_id(_get(fields, "type_id"))
    if text(_get(fields, "method")).lower() == "call":
        return CALL
    if not written or int(written) > LAST_TYPE:
        raise NotUnderstood("it has no type that U-ON knows")
    return int(written)


def _card(fields: Mapping[str, object]) -> dict[str, object]:
    """The client's own fields under the API's names; a description beside the envelope is one too."""
    described = _get(fields, "client")
    if isinstance(described, str):
        try:
            described = json.loads(described)
        except (ValueError, RecursionError):
            described = None
    client = {key.lower(): value for key, value in mapping(described).items()}
    names = [name for name in NAMES if name.startswith("u_")]
    card = {name: _get(client, name) for name in names if _has(client, name)}
    if not card:
        card = {name: fields[name] for name in names if name in fields}
    for manager in ("manager_id", "u_manager_id"):
        if manager in client:
            card[manager] = client[manager]
    return card


def _has(fields: Mapping[str, object], name: str) -> bool:
    return any(spelling in fields for spelling in NAMES[name])


def _get(fields: Mapping[str, object], name: str) -> object:
    """The field under any of its names, the first that is not empty."""
    found = [fields[spelling] for spelling in NAMES[name] if spelling in fields]
    return next((value for value in found if value not in ("", None)), found[0] if found else None)


def _subdomain(value: object) -> str:
    """`demo`, `demo.u-on.ru`, `https://demo.u-on.ru/`: all are demo."""
    return text(value).lower().removeprefix("https://").removeprefix("http://").partition(".")[0].strip("/")
