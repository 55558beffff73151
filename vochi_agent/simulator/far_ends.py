"""The CRM and Telegram of a configuration that puts them on this machine, played there; what is elsewhere is real."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from ipaddress import ip_address
from urllib.parse import urlsplit

from vochi_agent.config import Address, Config, Enterprise

from .retailcrm import RetailCrmSandbox
from .scenario import Person
from .telegram import TelegramSandbox

__all__ = ["FarEnds", "far_ends", "fill", "is_here"]


@dataclass(frozen=True, slots=True)
class FarEnds:
    """What is played beside the PBX; None: it is not here, or somebody else listens there."""

    crm: RetailCrmSandbox | None
    telegram: TelegramSandbox | None


@asynccontextmanager
async def far_ends(config: Config, enterprise: Enterprise) -> AsyncIterator[FarEnds]:
    """Listen where the configuration says that they are."""
    async with AsyncExitStack() as stack:
        crm, telegram = _crm(enterprise), _telegram(config, enterprise)
        yield FarEnds(
            crm=crm if crm and await _listens(stack, crm) else None,
            telegram=telegram if telegram and await _listens(stack, telegram) else None,
        )


def fill(crm: RetailCrmSandbox, people: tuple[Person, ...]) -> None:
    """Give the played CRM its customers; who has a company is its contact."""
    companies: dict[str, list[int]] = {}
    for number, person in enumerate(people, start=1):
        crm.add_customer(number, first_name=person.first_name, last_name=person.last_name, phones=[person.phone])
        if person.company:
            companies.setdefault(person.company, []).append(number)
    for number, (name, contacts) in enumerate(companies.items(), start=len(people) + 1):
        crm.add_company(number, nick_name=name, contacts=contacts)


def is_here(host: str) -> bool:
    """Whether a host is this machine by its loopback."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _crm(enterprise: Enterprise) -> RetailCrmSandbox | None:
    table = enterprise.crm.get("retailcrm")
    place = _here(table.url) if table else None
    if table is None or place is None:
        return None
    return RetailCrmSandbox(api_key=table.api_key.get_secret_value(), host=place.host, port=place.port)


def _telegram(config: Config, enterprise: Enterprise) -> TelegramSandbox | None:
    place, token = _here(config.telegram.api_url), enterprise.telegram_token.get_secret_value()
    if place is None or not token:
        return None
    telegram = TelegramSandbox(token=token, host=place.host, port=place.port)
    for chat in enterprise.chats:
        telegram.add_chat(chat.id, topics=[chat.topic] if chat.topic else ())
    return telegram


def _here(url: str) -> Address | None:
    parts = urlsplit(url)
    if parts.scheme != "http" or parts.port is None or not is_here(parts.hostname or ""):
        return None
    return Address("127.0.0.1" if parts.hostname == "localhost" else parts.hostname or "", parts.port)


async def _listens(stack: AsyncExitStack, end: RetailCrmSandbox | TelegramSandbox) -> bool:
    try:
        await stack.enter_async_context(end)
    except OSError:
        return False  # whoever listens there is asked by the daemon, as the configuration says
    return True
