"""The CRMs we know: a name of the configuration -> its adapter, and what it tells by itself."""

from collections.abc import Mapping
from typing import Final

from vochi_agent.change_ports import ChangeFeed, WebhookReader
from vochi_agent.config.tables import (
    AmoCrmConfig,
    Bitrix24Config,
    CrmConfig,
    MoySkladConfig,
    RetailCrmConfig,
    UonConfig,
)
from vochi_agent.crm.amocrm import AmoCrm
from vochi_agent.crm.amocrm_changes import AmoCrmContacts, AmoCrmWebhook
from vochi_agent.crm.bitrix24 import Bitrix24
from vochi_agent.crm.bitrix24_changes import Bitrix24Events, Bitrix24Webhook
from vochi_agent.crm.breaker import State
from vochi_agent.crm.factories import CrmFactory, amocrm, bitrix24, moysklad, retailcrm, uon
from vochi_agent.crm.moysklad import MoySklad
from vochi_agent.crm.moysklad_changes import MoySkladContacts, MoySkladWebhook
from vochi_agent.crm.retailcrm import RetailCrm
from vochi_agent.crm.retailcrm_changes import RetailCrmHistory, RetailCrmWebhook
from vochi_agent.crm.uon import Uon
from vochi_agent.crm.uon_webhook import UonWebhook
from vochi_agent.ports import ProfileSource

__all__ = ["CALL_BOOKS", "CRMS", "CrmFactory", "State", "feed_of", "webhook_of"]


CRMS: Final[Mapping[str, CrmFactory]] = {
    RetailCrm.name: retailcrm,
    Uon.name: uon,
    MoySklad.name: moysklad,
    Bitrix24.name: bitrix24,
    AmoCrm.name: amocrm,
}

# Those that keep a list of calls (`ports.CallBook`): the ledger leaves every call for them.
CALL_BOOKS: Final = frozenset({MoySklad.name, Bitrix24.name, AmoCrm.name})


def feed_of(source: ProfileSource, config: CrmConfig) -> ChangeFeed | None:
    """The histories that an adapter can look at; None where a CRM keeps none."""
    if isinstance(source, RetailCrm) and isinstance(config, RetailCrmConfig):
        return RetailCrmHistory(source.http.apart("changes"), period_s=config.history_s)
    if isinstance(source, MoySklad):
        return MoySkladContacts(source)
    if isinstance(source, Bitrix24) and isinstance(config, Bitrix24Config):
        return Bitrix24Events(source, period_s=config.events_s)
    return AmoCrmContacts(source) if isinstance(source, AmoCrm) else None


def webhook_of(config: CrmConfig, *, country: str) -> WebhookReader | None:
    """What reads the webhooks of a CRM; None for one that we do not understand yet.

    Args:
        country: ISO 3166 code; how numbers without a country are read.
    """
    match config:
        case RetailCrmConfig():
            return RetailCrmWebhook(config)
        case UonConfig():
            return UonWebhook(config, country=country)
        case MoySkladConfig():
            return MoySkladWebhook(config)
        case Bitrix24Config():
            return Bitrix24Webhook(config)
        case AmoCrmConfig():
            return AmoCrmWebhook(config)
        case _:
            return None
